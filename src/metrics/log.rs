//! What became of the lines of the log.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use super::registrar::{Labels, Registrar, raise};
use crate::telemetry::LostLines;

#[derive(Debug)]
pub(super) struct Log {
    lost: Family<Labels<1>, Counter>,
    waiting: Gauge,
}

impl Log {
    pub(super) fn new(all: &mut Registrar) -> Self {
        let log = Self {
            lost: all.counters(
                "log_lines_lost",
                "kind",
                "Log lines lost because standard error could not be written: of the audit log (audit), or other",
            ),
            waiting: all.gauge(
                "log_waiting",
                Some(Unit::Bytes),
                "Log lines waiting for standard error; about 0 while it can be written",
            ),
        };
        log.observe(LostLines::default(), 0);
        log
    }

    pub(super) fn observe(&self, lost: LostLines, waiting_bytes: usize) {
        for (kind, count) in [("audit", lost.record), ("other", lost.other)] {
            raise(&self.lost.get_or_create_owned(&[("kind", kind)]), count);
        }
        let waiting = i64::try_from(waiting_bytes).unwrap_or(i64::MAX);
        let _ = self.waiting.set(waiting);
    }
}
