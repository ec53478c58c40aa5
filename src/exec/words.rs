//! A command line cut into words as a POSIX shell cuts it (pure).
//!
//! Quotes, backslashes, `~` and wildcards mean what they mean to a shell. Whatever else a shell
//! would do something about is refused: nothing is run, and nothing stands for anything else.

#![warn(clippy::arithmetic_side_effects)]

/// One word of a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// Its bytes without quotes.
    pub(super) text: Vec<u8>,
    /// The same for [`Pattern`](super::wildcard::Pattern), where it has wildcards that are not
    /// quoted: a backslash stands before what is.
    pub(super) pattern: Option<Vec<u8>>,
}

impl Word {
    /// Returns the word that stands for what the client sends.
    pub(super) fn dash() -> Self {
        Self {
            text: b"-".to_vec(),
            pattern: None,
        }
    }

    /// Says whether it stands for what the client sends.
    pub(super) fn is_dash(&self) -> bool {
        self.text == b"-"
    }

    /// Returns what it takes in memory, with its place in lists.
    pub(super) fn bytes(&self) -> usize {
        let pattern = self.pattern.as_ref().map_or(0, Vec::capacity);
        self.text
            .capacity()
            .saturating_add(pattern)
            .saturating_add(WORD_BYTES)
    }
}

/// What a word takes beside its bytes.
const WORD_BYTES: usize = 96;

/// Why a line cannot be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uncut {
    /// A shell would do something about a character.
    Shell,
    /// A quote or a backslash has nothing behind it.
    Unfinished,
}

/// Cuts a line into its words.
pub(super) fn words(line: &[u8]) -> Result<Vec<Word>, Uncut> {
    let mut cut = Cut {
        rest: line,
        words: Vec::new(),
        word: None,
    };
    while let Some(byte) = cut.next() {
        cut.unquoted(byte)?;
    }
    cut.end_word();
    Ok(cut.words)
}

/// Where cutting stands.
struct Cut<'a> {
    rest: &'a [u8],
    words: Vec<Word>,
    /// The word that has begun.
    word: Option<Growing>,
}

#[derive(Default)]
struct Growing {
    text: Vec<u8>,
    pattern: Vec<u8>,
    has_wildcards: bool,
}

impl Cut<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn word(&mut self) -> &mut Growing {
        self.word.get_or_insert_default()
    }

    fn end_word(&mut self) {
        if let Some(word) = self.word.take() {
            self.words.push(Word {
                text: word.text,
                pattern: word.has_wildcards.then_some(word.pattern),
            });
        }
    }

    fn unquoted(&mut self, byte: u8) -> Result<(), Uncut> {
        match byte {
            b' ' | b'\t' => self.end_word(),
            // A line may end in a line break; a second line is a second command.
            b'\n' | b'\r' if self.rest.iter().all(u8::is_ascii_whitespace) => self.end_word(),
            b'\n' | b'\r' | 0 => return Err(Uncut::Shell),
            b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' | b'$' | b'`' => {
                return Err(Uncut::Shell);
            }
            b'#' if self.word.is_none() => return Err(Uncut::Shell),
            b'~' if self.word.is_none() && self.stands_alone() => self.word().plain(b'.'),
            b'\'' => self.single()?,
            b'"' => self.double()?,
            b'\\' => match self.next().ok_or(Uncut::Unfinished)? {
                // The line goes on.
                b'\n' => {}
                0 => return Err(Uncut::Shell),
                byte => self.word().quoted(byte),
            },
            b'*' | b'?' | b'[' => {
                self.word().has_wildcards = true;
                self.word().plain(byte);
            }
            byte => self.word().plain(byte),
        }
        Ok(())
    }

    /// Says whether a `~` is the home directory: nothing of a name follows.
    fn stands_alone(&self) -> bool {
        matches!(self.rest.first(), None | Some(b'/' | b' ' | b'\t' | b'\n'))
    }

    fn single(&mut self) -> Result<(), Uncut> {
        self.word();
        loop {
            match self.next().ok_or(Uncut::Unfinished)? {
                b'\'' => return Ok(()),
                0 => return Err(Uncut::Shell),
                byte => self.word().quoted(byte),
            }
        }
    }

    fn double(&mut self) -> Result<(), Uncut> {
        self.word();
        loop {
            match self.next().ok_or(Uncut::Unfinished)? {
                b'"' => return Ok(()),
                b'$' | b'`' | 0 => return Err(Uncut::Shell),
                b'\\' => match self.next().ok_or(Uncut::Unfinished)? {
                    b'\n' => {}
                    byte @ (b'$' | b'`' | b'"' | b'\\') => self.word().quoted(byte),
                    0 => return Err(Uncut::Shell),
                    byte => {
                        self.word().quoted(b'\\');
                        self.word().quoted(byte);
                    }
                },
                byte => self.word().quoted(byte),
            }
        }
    }
}

impl Growing {
    fn plain(&mut self, byte: u8) {
        self.text.push(byte);
        self.pattern.push(byte);
    }

    /// Takes what is never a wildcard.
    fn quoted(&mut self, byte: u8) {
        self.text.push(byte);
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'-' | b'!' | b'^') {
            self.pattern.push(b'\\');
        }
        self.pattern.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(line: &str) -> Result<Vec<String>, Uncut> {
        let words = words(line.as_bytes())?;
        let text = |word: Word| String::from_utf8_lossy(&word.text).into_owned();
        Ok(words.into_iter().map(text).collect())
    }

    #[test]
    fn words_are_what_a_shell_makes_of_a_line() {
        for (line, expected) in [
            ("scp -t /in", &["scp", "-t", "/in"][..]),
            ("  a\t b  ", &["a", "b"]),
            ("a 'b  c' d", &["a", "b  c", "d"]),
            ("a \"b 'c'\" ''", &["a", "b 'c'", ""]),
            (r"a\ b c\'d", &["a b", "c'd"]),
            (r#""a\"b\n\\""#, &[r#"a"b\n\"#]),
            ("it''s 'o'\\''clock'", &["its", "o'clock"]),
            ("a\\\nb", &["ab"]),
            ("'a\nb'", &["a\nb"]),
            ("~ ~/x a~ ~ann '~'", &[".", "./x", "a~", "~ann", "~"]),
            ("a#b {c,d} e=f !g %h", &["a#b", "{c,d}", "e=f", "!g", "%h"]),
            ("straße\n", &["straße"]),
            ("", &[]),
        ] {
            assert_eq!(texts(line).unwrap(), expected, "{line:?}");
        }
    }

    #[test]
    fn what_only_a_shell_can_do_is_refused() {
        for line in [
            "a;b", "a & b", "a|b", "a>b", "a <b", "a $b", "a $(b)", "a `b`", "\"$b\"", "\"`b`\"",
            "a\nb", "a #b", "(a)", "a\0b", "'a\0b'",
        ] {
            assert_eq!(texts(line), Err(Uncut::Shell), "{line:?}");
        }
        for line in ["a 'b", "a \"b", "a\\", "\"a\\"] {
            assert_eq!(texts(line), Err(Uncut::Unfinished), "{line:?}");
        }
    }

    #[test]
    fn quoted_wildcards_are_letters() {
        let patterns = |line: &str| -> Vec<Option<String>> {
            let words = words(line.as_bytes()).unwrap();
            let text = |pattern| String::from_utf8(pattern).unwrap();
            words
                .into_iter()
                .map(|word| word.pattern.map(text))
                .collect()
        };
        assert_eq!(
            patterns(r"a* '*' \* '*'? [a-b]'-' 'a]'b"),
            [
                Some("a*".to_owned()),
                None,
                None,
                Some("\\*?".to_owned()),
                Some("[a-b]\\-".to_owned()),
                None,
            ]
        );
    }

    proptest! {
        /// However a program quotes a name, it comes out as it was.
        #[test]
        fn quoted_names_come_out_whole(name in "[a-c '\"\\\\*$;\n~é]{0,12}") {
            let single = format!("x '{}'", name.replace('\'', "'\\''"));
            prop_assert_eq!(texts(&single).unwrap(), ["x".to_owned(), name.clone()]);
            if !name.is_empty() {
                // As rclone does.
                let escaped: String = name.chars().map(|letter| match letter {
                    '\n' => "'\n'".to_owned(),
                    'a'..='c' | 'é' => letter.to_string(),
                    _ => format!("\\{letter}"),
                }).collect();
                prop_assert_eq!(texts(&format!("x {escaped}")).unwrap(), ["x".to_owned(), name]);
            }
        }

        #[test]
        fn no_line_breaks_it(line in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(words) = words(&line) {
                prop_assert!(words.iter().map(|word| word.text.len()).sum::<usize>() <= line.len());
                prop_assert!(words.iter().all(|word| !word.text.contains(&0)));
            }
        }
    }
}
