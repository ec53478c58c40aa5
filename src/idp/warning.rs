//! What was odd in an answer and taken all the same: one closed table (pure).

#![warn(clippy::arithmetic_side_effects)]

use std::fmt;

use crate::causes;

/// Declares the oddities, and what is said of each in one row.
macro_rules! oddities {
    ($($name:ident $word:literal $taken:literal, $right:literal;)+) => {
        /// What was odd in an answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Oddity {
            $($name,)+
        }

        impl Oddity {
            /// Every oddity, in the order of the document.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            const fn row(self) -> (&'static str, &'static str, &'static str) {
                match self {
                    $(Self::$name => ($word, $taken, $right),)+
                }
            }
        }
    };
}

oddities! {
    DetailsNotStringified "details-not-stringified"
        "`HomeDirectoryDetails` is an array and was read as one",
        "write it as a string that holds JSON: `json.dumps(mappings)`, `JSON.stringify(mappings)`";
    DetailsAsPython "details-as-python"
        "`HomeDirectoryDetails` is a list as Python prints it (`str(mappings)`) and was read as \
         such",
        "write it as JSON: `json.dumps(mappings)`";
    DetailsWithoutLogical "details-without-logical"
        "`HomeDirectoryDetails` was ignored, because `HomeDirectoryType` is not `LOGICAL`",
        "answer with `\"HomeDirectoryType\": \"LOGICAL\"`, or leave the details out";
    HomeDirectoryMissing "home-directory-missing"
        "there is no `HomeDirectory`, so the user's home is `/`: `detail` says what that shows",
        "answer with `HomeDirectory`, or with `LOGICAL` and `HomeDirectoryDetails`";
    HomeWithoutSlash "home-without-slash"
        "`HomeDirectory` does not begin with `/` and was read as if it did",
        "write `/bucket/prefix`; with `LOGICAL` an `Entry`";
    HomeRepeatsTarget "home-repeats-target"
        "`HomeDirectory` repeats a `Target` of `HomeDirectoryDetails`: the user lands in `/`",
        "with `LOGICAL` leave `HomeDirectory` out, or name an `Entry`";
    EfsTargetSkipped "efs-target-skipped"
        "the gateway skipped mappings with a target on an EFS file system (`/fs-…`) that no store serves",
        "leave them out of answers for this `serverId`";
    PolicyNotStringified "policy-not-stringified"
        "`Policy` is an object and was read as one",
        "write it as a string that holds JSON: `json.dumps(policy)`, `JSON.stringify(policy)`";
    KeysUnreadable "keys-unreadable"
        "the gateway skipped keys that it cannot read; the others work",
        "list each key as the line of its `.pub` file: `ssh-ed25519 AAAA…`";
    KeysNotInLines "keys-not-in-lines"
        "the keys are not an array of lines and were read anyway: `detail` names their form",
        "answer with an array of strings, each the line of a `.pub` file";
    PublicKeysOnPassword "public-keys-on-password"
        "the answer to a password lists blank public keys, which the gateway ignored",
        "leave `PublicKeys` out of answers to passwords";
    StorageClassUnknown "storage-class-unknown"
        "`objects` names a storage class that AWS S3 does not have: the store refuses every upload \
         unless it has a class of that name",
        "check its spelling: `STANDARD_IA`, `INTELLIGENT_TIERING`, `GLACIER_IR`";
    AnswersDiffer "answers-differ"
        "the answers to the key and to the password differ in home, role or policy; the gateway \
         used the password's",
        "give both answers the same home, role and policy";
    StaleAnswer "stale-answer"
        "the provider is unavailable, so the gateway used a stale answer (an expired cache entry)",
        "find out why it is unavailable; `identity.cache_stale_seconds` enables stale answers";
}

impl Oddity {
    /// Returns the stable word of logs, metrics and fixtures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// Says what was found and how it was read.
    #[must_use]
    pub const fn taken(self) -> &'static str {
        self.row().1
    }

    /// Says what it should be.
    #[must_use]
    pub const fn right(self) -> &'static str {
        self.row().2
    }

    /// Makes a warning that names the place in the answer: one line, never a secret.
    #[must_use]
    pub fn because(self, detail: &str) -> Warning {
        Warning {
            oddity: self,
            detail: Some(causes::line(detail).into()),
        }
    }
}

/// One oddity of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub oddity: Oddity,
    pub detail: Option<Box<str>>,
}

impl From<Oddity> for Warning {
    fn from(oddity: Oddity) -> Self {
        let detail = None;
        Self { oddity, detail }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oddity.as_str(), self.oddity.taken())?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        write!(f, "; {}", self.oddity.right())
    }
}

/// Returns the words of warnings, for the log.
#[must_use]
pub fn words(warnings: &[Warning]) -> Vec<&'static str> {
    let word = |warning: &Warning| warning.oddity.as_str();
    warnings.iter().map(word).collect()
}

/// Writes the table of `docs/troubleshooting.md`.
#[must_use]
pub fn document() -> String {
    let row = |oddity: &Oddity| {
        let (word, taken, right) = oddity.row();
        format!("| `{word}` | {taken} | {right} |\n")
    };
    let rows: String = Oddity::ALL.iter().map(row).collect();
    format!("\n| warning | what was done | what to change |\n| --- | --- | --- |\n{rows}\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_oddity_has_a_word_of_its_own_and_two_sentences() {
        let mut words = BTreeSet::new();
        for oddity in Oddity::ALL {
            assert!(words.insert(oddity.as_str()), "{oddity:?} stands twice");
            for text in [oddity.taken(), oddity.right()] {
                assert!(text.len() > 20, "{oddity:?}: {text:?}");
                // They are cells of a table.
                assert!(!text.contains(['|', '\n']), "{oddity:?}: {text:?}");
            }
        }
    }

    #[test]
    fn a_detail_is_one_line_of_bounded_length() {
        let warning = Oddity::EfsTargetSkipped.because(&"a\nb".repeat(1_000));
        let detail = warning.detail.as_deref().unwrap();
        assert!(detail.starts_with("a ba b"), "{detail}");
        assert_eq!(detail.chars().count(), causes::LINE_CHARS_MAX);
        let text = warning.to_string();
        assert!(
            text.starts_with("efs-target-skipped: the gateway skipped mappings"),
            "{text}"
        );
        assert!(text.ends_with("this `serverId`"), "{text}");
    }
}
