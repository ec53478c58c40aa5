use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;

use super::*;
use crate::refusal::Reason;
use crate::storage::failing::{Failing, Fault};
use crate::storage::memory::MemoryStore;
use crate::storage::{
    Checksum, Location, NewObject, Nonce, ObjectStore as _, Operation, Precondition, PutObject,
};

/// A clock that a test moves.
#[derive(Debug)]
struct Hands(Mutex<Instant>);

impl Hands {
    #[expect(clippy::disallowed_methods, reason = "where the test's time begins")]
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Instant::now())))
    }

    fn pass(&self, seconds: u64) {
        *self.0.lock().unwrap() += Duration::from_secs(seconds);
    }
}

impl Clock for Hands {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }

    fn wall(&self) -> std::time::SystemTime {
        std::time::SystemTime::UNIX_EPOCH
    }
}

/// Hands out views of one memory.
#[derive(Debug)]
struct Mint {
    store: SharedStore,
    lifetime: Option<Duration>,
    minted: AtomicU32,
    refuses: AtomicBool,
}

#[async_trait]
impl Renewal for Mint {
    async fn renew(&self) -> std::result::Result<Fresh, Refusal> {
        self.minted.fetch_add(1, Ordering::SeqCst);
        // Others come meanwhile.
        tokio::task::yield_now().await;
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Reason::RoleNotAssumable.because("as told"));
        }
        Ok(Fresh {
            store: self.store.clone(),
            lifetime: self.lifetime,
        })
    }
}

struct Bench {
    failing: Arc<Failing>,
    mint: Arc<Mint>,
    hands: Arc<Hands>,
    renewed: Arc<Renewed>,
    bucket: Bucket,
}

impl Bench {
    fn new(lifetime: Option<u64>) -> Self {
        let bucket = Bucket::parse("b").unwrap();
        let failing = Arc::new(Failing::new(Arc::new(MemoryStore::new(&[&bucket]))));
        let lifetime = lifetime.map(Duration::from_secs);
        let mint = Arc::new(Mint {
            store: failing.clone(),
            lifetime,
            minted: AtomicU32::default(),
            refuses: AtomicBool::default(),
        });
        let hands = Hands::new();
        let first = Fresh {
            store: failing.clone(),
            lifetime,
        };
        let renewed = Arc::new(Renewed::new(first, mint.clone(), hands.clone()));
        Self {
            failing,
            mint,
            hands,
            renewed,
            bucket,
        }
    }

    async fn call(&self) -> Result<()> {
        self.renewed.check_bucket(&self.bucket).await
    }

    fn expire(&self, nth: u32) {
        let fault = Fault::Fail(StorageErrorKind::Expired);
        self.failing.spoil(Operation::CheckBucket, nth, fault);
    }

    fn minted(&self) -> u32 {
        self.mint.minted.load(Ordering::SeqCst)
    }
}

#[test]
fn credentials_are_renewed_ten_minutes_early_or_a_part_of_a_short_life() {
    for (lifetime, random, expected) in [
        (3_600, 0, 3_000),
        (3_600, 255, 2_700),
        (43_200, 0, 42_600),
        (900, 0, 675),
        (900, 255, 563),
        (4, 0, 3),
        (0, 255, 0),
    ] {
        let after = renewed_after(Duration::from_secs(lifetime), random);
        assert_eq!(
            after.as_secs_f64().round(),
            f64::from(expected),
            "{lifetime}"
        );
    }
}

#[tokio::test]
async fn a_call_renews_what_is_due_and_uses_what_is_good() {
    let bench = Bench::new(Some(3_600));
    bench.hands.pass(2_600);
    bench.call().await.unwrap();
    assert_eq!(bench.minted(), 0);
    bench.hands.pass(500);
    bench.call().await.unwrap();
    bench.call().await.unwrap();
    assert_eq!(bench.minted(), 1);
}

#[tokio::test]
async fn while_old_ones_are_good_a_renewal_that_fails_harms_nobody() {
    let bench = Bench::new(Some(3_600));
    bench.hands.pass(3_100);
    bench.mint.refuses.store(true, Ordering::SeqCst);
    bench.call().await.unwrap();
    bench.call().await.unwrap();
    assert_eq!(bench.minted(), 1, "it waits before it tries again");
    bench.hands.pass(600);
    let error = bench.call().await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Expired, "{error}");
    assert!(error.detail.contains("role-not-assumable"));
    bench.hands.pass(10);
    bench.mint.refuses.store(false, Ordering::SeqCst);
    bench.call().await.unwrap();
}

#[tokio::test]
async fn an_expired_answer_is_renewed_and_repeated_once() {
    let bench = Bench::new(None);
    bench.expire(1);
    bench.call().await.unwrap();
    assert_eq!((bench.minted(), bench.failing.pending()), (1, 0));
    // As good as new, and refused all the same.
    bench.expire(1);
    let error = bench.call().await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Expired);
    assert_eq!(bench.minted(), 1);
    bench.hands.pass(100);
    bench.expire(1);
    bench.expire(2);
    assert!(bench.call().await.is_err());
    assert_eq!(bench.minted(), 2, "a call is repeated once");
}

#[tokio::test]
async fn an_unknown_outcome_is_never_repeated() {
    let bench = Bench::new(Some(3_600));
    bench.failing.spoil(Operation::Put, 1, Fault::LandThenLose);
    let location = Location {
        bucket: bench.bucket.clone(),
        key: crate::storage::Key::parse("k").unwrap(),
    };
    let payload = Bytes::from_static(b"x");
    let put = PutObject {
        object: &NewObject::new(Nonce::new().unwrap()),
        checksum: Checksum::of(&payload),
        condition: &Precondition::None,
    };
    let lost = bench.renewed.put(&location, payload, put).await;
    assert_eq!(lost.unwrap_err().kind, StorageErrorKind::OutcomeUnknown);
    assert_eq!(bench.minted(), 0);
}

#[tokio::test]
async fn many_calls_renew_once() {
    let bench = Bench::new(Some(3_600));
    bench.hands.pass(4_000);
    let calls = (0..20).map(|_| bench.call());
    for outcome in futures_util::future::join_all(calls).await {
        outcome.unwrap();
    }
    assert_eq!(bench.minted(), 1);
}

#[tokio::test]
async fn a_bare_refusal_is_taken_for_expired_once_in_a_while() {
    let bench = Bench::new(Some(3_600));
    let refuse = |kind| {
        bench
            .failing
            .spoil(Operation::CheckBucket, 1, Fault::Fail(kind));
    };
    refuse(StorageErrorKind::RefusedBare);
    assert!(bench.call().await.is_err());
    assert_eq!(bench.minted(), 0);
    bench.hands.pass(100);
    // A redirect, for one, has nothing to do with credentials.
    refuse(StorageErrorKind::Refused);
    assert!(bench.call().await.is_err());
    assert_eq!(bench.minted(), 0);
    refuse(StorageErrorKind::RefusedBare);
    bench.call().await.unwrap();
    assert_eq!(bench.minted(), 1);
}
