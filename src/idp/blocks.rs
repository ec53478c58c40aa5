//! Whom the operator keeps out for a while: users, networks, and providers that are not to be asked.
//!
//! Blocks hold for this process and, where there is a file for them, for those that come after it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Network, folded, whole_file};
use crate::limits::BLOCKS_MAX;
use crate::refusal::Reason;

/// What is blocked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocked {
    /// Folded, whatever the provider calls the user.
    User(Box<str>),
    Network(Network),
    /// A provider by its name; empty for the only one.
    Provider(Box<str>),
}

/// Everything that is blocked, and until when; `None` is until it is lifted.
#[derive(Debug, Default)]
pub struct Blocks {
    book: Mutex<Book>,
    /// The state directory.
    directory: Option<String>,
    /// Held by the one that writes the file: logins do not wait for a disk.
    writing: Mutex<()>,
    /// The providers that there are.
    providers: Vec<Box<str>>,
}

type Book = BTreeMap<Blocked, Option<SystemTime>>;

/// Why a block was not made.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    #[error("there are already {BLOCKS_MAX} blocks; lift some")]
    TooMany,
    #[error("no provider has that name; there are: {0}")]
    NoSuchProvider(String),
}

/// A block as the file has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider: Option<Box<str>>,
    /// Seconds of Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

impl Blocked {
    /// Names a user.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self::User(folded(name))
    }

    /// Returns the word of logs and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Network(_) => "network",
            Self::Provider(_) => "provider",
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) | Self::Provider(name) => f.write_str(name),
            Self::Network(network) => write!(f, "{network}"),
        }
    }
}

impl Blocks {
    /// Takes up what a file in the state directory says, and keeps it there.
    ///
    /// # Errors
    /// The file cannot be read, or is not what was written: who was kept out would be let in.
    pub fn kept_in(directory: &str) -> io::Result<Self> {
        let file = file(directory);
        let book = match std::fs::read(&file) {
            Ok(text) => read(&text).map_err(|why| io::Error::other(format!("{file}: {why}")))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Book::new(),
            Err(error) => return Err(io::Error::new(error.kind(), format!("{file}: {error}"))),
        };
        Ok(Self {
            book: Mutex::new(book),
            directory: Some(directory.to_owned()),
            writing: Mutex::default(),
            providers: Vec::new(),
        })
    }

    /// Takes the names of the providers: others cannot be blocked.
    #[must_use]
    pub fn with_providers(mut self, names: impl IntoIterator<Item = Box<str>>) -> Self {
        self.providers.extend(names);
        self
    }

    /// Says whether blocks outlive the process.
    #[must_use]
    pub const fn are_kept(&self) -> bool {
        self.directory.is_some()
    }

    /// Says why a user may not enter, by any of the names, or a source.
    ///
    /// # Errors
    /// The network of the source is blocked, or a name.
    pub fn admit(&self, names: &[&str], source: IpAddr, now: SystemTime) -> Result<(), Reason> {
        if self.has_source(source, now) {
            return Err(Reason::SourceBlocked);
        }
        if names.iter().any(|name| self.has_user(name, now)) {
            return Err(Reason::UserBlocked);
        }
        Ok(())
    }

    /// Blocks until then, or until it is lifted; a block that is there already gets the new end.
    /// To be followed by [`Blocks::keep`].
    ///
    /// # Errors
    /// It was not made.
    pub fn block(
        &self,
        blocked: Blocked,
        until: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<(), BlockError> {
        if let Blocked::Provider(name) = &blocked
            && !self.providers.contains(name)
        {
            let names = self.providers.iter().map(|name| format!("{name:?}"));
            let names: Vec<_> = names.collect();
            return Err(BlockError::NoSuchProvider(names.join(", ")));
        }
        let mut book = self.book();
        let held = |until: &Option<SystemTime>| holds(*until, now);
        book.retain(|_, until| held(until));
        if book.len() >= BLOCKS_MAX && !book.contains_key(&blocked) {
            return Err(BlockError::TooMany);
        }
        book.insert(blocked, until);
        Ok(())
    }

    /// Lifts a block; says whether there was one. To be followed by [`Blocks::keep`].
    pub fn lift(&self, blocked: &Blocked) -> bool {
        self.book().remove(blocked).is_some()
    }

    /// Returns everything that is blocked now.
    #[must_use]
    pub fn list(&self, now: SystemTime) -> Vec<(Blocked, Option<SystemTime>)> {
        let book = self.book();
        let held = book.iter().filter(|(_, until)| holds(**until, now));
        held.map(|(blocked, until)| (blocked.clone(), *until))
            .collect()
    }

    /// Says whether a user is blocked, by the name of the login or the provider's own.
    #[must_use]
    pub fn has_user(&self, name: &str, now: SystemTime) -> bool {
        self.has(&Blocked::user(name), now)
    }

    /// Says whether a provider is not to be asked.
    #[must_use]
    pub fn has_provider(&self, name: &str, now: SystemTime) -> bool {
        self.has(&Blocked::Provider(name.into()), now)
    }

    /// Says whether an address is in a network that is blocked.
    #[must_use]
    pub fn has_source(&self, source: IpAddr, now: SystemTime) -> bool {
        let book = self.book();
        let mut held = book.iter().filter(|(_, until)| holds(**until, now));
        held.any(|(blocked, _)| match blocked {
            Blocked::Network(network) => network.contains(source),
            Blocked::User(_) | Blocked::Provider(_) => false,
        })
    }

    fn has(&self, blocked: &Blocked, now: SystemTime) -> bool {
        self.book()
            .get(blocked)
            .is_some_and(|until| holds(*until, now))
    }

    /// Writes the file again, whole or not at all; it may take as long as a disk does.
    ///
    /// # Errors
    /// What holds now does not outlive the process.
    pub fn keep(&self) -> io::Result<()> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let rows: Vec<Row> = self.book().iter().map(Row::of).collect();
        let text = serde_json::to_vec_pretty(&rows).map_err(io::Error::other)?;
        std::fs::create_dir_all(directory)?;
        let file = file(directory);
        whole_file::replace(&file, &format!("{file}.new"), &text).map(drop)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    fn of((blocked, until): (&Blocked, &Option<SystemTime>)) -> Self {
        let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
        let mut row = Self {
            user: None,
            network: None,
            provider: None,
            until: until.and_then(since).map(|since| since.as_secs()),
        };
        match blocked {
            Blocked::User(name) => row.user = Some(name.clone()),
            Blocked::Network(network) => row.network = Some(network.to_string()),
            Blocked::Provider(name) => row.provider = Some(name.clone()),
        }
        row
    }

    fn taken(self) -> Result<(Blocked, Option<SystemTime>), &'static str> {
        let blocked = match (self.user, self.network, self.provider) {
            (Some(name), None, None) => Blocked::user(&name),
            (None, Some(network), None) => {
                Blocked::Network(network.parse().map_err(|_| "an invalid network")?)
            }
            (None, None, Some(name)) => Blocked::Provider(name),
            _ => return Err("a row without exactly one of user, network and provider"),
        };
        let until = match self.until {
            Some(seconds) => Some(
                SystemTime::UNIX_EPOCH
                    .checked_add(Duration::from_secs(seconds))
                    .ok_or("an invalid time")?,
            ),
            None => None,
        };
        Ok((blocked, until))
    }
}

fn file(directory: &str) -> String {
    format!("{directory}/blocks.json")
}

fn read(text: &[u8]) -> Result<Book, String> {
    let rows: Vec<Row> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let rows = rows.into_iter().map(Row::taken);
    Ok(rows.collect::<Result<_, _>>()?)
}

fn holds(until: Option<SystemTime>, now: SystemTime) -> bool {
    until.is_none_or(|until| now < until)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        START + Duration::from_secs(seconds)
    }

    fn network(text: &str) -> Blocked {
        Blocked::Network(text.parse().unwrap())
    }

    #[test]
    fn a_block_holds_until_its_end_or_until_it_is_lifted() {
        let blocks = Blocks::default();
        let ann = Blocked::user("Ann");
        blocks.block(ann.clone(), Some(at(60)), START).unwrap();
        assert!(blocks.has_user("aNN", at(59)) && !blocks.has_user("ann", at(60)));
        assert!(!blocks.has_user("bob", START));
        blocks.block(ann.clone(), None, START).unwrap();
        assert!(blocks.has_user("ann", at(1 << 40)));
        assert!(blocks.lift(&ann) && !blocks.lift(&ann));
        assert!(!blocks.has_user("ann", START));

        let net = network("203.0.113.0/24");
        blocks.block(net, Some(at(60)), START).unwrap();
        let source: IpAddr = "::ffff:203.0.113.9".parse().unwrap();
        assert!(blocks.has_source(source, START) && !blocks.has_source(source, at(61)));
        assert!(!blocks.has_source("198.51.100.1".parse().unwrap(), START));

        let blocks = blocks.with_providers(["staff".into()]);
        let provider = |name: &str| Blocked::Provider(name.into());
        blocks.block(provider("staff"), None, START).unwrap();
        let unknown = blocks.block(provider("stuff"), None, START).unwrap_err();
        assert!(unknown.to_string().ends_with(r#"there are: "staff""#));
        assert!(blocks.has_provider("staff", START) && !blocks.has_provider("", START));
        assert_eq!(blocks.list(START).len(), 2);
        assert_eq!(blocks.list(at(60)).len(), 1);
    }

    #[test]
    fn there_is_a_bound_and_what_is_over_counts_no_more() {
        let blocks = Blocks::default();
        for number in 0..BLOCKS_MAX {
            let user = Blocked::user(&format!("u{number}"));
            blocks.block(user, Some(at(10)), START).unwrap();
        }
        let more = Blocked::user("more");
        let refused = blocks.block(more.clone(), None, START);
        assert!(matches!(refused, Err(BlockError::TooMany)));
        // One that is there gets another end all the same.
        blocks.block(Blocked::user("u1"), None, START).unwrap();
        blocks.block(more, None, at(10)).unwrap();
        assert_eq!(blocks.list(at(10)).len(), 2);
    }

    #[test]
    fn blocks_outlive_the_process_where_there_is_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        let blocks = Blocks::kept_in(path).unwrap().with_providers(["".into()]);
        blocks
            .block(Blocked::user("ann"), Some(at(60)), START)
            .unwrap();
        blocks.block(network("2001:db8::/32"), None, START).unwrap();
        blocks
            .block(Blocked::Provider("".into()), None, START)
            .unwrap();
        blocks.keep().unwrap();
        let after = Blocks::kept_in(path).unwrap();
        assert_eq!(after.list(START), blocks.list(START));
        assert!(after.lift(&network("2001:db8::/32")));
        after.keep().unwrap();
        assert_eq!(Blocks::kept_in(path).unwrap().list(START).len(), 2);
        for bad in [
            "{",
            "[{}]",
            "[{\"network\":\"x\"}]",
            "[{\"user\":\"a\",\"provider\":\"b\"}]",
        ] {
            std::fs::write(directory.path().join("blocks.json"), bad).unwrap();
            assert!(Blocks::kept_in(path).is_err(), "{bad}");
        }
    }
}
