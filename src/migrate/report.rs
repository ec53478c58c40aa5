//! What a check found: for people, and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::causes::printable;

/// Whether something is left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Moves unchanged, or is done.
    Ok,
    /// Has to be done, or decided, before the move.
    Open,
    /// Was open, and is accepted as it is.
    Accepted,
    /// Good to know.
    Note,
}

/// What a finding is about: also the name under which it can be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Server,
    Provider,
    Methods,
    Users,
    Permissions,
    Trust,
    Algorithms,
    HostKeys,
    Addresses,
    Absent,
    Difference,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub topic: Topic,
    pub state: State,
    pub text: String,
    pub change: Option<String>,
    /// The text of a document that has to replace another.
    pub document: Option<Value>,
    /// A number of docs/transfer-family.md.
    pub difference: Option<u8>,
}

/// Everything that was found, in the order of the move.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl State {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Open => "open",
            Self::Accepted => "accepted",
            Self::Note => "note",
        }
    }
}

impl Topic {
    pub const ALL: [Self; 11] = [
        Self::Server,
        Self::Provider,
        Self::Methods,
        Self::Users,
        Self::Permissions,
        Self::Trust,
        Self::Algorithms,
        Self::HostKeys,
        Self::Addresses,
        Self::Absent,
        Self::Difference,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Provider => "provider",
            Self::Methods => "methods",
            Self::Users => "users",
            Self::Permissions => "permissions",
            Self::Trust => "trust",
            Self::Algorithms => "algorithms",
            Self::HostKeys => "host-keys",
            Self::Addresses => "addresses",
            Self::Absent => "absent",
            Self::Difference => "difference",
        }
    }
}

impl Finding {
    pub(super) fn new(topic: Topic, state: State, text: impl Into<String>) -> Self {
        Self {
            topic,
            state,
            text: text.into(),
            change: None,
            document: None,
            difference: None,
        }
    }

    pub(super) fn ok(topic: Topic, text: impl Into<String>) -> Self {
        Self::new(topic, State::Ok, text)
    }

    pub(super) fn open(topic: Topic, text: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            change: Some(change.into()),
            ..Self::new(topic, State::Open, text)
        }
    }

    pub(super) fn note(topic: Topic, text: impl Into<String>) -> Self {
        Self::new(topic, State::Note, text)
    }

    pub(super) const fn numbered(mut self, difference: u8) -> Self {
        self.difference = Some(difference);
        self
    }

    pub(super) fn with_document(mut self, document: Value) -> Self {
        self.document = Some(document);
        self
    }
}

impl Report {
    /// Accepts what is open under a topic, or under `difference-N`; says whether it is a name that
    /// can be accepted.
    pub fn accept(&mut self, name: &str) -> bool {
        let number = name.strip_prefix("difference-");
        let number = number.and_then(|number| number.parse::<u8>().ok());
        let topic = Topic::ALL.iter().find(|topic| topic.as_str() == name);
        for finding in &mut self.findings {
            let meant = number.is_some_and(|number| finding.difference == Some(number))
                || topic == Some(&finding.topic);
            if meant && finding.state == State::Open {
                finding.state = State::Accepted;
            }
        }
        number.is_some() || topic.is_some()
    }

    #[must_use]
    pub fn count(&self, state: State) -> usize {
        let findings = self.findings.iter();
        findings.filter(|finding| finding.state == state).count()
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        for finding in &self.findings {
            let number = finding.difference.map(|number| format!(" ({number})"));
            let _ = writeln!(
                text,
                "{:<9} {:<12} {}{}",
                finding.state.as_str(),
                finding.topic.as_str(),
                plain(&finding.text),
                number.unwrap_or_default(),
            );
            if let Some(change) = &finding.change {
                let _ = writeln!(text, "{:<9} change: {}", "", plain(change));
            }
            if let Some(document) = &finding.document {
                for line in format!("{document:#}").lines() {
                    let _ = writeln!(text, "{:<12} {}", "", plain(line));
                }
            }
        }
        let counted = [State::Open, State::Accepted, State::Ok, State::Note];
        let counted = counted.map(|state| format!("{} {}", self.count(state), state.as_str()));
        let _ = writeln!(text, "{}", counted.join(", "));
        text
    }

    #[must_use]
    pub fn json(&self) -> String {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "topic": finding.topic.as_str(),
                "state": finding.state.as_str(),
                "text": finding.text,
                "change": finding.change,
                "document": finding.document,
                "difference": finding.difference,
            })
        });
        let told = json!({
            "open": self.count(State::Open),
            "accepted": self.count(State::Accepted),
            "ok": self.count(State::Ok),
            "notes": self.count(State::Note),
            "findings": findings.collect::<Vec<_>>(),
        });
        format!("{told:#}\n")
    }
}

/// Returns a text without what a terminal could take for a command: names come from elsewhere.
#[must_use]
pub fn plain(text: &str) -> String {
    printable(text)
}

/// Lists names, the first ones by themselves.
pub(super) fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    const SHOWN: usize = 10;
    let mut names = names.into_iter();
    let shown: Vec<_> = names.by_ref().take(SHOWN).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
