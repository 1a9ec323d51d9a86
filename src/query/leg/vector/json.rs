//! The JSON form of a vector query: `{"column": "embedding", "vector": [0.1, 0.9], "recall": 0.9}`.

use serde_json::Value as Json;

use super::{Effort, VectorQuery};
use crate::json::{Fields, JsonForm, Object, Path};

const COLUMN: &str = "column";
const VECTOR: &str = "vector";
const RECALL: &str = "recall";
const PROBES: &str = "probes";
const EXACT: &str = "exact";

impl JsonForm for VectorQuery {
    fn to_json(&self) -> Result<Json, String> {
        let fields = Fields::new().put(COLUMN, &self.column)?.put(VECTOR, &self.vector)?;
        let fields = match self.effort {
            // Left out, so that a query that is kept follows the default of the version that runs it.
            effort if effort == Effort::default() => fields,
            Effort::Recall(recall) => fields.put(RECALL, &recall)?,
            Effort::Probes(probes) => fields.put(PROBES, &probes)?,
            Effort::Exact => fields.put(EXACT, &true)?,
        };
        Ok(fields.end())
    }

    fn from_json(json: &Json, path: &Path<'_>) -> Result<Self, String> {
        let object = Object::new(json, path, &[COLUMN, VECTOR, RECALL, PROBES, EXACT])?;
        // The builder lets the last call win. The fields of an object have no order, so two of them are a mistake.
        let recall = object.get(RECALL)?.map(Effort::for_recall);
        let probes = object.get(PROBES)?.map(Effort::Probes);
        // `"exact": false` says what is the default anyway.
        let exact = object.get(EXACT)?.filter(|exact| *exact).map(|_| Effort::Exact);
        let efforts: Vec<Effort> = [recall, probes, exact].into_iter().flatten().collect();
        let effort = match efforts[..] {
            [] => Effort::default(),
            [effort] => effort,
            _ => {
                return Err(
                    object.error(format!("it may have one of `{RECALL}`, `{PROBES}`, `{EXACT}` alone"))
                );
            }
        };
        Ok(Self { column: object.need(COLUMN)?, vector: object.need(VECTOR)?, effort })
    }
}
