//! The answers of a session: each request gets one, which is counted and encoded.

use std::sync::Arc;

use bytes::Bytes;

use super::out::Out;
use super::status::refused_because;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::sftp::{Pending, Reply, RequestId, Status, StatusCode};

/// Answers requests, and knows how many wait.
#[derive(Debug)]
pub(crate) struct Answers {
    out: Arc<Out>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    open: usize,
}

impl Answers {
    pub(crate) const fn new(out: Arc<Out>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self {
            out,
            metrics,
            clock,
            open: 0,
        }
    }

    /// Returns where answers go.
    pub(crate) const fn out(&self) -> &Arc<Out> {
        &self.out
    }

    /// Returns how many requests wait for their answer.
    pub(crate) const fn open(&self) -> usize {
        self.open
    }

    /// Takes a request, which will be answered.
    pub(crate) fn arrive(&mut self, id: RequestId, operation: &'static str) -> Pending {
        self.open = self.open.saturating_add(1);
        Pending::new(id, operation, self.clock.now())
    }

    pub(crate) fn reply(&mut self, pending: Pending, reply: &Reply) {
        let code = match reply {
            Reply::Status(status) => status.code,
            Reply::Handle(_)
            | Reply::Attrs(_)
            | Reply::Names { .. }
            | Reply::Path(_)
            | Reply::Limits { .. }
            | Reply::StatVfs
            | Reply::Sums { .. } => StatusCode::Ok,
        };
        if let Reply::Status(status) = reply
            && let Some(reason) = refused_because(pending.operation(), status)
        {
            self.metrics.operation_refused(pending.operation(), reason);
        }
        self.count(&pending, code);
        self.out.reply(pending.answered(), reply);
    }

    pub(crate) fn status(&mut self, pending: Pending, status: Status) {
        self.reply(pending, &Reply::Status(status));
    }

    /// Answers with file data that has no memory of its own.
    pub(crate) fn data_without_memory(&mut self, pending: Pending, bytes: Bytes) {
        self.count(&pending, StatusCode::Ok);
        self.out.data_without_memory(pending.answered(), bytes);
    }

    /// Answers with file data; the slices together have `length` bytes, and each its memory.
    pub(crate) fn data(&mut self, pending: Pending, length: u32, slices: Vec<Bytes>) {
        self.count(&pending, StatusCode::Ok);
        self.out.data(pending.answered(), length, slices);
    }

    fn count(&mut self, pending: &Pending, code: StatusCode) {
        self.open = self.open.saturating_sub(1);
        let took = self.clock.now().saturating_duration_since(pending.asked());
        self.metrics.request(pending.operation(), code, took);
    }
}
