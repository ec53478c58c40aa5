//! Calls that fail, on a clock that waits for nobody.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::*;
use crate::clock::SystemClock;
use crate::storage::failing::{Failing, Fault, Gate};
use crate::storage::memory::MemoryStore;
use crate::storage::routed::Routed;
use crate::storage::routes::{Pattern, Routes};
use crate::storage::{Checksum, Key, Location, NewObject, Nonce, Precondition, PutObject};
use StorageErrorKind as Kind;

/// Every wait is over at once, and so much later.
#[derive(Debug)]
struct Skipping(Arc<Mutex<Instant>>);

impl Clock for Skipping {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let now = Arc::clone(&self.0);
        let wait = async move {
            *now.lock().unwrap() += duration;
            tokio::task::yield_now().await;
        };
        wait.boxed()
    }
}

#[derive(Debug, Default)]
struct Counted(Mutex<BTreeMap<&'static str, u32>>);

impl Counted {
    fn note(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }

    fn of(&self, what: &str) -> u32 {
        self.0.lock().unwrap().get(what).copied().unwrap_or(0)
    }
}

impl RetryObserver for Counted {
    fn retried(&self, _: Operation) {
        self.note("retried");
    }

    fn given_up(&self, _: Operation) {
        self.note("given up");
    }

    fn held_back(&self) {
        self.note("held back");
    }
}

struct Bench {
    failing: Arc<Failing>,
    counted: Arc<Counted>,
    clock: Arc<Skipping>,
    begun: Instant,
    retries: Retries,
}

impl Bench {
    fn with(settings: RetrySettings) -> Self {
        let memory = MemoryStore::new(&[&place().bucket]);
        let counted = Arc::new(Counted::default());
        let begun = SystemClock.now();
        let clock = Arc::new(Skipping(Arc::new(Mutex::new(begun))));
        let (observer, ticking) = (Arc::clone(&counted), Arc::clone(&clock));
        Self {
            failing: Arc::new(Failing::new(Arc::new(memory))),
            counted,
            clock,
            begun,
            retries: Retries::new(settings, ticking, observer),
        }
    }

    fn new() -> Self {
        Self::with(RetrySettings::default())
    }

    fn store(&self) -> SharedStore {
        let inner: SharedStore = Arc::<Failing>::clone(&self.failing);
        Arc::new(Retrying::new(inner, self.retries.clone()))
    }

    fn fail(&self, operation: Operation, times: u32, kind: Kind) {
        for nth in 1..=times {
            self.failing.spoil(operation, nth, Fault::Fail(kind));
        }
    }

    fn took(&self) -> Duration {
        self.clock.now() - self.begun
    }
}

fn place() -> Location {
    Location {
        bucket: Bucket::parse("b").unwrap(),
        key: Key::parse("k").unwrap(),
    }
}

async fn put(store: &SharedStore) -> Result<()> {
    let object = NewObject::new(Nonce::new().unwrap());
    let put = PutObject {
        object: &object,
        checksum: Checksum::of(b"x"),
        condition: &Precondition::None,
    };
    let stored = store.put(&place(), Bytes::from_static(b"x"), put).await;
    stored.map(drop)
}

/// Begins an upload, which changes nothing that anybody sees.
async fn create(store: &SharedStore) -> Result<()> {
    let object = NewObject::new(Nonce::new().unwrap());
    store.create(&place(), &object).await.map(drop)
}

#[tokio::test]
async fn an_outage_of_one_store_holds_no_retry_of_another_back() {
    let settings = RetrySettings {
        per_second_max: 1,
        ..RetrySettings::default()
    };
    let bench = Bench::with(settings);
    let far = Location {
        bucket: Bucket::parse("far").unwrap(),
        key: Key::parse("k").unwrap(),
    };
    let failing = Arc::new(Failing::new(Arc::new(MemoryStore::new(&[&far.bucket]))));
    let mut routes = Routes::default();
    routes.add(Pattern::parse("far").unwrap(), 1);
    let near: SharedStore = Arc::<Failing>::clone(&bench.failing);
    let stores: Vec<Option<SharedStore>> = vec![Some(near), Some(failing.clone())];
    let routed = Arc::new(Routed::new(Arc::new(routes), stores));
    let store: SharedStore = Arc::new(Retrying::new(routed, bench.retries.clone()));
    // Others of the far store have taken what there is.
    while bench.retries.take(1, bench.clock.now()) {}
    assert_eq!(bench.counted.of("held back"), 1);
    bench.fail(Operation::Create, 1, Kind::Throttled);
    create(&store).await.unwrap();
    assert_eq!(bench.counted.of("held back"), 1);
    failing.spoil(Operation::Create, 1, Fault::Fail(Kind::Throttled));
    let object = NewObject::new(Nonce::new().unwrap());
    drop(store.create(&far, &object).await.unwrap());
    assert!(bench.counted.of("held back") > 1);
    // What is repeated by its caller is counted in the same way.
    bench.clock.sleep(Duration::from_secs(2)).await;
    while bench.retries.take(1, bench.clock.now()) {}
    let before = bench.counted.of("held back");
    let mut throttled = StorageError::new(Kind::Throttled, "slow down");
    let mut near = tries(&*store, Operation::Put, &place().bucket, &*bench.clock);
    assert!(near.again_after(&*bench.clock, &mut throttled).await);
    assert_eq!(bench.counted.of("held back"), before);
    let mut far = tries(&*store, Operation::Put, &far.bucket, &*bench.clock);
    assert!(far.again_after(&*bench.clock, &mut throttled).await);
    assert!(bench.counted.of("held back") > before);
}

#[tokio::test]
async fn what_fails_for_a_while_is_repeated_until_it_works() {
    let bench = Bench::new();
    put(&bench.store()).await.unwrap();
    bench.fail(Operation::Create, 30, Kind::Throttled);
    create(&bench.store()).await.unwrap();
    bench.fail(Operation::Head, 5, Kind::Unavailable);
    bench.store().head(&place()).await.unwrap();
    assert_eq!(bench.counted.of("retried"), 35);
    assert_eq!(bench.counted.of("given up"), 0);
}

#[tokio::test]
async fn a_look_is_given_up_within_seconds_and_says_so() {
    let bench = Bench::new();
    put(&bench.store()).await.unwrap();
    bench.fail(Operation::Head, 1_000, Kind::Unavailable);
    let error = bench.store().head(&place()).await.unwrap_err();
    assert!(bench.took() <= RetrySettings::default().look);
    assert!(error.detail.contains("given up after"), "{error}");
    assert_eq!(bench.counted.of("given up"), 1);
    // The same look, where something depends on it.
    let patient = patient(&bench.store());
    let error = patient.head(&place()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(bench.took() > Duration::from_secs(200));
}

#[tokio::test]
async fn a_look_that_is_not_answered_ends_at_its_deadline() {
    let bench = Bench::new();
    let gate = Gate::closed();
    bench.failing.spoil(Operation::Head, 1, Fault::Hold(gate));
    let error = bench.store().head(&place()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(
        error.detail.contains("HeadObject s3://b/k: no answer"),
        "{error}"
    );
}

#[tokio::test]
async fn what_would_fail_again_or_may_have_landed_is_not_repeated() {
    let bench = Bench::new();
    for kind in [
        Kind::OutcomeUnknown,
        Kind::Denied,
        Kind::Precondition,
        Kind::Expired,
    ] {
        bench.fail(Operation::Create, 1, kind);
        assert_eq!(create(&bench.store()).await.unwrap_err().kind, kind);
    }
    // Whoever changes a key looks first what stands there by now.
    bench.fail(Operation::Put, 1, Kind::Throttled);
    assert_eq!(put(&bench.store()).await.unwrap_err().kind, Kind::Throttled);
    bench.fail(Operation::Delete, 1, Kind::Throttled);
    let error = bench.store().delete(&place(), None).await.unwrap_err();
    assert_eq!(error.kind, Kind::Throttled);
    assert_eq!(bench.counted.of("retried"), 0);
}

#[tokio::test]
async fn many_calls_together_are_repeated_no_faster_than_the_process_may() {
    let settings = RetrySettings {
        per_second_max: 10,
        ..RetrySettings::default()
    };
    let bench = Bench::with(settings);
    bench.fail(Operation::Create, 40, Kind::Throttled);
    create(&bench.store()).await.unwrap();
    let earned = bench.took().as_secs_f64() * 10.0 + 10.0;
    assert!(f64::from(bench.counted.of("retried")) <= earned);

    // Many at once, of which the last ones have to wait for a later second.
    let calls = (0..50).map(|_| {
        bench.fail(Operation::Create, 1, Kind::Throttled);
        let store = bench.store();
        async move { create(&store).await }
    });
    let calls: Vec<_> = calls.collect();
    for outcome in futures_util::future::join_all(calls).await {
        outcome.unwrap();
    }
    assert_eq!(bench.counted.of("retried"), 90);
    assert!(bench.counted.of("held back") > 0);
    assert_eq!(bench.counted.of("given up"), 0);

    // However many there were: who comes later is served at once.
    bench.clock.sleep(Duration::from_secs(2)).await;
    let (held_back, before) = (bench.counted.of("held back"), bench.took());
    bench.fail(Operation::Create, 1, Kind::Throttled);
    create(&bench.store()).await.unwrap();
    assert_eq!(bench.counted.of("held back"), held_back);
    assert!(bench.took() - before < Duration::from_secs(1));
}
