//! Which user names are asked about at all (pure).

use crate::limits;

/// A rule for user names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UserNameRule {
    /// 1 to 100 characters, none that is invisible to a reader ([`is_unprintable`]), no `/`, not
    /// `.` or `..`.
    #[default]
    Open,
    /// AWS's `[\w][\w@.-]{2,99}` without `root`, for providers of its shape.
    Aws,
}

impl UserNameRule {
    /// Says whether anybody may be asked about a name.
    #[must_use]
    pub fn allows(self, name: &str) -> bool {
        let length = name.chars().count();
        match self {
            Self::Open => {
                (1..=limits::USER_NAME_BYTES_MAX).contains(&length)
                    && !name.chars().any(|c| is_unprintable(c) || c == '/')
                    && !matches!(name, "." | "..")
            }
            Self::Aws => {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                (3..=limits::USER_NAME_BYTES_MAX).contains(&length)
                    // What password scanners try first; AWS asks nobody about it either.
                    && name != "root"
                    && name.starts_with(word)
                    && name
                        .chars()
                        .all(|c| word(c) || matches!(c, '@' | '.' | '-'))
            }
        }
    }
}

/// Says whether a character is a control (Cc), a format (Cf) or a separator of lines and paragraphs
/// (Zl, Zp) in Unicode 16: two names that differ in it look the same, or the other way round.
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}'
            | '\u{0600}'..='\u{0605}'
            | '\u{061C}'
            | '\u{06DD}'
            | '\u{070F}'
            | '\u{0890}'..='\u{0891}'
            | '\u{08E2}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{110BD}'
            | '\u{110CD}'
            | '\u{13430}'..='\u{1343F}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0001}'
            | '\u{E0020}'..='\u{E007F}')
}

/// Makes one name of those that a provider may take for the same: `Ann`, `ANN` and `ann`.
#[must_use]
pub fn folded(user: &str) -> Box<str> {
    let name: String = user.chars().flat_map(char::to_lowercase).collect();
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_are_one() {
        for (name, one) in [("ANN", "ann"), ("Jörg", "jörg"), ("JÖRG@X", "jörg@x")] {
            assert_eq!(&*folded(name), one);
        }
    }

    #[test]
    fn user_names_follow_the_rule_of_their_provider() {
        let long = "x".repeat(101);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "a\nb",
            "a\0",
            "ann\u{202e}toor",
            "ann\u{2028}",
            "\u{2029}ann",
            "a\u{200b}nn",
            "an\u{ad}n",
            "\u{feff}ann",
            "ann\u{e0041}",
            &long,
        ] {
            assert!(!UserNameRule::Open.allows(bad), "{bad:?}");
            assert!(!UserNameRule::Aws.allows(bad), "{bad:?}");
        }
        assert!(UserNameRule::Open.allows("root"));
        assert!(!UserNameRule::Aws.allows("root"));
        assert!(UserNameRule::Aws.allows("Root") && UserNameRule::Aws.allows("root1"));
        for open in [
            "a",
            "Jörg",
            "DOMAIN\\bob",
            "-x",
            "a b",
            "a\u{a0}b",
            "नेहा",
            "👩",
        ] {
            assert!(UserNameRule::Open.allows(open), "{open:?}");
            assert!(!UserNameRule::Aws.allows(open), "{open:?}");
        }
        for both in ["ann", "_a-b.c@example.com"] {
            assert!(UserNameRule::Open.allows(both), "{both:?}");
            assert!(UserNameRule::Aws.allows(both), "{both:?}");
        }
    }
}
