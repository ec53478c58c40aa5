//! SFTP requests by operation.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::registrar::Labels;
use crate::sftp::StatusCode;

/// Requests by operation, with their series at hand: READ and WRITE come by thousands a second.
#[derive(Debug)]
pub(super) struct Requests {
    counters: Family<Labels<2>, Counter>,
    seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
    read: Resolved,
    write: Resolved,
}

/// The series of one operation whose requests succeed.
#[derive(Debug, Default)]
struct Resolved(OnceLock<(Counter, Histogram)>);

impl Requests {
    pub(super) fn new(
        counters: Family<Labels<2>, Counter>,
        seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
    ) -> Self {
        Self {
            counters,
            seconds,
            read: Resolved::default(),
            write: Resolved::default(),
        }
    }

    pub(super) fn answered(&self, operation: &'static str, code: StatusCode, took: Duration) {
        let resolved = match (operation, code) {
            ("read", StatusCode::Ok) => Some(&self.read),
            ("write", StatusCode::Ok) => Some(&self.write),
            _ => None,
        };
        let labels = [("operation", operation), ("status", code.as_str())];
        let label = [("operation", operation)];
        if let Some(Resolved(series)) = resolved {
            let (counter, seconds) = series.get_or_init(|| {
                let counter = self.counters.get_or_create_owned(&labels);
                (counter, self.seconds.get_or_create_owned(&label))
            });
            let _ = counter.inc();
            seconds.observe(took.as_secs_f64());
        } else {
            let _ = self.counters.get_or_create(&labels).inc();
            self.seconds
                .get_or_create(&label)
                .observe(took.as_secs_f64());
        }
    }
}
