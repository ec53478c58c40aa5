//! Documents of users that end with the process: for servers that somebody tries something on.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::documents::{Document, Documents, Failure, Names, Version};
use crate::limits::{USER_DOCUMENT_BYTES_MAX, USERS_IN_MEMORY_BYTES_MAX};

/// What the documents of all servers of a process take.
#[derive(Debug, Clone, Default)]
pub struct TakenRoom(Arc<AtomicUsize>);

/// Keeps the users of one server in memory.
#[derive(Debug)]
pub struct InMemory {
    held: Mutex<Held>,
    taken: TakenRoom,
}

#[derive(Debug, Default)]
struct Held {
    all: BTreeMap<String, Document>,
    last_version: u64,
}

impl TakenRoom {
    fn change(&self, from: usize, to: usize) -> Result<(), Failure> {
        let changed = |taken: usize| {
            let taken = taken.saturating_sub(from).saturating_add(to);
            (taken <= USERS_IN_MEMORY_BYTES_MAX || to <= from).then_some(taken)
        };
        let done = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
        done.map(drop).map_err(|_| {
            let most = USERS_IN_MEMORY_BYTES_MAX;
            Failure::Away(format!(
                "users in memory may take {most} bytes: keep them in a directory with --state"
            ))
        })
    }
}

impl InMemory {
    #[must_use]
    pub fn new(taken: TakenRoom) -> Self {
        Self {
            held: Mutex::default(),
            taken,
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a document in the place of a version, or of nothing.
    fn put(&self, name: &str, text: Bytes, base: Option<&Version>) -> Result<Version, Failure> {
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > USER_DOCUMENT_BYTES_MAX {
            return Err(Failure::TooLarge);
        }
        let mut held = self.held();
        let there = held.all.get(name);
        if there.map(|document| &document.version) != base {
            return Err(Failure::Changed);
        }
        let before = there.map_or(0, |document| bytes(name, document));
        held.last_version = held.last_version.saturating_add(1);
        let version = Version(held.last_version.to_string().into());
        let document = Document {
            text,
            version: version.clone(),
        };
        self.taken.change(before, bytes(name, &document))?;
        held.all.insert(name.to_owned(), document);
        Ok(version)
    }
}

fn bytes(name: &str, document: &Document) -> usize {
    name.len().saturating_add(document.text.len())
}

#[async_trait]
impl Documents for InMemory {
    async fn read(&self, name: &str) -> Result<Option<Document>, Failure> {
        Ok(self.held().all.get(name).cloned())
    }

    async fn version(&self, name: &str) -> Result<Option<Version>, Failure> {
        let held = self.held();
        Ok(held.all.get(name).map(|document| document.version.clone()))
    }

    async fn create(&self, name: &str, text: Bytes) -> Result<Version, Failure> {
        self.put(name, text, None)
    }

    async fn replace(&self, name: &str, text: Bytes, base: &Version) -> Result<Version, Failure> {
        self.put(name, text, Some(base))
    }

    async fn remove(&self, name: &str, base: &Version) -> Result<(), Failure> {
        let mut held = self.held();
        match held.all.get(name) {
            Some(document) if document.version == *base => {
                self.taken.change(bytes(name, document), 0)?;
                held.all.remove(name);
                Ok(())
            }
            Some(_) | None => Err(Failure::Changed),
        }
    }

    async fn list(&self, after: Option<&str>, max: u16) -> Result<Names, Failure> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let held = self.held();
        let mut rest = held.all.range::<str, _>((from, Bound::Unbounded));
        let names = rest.by_ref().take(max.into());
        let names = names.map(|(name, _)| name.clone()).collect();
        Ok(Names {
            names,
            more: rest.next().is_some(),
        })
    }
}

/// What a server took is free when it is gone.
impl Drop for InMemory {
    fn drop(&mut self) {
        let all = &self.held().all;
        let taken = all.iter().map(|(name, document)| bytes(name, document));
        let taken = taken.fold(0, usize::saturating_add);
        // Giving back is never refused.
        drop(self.taken.change(taken, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_writer_of_two_comes_too_late_and_room_is_given_back() {
        let taken = TakenRoom::default();
        let users = InMemory::new(taken.clone());
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        let first = users.create("ann", text("1")).await.unwrap();
        assert_eq!(users.create("ann", text("2")).await, Err(Failure::Changed));
        let second = users.replace("ann", text("22"), &first).await.unwrap();
        let late = users.replace("ann", text("3"), &first).await;
        assert_eq!(late, Err(Failure::Changed));
        assert_eq!(users.read("ann").await.unwrap().unwrap().text, text("22"));
        users.create("bob", text("1")).await.unwrap();
        let page = users.list(None, 1).await.unwrap();
        assert_eq!((page.names, page.more), (vec!["ann".to_owned()], true));
        let page = users.list(Some("ann"), 1).await.unwrap();
        assert_eq!((page.names, page.more), (vec!["bob".to_owned()], false));
        let longest = usize::try_from(USER_DOCUMENT_BYTES_MAX).unwrap();
        let large = Bytes::from(vec![0; longest]);
        let many = USERS_IN_MEMORY_BYTES_MAX / longest;
        for number in 0..many.saturating_sub(1) {
            let name = format!("large{number}");
            users.create(&name, large.clone()).await.unwrap();
        }
        let full = users.create("zoe", large.clone()).await;
        let full = match full {
            Ok(_) => users.create("zoe2", large).await,
            full => full,
        };
        assert!(matches!(full, Err(Failure::Away(_))), "{full:?}");
        users.remove("ann", &second).await.unwrap();
        assert_eq!(users.remove("ann", &second).await, Err(Failure::Changed));
        drop(users);
        assert_eq!(taken.0.load(Ordering::Relaxed), 0);
    }
}
