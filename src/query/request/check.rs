//! Limits of a query that hold for every schema.

use super::Query;
use crate::error::{Error, Result};
use crate::query::Rescore;
use crate::query::limits::{check_limit, check_name};
use crate::query::rank::Diversity;
use crate::settings::Settings;

/// The most legs of a query.
// All legs run concurrently, and hold their rankings until they are fused.
const LEGS_MAX: usize = 16;
/// The most facets of a query.
// They run concurrently, and each may hold 128 MiB of groups.
const FACETS_MAX: usize = 16;
/// The most rescorings of a query.
// Each depends on the scores of the one before it, so each adds at least a round trip to the latency.
const RESCORES_MAX: usize = 4;

impl Query {
    /// Refuses a query that is invalid for every schema.
    pub(in crate::query) fn check(&self, settings: &Settings) -> Result<()> {
        // A limit of 0 makes sense only where facets are the whole answer.
        let is_facets_only = self.limit == 0 && !self.facets.is_empty();
        if !is_facets_only {
            check_limit("limit", self.limit, settings)?;
        }
        self.diversity.as_ref().map_or(Ok(()), Diversity::check)?;
        if !is_facets_only {
            let hits = self.offset.saturating_add(self.limit).saturating_mul(self.hits_per_group());
            check_limit("offset and limit", hits, settings)?;
        }
        if !(1..=LEGS_MAX).contains(&self.legs.len()) {
            let legs = self.legs.len();
            return Err(Error::limit(format!(
                "bad number of legs: 1 to {LEGS_MAX} are allowed. legs=`{legs}`"
            )));
        }
        for leg in &self.legs {
            leg.check()?;
            leg.depth.map_or(Ok(()), |depth| check_limit("depth", depth, settings))?;
        }
        self.check_effort()?;
        self.fusion.check()?;
        self.check_rescores(settings)?;
        self.check_facets()?;
        if self.after.is_some() && (self.offset > 0 || self.is_grouped()) {
            return Err(Error::invalid("a cursor cannot be combined with an offset or groups"));
        }
        Ok(())
    }

    pub(super) fn check_effort(&self) -> Result<()> {
        if self.effort_without_leg {
            return Err(Error::invalid(
                "recall, probes and exact are of vector legs alone: the query has none",
            ));
        }
        Ok(())
    }

    fn check_facets(&self) -> Result<()> {
        if self.facets.len() > FACETS_MAX {
            let count = self.facets.len();
            return Err(Error::limit(format!(
                "too many facets: at most {FACETS_MAX} are allowed. facets=`{count}`"
            )));
        }
        self.facets.iter().try_for_each(|(name, _)| check_name("facet", name))?;
        let is_repeated =
            |at: usize, name: &String| self.facets.iter().take(at).any(|(other, _)| other == name);
        match self.facets.iter().enumerate().find(|(at, (name, _))| is_repeated(*at, name)) {
            Some((_, (name, _))) => {
                Err(Error::invalid(format!("two facets have the same name. facet=`{name}`")))
            }
            None => Ok(()),
        }
    }

    fn check_rescores(&self, settings: &Settings) -> Result<()> {
        if self.rescores.len() > RESCORES_MAX {
            let count = self.rescores.len();
            return Err(Error::limit(format!(
                "too many rescorings: at most {RESCORES_MAX} are allowed. rescorings=`{count}`"
            )));
        }
        self.rescores.iter().try_for_each(Rescore::check)?;
        for depth in self.rescores.iter().filter_map(Rescore::requested_depth) {
            check_limit("depth of a rescoring", depth, settings)?;
            let hits = self.offset.saturating_add(self.limit).saturating_mul(self.hits_per_group());
            if depth < hits {
                return Err(Error::invalid(format!(
                    "bad depth of a rescoring: fewer than the query asks for. depth=`{depth}` hits=`{hits}`"
                )));
            }
        }
        Ok(())
    }
}
