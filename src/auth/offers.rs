//! The keys that a client offered for a user and that let nobody in.
//!
//! Most clients offer every key they have, so one refused offer means little. That none of them was
//! accepted is worth one line: it says why a partner is asked for a password, or who tries keys.

use std::fmt::Write as _;

use tracing::Span;

use super::judgement::Attempt;
use crate::limits;
use crate::refusal::Refusal;

/// The refused offers of one user, until it is known what became of them.
#[derive(Debug)]
pub(super) struct RefusedOffers {
    /// The first of them.
    attempt: Attempt,
    fingerprints: Vec<Box<str>>,
    /// Those that are not named.
    more: usize,
    /// Of the latest.
    refusal: Refusal,
    /// Of the connection, which may be gone when the line is written.
    span: Span,
}

impl RefusedOffers {
    /// Begins with the first offer; `refusal` holds until it is known better.
    pub(super) fn new(attempt: Attempt, refusal: Refusal) -> Self {
        let fingerprints = attempt.fingerprint.clone().into_iter().collect();
        Self {
            attempt,
            fingerprints,
            more: 0,
            refusal,
            span: Span::current(),
        }
    }

    pub(super) fn are_of(&self, user: &str) -> bool {
        *self.attempt.user == *user
    }

    /// Takes a further offer in, unless the same key was offered before.
    pub(super) fn add(&mut self, fingerprint: Option<&str>, refusal: Refusal) {
        self.refusal = refusal;
        let Some(fingerprint) = fingerprint else {
            return;
        };
        if self
            .fingerprints
            .iter()
            .any(|known| **known == *fingerprint)
        {
            return;
        }
        if self.fingerprints.len() < limits::FINGERPRINTS_LOGGED_MAX {
            self.fingerprints.push(fingerprint.into());
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Takes the question's id over, once there is one.
    pub(super) fn asked(&mut self, request_id: Option<&str>) {
        if self.attempt.request_id.is_none() {
            self.attempt.request_id = request_id.map(Into::into);
        }
    }

    /// Writes the one line.
    pub(super) fn tell(mut self) {
        let mut fingerprints = self.fingerprints.join(",");
        if self.more > 0 {
            // Writing to a string does not fail.
            let _ = write!(fingerprints, ",and {} more", self.more);
        }
        self.attempt.fingerprint = (!fingerprints.is_empty()).then(|| fingerprints.into());
        let Self {
            attempt,
            refusal,
            span,
            ..
        } = self;
        span.in_scope(|| attempt.refuse(refusal));
    }
}
