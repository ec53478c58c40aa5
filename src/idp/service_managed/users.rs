//! The users of one server: asked about at login, changed through AWS's API.
//!
//! A change is applied to what is there, and put only in place of that. A writer that comes too
//! late reads again and applies its change to what the other one left, so that both are kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::sync::Semaphore;

use super::super::{Judged, Oddity, PathHomes, UserConfig};
use super::documents::{Documents, Failure, Since, Version};
use super::fault::{Fault, Resource};
use super::rules::Fields;
use super::seen::{Seen, Sight};
use super::user::{HomeDirectoryType, SshPublicKey, Tag, User};
use crate::clock::{Clock, within, written};
use crate::limits::{
    LOG_INTERVAL, USER_CHANGE_TRIES, USER_DOCUMENT_BYTES_MAX, USERS_AWAY_FOR, USERS_COUNTED_MAX,
    USERS_READ_AT_ONCE,
};
use crate::refusal::{Reason, Refusal};
use crate::seldom::Seldom;

/// How users are looked up.
#[derive(Debug, Clone, Copy)]
pub struct UsersSettings {
    pub path_homes: PathHomes,
    /// After so long a user is asked about again.
    pub cached_for: Duration,
    /// While the place cannot be asked, what was seen so long ago still counts.
    pub stale_for: Duration,
    /// How long a login waits for the place.
    pub read_timeout: Duration,
}

/// The users of one server.
#[derive(Debug)]
pub struct Users {
    documents: Arc<dyn Documents>,
    settings: UsersSettings,
    seen: Seen,
    clock: Arc<dyn Clock>,
    outages: Seldom,
    /// Documents are large: listings of all who ask hold so many at once.
    reading: Semaphore,
}

/// Where an answer to a login came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Remembered,
    Asked,
    /// The place could not be asked.
    Stale,
}

/// What a listing says of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub user_name: String,
    pub role: String,
    pub home_directory_type: HomeDirectoryType,
    pub home_directory: Option<String>,
    pub keys: usize,
}

/// One page of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub users: Vec<Listed>,
    /// The name after which the next page begins.
    pub next: Option<String>,
}

impl Users {
    #[must_use]
    pub fn new(
        documents: Arc<dyn Documents>,
        settings: UsersSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            documents,
            settings,
            seen: Seen::default(),
            clock,
            outages: Seldom::default(),
            reading: Semaphore::new(USERS_READ_AT_ONCE),
        }
    }

    /// Returns what a look-up of a user's keys comes to.
    pub async fn look_up(&self, name: &str) -> (Judged, Source) {
        let now = self.clock.now();
        let seen = self.seen.of(name);
        let stale = seen
            .as_ref()
            .filter(|seen| seen.is_within(self.settings.stale_for, now));
        if let Some(seen) = &seen
            && seen.is_within(self.settings.cached_for, now)
        {
            return (seen.judged.clone(), Source::Remembered);
        }
        if let Some(stale) = stale
            && self.seen.is_away(now)
        {
            return (stand_in(stale), Source::Stale);
        }
        let asking = self.ask(name, seen.as_ref());
        let asked = within(&*self.clock, self.settings.read_timeout, asking).await;
        let failure = match asked {
            Some(Ok(judged)) => {
                self.seen.set_away(None);
                return (judged, Source::Asked);
            }
            Some(Err(failure)) => failure,
            None => Failure::Away("no answer in time".to_owned()),
        };
        let until = self.clock.now().checked_add(USERS_AWAY_FOR);
        self.seen.set_away(until);
        if let Some(unlogged) = self.outages.due(self.clock.now(), LOG_INTERVAL) {
            let words = "the store of service-managed users cannot be read";
            tracing::warn!(user = name, error = %failure, stale = stale.is_some(), unlogged, "{words}");
        }
        match stale {
            Some(stale) => (stand_in(stale), Source::Stale),
            None => {
                let refusal = Reason::UsersStore.because(&failure.to_string());
                (Err(refusal), Source::Asked)
            }
        }
    }

    /// Asks the place, once; of a user who was seen before it tells only what is new.
    async fn ask(&self, name: &str, seen: Option<&Sight>) -> Result<Judged, Failure> {
        let asked_at = self.clock.now();
        let gone = || {
            self.seen.gone(name, asked_at);
            Err(Refusal::new(Reason::UnknownUser))
        };
        let read = match seen {
            None => self.documents.read(name).await,
            Some(seen) => match self.documents.read_since(name, &seen.version).await {
                Ok(Since::Same) => {
                    self.seen.confirm(name, &seen.version, asked_at);
                    return Ok(seen.judged.clone());
                }
                Ok(Since::Other(document)) => Ok(Some(document)),
                Ok(Since::Gone) => Ok(None),
                Err(failure) => Err(failure),
            },
        };
        let document = match read {
            Ok(Some(document)) => document,
            Ok(None) => return Ok(gone()),
            Err(Failure::TooLarge) => {
                return Ok(Err(broken(&Failure::TooLarge.to_string())));
            }
            Err(failure) => return Err(failure),
        };
        let judged = match User::read(name, &document.text) {
            Ok(user) => user.judged(self.settings.path_homes),
            Err(why) => Err(broken(&why)),
        };
        let (version, bytes) = (document.version, document.text.len());
        let sight = Sight::new(judged.clone(), version, asked_at, bytes);
        self.seen.keep(name, sight);
        Ok(judged)
    }

    /// Keeps a new user, with a key if there is one; returns the key's id.
    ///
    /// # Errors
    /// What AWS refuses, and what becomes of the place.
    pub async fn create(
        &self,
        name: &str,
        fields: Fields,
        tags: Vec<Tag>,
        key_body: Option<&str>,
    ) -> Result<Option<String>, Fault> {
        let mut user = User::create(name, fields, tags)?;
        let id = match key_body.filter(|body| !body.trim().is_empty()) {
            Some(body) => {
                let key = self.new_key(body)?;
                let id = key.ssh_public_key_id.clone();
                user.import(key)?;
                Some(id)
            }
            None => None,
        };
        let text = text_of(&user)?;
        match self.documents.create(name, text).await {
            Ok(_) => {
                self.seen.gone(name, self.clock.now());
                Ok(id)
            }
            Err(Failure::Changed) => Err(Fault::Exists {
                what: Resource::User,
                name: name.to_owned(),
            }),
            Err(failure) => Err(fault(failure)),
        }
    }

    /// Adds a key to a user; returns its id.
    ///
    /// # Errors
    /// The same, and if the user has the key.
    pub async fn import_key(&self, name: &str, body: &str) -> Result<String, Fault> {
        let key = self.new_key(body)?;
        let id = key.ssh_public_key_id.clone();
        self.change(name, |user| user.import(key.clone())).await?;
        Ok(id)
    }

    /// Changes a user; the change may be applied several times, each time to what is there.
    ///
    /// # Errors
    /// That of the change, or what becomes of the place.
    pub async fn change(
        &self,
        name: &str,
        change: impl Fn(&mut User) -> Result<(), Fault> + Send + Sync,
    ) -> Result<(), Fault> {
        for tried in 0..USER_CHANGE_TRIES {
            self.pause(tried).await;
            let (user, base) = self.read(name).await?;
            let mut changed = user.clone();
            change(&mut changed)?;
            if changed == user {
                return Ok(());
            }
            let text = text_of(&changed)?;
            match self.documents.replace(name, text, &base).await {
                Ok(_) => {
                    self.seen.gone(name, self.clock.now());
                    return Ok(());
                }
                Err(Failure::Changed) => {}
                Err(failure) => return Err(fault(failure)),
            }
        }
        Err(Fault::Contended)
    }

    /// Returns a user.
    ///
    /// # Errors
    /// There is none, or what becomes of the place.
    pub async fn describe(&self, name: &str) -> Result<User, Fault> {
        self.read(name).await.map(|(user, _)| user)
    }

    /// Takes a user away.
    ///
    /// # Errors
    /// The same.
    pub async fn delete(&self, name: &str) -> Result<(), Fault> {
        for tried in 0..USER_CHANGE_TRIES {
            self.pause(tried).await;
            let there = self.documents.version(name).await.map_err(fault)?;
            let base = there.ok_or_else(|| Fault::no_user(name))?;
            match self.documents.remove(name, &base).await {
                Ok(()) => {
                    self.seen.gone(name, self.clock.now());
                    return Ok(());
                }
                Err(Failure::Changed) => {}
                Err(failure) => return Err(fault(failure)),
            }
        }
        Err(Fault::Contended)
    }

    /// Returns a page of users; those that went meanwhile are left out.
    ///
    /// # Errors
    /// What becomes of the place, or a document that is none.
    pub async fn list(&self, after: Option<&str>, max: u16) -> Result<Page, Fault> {
        let names = self.documents.list(after, max).await.map_err(fault)?;
        let next = names.names.last().filter(|_| names.more).cloned();
        let mut reading = FuturesOrdered::new();
        for name in &names.names {
            reading.push_back(self.listed(name));
        }
        let users: Vec<Option<Listed>> = reading.try_collect().await?;
        let users = users.into_iter().flatten().collect();
        Ok(Page { users, next })
    }

    /// Reads one user for a listing; `None`: gone meanwhile.
    async fn listed(&self, name: &str) -> Result<Option<Listed>, Fault> {
        let permit = self.reading.acquire().await;
        let user = self.describe(name).await;
        drop(permit);
        match user {
            Ok(user) => Ok(Some(Listed {
                user_name: user.user_name,
                role: user.role,
                home_directory_type: user.home_directory_type,
                home_directory: user.home_directory,
                keys: user.ssh_public_keys.len(),
            })),
            Err(Fault::NotFound { .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Returns the names of all users, up to a number of them; nothing is read.
    ///
    /// # Errors
    /// What becomes of the place.
    pub async fn names(&self, most: usize) -> Result<Vec<String>, Fault> {
        let mut names: Vec<String> = Vec::new();
        while names.len() < most {
            let after = names.last().cloned();
            let page = self
                .documents
                .list(after.as_deref(), crate::limits::LIST_PAGE_MAX);
            let page = page.await.map_err(fault)?;
            let is_last = !page.more || page.names.is_empty();
            names.extend(page.names);
            if is_last {
                break;
            }
        }
        Ok(names)
    }

    /// Counts the users; `None` where there are more than anybody should wait for.
    ///
    /// # Errors
    /// What becomes of the place.
    pub async fn count(&self) -> Result<Option<usize>, Fault> {
        let (mut count, mut after) = (0_usize, None::<String>);
        while count < USERS_COUNTED_MAX {
            let page = self
                .documents
                .list(after.as_deref(), crate::limits::LIST_PAGE_MAX);
            let page = page.await.map_err(fault)?;
            count = count.saturating_add(page.names.len());
            if !page.more {
                return Ok(Some(count));
            }
            after = page.names.last().cloned();
        }
        Ok(None)
    }

    async fn read(&self, name: &str) -> Result<(User, Version), Fault> {
        let document = match self.documents.read(name).await {
            Ok(document) => document.ok_or_else(|| Fault::no_user(name))?,
            Err(Failure::TooLarge) => return Err(unreadable(name, Failure::TooLarge.to_string())),
            Err(failure) => return Err(fault(failure)),
        };
        let user = User::read(name, &document.text);
        let user = user.map_err(|why| unreadable(name, why))?;
        Ok((user, document.version))
    }

    /// Waits ever longer, at random, before a change is tried again.
    async fn pause(&self, tried: u32) {
        let Some(longest) = CHANGE_PAUSE
            .checked_mul(tried)
            .filter(|time| !time.is_zero())
        else {
            return;
        };
        let random = getrandom::u32().unwrap_or(u32::MAX);
        let part = longest.mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.clock.sleep(part).await;
    }

    fn new_key(&self, body: &str) -> Result<SshPublicKey, Fault> {
        let mut bytes = [0; 9];
        getrandom::fill(&mut bytes)
            .map_err(|_| Fault::Unavailable("the system has no random numbers".to_owned()))?;
        let digits: String = hex::encode(bytes).chars().take(17).collect();
        Ok(SshPublicKey {
            ssh_public_key_id: format!("key-{digits}"),
            ssh_public_key_body: body.to_owned(),
            date_imported: written(self.clock.wall()),
        })
    }
}

/// Returns what was seen, and says of an answer that it is an old one.
fn stand_in(seen: &Sight) -> Judged {
    let config = seen.judged.clone()?;
    let mut config = UserConfig::clone(&config);
    config.warnings.push(Oddity::StaleAnswer.into());
    Ok(Arc::new(config))
}

fn text_of(user: &User) -> Result<Bytes, Fault> {
    let text = user
        .document()
        .map_err(|why| unreadable(&user.user_name, why))?;
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    if length > USER_DOCUMENT_BYTES_MAX {
        return Err(Fault::Invalid(format!(
            "the user would have {length} bytes; at most {USER_DOCUMENT_BYTES_MAX} are allowed"
        )));
    }
    Ok(text.into())
}

fn fault(failure: Failure) -> Fault {
    match failure {
        Failure::Changed => Fault::Contended,
        Failure::TooLarge => Fault::Unavailable(Failure::TooLarge.to_string()),
        Failure::Away(why) => Fault::Unavailable(why),
    }
}

fn unreadable(name: &str, why: String) -> Fault {
    Fault::Document {
        name: name.to_owned(),
        why,
    }
}

fn broken(why: &str) -> Refusal {
    Reason::UserDocument.because(why)
}

const CHANGE_PAUSE: Duration = Duration::from_millis(10);
