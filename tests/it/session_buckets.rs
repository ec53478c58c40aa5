//! The buckets of a role: how often S3 is asked for them.

use std::sync::Arc;
use std::time::Duration;

use portcullis::limits::{BUCKETS_KNOWN_FOR, LIST_PAGE_MAX, Limits};
use portcullis::storage::StorageErrorKind::{Denied, NoSuchBucket};
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Bucket, Operation, SharedStore};
use portcullis::vfs::{Access, HomeDirectory};
use russh_sftp::protocol::StatusCode;

use crate::common::clock::FakeClock;
use crate::common::sftp::{Talk, begin_in, user};
use crate::session_moves::Noting;

fn with_buckets(count: usize) -> (Arc<Noting>, Vec<String>) {
    let names: Vec<_> = (0..count).map(|n| format!("bucket-{n:04}")).collect();
    let buckets: Vec<_> = names.iter().map(|n| Bucket::parse(n).unwrap()).collect();
    let store = MemoryStore::new(&buckets.iter().collect::<Vec<_>>());
    (Noting::over(Arc::new(store)), names)
}

async fn talk(store: SharedStore, clock: &Arc<FakeClock>, limits: Limits) -> Talk {
    let home = HomeDirectory::of_role("/", Access::ReadWrite).unwrap();
    let user = user(home, store);
    let (theirs, running) = begin_in(user, limits, |environment| {
        environment.clock = clock.clone();
    });
    Talk::over(theirs, running).await
}

#[tokio::test]
async fn buckets_are_asked_for_once_in_a_while_and_page_by_page() {
    let (store, names) = with_buckets(usize::from(LIST_PAGE_MAX) + 5);
    let clock = Arc::new(FakeClock::new());
    let talk = talk(store.clone(), &clock, Limits::default()).await;
    let asked = || store.keys(Operation::ListBuckets).len();
    assert_eq!(talk.names("/").await.unwrap(), names);
    assert_eq!(asked(), 2);
    // The first page is remembered.
    assert_eq!(talk.names("/").await.unwrap(), names);
    assert_eq!(asked(), 3);
    clock.advance(BUCKETS_KNOWN_FOR - Duration::from_millis(1));
    assert_eq!(talk.names("/").await.unwrap(), names);
    assert_eq!(asked(), 4);
    clock.advance(Duration::from_millis(1));
    assert_eq!(talk.names("/").await.unwrap(), names);
    assert_eq!(asked(), 6);
    assert_eq!(store.keys(Operation::CheckBucket).len(), 0);
}

#[tokio::test]
async fn few_buckets_cost_one_call_however_often_they_are_listed() {
    let (store, names) = with_buckets(3);
    let clock = Arc::new(FakeClock::new());
    let talk = talk(store.clone(), &clock, Limits::default()).await;
    for _ in 0..5 {
        assert_eq!(talk.names("/").await.unwrap(), names);
    }
    assert_eq!(store.keys(Operation::ListBuckets).len(), 1);
    // A bucket is looked at by its name, and not again to make a file in it.
    assert_eq!(talk.size("/bucket-0001").await, Ok(Some(0)));
    assert_eq!(talk.size("/bucket-0004").await, Err(StatusCode::NoSuchFile));
    assert_eq!(store.keys(Operation::List).len(), 2);
    talk.put("/bucket-0001/a", b"x").await.unwrap();
    assert_eq!(talk.get("/bucket-0001/a").await.unwrap(), b"x");
}

#[tokio::test]
async fn what_is_remembered_of_buckets_gives_its_memory_back() {
    let (store, names) = with_buckets(100);
    let clock = Arc::new(FakeClock::new());
    let talk = talk(store.clone(), &clock, Limits::default()).await;
    assert_eq!(talk.names("/").await.unwrap(), names);
    let taken = || talk.budget.account().taken_bytes();
    assert!(taken() > 0);
    clock.advance(BUCKETS_KNOWN_FOR);
    // Whatever is asked next; the answer itself may still be on its way.
    let given_back = async {
        while taken() > 0 {
            assert_eq!(talk.size("/").await, Ok(Some(0)));
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), given_back).await;
    waited.expect("what is too old is forgotten");
}

#[tokio::test]
async fn a_denial_of_the_buckets_is_asked_for_once_in_a_while() {
    let (store, names) = with_buckets(3);
    let denying = Arc::new(Failing::new(store.clone()));
    denying.spoil(Operation::ListBuckets, 1, Fault::Fail(Denied));
    let clock = Arc::new(FakeClock::new());
    let talk = talk(denying.clone(), &clock, Limits::default()).await;
    for _ in 0..5 {
        let refused = talk.names("/").await;
        assert_eq!(refused, Err(StatusCode::PermissionDenied));
    }
    assert_eq!(denying.pending(), 0);
    assert_eq!(store.keys(Operation::ListBuckets).len(), 0);
    clock.advance(BUCKETS_KNOWN_FOR);
    assert_eq!(talk.names("/").await.unwrap(), names);
}

#[tokio::test]
async fn a_later_page_of_buckets_is_refused_in_the_words_of_the_first() {
    let (store, _) = with_buckets(usize::from(LIST_PAGE_MAX) + 5);
    let denying = Arc::new(Failing::new(store));
    // Pages are asked for ahead, and again where nobody waited.
    for nth in 2..50 {
        denying.spoil(Operation::ListBuckets, nth, Fault::Fail(Denied));
    }
    let clock = Arc::new(FakeClock::new());
    let talk = talk(denying, &clock, Limits::default()).await;
    let handle = talk.client.opendir("/").await.unwrap().handle;
    let refused = loop {
        if let Err(error) = talk.client.readdir(&handle).await {
            break format!("{error:?}");
        }
    };
    let sentence = "Your role may not list the buckets; go to one by its name";
    assert!(refused.contains(sentence), "{refused}");
}

#[tokio::test]
async fn a_session_lists_its_buckets_once_at_a_time() {
    let (store, names) = with_buckets(3);
    let slow = Arc::new(Failing::new(store.clone()));
    let gate = Gate::closed();
    slow.spoil(Operation::ListBuckets, 1, Fault::Hold(gate.clone()));
    let clock = Arc::new(FakeClock::new());
    let talk = talk(slow, &clock, Limits::default()).await;
    let release = async {
        gate.reached(1).await;
        gate.open();
    };
    let all = futures_util::join!(talk.names("/"), talk.names("/"), talk.names("/"), release);
    assert_eq!(
        (all.0.unwrap(), all.1.unwrap()),
        (names.clone(), names.clone())
    );
    assert_eq!(all.2.unwrap(), names);
    assert_eq!(store.keys(Operation::ListBuckets).len(), 1);
}

#[tokio::test]
async fn a_bucket_that_was_deleted_is_not_there_any_more() {
    let (store, _) = with_buckets(1);
    let gone = Arc::new(Failing::new(store.clone()));
    gone.spoil(Operation::List, 2, Fault::Fail(NoSuchBucket));
    let clock = Arc::new(FakeClock::new());
    let talk = talk(gone, &clock, Limits::default()).await;
    assert_eq!(talk.size("/bucket-0000").await, Ok(Some(0)));
    assert_eq!(talk.size("/bucket-0000").await, Err(StatusCode::NoSuchFile));
}
