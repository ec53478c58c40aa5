//! Registers metrics and keeps what is said of them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

/// What one metric is, for the documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// As it is scraped, without the suffixes of a histogram.
    pub name: String,
    pub kind: &'static str,
    pub labels: &'static str,
    pub help: &'static str,
}

pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Labels one of whose values comes from the configuration.
pub(super) type Named<const N: usize> = [(&'static str, String); N];

/// Labels with that of a store beside the main one, if it is one.
pub(super) type OfStore<const N: usize> = (Labels<N>, Vec<(&'static str, String)>);

/// Registers metrics and keeps what is said of them.
pub(super) struct Registrar {
    pub(super) registry: Registry,
    /// The process itself, whose names have no prefix.
    pub(super) process: Registry,
    pub(super) descriptions: Vec<Description>,
}

impl Registrar {
    pub(super) fn new() -> Self {
        Self {
            registry: Registry::with_prefix(PREFIX),
            process: Registry::default(),
            descriptions: Vec::new(),
        }
    }

    pub(super) fn build_info(&mut self) {
        let info = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        self.add(
            "build",
            None,
            ("info", "version"),
            "The running version",
            info,
        );
    }

    pub(super) fn gauge(&mut self, name: &str, unit: Option<Unit>, help: &'static str) -> Gauge {
        let gauge = Gauge::default();
        self.add(name, unit, ("gauge", ""), help, gauge.clone());
        gauge
    }

    pub(super) fn counter(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &'static str,
    ) -> Counter {
        let counter = Counter::default();
        self.add(name, unit, ("counter", ""), help, counter.clone());
        counter
    }

    pub(super) fn counters<const N: usize>(
        &mut self,
        name: &str,
        labels: &'static str,
        help: &'static str,
    ) -> Family<Labels<N>, Counter> {
        let family = Family::default();
        self.add(name, None, ("counter", labels), help, family.clone());
        family
    }

    pub(super) fn counters_of_store<const N: usize>(
        &mut self,
        name: &str,
        labels: &'static str,
        help: &'static str,
    ) -> Family<OfStore<N>, Counter> {
        let family = Family::default();
        self.add(name, None, ("counter", labels), help, family.clone());
        family
    }

    pub(super) fn counters_by_name<const N: usize>(
        &mut self,
        name: &str,
        labels: &'static str,
        help: &'static str,
    ) -> Family<Named<N>, Counter> {
        let family = Family::default();
        self.add(name, None, ("counter", labels), help, family.clone());
        family
    }

    pub(super) fn gauges_by_name(
        &mut self,
        name: &str,
        label: &'static str,
        help: &'static str,
    ) -> Family<Named<1>, Gauge> {
        let family = Family::default();
        self.add(name, None, ("gauge", label), help, family.clone());
        family
    }

    pub(super) fn latency(
        &mut self,
        name: &str,
        labels: &'static str,
        help: &'static str,
    ) -> Family<Labels<1>, Histogram, fn() -> Histogram> {
        let new: fn() -> Histogram = || Histogram::new(LATENCY_SECONDS);
        let family = Family::new_with_constructor(new);
        let kind = ("histogram", labels);
        self.add(name, Some(Unit::Seconds), kind, help, family.clone());
        family
    }

    pub(super) fn latency_of_store(
        &mut self,
        name: &str,
        labels: &'static str,
        help: &'static str,
    ) -> Family<OfStore<1>, Histogram, fn() -> Histogram> {
        let new: fn() -> Histogram = || Histogram::new(LATENCY_SECONDS);
        let family = Family::new_with_constructor(new);
        let kind = ("histogram", labels);
        self.add(name, Some(Unit::Seconds), kind, help, family.clone());
        family
    }

    /// Times by labels one of which comes from the configuration.
    pub(super) fn latency_by_name<const N: usize>(
        &mut self,
        name: &str,
        labels: &'static str,
        help: &'static str,
    ) -> Family<Named<N>, Histogram, fn() -> Histogram> {
        let new: fn() -> Histogram = || Histogram::new(LATENCY_SECONDS);
        let family = Family::new_with_constructor(new);
        let kind = ("histogram", labels);
        self.add(name, Some(Unit::Seconds), kind, help, family.clone());
        family
    }

    /// Registers what every process has, under the name that everybody gives it.
    pub(super) fn process(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        kind: &'static str,
        help: &'static str,
        metric: impl Metric,
    ) {
        let name = format!("process_{name}");
        self.describe(name.clone(), unit.as_ref(), (kind, ""), help);
        match unit {
            Some(unit) => self.process.register_with_unit(name, help, unit, metric),
            None => self.process.register(name, help, metric),
        }
    }

    fn add(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        (kind, labels): (&'static str, &'static str),
        help: &'static str,
        metric: impl Metric,
    ) {
        let full = format!("{PREFIX}_{name}");
        self.describe(full, unit.as_ref(), (kind, labels), help);
        match unit {
            Some(unit) => self.registry.register_with_unit(name, help, unit, metric),
            None => self.registry.register(name, help, metric),
        }
    }

    fn describe(
        &mut self,
        mut full: String,
        unit: Option<&Unit>,
        (kind, labels): (&'static str, &'static str),
        help: &'static str,
    ) {
        if let Some(unit) = unit {
            full.push('_');
            full.push_str(unit.as_str());
        }
        match kind {
            "counter" => full.push_str("_total"),
            "info" => full.push_str("_info"),
            _ => {}
        }
        self.descriptions.push(Description {
            name: full,
            kind,
            labels,
            help,
        });
    }
}

/// Brings a counter to a total that somebody else keeps.
pub(super) fn raise(counter: &Counter, total: u64) {
    let _ = counter
        .inner()
        .fetch_max(total, std::sync::atomic::Ordering::Relaxed);
}

const PREFIX: &str = "portcullis";

/// From one in memory to one that is about to time out.
const LATENCY_SECONDS: [f64; 16] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
