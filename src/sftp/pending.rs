//! A request that has no answer yet.

use std::time::Instant;

use super::request::RequestId;

/// Stands for one request from its arrival to its one answer, which consumes it.
#[must_use = "every request gets an answer"]
#[derive(Debug, PartialEq, Eq)]
pub struct Pending {
    id: RequestId,
    operation: &'static str,
    asked: Instant,
}

impl Pending {
    /// Notes the arrival of a request.
    pub const fn new(id: RequestId, operation: &'static str, asked: Instant) -> Self {
        Self {
            id,
            operation,
            asked,
        }
    }

    /// Returns what is asked, in the protocol's word.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// Returns when it came.
    #[must_use]
    pub const fn asked(&self) -> Instant {
        self.asked
    }

    /// Returns the number that its answer carries: there is no second one.
    pub const fn answered(self) -> RequestId {
        self.id
    }
}
