//! The JSON form of a vector query: `{"column": "embedding", "vector": [0.1, 0.9], "recall": 0.9}`.

use serde_json::Value as Json;

use super::{Effort, VectorQuery};
use crate::json::{Fields, JsonForm, Object, Path};
use crate::types::Vector;

const COLUMN: &str = "column";
const VECTOR: &str = "vector";
const RECALL: &str = "recall";
const PROBES: &str = "probes";
const EXACT: &str = "exact";

/// A vector to compare those of a column with, wherever a query does.
pub(in crate::query) fn write_vector(column: &String, vector: &Vector) -> Result<Fields, String> {
    Fields::new().put(COLUMN, column)?.put(VECTOR, vector)
}

/// Reads what [`write_vector`] writes, of an object that may have more.
fn read_vector(object: &Object<'_>) -> Result<(String, Vector), String> {
    Ok((object.need(COLUMN)?, object.need(VECTOR)?))
}

/// Reads what [`write_vector`] writes, of a field that holds nothing else.
pub(in crate::query) fn read_vector_in(
    object: &Object<'_>,
    field: &'static str,
) -> Result<(String, Vector), String> {
    read_vector(&object.object(field, &[COLUMN, VECTOR])?)
}

impl JsonForm for VectorQuery {
    fn to_json(&self) -> Result<Json, String> {
        let fields = write_vector(&self.column, &self.vector)?;
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
        let (column, vector) = read_vector(&object)?;
        Ok(Self { column, vector, effort })
    }
}
