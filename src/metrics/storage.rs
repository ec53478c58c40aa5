//! What stores and their retries report.

use std::time::Duration;

use super::Metrics;
use super::outcomes::failure;
use super::series::{self, of_store};
use crate::storage::Operation;
use crate::storage::metered::{CallObserver, Outcome};
use crate::storage::retry::RetryObserver;

fn call_ended(
    metrics: &Metrics,
    store: Option<&str>,
    operation: Operation,
    outcome: Outcome,
    took: Duration,
) {
    let outcome = match outcome {
        Outcome::Done => "done",
        Outcome::Failed(kind) => failure(kind),
        Outcome::Cancelled => "cancelled",
    };
    let labels = [("operation", operation.name()), ("outcome", outcome)];
    let _ = metrics
        .storage_calls
        .get_or_create(&of_store(labels, store))
        .inc();
    let labels = of_store([("operation", operation.name())], store);
    metrics
        .storage_call_seconds
        .get_or_create(&labels)
        .observe(took.as_secs_f64());
}

impl CallObserver for Metrics {
    fn ended(&self, operation: Operation, outcome: Outcome, took: Duration) {
        call_ended(self, None, operation, outcome, took);
    }

    fn ended_at(&self, store: &str, operation: Operation, outcome: Outcome, took: Duration) {
        call_ended(self, Some(store), operation, outcome, took);
    }

    fn begun_beside(&self, store: &str) {
        series::of_calls(&self.storage_calls, Some(store));
    }

    fn store_turned(&self, store: Option<&str>, is_up: bool) {
        // An empty label is none to Prometheus: calls to the main store have none either.
        let labels = [("store", store.unwrap_or_default().to_owned())];
        let _ = self.stores_up.get_or_create(&labels).set(is_up.into());
    }

    fn role_asked(&self, outcome: &'static str) {
        let labels = [("outcome", outcome)];
        let _ = self.sts_calls.get_or_create(&labels).inc();
    }

    fn key_in_use(&self, keys: &str, position: usize) {
        let labels = [("keys", keys.to_owned())];
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        let _ = self.keys_in_use.get_or_create(&labels).set(position);
    }
}

impl RetryObserver for Metrics {
    fn retried(&self, operation: Operation) {
        let labels = [("operation", operation.name())];
        let _ = self.storage_retries.get_or_create(&labels).inc();
    }

    fn given_up(&self, operation: Operation) {
        let labels = [("operation", operation.name())];
        let _ = self.storage_given_up.get_or_create(&labels).inc();
    }

    fn held_back(&self) {
        let _ = self.storage_retries_held_back.inc();
    }
}
