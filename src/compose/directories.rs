//! Directories as the stores of logins: each user has a share of their calls and uploads, over all
//! of the user's logins, so that one who copies large files on a slow disk, or begins thousands of
//! uploads, leaves room for others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::budget::{self, Pool, Share};
use crate::limits::{ALL_DIRECTORIES_CALLS_MAX, DIRECTORY_CALLS_MAX, DIRECTORY_UPLOADS_MAX};
use crate::refusal::Refusal;
use crate::storage::credentials::{Grant, Opened, Stores};
use crate::storage::directory::{DirectoryStore, Turn, Turns};
use crate::storage::metered::Meter;

/// What all directories of the process have together.
#[derive(Debug, Clone)]
pub(crate) struct Directories(Arc<All>);

#[derive(Debug)]
struct All {
    calls: Arc<Pool>,
    uploads: Arc<Pool>,
    /// Those with a login, or with something that outlives it.
    users: Mutex<HashMap<Person, Weak<User>>>,
}

/// The provider, and the name in one spelling.
type Person = (Box<str>, Box<str>);

/// What one user has of them.
#[derive(Debug)]
struct User {
    calls: Share,
    uploads: Share,
    /// By the names of the tables.
    of_directory: Mutex<HashMap<Box<str>, Share>>,
}

/// One directory, opened for each login with the turns of its user.
#[derive(Debug)]
pub(crate) struct Directory {
    name: Box<str>,
    store: DirectoryStore,
    calls: Arc<Pool>,
    all: Directories,
    meter: Meter,
}

impl Default for Directories {
    fn default() -> Self {
        Self(Arc::new(All {
            calls: budget::turns("directories", ALL_DIRECTORIES_CALLS_MAX),
            uploads: budget::places("directory uploads", DIRECTORY_UPLOADS_MAX),
            users: Mutex::default(),
        }))
    }
}

impl Directories {
    /// Opens a directory of the table of this name for logins.
    pub(crate) fn directory(&self, name: &str, store: DirectoryStore, meter: Meter) -> Directory {
        Directory {
            name: name.into(),
            store,
            calls: budget::turns("directory", DIRECTORY_CALLS_MAX),
            all: self.clone(),
            meter,
        }
    }

    /// Returns what a user has, the same for all that is the user's at one time.
    fn user(&self, provider: &str, name: &str) -> Arc<User> {
        let person: Person = (provider.into(), name.to_lowercase().into());
        let users = self.0.users.lock();
        let mut users = users.unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = users.get(&person).and_then(Weak::upgrade) {
            return user;
        }
        users.retain(|_, user| user.strong_count() > 0);
        let user = Arc::new(User {
            calls: self.0.calls.share(),
            uploads: self.0.uploads.share(),
            of_directory: Mutex::default(),
        });
        users.insert(person, Arc::downgrade(&user));
        user
    }
}

impl Directory {
    fn turns(&self, provider: &str, user: &str) -> OfUser {
        let user = self.all.user(provider, user);
        let shares = user.of_directory.lock();
        let mut shares = shares.unwrap_or_else(PoisonError::into_inner);
        let share = shares.entry(self.name.clone());
        let calls = share.or_insert_with(|| self.calls.share()).clone();
        drop(shares);
        OfUser { user, calls }
    }
}

#[async_trait]
impl Stores for Directory {
    async fn open(&self, grant: Grant<'_>) -> Result<Opened, Refusal> {
        grant.without_policy("a directory cannot enforce a session policy")?;
        let turns = self.turns(grant.provider, grant.user);
        let store = self.store.with_turns(Arc::new(turns));
        Ok(Opened {
            store: self.meter.over(Arc::new(store)),
            role: None,
        })
    }
}

/// The turns of one user at one directory.
#[derive(Debug)]
struct OfUser {
    user: Arc<User>,
    calls: Share,
}

impl Turns for OfUser {
    fn call(&self) -> BoxFuture<'_, Turn> {
        let turn = async move {
            let here = self.calls.take(1).await;
            // Slow directories must not take the threads that logins need.
            let all = self.user.calls.take(1).await;
            // The user is the same as long as something of theirs is under way.
            Turn::new((here, all, Arc::clone(&self.user)))
        };
        turn.boxed()
    }

    fn upload(&self) -> Option<Turn> {
        let place = self.user.uploads.try_take(1)?;
        Some(Turn::new((place, Arc::clone(&self.user))))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::poll;

    use super::*;
    use crate::clock::SystemClock;
    use crate::metrics::Metrics;
    use crate::storage::Bucket;

    /// Two directories of one process.
    fn directories() -> [Directory; 2] {
        let all = Directories::default();
        let meter = Meter::new(Arc::new(SystemClock), Arc::new(Metrics::default()));
        ["one", "two"].map(|name| {
            let root = tempfile::tempdir().unwrap();
            let bucket = Bucket::parse(name).unwrap();
            let path = root.path().display().to_string();
            let store = DirectoryStore::open(&path, &[bucket]).unwrap();
            all.directory(name, store, meter.of_store(name))
        })
    }

    #[tokio::test]
    async fn who_has_many_calls_under_way_keeps_nobody_waiting_behind_all_of_them() {
        let [one, two] = directories();
        let [ann, again, bob] = ["ann", "ANN", "bob"].map(|name| one.turns("", name));
        let mut held = Vec::new();
        for _ in 0..DIRECTORY_CALLS_MAX {
            held.push(ann.call().await);
        }
        let mut others: Vec<_> = (0..48).map(|_| ann.call()).collect();
        for other in &mut others {
            assert!(poll!(other).is_pending());
        }
        let mut of_bob = bob.call();
        assert!(poll!(&mut of_bob).is_pending());
        // Another login of ann's is ann.
        let mut of_again = again.call();
        assert!(poll!(&mut of_again).is_pending());
        drop(held.pop());
        assert!(poll!(&mut of_again).is_pending());
        for other in &mut others {
            assert!(poll!(other).is_pending());
        }
        let Poll::Ready(of_bob) = poll!(&mut of_bob) else {
            panic!("bob waits behind ann")
        };
        drop(of_bob);
        assert!(poll!(&mut others[0]).is_ready(), "nobody else waits");
        // A directory waits for no other one.
        assert!(poll!(&mut two.turns("", "ann").call()).is_ready());
    }

    #[tokio::test]
    async fn no_user_takes_the_places_of_all_uploads() {
        let [one, two] = directories();
        let mut held = Vec::new();
        for directory in [&one, &two] {
            let ann = directory.turns("", "ann");
            held.extend(std::iter::from_fn(|| ann.upload()));
        }
        assert_eq!(held.len(), DIRECTORY_UPLOADS_MAX / 2);
        // It stays ann's as long as the uploads are there, whatever became of the logins.
        assert!(one.turns("", "Ann").upload().is_none());
        let namesake = one.turns("other", "ann");
        assert!(namesake.upload().is_some());
        held.clear();
        assert!(one.turns("", "ann").upload().is_some());
        let users = || one.all.0.users.lock().unwrap().len();
        drop(namesake);
        drop(one.turns("", "bob"));
        assert_eq!(users(), 1, "who has left is forgotten");
    }
}
