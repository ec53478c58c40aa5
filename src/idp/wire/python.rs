//! What Python's `str()` makes of lists and dicts, written as JSON.
//!
//! Published functions answer `str(mappings)` where `json.dumps(mappings)` was meant: single
//! quotes, `None`, `True`. The two forms differ in their words alone, so each is put in place of
//! the other, and the JSON parser says what the whole means.

use std::iter::Peekable;
use std::str::Chars;

/// Writes a Python literal as JSON; `None` for what Python does not print.
pub(super) fn as_json(text: &str) -> Option<String> {
    let mut rest = text.chars().peekable();
    let mut json = String::with_capacity(text.len());
    while let Some(c) = rest.next() {
        match c {
            '\'' | '"' => {
                let text = quoted(&mut rest, c)?;
                json.push_str(&serde_json::Value::from(text).to_string());
            }
            'N' => json.push_str(word(&mut rest, "one", "null")?),
            'T' => json.push_str(word(&mut rest, "rue", "true")?),
            'F' => json.push_str(word(&mut rest, "alse", "false")?),
            '[' | ']' | '{' | '}' | ',' | ':' | ' ' | '\t' | '\r' | '\n' => json.push(c),
            '0'..='9' | '-' | '+' | '.' | 'e' => json.push(c),
            _ => return None,
        }
    }
    Some(json)
}

/// Reads the rest of a word.
fn word<'j>(rest: &mut Peekable<Chars<'_>>, python: &str, json: &'j str) -> Option<&'j str> {
    for expected in python.chars() {
        rest.next_if_eq(&expected)?;
    }
    let ends = rest.peek().is_none_or(|next| !next.is_alphanumeric());
    ends.then_some(json)
}

/// Reads a string up to its quote.
fn quoted(rest: &mut Peekable<Chars<'_>>, quote: char) -> Option<String> {
    let mut text = String::new();
    loop {
        let c = rest.next()?;
        text.push(match c {
            c if c == quote => return Some(text),
            '\\' => match rest.next()? {
                c @ ('\\' | '\'' | '"') => c,
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'x' => code_point(rest, 2)?,
                'u' => code_point(rest, 4)?,
                'U' => code_point(rest, 8)?,
                _ => return None,
            },
            // Python prints these as escapes.
            c if c.is_control() => return None,
            c => c,
        });
    }
}

fn code_point(rest: &mut Peekable<Chars<'_>>, digits: u32) -> Option<char> {
    let mut code = 0_u32;
    for _ in 0..digits {
        let digit = rest.next()?.to_digit(16)?;
        code = code.checked_mul(16)?.checked_add(digit)?;
    }
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_prints_is_the_json_that_was_meant() {
        // Each as CPython 3 prints it.
        for (python, json) in [
            (
                "[{'Entry': '/', 'Target': '/b/ann'}]",
                r#"[{"Entry": "/", "Target": "/b/ann"}]"#,
            ),
            (
                "[{'a': None, 'b': True, 'c': False, 'd': 1, 'e': -1.5e-07}]",
                r#"[{"a": null, "b": true, "c": false, "d": 1, "e": -1.5e-07}]"#,
            ),
            (r#"["it's", 'say "x"']"#, r#"["it's", "say \"x\""]"#),
            (
                r#"['both \' and \" and \\', '\n\t\x00\x7f\xa0\u2028\U000e0001']"#,
                "[\"both ' and \\\" and \\\\\", \"\\n\\t\\u0000\u{7f}\u{a0}\u{2028}\u{e0001}\"]",
            ),
            ("['Jörg', 'None', 'True']", r#"["Jörg", "None", "True"]"#),
            ("[]", "[]"),
        ] {
            assert_eq!(as_json(python).as_deref(), Some(json), "{python}");
        }
    }

    #[test]
    fn what_python_does_not_print_is_nothing() {
        for bad in [
            "['a",
            "['a\\",
            "['\\q']",
            "['\\x4']",
            "['\\ud800']",
            "['\\U00110000']",
            "['a\nb']",
            "[Nones]",
            "[Non]",
            "(1,)(",
            "{'a'; 1}",
            "b'x'",
            "[Decimal('1')]",
            "<html>",
        ] {
            assert_eq!(as_json(bad), None, "{bad}");
        }
    }
}
