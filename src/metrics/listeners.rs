//! Connections by listener, where there are several.

use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::registrar::{Named, Registrar};

/// How many connections a listener has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerReading {
    pub listener: Box<str>,
    pub connections_open: usize,
}

/// The series of all listeners that have names.
#[derive(Debug)]
pub(super) struct ByListener {
    open: Family<Named<1>, Gauge>,
    accepted: Family<Named<1>, Counter>,
    /// Those that were read last: one that has stopped is shown no more.
    shown: Mutex<Vec<Box<str>>>,
}

impl ByListener {
    pub(super) fn new(all: &mut Registrar) -> Self {
        Self {
            open: all.gauges_by_name(
                "listener_connections_open",
                "listener",
                "Open connections of a listener, if there are several",
            ),
            accepted: all.counters_by_name(
                "listener_connections_accepted",
                "listener",
                "Connections accepted by a listener, if there are several",
            ),
            shown: Mutex::default(),
        }
    }

    /// Has the series of a listener at 0.
    pub(super) fn expect(&self, listener: &str) {
        drop(self.accepted.get_or_create(&labels(listener)));
    }

    pub(super) fn accepted(&self, listener: &str) {
        let _ = self.accepted.get_or_create(&labels(listener)).inc();
    }

    pub(super) fn observe(&self, readings: &[ListenerReading]) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.drain(..) {
            if !readings.iter().any(|reading| reading.listener == gone) {
                self.open.remove(&labels(&gone));
            }
        }
        for reading in readings {
            let open = i64::try_from(reading.connections_open).unwrap_or(i64::MAX);
            let _ = self
                .open
                .get_or_create(&labels(&reading.listener))
                .set(open);
            shown.push(reading.listener.clone());
        }
    }
}

fn labels(listener: &str) -> Named<1> {
    [("listener", listener.to_owned())]
}
