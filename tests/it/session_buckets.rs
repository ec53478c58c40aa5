//! The buckets of a role: how often S3 is asked for them.

use std::sync::Arc;
use std::time::Duration;

use portcullis::limits::{BUCKETS_KNOWN_FOR, LIST_PAGE_MAX, Limits};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Bucket, Operation};
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

async fn talk(store: &Arc<Noting>, clock: &Arc<FakeClock>, limits: Limits) -> Talk {
    let home = HomeDirectory::of_role("/", Access::ReadWrite).unwrap();
    let user = user(home, store.clone());
    let (theirs, running) = begin_in(user, limits, |environment| {
        environment.clock = clock.clone();
    });
    Talk::over(theirs, running).await
}

#[tokio::test]
async fn buckets_are_asked_for_once_in_a_while_and_page_by_page() {
    let (store, names) = with_buckets(usize::from(LIST_PAGE_MAX) + 5);
    let clock = Arc::new(FakeClock::new());
    let talk = talk(&store, &clock, Limits::default()).await;
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
    let talk = talk(&store, &clock, Limits::default()).await;
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
    let talk = talk(&store, &clock, Limits::default()).await;
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
