//! Wildcards of a shell, for one component of a path (pure).

#![warn(clippy::arithmetic_side_effects)]

use crate::limits::WILDCARD_PARTS_MAX;

/// What a name is compared with.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Debug, Clone)]
enum Token {
    /// `*`
    Any,
    /// `?`
    One,
    Letter(char),
    /// `[…]`
    Class {
        is_negated: bool,
        items: Vec<Item>,
    },
}

#[derive(Debug, Clone)]
enum Item {
    Range(char, char),
    /// `[:alpha:]` and the like.
    Kind(fn(&char) -> bool),
}

/// Why a component is not compared with names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is not text, as no name is then.
    NotText,
    /// To compare it would take long.
    TooLong,
}

impl Pattern {
    /// Understands a component.
    pub(super) fn parse(component: &[u8]) -> Result<Self, Unfit> {
        let mut rest = std::str::from_utf8(component).map_err(|_| Unfit::NotText)?;
        let mut tokens = Vec::new();
        while let Some((letter, after)) = split(rest) {
            rest = after;
            let token = match letter {
                '*' => Token::Any,
                '?' => Token::One,
                '[' => match class(rest) {
                    Some((class, after)) => {
                        rest = after;
                        class
                    }
                    // Nothing closes it: it stands for itself.
                    None => Token::Letter('['),
                },
                '\\' => {
                    let (quoted, after) = split(rest).unwrap_or(('\\', rest));
                    rest = after;
                    Token::Letter(quoted)
                }
                letter => Token::Letter(letter),
            };
            // Several are one: otherwise each of them would be tried with each of the others.
            if !(matches!(token, Token::Any) && matches!(tokens.last(), Some(Token::Any))) {
                tokens.push(token);
            }
        }
        let pattern = Self(tokens);
        if pattern.parts() > WILDCARD_PARTS_MAX && pattern.literal().is_none() {
            return Err(Unfit::TooLong);
        }
        Ok(pattern)
    }

    /// Returns how many comparisons a name may cost at each of its letters.
    fn parts(&self) -> usize {
        let parts = self.0.iter().map(|token| match token {
            Token::Any | Token::One | Token::Letter(_) => 1,
            Token::Class { items, .. } => items.len().saturating_add(1),
        });
        parts.fold(0, usize::saturating_add)
    }

    /// Returns the one name that it stands for, if it has no wildcards.
    pub(super) fn literal(&self) -> Option<String> {
        let letter = |token: &Token| match token {
            Token::Letter(letter) => Some(*letter),
            Token::Any | Token::One | Token::Class { .. } => None,
        };
        self.0.iter().map(letter).collect()
    }

    /// Says whether a name matches. A dot at its beginning has to be written.
    pub(super) fn matches(&self, name: &str) -> bool {
        if name.starts_with('.') && !matches!(self.0.first(), Some(Token::Letter('.'))) {
            return false;
        }
        let (mut tokens, mut rest) = (self.0.as_slice(), name);
        // Behind the last `*`, and what of the name it has not taken.
        let mut again: Option<(&[Token], &str)> = None;
        loop {
            match (tokens.split_first(), split(rest)) {
                (Some((Token::Any, after)), _) => {
                    tokens = after;
                    again = Some((after, rest));
                    continue;
                }
                (Some((token, after)), Some((letter, behind))) if token.takes(letter) => {
                    (tokens, rest) = (after, behind);
                    continue;
                }
                (None, None) => return true,
                (Some(_) | None, _) => {}
            }
            // The last `*` takes one more.
            let Some((after, from)) = again else {
                return false;
            };
            let Some((_, behind)) = split(from) else {
                return false;
            };
            again = Some((after, behind));
            (tokens, rest) = (after, behind);
        }
    }
}

impl Token {
    fn takes(&self, letter: char) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Letter(own) => *own == letter,
            Self::Class { is_negated, items } => {
                let is_in = items.iter().any(|item| match item {
                    Item::Range(first, last) => (*first..=*last).contains(&letter),
                    Item::Kind(is) => is(&letter),
                });
                is_in != *is_negated
            }
        }
    }
}

/// Reads a class behind its `[`; `None`: it has no end.
fn class(mut rest: &str) -> Option<(Token, &str)> {
    let is_negated = rest.starts_with(['!', '^']);
    if is_negated {
        rest = split(rest)?.1;
    }
    let mut items = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix("[:")
            && let Some((name, behind)) = after.split_once(":]")
            && let Some(is) = kind(name)
        {
            items.push(Item::Kind(is));
            rest = behind;
            continue;
        }
        let (first, after) = split(rest)?;
        // At the beginning it is a member.
        if first == ']' && !items.is_empty() {
            return Some((Token::Class { is_negated, items }, after));
        }
        let (first, after) = unquoted(first, after)?;
        rest = after;
        let range = after
            .strip_prefix('-')
            .filter(|behind| !behind.starts_with(']'));
        let last = if let Some(behind) = range {
            let (last, after) = split(behind)?;
            let (last, after) = unquoted(last, after)?;
            rest = after;
            last
        } else {
            first
        };
        items.push(Item::Range(first, last));
    }
}

fn unquoted(letter: char, after: &str) -> Option<(char, &str)> {
    if letter == '\\' {
        split(after)
    } else {
        Some((letter, after))
    }
}

fn kind(name: &str) -> Option<fn(&char) -> bool> {
    let is: fn(&char) -> bool = match name {
        "alnum" => |letter| letter.is_alphanumeric(),
        "alpha" => |letter| letter.is_alphabetic(),
        "digit" => char::is_ascii_digit,
        "lower" => |letter| letter.is_lowercase(),
        "punct" => char::is_ascii_punctuation,
        "space" => |letter| letter.is_whitespace(),
        "upper" => |letter| letter.is_uppercase(),
        "xdigit" => char::is_ascii_hexdigit,
        _ => return None,
    };
    Some(is)
}

fn split(text: &str) -> Option<(char, &str)> {
    let mut letters = text.chars();
    let first = letters.next()?;
    Some((first, letters.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern.as_bytes()).unwrap().matches(name)
    }

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, yes, no) in [
            ("*", &["a", "a.b", "é"][..], &[".a"][..]),
            ("*.txt", &["a.txt", "b.txt.txt"], &["a.txt2", ".txt", "txt"]),
            ("a*b*c", &["abc", "aXbYc", "abbcc"], &["ab", "acb"]),
            ("?", &["a", "é"], &["", "ab", "."]),
            (".*", &[".a", ".."], &["a"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x", "aax"]),
            ("[!a-c]x", &["dx"], &["ax"]),
            ("[^a]", &["b"], &["a"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[a-]", &["-", "a"], &["b"]),
            ("[a\\]b]", &["]", "b"], &["\\"]),
            ("[a\\-c]", &["-", "a", "c"], &["b"]),
            ("[[:digit:]_]*", &["1", "_x"], &["x"]),
            ("[ab", &["[ab"], &["a"]),
            ("a\\*b", &["a*b"], &["axb"]),
            ("a**b", &["ab", "axxb"], &["a"]),
        ] {
            for name in yes {
                assert!(matches(pattern, name), "{pattern} {name}");
            }
            for name in no {
                assert!(!matches(pattern, name), "{pattern} {name}");
            }
        }
        let literal = |pattern: &str| Pattern::parse(pattern.as_bytes()).unwrap().literal();
        assert_eq!(literal("a\\*[").as_deref(), Some("a*["));
        assert_eq!(literal("a?"), None);
        assert_eq!(Pattern::parse(b"\xff*").unwrap_err(), Unfit::NotText);
    }

    #[test]
    fn a_pattern_that_takes_long_is_none() {
        let parts = WILDCARD_PARTS_MAX;
        for (pattern, fits) in [
            ("*".to_owned() + &"a".repeat(parts - 1), true),
            ("*".to_owned() + &"a".repeat(parts), false),
            ("*".repeat(10_000), true),
            (format!("*[{}]", "ab".repeat(parts / 2 - 1)), true),
            (format!("*[{}]", "b".repeat(16_000)), false),
            // One name is not compared with others.
            ("a".repeat(10_000), true),
        ] {
            let parsed = Pattern::parse(pattern.as_bytes());
            assert_eq!(parsed.is_ok(), fits, "{}", pattern.len());
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "*a".repeat(60) + "b";
        assert!(!matches(&pattern, &"a".repeat(1_000)));
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_when_it_is_quoted(name in "[a-c*?\\[\\]!.-]{1,8}") {
            let quoted: String = name.chars().flat_map(|letter| ['\\', letter]).collect();
            prop_assert!(matches(&quoted, &name));
            prop_assert_eq!(Pattern::parse(quoted.as_bytes()).unwrap().literal(), Some(name));
        }

        #[test]
        fn no_pattern_breaks_it(pattern in "[a-c*?\\[\\]!:\\\\^-]{0,16}", name in "[a-c\\].]{0,8}") {
            matches(&pattern, &name);
        }
    }
}
