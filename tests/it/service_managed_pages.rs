//! Long lists of users: how many are in memory at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use portcullis::idp::service_managed::{Document, Documents, Failure, Names, Version};
use portcullis::limits::{LIST_PAGE_MAX, USERS_READ_AT_ONCE};

use crate::service_managed::replica;

const USERS: usize = 100_000;

/// Users who are made when somebody asks, and who counts how many of them are held.
#[derive(Debug, Default)]
struct Many(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    held: AtomicUsize,
    held_most: AtomicUsize,
    read: AtomicUsize,
}

/// The text of a document, for as long as somebody has it.
struct Held {
    text: String,
    counts: Arc<Counts>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counts.held.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Documents for Many {
    async fn read(&self, name: &str) -> Result<Option<Document>, Failure> {
        let counts = Arc::clone(&self.0);
        let held = counts.held.fetch_add(1, Ordering::SeqCst) + 1;
        counts.held_most.fetch_max(held, Ordering::SeqCst);
        counts.read.fetch_add(1, Ordering::SeqCst);
        let text = format!(r#"{{"UserName": "{name}", "Role": "r"}}"#);
        let document = Document {
            text: Bytes::from_owner(Held { text, counts }),
            version: Version("1".into()),
        };
        // Others are asked meanwhile.
        tokio::task::yield_now().await;
        Ok(Some(document))
    }

    async fn version(&self, _: &str) -> Result<Option<Version>, Failure> {
        Ok(Some(Version("1".into())))
    }

    async fn create(&self, _: &str, _: Bytes) -> Result<Version, Failure> {
        Err(Failure::Changed)
    }

    async fn replace(&self, _: &str, _: Bytes, _: &Version) -> Result<Version, Failure> {
        Err(Failure::Changed)
    }

    async fn remove(&self, _: &str, _: &Version) -> Result<(), Failure> {
        Err(Failure::Changed)
    }

    async fn list(&self, after: Option<&str>, max: u16) -> Result<Names, Failure> {
        let first = after.map_or(0, |after| {
            let digits = after.trim_start_matches("user-");
            digits.parse::<usize>().unwrap() + 1
        });
        let end = USERS.min(first + usize::from(max));
        Ok(Names {
            names: (first..end).map(|at| format!("user-{at:06}")).collect(),
            more: end < USERS,
        })
    }
}

#[tokio::test]
async fn as_many_users_as_there_may_be_are_listed_with_few_of_them_in_memory() {
    let many = Many::default();
    let counts = Arc::clone(&many.0);
    let one = replica(Arc::new(many));
    let (mut found, mut after) = (0, None::<String>);
    loop {
        // Two ask at once: together they hold no more.
        let (page, other) = futures_util::future::join(
            one.users.list(after.as_deref(), LIST_PAGE_MAX),
            one.users.list(after.as_deref(), LIST_PAGE_MAX),
        )
        .await;
        let page = page.unwrap();
        assert_eq!(page, other.unwrap());
        assert!(page.users.len() <= usize::from(LIST_PAGE_MAX));
        assert_eq!(counts.held.load(Ordering::SeqCst), 0, "nothing is kept");
        found += page.users.len();
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, USERS);
    assert_eq!(counts.read.load(Ordering::SeqCst), USERS * 2);
    let most = counts.held_most.load(Ordering::SeqCst);
    assert!(most <= USERS_READ_AT_ONCE, "{most}");
}
