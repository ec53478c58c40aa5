//! Which user names are asked about at all (pure).

use crate::limits;

/// A rule for user names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UserNameRule {
    /// 1 to 100 characters, no control character, no `/`, not `.` or `..`.
    #[default]
    Open,
    /// AWS's `[\w][\w@.-]{2,99}`, for providers of its shape.
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
                    && !name.chars().any(|c| c.is_control() || c == '/')
                    && !matches!(name, "." | "..")
            }
            Self::Aws => {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                (3..=limits::USER_NAME_BYTES_MAX).contains(&length)
                    && name.starts_with(word)
                    && name
                        .chars()
                        .all(|c| word(c) || matches!(c, '@' | '.' | '-'))
            }
        }
    }
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
        for bad in ["", ".", "..", "a/b", "../x", "a\nb", "a\0", &long] {
            assert!(!UserNameRule::Open.allows(bad), "{bad:?}");
            assert!(!UserNameRule::Aws.allows(bad), "{bad:?}");
        }
        for open in ["a", "Jörg", "DOMAIN\\bob", "-x", "a b"] {
            assert!(UserNameRule::Open.allows(open), "{open:?}");
            assert!(!UserNameRule::Aws.allows(open), "{open:?}");
        }
        for both in ["ann", "_a-b.c@example.com"] {
            assert!(UserNameRule::Open.allows(both), "{both:?}");
            assert!(UserNameRule::Aws.allows(both), "{both:?}");
        }
    }
}
