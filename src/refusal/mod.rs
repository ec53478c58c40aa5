//! Why somebody is not let in: one closed table of reasons, and what follows from each.
//!
//! A reason decides its verdict, what it counts for, whether it may be remembered and what it says
//! about the provider. Nobody who refuses chooses any of these.

#![warn(clippy::arithmetic_side_effects)]

use std::fmt;

use crate::causes;

/// Declares the reasons, and what is said of each in one row.
macro_rules! reasons {
    ($($name:ident $word:literal $verdict:ident $counts:ident $caching:ident $health:ident
        $cause:literal, $remedy:literal;)+) => {
        /// Why a login is refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($name,)+
        }

        impl Reason {
            /// Every reason, in the order of the document.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            pub(super) const fn row(self) -> &'static Row {
                match self {
                    $(Self::$name => &Row {
                        word: $word,
                        verdict: Verdict::$verdict,
                        counts: Counts::$counts,
                        caching: Caching::$caching,
                        health: Health::$health,
                        cause: $cause,
                        remedy: $remedy,
                    },)+
                }
            }
        }
    };
}

mod table;

pub use self::table::Reason;

/// What a refusal is: only a no is a no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The user may not come in.
    Denied,
    /// The answer is yes and cannot be used; the client sees the same as for a denial.
    Invalid,
    /// There is no answer.
    Unavailable,
}

/// As what a refused password counts, from the least on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counts {
    /// As no failure: the user got nothing wrong.
    Nothing,
    /// As no failure, but the next refusal of this user at this source comes later.
    Delay,
    /// As a failure of this user at this source.
    Pair,
    /// And as one of the source.
    PairAndSource,
}

/// What a refusal says about the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Nothing: nobody was asked, or what was asked may be to blame.
    Nothing,
    /// It is there: what came could be read.
    Answered,
    /// It cannot be reached, for any user.
    Gone,
    /// No complete answer came in time, to this question at least.
    TimedOut,
    /// Something in front of it answered that it is not there, to this question at least.
    GatewayFailed,
    /// It failed, at this question at least.
    Failed,
}

/// Whether an answer may be given again without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caching {
    /// The provider itself refused this user with this credential.
    Cached,
    /// It may be about the gateway, or about this moment.
    Uncached,
}

/// What is said of one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    word: &'static str,
    verdict: Verdict,
    counts: Counts,
    caching: Caching,
    health: Health,
    cause: &'static str,
    remedy: &'static str,
}

impl Reason {
    /// Returns the stable word of logs, metrics and fixtures, such as `no-usable-public-key`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().word
    }

    #[must_use]
    pub const fn verdict(self) -> Verdict {
        self.row().verdict
    }

    #[must_use]
    pub const fn counts(self) -> Counts {
        self.row().counts
    }

    /// Says whether the provider itself refused this user. What may be about the gateway as well
    /// must not be remembered, and hides no other provider's refusal.
    #[must_use]
    pub const fn may_be_cached(self) -> bool {
        matches!(self.row().caching, Caching::Cached)
    }

    #[must_use]
    pub const fn health(self) -> Health {
        self.row().health
    }

    /// Says whether a provider denied somebody it does not know, or something that is not for it: of
    /// several providers another one may know them.
    #[must_use]
    pub const fn is_of_a_stranger(self) -> bool {
        matches!(
            self,
            Self::UnknownUser
                | Self::NoProviderForName
                | Self::TokenMalformed
                | Self::TokenOnly
                | Self::KeysOnly
        )
    }

    /// Says what the reason means, for the operator.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        self.row().cause
    }

    /// Says what to change.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        self.row().remedy
    }

    /// Makes a refusal with words for the log: a text of one line, never a secret.
    #[must_use]
    pub fn because(self, detail: &str) -> Refusal {
        Refusal {
            detail: Some(causes::line(detail).into()),
            ..Refusal::new(self)
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Verdict {
    /// Returns the word of the log and the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// For the operator's log, never for a client.
    pub detail: Option<Box<str>>,
    /// Which of several providers refused, if it was one of them.
    pub provider: Option<Box<str>>,
    outage: bool,
    /// What another provider had said before, where the search among several ended here.
    earlier: Option<Box<Self>>,
}

impl Refusal {
    #[must_use]
    pub const fn new(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            provider: None,
            outage: false,
            earlier: None,
        }
    }

    /// Adds what may be the cause, for the operator.
    #[must_use]
    pub fn with_hint(self, hint: &str) -> Self {
        let detail = match &self.detail {
            Some(detail) => format!("{detail}; {hint}"),
            None => hint.to_owned(),
        };
        let detail = Some(detail.into());
        Self { detail, ..self }
    }

    /// Says whose refusal it is; the only provider has no name.
    #[must_use]
    pub fn of_provider(mut self, name: &str) -> Self {
        self.provider = Some(name.into());
        self
    }

    /// Says that others met with the same outage of the provider: an older answer may stand in.
    #[must_use]
    pub const fn during_outage(mut self) -> Self {
        self.outage = true;
        self
    }

    /// Keeps the denial of a provider that was asked before: it counts, whatever ended the search.
    #[must_use]
    pub fn after(mut self, denial: Self) -> Self {
        self.earlier = Some(Box::new(denial));
        self
    }

    /// Returns the refusal that counts against the user: this one, or a denial before it.
    #[must_use]
    pub fn counting(&self) -> &Self {
        match &self.earlier {
            Some(earlier) if earlier.reason.counts() > self.reason.counts() => earlier,
            Some(_) | None => self,
        }
    }

    #[must_use]
    pub const fn is_outage(&self) -> bool {
        self.outage
    }

    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.reason.verdict()
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.reason),
            None => write!(f, "{}", self.reason),
        }
    }
}

impl std::error::Error for Refusal {}

/// Returns which of the four verdicts it came to: the word of the log and the metric.
#[must_use]
pub fn verdict_word(refusal: Option<&Refusal>) -> &'static str {
    refusal.map_or("allowed", |refusal| refusal.verdict().as_str())
}

/// Writes the table of `docs/troubleshooting.md`.
#[must_use]
pub fn document() -> String {
    let row = |reason: &Reason| {
        let (cause, remedy) = (reason.cause(), reason.remedy());
        format!("| `{reason}` | {cause} | {remedy} |\n")
    };
    let rows: String = Reason::ALL.iter().map(row).collect();
    format!("\n| reason | cause | what to change |\n| --- | --- | --- |\n{rows}\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own_a_cause_and_a_remedy() {
        let mut words = BTreeSet::new();
        for reason in Reason::ALL {
            let word = reason.as_str();
            assert!(words.insert(word), "{word} stands twice");
            let of_kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let parts = word.split('-');
            assert!(
                parts.clone().count() > 0
                    && parts
                        .into_iter()
                        .all(|part| !part.is_empty() && part.chars().all(of_kebab)),
                "{word}"
            );
            for text in [reason.cause(), reason.remedy()] {
                assert!(text.len() > 5, "{word}: {text:?}");
                // They are cells of a table.
                assert!(!text.contains(['|', '\n']), "{word}: {text:?}");
                assert_eq!(text.trim(), text, "{word}");
            }
        }
    }

    #[test]
    fn what_is_said_of_a_reason_holds_together() {
        for reason in Reason::ALL {
            match reason.verdict() {
                Verdict::Denied => {
                    let said = matches!(reason.health(), Health::Nothing | Health::Answered);
                    assert!(said, "{reason}: a denial is an answer");
                }
                Verdict::Invalid => {
                    assert_eq!(reason.health(), Health::Answered, "{reason}: it was read");
                }
                Verdict::Unavailable => {
                    assert_ne!(reason.health(), Health::Answered, "{reason}: nothing came");
                }
            }
            if reason.verdict() != Verdict::Denied {
                let slows = matches!(reason.counts(), Counts::Nothing | Counts::Delay);
                assert!(slows, "{reason}: nobody is locked out for it");
                assert!(!reason.may_be_cached(), "{reason}: only a no is remembered");
            }
        }
    }

    #[test]
    fn what_may_be_about_the_gateway_is_no_wrong_password() {
        for (reason, counts) in [
            // Forgotten again when it turns out to have been about the gateway.
            (Reason::StatusDenied, Counts::Pair),
            (Reason::TokenKey, Counts::Nothing),
        ] {
            assert_eq!(reason.verdict(), Verdict::Denied, "{reason}");
            assert_eq!(reason.counts(), counts, "{reason}");
            assert!(!reason.may_be_cached(), "{reason}");
        }
        assert!(!Reason::FunctionError.may_be_cached());
        for reason in [
            Reason::Revoked,
            Reason::LockedOut,
            Reason::SourceLockedOut,
            Reason::TooManyAttempts,
            Reason::MethodNotAllowed,
        ] {
            assert_eq!(reason.counts(), Counts::Nothing, "{reason}");
        }
        assert_eq!(Reason::NotAllowed.counts(), Counts::PairAndSource);
    }

    #[test]
    fn a_detail_is_one_line_of_bounded_length() {
        let refusal = Reason::Transport.because(&"a\nb".repeat(1_000));
        let detail = refusal.detail.unwrap();
        assert!(detail.starts_with("a ba b"), "{detail}");
        assert_eq!(detail.chars().count(), causes::LINE_CHARS_MAX);
    }
}
