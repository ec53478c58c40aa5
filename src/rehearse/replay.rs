//! A log from its beginning to its end: who is in which session, and what each event comes to.

use std::collections::{HashMap, VecDeque};

use super::event::{Act, Event, Login, Place};
use super::judge::{self, Change, Known, Outcome, Rules};
use super::line::{self, Unreadable};
use super::tally::{Subject, Tally};
use crate::idp::AuthMethod;

/// Replays lines; users are looked up by somebody else.
#[derive(Debug)]
pub struct Replay {
    rules: Rules,
    users: HashMap<String, Known>,
    weight: usize,
    sessions: Sessions,
    tally: Tally,
}

/// Who is in which session.
#[derive(Debug, Default)]
struct Sessions {
    users: HashMap<String, String>,
    /// The oldest first.
    order: VecDeque<String>,
}

impl Replay {
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            users: HashMap::new(),
            weight: 0,
            sessions: Sessions::default(),
            tally: Tally::default(),
        }
    }

    /// Reads the next line; an event that is to be judged is returned.
    pub fn read(&mut self, text: &str) -> Option<Event> {
        self.tally.lines = self.tally.lines.saturating_add(1);
        match line::read(text) {
            Ok(Some(event)) => {
                self.tally.events = self.tally.events.saturating_add(1);
                Some(event)
            }
            Ok(None) => None,
            Err(Unreadable) => {
                self.tally.unreadable = self.tally.unreadable.saturating_add(1);
                None
            }
        }
    }

    /// Counts a line that was not read.
    pub fn too_long(&mut self) {
        self.tally.lines = self.tally.lines.saturating_add(1);
        self.tally.too_long = self.tally.too_long.saturating_add(1);
    }

    /// Returns the user of an event who has to be looked up first.
    #[must_use]
    pub fn wanted(&self, event: &Event) -> Option<String> {
        let user = match event {
            Event::Allowed(login) => Some(&login.user),
            // Only a key says that such a login would be allowed; names of guesses are many.
            Event::Refused(login) => login.fingerprint.as_ref().map(|_| &login.user),
            Event::Did { user, session, .. } => self.user_of(user.as_ref(), session.as_ref()),
            Event::NoAlgorithm | Event::Ended { .. } | Event::Other => None,
        };
        user.filter(|user| !self.users.contains_key(*user)).cloned()
    }

    /// Keeps what is known of a user; when there is too much of it, the others are forgotten.
    pub fn know(&mut self, user: String, known: Known) {
        let weight = known.weight().saturating_add(1);
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT_MAX {
            self.users.clear();
            self.weight = weight;
        }
        self.users.insert(user, known);
    }

    /// Judges an event whose user is known.
    pub fn judge(&mut self, event: Event) {
        match event {
            Event::Allowed(login) => self.allowed(login),
            Event::Refused(login) => self.refused(&login),
            Event::NoAlgorithm => {
                self.tally.failed_before = self.tally.failed_before.saturating_add(1);
            }
            Event::Did {
                act,
                place,
                to,
                user,
                session,
            } => {
                let user = self.user_of(user.as_ref(), session.as_ref()).cloned();
                self.did(user, act, &place, to.as_ref());
            }
            Event::Ended { session } => {
                if let Some(session) = session {
                    self.sessions.end(&session);
                }
            }
            Event::Other => {}
        }
    }

    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    fn user_of<'e>(
        &'e self,
        user: Option<&'e String>,
        session: Option<&String>,
    ) -> Option<&'e String> {
        let of_session = || self.sessions.users.get(session?);
        user.or_else(of_session)
    }

    fn allowed(&mut self, login: Login) {
        if let Some(session) = &login.session {
            self.sessions.begin(session, &login.user);
        }
        let known = self.users.get(&login.user).unwrap_or(&Known::NotAsked);
        let outcome = self.rules.login(&login, known);
        let logins = &mut self.tally.logins;
        match outcome {
            Outcome::NotKnown => logins.not_asked = logins.not_asked.saturating_add(1),
            Outcome::Same => logins.same = logins.same.saturating_add(1),
            Outcome::Changed(change) => {
                logins.changed = logins.changed.saturating_add(1);
                let example = described(&login);
                self.tally.changes(of_login(change, login), &example);
            }
        }
    }

    fn refused(&mut self, login: &Login) {
        let known = self.users.get(&login.user).unwrap_or(&Known::NotAsked);
        match self.rules.refused_login(login, known) {
            Some(change) => {
                self.tally.logins.changed = self.tally.logins.changed.saturating_add(1);
                let example = described(login);
                self.tally
                    .changes(of_login(change, login.clone()), &example);
            }
            None => self.tally.failed_before = self.tally.failed_before.saturating_add(1),
        }
    }

    fn did(&mut self, user: Option<String>, act: Act, place: &Place, to: Option<&Place>) {
        let Some(user) = user else {
            self.tally.unknown_sessions = self.tally.unknown_sessions.saturating_add(1);
            return;
        };
        let operations = &mut self.tally.operations;
        let change = match self.users.get(&user) {
            Some(Known::Found { config, .. }) => judge::operation(act, place, to, &config.home),
            // The login is refused already.
            Some(Known::Refused {
                only_keys: false, ..
            }) => return,
            Some(Known::NotAsked | Known::Refused { .. }) | None => {
                operations.not_asked = operations.not_asked.saturating_add(1);
                return;
            }
        };
        let Some(change) = change else {
            operations.same = operations.same.saturating_add(1);
            return;
        };
        operations.changed = operations.changed.saturating_add(1);
        let example = match to {
            Some(to) => format!("{} to {}", place.as_str(), to.as_str()),
            None => place.as_str().to_owned(),
        };
        let subject = Subject {
            change,
            user,
            act: Some(act),
            about: directory(place.as_str()).to_owned(),
        };
        self.tally.changes(subject, &example);
    }
}

impl Sessions {
    fn begin(&mut self, session: &str, user: &str) {
        let before = self.users.insert(session.to_owned(), user.to_owned());
        if before.is_none() {
            self.order.push_back(session.to_owned());
        }
        while self.order.len() > SESSIONS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.users.remove(&oldest);
            }
        }
    }

    /// A session that ended stays in the order until it is the oldest.
    fn end(&mut self, session: &str) {
        self.users.remove(session);
    }
}

fn of_login(change: Change, login: Login) -> Subject {
    let about = match change.as_str() {
        "key-exchange-not-offered" => login.kex,
        "cipher-not-offered" => Some(login.ciphers.join(",")),
        "other-role" => login.role,
        "key-not-listed" | "allowed-now" => login.fingerprint,
        "source-not-in-networks" => login.source.map(|source| source.to_string()),
        _ => None,
    };
    Subject {
        change,
        user: login.user,
        act: None,
        about: about.unwrap_or_default(),
    }
}

fn described(login: &Login) -> String {
    let method = login.method.map_or("unknown method", AuthMethod::as_str);
    let source = login.source.map(|source| format!(" from {source}"));
    let key = login.fingerprint.as_deref().map(|key| format!(" {key}"));
    format!(
        "{method}{}{}",
        key.unwrap_or_default(),
        source.unwrap_or_default()
    )
}

/// Groups are about directories: files are many.
fn directory(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((above, _)) => above,
    }
}

/// Mappings and keys of the users that are kept, and the users themselves.
const WEIGHT_MAX: usize = 500_000;
const SESSIONS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::judge::PathChange;
    use super::*;
    use crate::auth::Methods;

    #[test]
    fn only_a_refused_key_has_its_user_looked_up() {
        let rules = Rules {
            methods: Methods::default(),
            key_exchanges: Vec::new(),
            ciphers: Vec::new(),
            now: SystemTime::UNIX_EPOCH,
        };
        let replay = Replay::new(rules);
        let guess = Login {
            user: "root".to_owned(),
            ..Login::default()
        };
        assert_eq!(replay.wanted(&Event::Refused(guess.clone())), None);
        let key = Login {
            fingerprint: Some("SHA256:abc".to_owned()),
            ..guess
        };
        assert_eq!(replay.wanted(&Event::Refused(key)).as_deref(), Some("root"));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut sessions = Sessions::default();
        for at in 0..=SESSIONS_MAX {
            sessions.begin(&at.to_string(), "ann");
            if at % 2 == 0 {
                sessions.end(&at.to_string());
            }
        }
        assert!(sessions.order.len() <= SESSIONS_MAX);
        assert!(sessions.users.len() <= SESSIONS_MAX);
        assert!(sessions.users.contains_key("99999"));
        let rules = Rules {
            methods: Methods::default(),
            key_exchanges: Vec::new(),
            ciphers: Vec::new(),
            now: SystemTime::UNIX_EPOCH,
        };
        let mut replay = Replay::new(rules);
        for at in 0..12_000 {
            let subject = Subject {
                change: Change::Path(PathChange::Outside),
                user: format!("user{at}"),
                act: Some(Act::Read),
                about: "/".to_owned(),
            };
            replay.tally.changes(subject, "/bucket/key");
        }
        let told: serde_json::Value = serde_json::from_str(&replay.tally.json()).unwrap();
        assert_eq!(told["groups"].as_array().unwrap().len(), 10_000);
        assert_eq!(told["notGrouped"]["outside-of-mappings"], 2_000);
        for at in 0..WEIGHT_MAX + 10 {
            replay.know(at.to_string(), Known::NotAsked);
        }
        assert!(replay.users.len() <= WEIGHT_MAX);
    }
}
