//! The static provider: users in a TOML file, for those who have no identity provider to ask.
//!
//! The file is read as a whole and swapped as a whole: a login sees the old users or the new ones,
//! and a new file that is wrong changes nothing. Sessions keep what they were answered at login.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use self::parse::{User, Users};
pub use self::password::{HashError, PasswordHash};
use super::follow::{Followed, Reloaded, Seen};
use super::{Credential, Examined, Exchange, IdentityProvider, Judged, Question, UserConfig};
use crate::clock::Clock;
use crate::config::{self, ConfigErrors};
use crate::limits;
use crate::metrics::Holding;
use crate::refusal::{Reason, Refusal};
use crate::secret::Secret;

mod field;
mod objects;
mod parse;
mod password;

/// Answers out of a file.
#[derive(Debug)]
pub struct StaticFile {
    path: Box<str>,
    current: RwLock<Arc<Snapshot>>,
    seen: Seen,
    /// A check of a password fills one processor.
    checks: Arc<Semaphore>,
    /// Picks the same decoy for the same name.
    decoy_seed: RandomState,
}

/// The users of one version of the file.
#[derive(Debug)]
struct Snapshot {
    users: Users,
    /// Everybody's hashes. A name that has none is checked against one of them, so that the time
    /// of a refusal does not tell which names exist.
    decoys: Vec<PasswordHash>,
}

impl StaticFile {
    /// Reads the file.
    ///
    /// # Errors
    /// The file cannot be read, or everything that is wrong in it.
    pub fn open(path: &str) -> Result<Self, ConfigErrors> {
        let seen = Seen::now(&[path]);
        let snapshot = Snapshot::read(path)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            path: path.into(),
            current: RwLock::new(Arc::new(snapshot)),
            seen,
            checks: Arc::new(Semaphore::new(processors)),
            decoy_seed: RandomState::new(),
        })
    }

    /// Returns how many users the file has.
    #[must_use]
    pub fn users(&self) -> usize {
        self.snapshot().users.by_name.len()
    }

    /// Returns what a user is answered, and whether there is a password; nothing is checked.
    #[must_use]
    pub fn described(&self, name: &str) -> Option<(Arc<UserConfig>, bool)> {
        let snapshot = self.snapshot();
        let user = snapshot.users.by_name.get(name)?;
        Some((Arc::clone(&user.config), user.password.is_some()))
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    async fn check_password(&self, name: &str, password: &Secret) -> Judged {
        let snapshot = self.snapshot();
        let user = snapshot.users.by_name.get(name);
        let own = user.and_then(|user| user.password.clone());
        let hash = match &own {
            Some(_) => own.clone(),
            None => snapshot.decoy(&self.decoy_seed, name),
        };
        let right = match hash {
            Some(hash) => self.verify(hash, password.clone()).await?,
            None => false,
        };
        match (user, own) {
            (None, _) => Err(Reason::UnknownUser.into()),
            (Some(_), None) => Err(Reason::NoPassword.into()),
            (Some(_), Some(_)) if !right => Err(Reason::WrongPassword.into()),
            (Some(user), Some(_)) => Ok(Arc::clone(&user.without_keys)),
        }
    }

    /// Checks on a thread of its own. The permit goes with it: a client that leaves does not make
    /// room for another check before its own has ended.
    async fn verify(&self, hash: PasswordHash, password: Secret) -> Result<bool, Refusal> {
        let broken = |detail| Reason::PasswordCheck.because(detail);
        let permit = Arc::clone(&self.checks).acquire_owned().await;
        let permit = permit.map_err(|_| broken("the gateway ends"))?;
        let check = move || {
            let right = hash.verify(&password);
            drop(permit);
            right
        };
        let checked = tokio::task::spawn_blocking(check).await;
        checked.map_err(|_| broken("the check of a password was interrupted"))
    }
}

impl Followed for StaticFile {
    fn holds(&self) -> Holding {
        Holding::Users
    }

    fn changed(&self) -> bool {
        self.seen.changed(&[&*self.path])
    }

    fn reload(&self) -> Reloaded {
        match Snapshot::read(&self.path) {
            Ok(snapshot) => {
                let users = snapshot.users.by_name.len();
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
                tracing::info!(file = &*self.path, users, "users reloaded");
                Reloaded::Done
            }
            Err(errors) => {
                let problems = errors.problems().len();
                for problem in errors.to_string().lines().take(PROBLEMS_LOGGED_MAX) {
                    let words = "the users file cannot be used: the old users stay";
                    tracing::error!(problem, problems, "{words}");
                }
                Reloaded::Failed
            }
        }
    }
}

/// Checks the text of a file, and returns how many users it has.
///
/// # Errors
/// Everything that is wrong in it.
pub fn check(text: &str) -> Result<usize, ConfigErrors> {
    Users::parse(text).map(|users| users.by_name.len())
}

#[async_trait]
impl IdentityProvider for StaticFile {
    async fn ask(&self, question: &Question) -> Judged {
        let name = &*question.username;
        match &question.credential {
            Credential::Password(password) => self.check_password(name, password).await,
            Credential::PublicKey => match self.snapshot().users.by_name.get(name) {
                None => Err(Reason::UnknownUser.into()),
                Some(user) => keys_of(user),
            },
        }
    }
}

#[async_trait]
impl Examined for StaticFile {
    async fn examine(&self, question: &Question, clock: &dyn Clock) -> Exchange {
        Exchange::in_process(self, question, clock).await
    }

    fn place(&self) -> Option<(String, u16)> {
        None
    }
}

fn keys_of(user: &User) -> Judged {
    if user.config.public_keys.is_empty() {
        return Err(Reason::NoUsablePublicKey.into());
    }
    Ok(Arc::clone(&user.config))
}

impl Snapshot {
    fn read(path: &str) -> Result<Self, ConfigErrors> {
        let text = config::read_text(path, limits::USERS_FILE_BYTES_MAX)
            .map_err(|error| ConfigErrors::unreadable("identity.users_file", path, &error))?;
        let users = Users::parse(&text).map_err(|errors| errors.in_file(Some(path)))?;
        Ok(Self::of(users))
    }

    fn of(users: Users) -> Self {
        let hashes = users.by_name.values();
        let decoys = hashes.filter_map(|user| user.password.clone()).collect();
        Self { users, decoys }
    }

    fn decoy(&self, seed: &RandomState, name: &str) -> Option<PasswordHash> {
        let count = u64::try_from(self.decoys.len()).unwrap_or(u64::MAX);
        let at = seed.hash_one(name).checked_rem(count)?;
        self.decoys.get(usize::try_from(at).ok()?).cloned()
    }
}

/// `check-config` says them all.
const PROBLEMS_LOGGED_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_hash_has_a_decoy_and_keeps_it() {
        let users = ["ann", "bob", "eve"].map(|name| {
            let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
            format!(
                "[users.{name}]\npassword_hash = \"{hash}\"\n\
                mappings = [{{ entry = \"/\", target = \"/b\" }}]\n"
            )
        });
        let snapshot = Snapshot::of(Users::parse(&users.concat()).unwrap());
        let seed = RandomState::new();
        let decoy = snapshot.decoy(&seed, "mallory");
        assert!(decoy.is_some());
        assert_eq!(decoy, snapshot.decoy(&seed, "mallory"));
        assert_eq!(Snapshot::of(Users::default()).decoy(&seed, "mallory"), None);
    }
}
