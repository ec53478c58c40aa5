//! The keys that a client offered for a user and that let nobody in.
//!
//! Most clients offer every key they have, so one refused offer means little. That none of them was
//! accepted is worth one line: it says why a partner is asked for a password, or who tries keys.

use std::fmt::Write as _;
use std::time::Instant;

use tracing::Span;

use super::judgement::Attempt;
use crate::limits;
use crate::refusal::{Reason, Refusal};

/// The offers of one user, until it is known what became of them.
#[derive(Debug)]
pub(super) struct RefusedOffers {
    /// The first of them.
    attempt: Attempt,
    /// The one that is judged now.
    pending: Option<Box<str>>,
    refused: Vec<Box<str>>,
    /// Those that are not named.
    more: usize,
    /// Of the latest.
    refusal: Option<Refusal>,
    /// Of the connection, which may be gone when the line is written.
    span: Span,
}

impl RefusedOffers {
    /// Begins with the first offer.
    pub(super) fn new(attempt: Attempt) -> Self {
        Self {
            pending: attempt.fingerprint.clone(),
            attempt,
            refused: Vec::new(),
            more: 0,
            refusal: None,
            span: Span::current(),
        }
    }

    pub(super) fn are_of(&self, user: &str) -> bool {
        *self.attempt.user == *user
    }

    /// Begins a further offer.
    pub(super) fn begins(&mut self, fingerprint: Option<Box<str>>) {
        self.pending = fingerprint;
    }

    /// Notes that the key is worth a proof, which may never come.
    pub(super) fn accepted(&mut self) {
        self.pending = None;
    }

    /// Notes that the key is not accepted.
    pub(super) fn refused(&mut self, refusal: Refusal, now: Instant) {
        self.refusal = Some(refusal);
        self.attempt.ended = Some(now);
        self.name_pending();
    }

    /// Names a key once, however often it is offered.
    fn name_pending(&mut self) {
        let Some(fingerprint) = self.pending.take() else {
            return;
        };
        if self.refused.contains(&fingerprint) {
            return;
        }
        if self.refused.len() < limits::FINGERPRINTS_LOGGED_MAX {
            self.refused.push(fingerprint);
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

    /// Writes the one line, if there is anything to tell.
    pub(super) fn tell(mut self) {
        // The client went away before there was an answer.
        self.name_pending();
        if self.refused.is_empty() {
            return;
        }
        let mut fingerprints = self.refused.join(",");
        if self.more > 0 {
            // Writing to a string does not fail.
            let _ = write!(fingerprints, ",and {} more", self.more);
        }
        self.attempt.fingerprint = Some(fingerprints.into());
        let refusal = self
            .refusal
            .unwrap_or_else(|| Refusal::new(Reason::ClientGone));
        let attempt = self.attempt;
        self.span.in_scope(|| attempt.refuse(refusal));
    }
}
