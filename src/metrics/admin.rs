//! Connections to the operator's ports.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::registrar::{Labels, Named, Registrar};
use super::{Metrics, series};

/// The series of these ports.
#[derive(Debug)]
pub(super) struct AdminConnections {
    open: Family<Named<1>, Gauge>,
    over_limit: Family<Labels<2>, Counter>,
    api: Family<Labels<2>, Counter>,
    tls_failed: Family<Labels<1>, Counter>,
}

/// What became of a connection to one of the operator's ports when there were too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminEnd {
    /// It waited, and gave its place to another.
    Evicted,
    Refused,
}

impl AdminEnd {
    /// Returns the word of the log and the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Refused => "refused",
        }
    }
}

/// A connection to one of the operator's ports that counts as open until this is dropped.
#[derive(Debug)]
pub struct AdminConnection(Gauge);

impl Drop for AdminConnection {
    fn drop(&mut self) {
        let _ = self.0.dec();
    }
}

impl AdminConnections {
    pub(super) fn new(all: &mut Registrar) -> Self {
        Self {
            open: all.gauges_by_name(
                "admin_connections_open",
                "port",
                "Open connections to the admin port (admin), the port for AWS's tools (api) and the health check port (probe)",
            ),
            over_limit: all.counters(
                "admin_connections_over_limit",
                "port, outcome",
                "Connections over the limit of these ports: idle ones closed for new ones (evicted), or refused",
            ),
            tls_failed: all.counters(
                "admin_tls_handshakes_failed",
                "port",
                "Connections to the port for AWS's tools that ended before TLS was agreed on",
            ),
            api: all.counters(
                "api_requests",
                "operation, outcome",
                "Requests of AWS's tools: done, refused, or failed because the store of users did; `operation` is `other` if none of those that are supported is named",
            ),
        }
    }
}

impl Metrics {
    /// Counts a connection to one of the operator's ports in.
    #[must_use]
    pub fn admin_connection(&self, port: &'static str) -> AdminConnection {
        let labels = [("port", port.to_owned())];
        let gauge = self.admin.open.get_or_create_owned(&labels);
        let _ = gauge.inc();
        AdminConnection(gauge)
    }

    /// Has the series of AWS's operations at 0.
    pub fn expect_api(&self, operations: impl Iterator<Item = &'static str>) {
        let operations: Vec<_> = operations.chain(["other"]).collect();
        let outcomes = ["done", "refused", "failed"];
        series::of_pairs(
            &self.admin.api,
            ["operation", "outcome"],
            &operations,
            &outcomes,
        );
    }

    /// Has the series of a port with TLS at 0.
    pub fn expect_tls_failures(&self, port: &'static str) {
        drop(self.admin.tls_failed.get_or_create(&[("port", port)]));
    }

    /// Counts one connection that ended before TLS was agreed on.
    pub fn admin_tls_failed(&self, port: &'static str) {
        let _ = self.admin.tls_failed.get_or_create(&[("port", port)]).inc();
    }

    /// Counts one request of AWS's tools.
    pub fn api_request(&self, operation: &'static str, outcome: &'static str) {
        let labels = [("operation", operation), ("outcome", outcome)];
        let _ = self.admin.api.get_or_create(&labels).inc();
    }

    /// Counts one connection to the operator's ports that was one too many.
    pub fn admin_connection_over_limit(&self, port: &'static str, end: AdminEnd) {
        let labels = [("port", port), ("outcome", end.as_str())];
        let counter = self.admin.over_limit.get_or_create(&labels);
        let _ = counter.inc();
    }
}
