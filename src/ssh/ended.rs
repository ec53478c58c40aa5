//! How often connections ended, and why.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Totals since the start. There are few reasons: all of them are words of this module's siblings.
#[derive(Debug)]
pub(super) struct Ended(Mutex<BTreeMap<&'static str, u64>>);

impl Ended {
    /// Begins with these reasons at 0, so that the first end for each is an increase.
    pub(super) fn with(reasons: impl IntoIterator<Item = &'static str>) -> Self {
        let totals = reasons.into_iter().map(|reason| (reason, 0));
        Self(Mutex::new(totals.collect()))
    }

    pub(super) fn count(&self, reason: &'static str) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total = totals.entry(reason).or_default();
        *total = total.saturating_add(1);
    }

    pub(super) fn totals(&self) -> Vec<(&'static str, u64)> {
        let totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        totals
            .iter()
            .map(|(reason, total)| (*reason, *total))
            .collect()
    }
}
