//! The public keys that an answer lists, however they are written.
//!
//! What comes out is `algorithm base64 [comment]`, a line for each key. Taken as well are the
//! blocks of RFC 4716 and PEM, keys that were broken into lines, and keys joined with commas. A key
//! that cannot be read lets nobody in and is named, so that nobody has to guess why.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::slice::Iter;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::{pem, timestamp};
use crate::idp::ListedKey;
use crate::idp::key_text::{behind_options, field};
use crate::limits;
use crate::refusal::{Reason, Refusal};

/// One element of the list.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) text: String,
    /// When the key ends, as it is written.
    pub(super) expires: Option<String>,
}

impl From<String> for Given {
    fn from(text: String) -> Self {
        let expires = None;
        Self { text, expires }
    }
}

/// What was found in a list.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) keys: Vec<ListedKey>,
    /// What cannot be read, and where: one text for each.
    pub(super) unreadable: Vec<String>,
    /// How keys were written that were not one to a line.
    pub(super) forms: BTreeSet<&'static str>,
    /// Something stands there, whether or not it can be read.
    pub(super) has_text: bool,
    /// There are elements without text.
    pub(super) has_blanks: bool,
}

/// Reads a list.
///
/// # Errors
/// More keys, or longer ones, than anybody has.
pub(super) fn read(given: &[Given]) -> Result<Keys, Refusal> {
    let breaks = given.iter().map(|given| given.text.matches('\n').count());
    if breaks.sum::<usize>().saturating_add(given.len()) > LINES_MAX {
        return Err(Reason::TooManyKeys.because(&format!("more than {LINES_MAX} lines")));
    }
    let lines: Vec<Line<'_>> = given.iter().zip(1..).flat_map(lines_of).collect();
    if lines
        .iter()
        .any(|line| line.text.len() > limits::PUBLIC_KEY_BYTES_MAX)
    {
        return Err(Reason::KeyTooLong.because("a public key is too long"));
    }
    let mut found = Keys::default();
    let mut rest = lines.iter().peekable();
    while let Some(line) = rest.next() {
        if line.text.is_empty() {
            found.has_blanks = true;
            continue;
        }
        found.has_text = true;
        if line.text.starts_with('#') {
            continue;
        }
        match read_one(line, &mut rest, &mut found.forms) {
            Ok(text) => found.keys.push(ListedKey {
                line: text.into(),
                expires_at: line.expires_at,
            }),
            Err(why) => found.unreadable.push(format!("{}: {why}", line.place())),
        }
        let count = found.keys.len().saturating_add(found.unreadable.len());
        if count > limits::PUBLIC_KEYS_MAX {
            let most = limits::PUBLIC_KEYS_MAX;
            return Err(Reason::TooManyKeys.because(&format!("more than {most} keys")));
        }
    }
    Ok(found)
}

/// Says whether a line is a key without options that a client could have.
pub(in crate::idp) fn is_key(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let Some(key_type) = words.next().and_then(key_type) else {
        return false;
    };
    matches!(
        words.next().map(|word| blob_in(key_type, [word])),
        Some(Ok((_, 1)))
    )
}

/// The types that are taken at login; keys of others would never match.
pub(in crate::idp) const KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    RSA,
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Returns the type of key that an algorithm's name means, whatever hash it signs with (RFC 8332).
pub(crate) fn type_of(algorithm: &str) -> Option<&'static str> {
    match algorithm {
        "rsa-sha2-256" | "rsa-sha2-512" => Some(RSA),
        name => key_type(name),
    }
}

pub(crate) const RSA: &str = "ssh-rsa";

/// More than the most keys take, each in a block of its own.
const LINES_MAX: usize = 20_000;

/// One line of one element.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    element: usize,
    /// `None` where the element has one line.
    number: Option<usize>,
    expires_at: Option<SystemTime>,
    /// `Expires` is there and is no time.
    unclear: bool,
}

impl Line<'_> {
    fn place(&self) -> String {
        match self.number {
            None => format!("key {}", self.element),
            Some(number) => format!("key {}, line {number}", self.element),
        }
    }
}

/// Splits an element into lines, and into keys where commas join them.
fn lines_of((given, element): (&Given, usize)) -> Vec<Line<'_>> {
    let expires = given.expires.as_deref().map(timestamp::parse);
    let line = |text, number| Line {
        text,
        element,
        number,
        expires_at: expires.flatten(),
        unclear: matches!(expires, Some(None)),
    };
    let numbered = given.text.split('\n').zip(1..);
    let written: Vec<_> = numbered
        .filter(|(text, _)| !trimmed(text).is_empty())
        .collect();
    if written.is_empty() {
        return vec![line("", None)];
    }
    let has_more = written.len() > 1;
    let keys = |(text, number): (_, usize)| {
        let keys = joined(text).into_iter();
        keys.map(move |key| (key, has_more.then_some(number)))
    };
    let lines = written.into_iter().flat_map(keys);
    lines.map(|(text, number)| line(text, number)).collect()
}

/// Splits at the commas before a key. A line with options is left whole: a comma there belongs to
/// them.
fn joined(line: &str) -> Vec<&str> {
    let mut keys = Vec::new();
    let mut rest = trimmed(line);
    if first_type(rest).is_some() {
        let mut from = 0;
        while let Some(at) = rest.get(from..).and_then(|text| text.find(',')) {
            let comma = from.saturating_add(at);
            let (key, next) = rest.split_at(comma);
            let next = next.trim_start_matches([',', ' ']);
            if begins_with_type(next) {
                keys.push(trimmed(key));
                (rest, from) = (next, 0);
            } else {
                // Past the whole run: what was looked at is not looked at again.
                from = rest.len().saturating_sub(next.len());
            }
        }
    }
    keys.push(trimmed(rest));
    keys
}

/// The same as [`first_type`], without looking for the end of the first word.
fn begins_with_type(text: &str) -> bool {
    let begins = |name: &&str| {
        let after = text.strip_prefix(*name);
        after.is_some_and(|after| after.is_empty() || after.starts_with(char::is_whitespace))
    };
    KEY_TYPES.iter().any(begins)
}

/// Drops white space, and an escaped line break of which both characters are left.
fn trimmed(line: &str) -> &str {
    line.trim().trim_end_matches("\\n").trim_end()
}

/// Reads the key that begins with a line, and takes the lines that belong to it.
fn read_one<'l>(
    line: &Line<'l>,
    rest: &mut Peekable<Iter<'_, Line<'l>>>,
    forms: &mut BTreeSet<&'static str>,
) -> Result<String, String> {
    let read = match (marker(line.text), first_type(line.text)) {
        (Some(label), _) => block(label, line.text, rest).inspect(|_| {
            let is_pem = line.text.starts_with("-----");
            forms.insert(if is_pem { "PEM" } else { "RFC 4716" });
        }),
        (None, Some(key_type)) => of_type(key_type, line.text, rest, forms),
        (None, None) if has_options(line.text) => Ok(line.text.to_owned()),
        (None, None) => Err(unknown(line.text)),
    };
    if line.unclear {
        return Err("its Expires is not a time with a zone, as 2026-12-31T00:00:00Z".to_owned());
    }
    read
}

/// Reads `algorithm base64 [comment]`, where line breaks may stand in the base64.
fn of_type<'l>(
    key_type: &'static str,
    line: &'l str,
    rest: &mut Peekable<Iter<'_, Line<'l>>>,
    forms: &mut BTreeSet<&'static str>,
) -> Result<String, String> {
    let own: Vec<&str> = line.split_whitespace().skip(1).collect();
    let follows = |line: &&Line<'_>| {
        let mut words = line.text.split_whitespace();
        let first = words.next().unwrap_or_default();
        marker(line.text).is_none() && first_type(line.text).is_none() && is_base64(first)
    };
    if let Ok((_, 1)) = blob_in(key_type, own.iter().copied()) {
        return Ok(line.to_owned());
    }
    let more: Vec<_> = rest.clone().take_while(follows).collect();
    let words = more.iter().flat_map(|line| line.text.split_whitespace());
    let all: Vec<&str> = own.iter().copied().chain(words).collect();
    let (base64, used) = blob_in(key_type, all.iter().copied())?;
    // What was read of the lines that follow belongs to this key, and is no key of its own.
    let mut seen = own.len();
    while seen < used
        && let Some(next) = rest.next()
    {
        seen = seen.saturating_add(next.text.split_whitespace().count());
    }
    forms.insert("broken into lines");
    let comment = all.get(used..seen).unwrap_or_default().join(" ");
    Ok(format!("{key_type} {base64} {comment}")
        .trim_end()
        .to_owned())
}

/// Joins words until the key is complete; returns its base64 and how many words it took.
fn blob_in<'w>(
    key_type: &str,
    words: impl IntoIterator<Item = &'w str>,
) -> Result<(String, usize), String> {
    let cut_off = || "its base64 is incomplete or damaged".to_owned();
    let mut base64 = String::new();
    // Where each word ends.
    let mut ends = Vec::new();
    let mut is_padded = false;
    for word in words.into_iter().take_while(|word| is_base64(word)) {
        let digits = word.trim_end_matches('=');
        if is_padded && !digits.is_empty() || base64.len() > limits::PUBLIC_KEY_BYTES_MAX {
            break;
        }
        base64.push_str(digits);
        ends.push(base64.len());
        is_padded = word.ends_with('=');
    }
    // A comment may have been taken for a part of the key.
    let whole = base64.len().saturating_sub(base64.len() % 4);
    let head = STANDARD_NO_PAD.decode(base64.get(..whole).unwrap_or_default());
    let tail = |end: usize| STANDARD_NO_PAD.decode(base64.get(..end)?).ok();
    let head = head.map_err(|_| cut_off())?;
    let length = match length(key_type, &head) {
        Ok(length) => length,
        // The last bytes may stand behind the last whole group.
        Err(Fault::CutOff) => {
            let ends = ends.iter().rev().take(ENDS_TRIED);
            let whole = |end: &usize| length_of_whole(key_type, &tail(*end)?);
            ends.filter_map(whole).next().ok_or_else(cut_off)?
        }
        Err(Fault::OfAnotherType) => return Err("its base64 is of another type".to_owned()),
    };
    let chars = length.saturating_mul(4).saturating_add(2) / 3;
    let used = ends
        .iter()
        .rposition(|end| *end == chars)
        .ok_or_else(cut_off)?;
    tail(chars).ok_or_else(cut_off)?;
    base64.truncate(chars);
    Ok((base64, used.saturating_add(1)))
}

/// Words behind a key that are as short as a letter, and look like a part of it.
const ENDS_TRIED: usize = 3;

/// Reads a block between its marks.
fn block<'l>(
    label: &str,
    first: &'l str,
    rest: &mut Peekable<Iter<'_, Line<'l>>>,
) -> Result<String, String> {
    let after_mark = first.split_once(label).map_or("", |(_, after)| after);
    let after_mark = after_mark.trim_start_matches(['-', ' ']);
    let is_end = |text: &str| text.contains("---") && text.contains("END ");
    let mut body = vec![after_mark];
    if !is_end(after_mark) {
        // A block that does not end ends where another key begins.
        let belongs =
            |line: &&Line<'_>| first_type(line.text).is_none() && marker(line.text).is_none();
        while let Some(line) = rest.next_if(belongs) {
            body.push(line.text);
            if is_end(line.text) {
                break;
            }
        }
    }
    if label.contains("PRIVATE KEY") {
        return Err("it is a private key, which must stay secret; list the public key".to_owned());
    }
    let text = base64_of(&body);
    let der = STANDARD_NO_PAD.decode(&text);
    let bad = || format!("the block {label:?} is not a supported public key");
    let der = der.map_err(|_| "its base64 is incomplete or damaged".to_owned())?;
    if label == SSH2 {
        let key_type = key_type_in(&der).ok_or_else(bad)?;
        length_of_whole(key_type, &der).ok_or_else(bad)?;
        return Ok(format!("{key_type} {text}"));
    }
    let (key_type, blob) = pem::to_ssh(label, &der).ok_or_else(bad)?;
    Ok(format!("{key_type} {}", STANDARD_NO_PAD.encode(blob)))
}

/// Joins the base64 of a block, without headers, which go on after a backslash, and marks.
fn base64_of(body: &[&str]) -> String {
    let mut text = String::new();
    let mut in_header = false;
    for line in body {
        let is_header = in_header || line.contains(':');
        in_header = is_header && line.ends_with('\\');
        if is_header {
            continue;
        }
        let words = line.split(|c: char| c.is_whitespace() || c == '-');
        for word in words.take_while(|word| *word != "END") {
            text.push_str(word.trim_end_matches('='));
        }
    }
    text
}

/// The label of a block in RFC 4716.
const SSH2: &str = "SSH2 PUBLIC KEY";

/// Returns the label of the block that begins with a line.
fn marker(line: &str) -> Option<&str> {
    let text = line
        .strip_prefix("----")?
        .trim_start_matches('-')
        .trim_start();
    let label = text.strip_prefix("BEGIN ")?;
    label.split("----").next().map(str::trim_end)
}

fn key_type(word: &str) -> Option<&'static str> {
    KEY_TYPES.into_iter().find(|known| *known == word)
}

fn first_type(line: &str) -> Option<&'static str> {
    line.split_whitespace().next().and_then(key_type)
}

/// Says whether a key stands behind options: what becomes of it is for the matching to say.
fn has_options(line: &str) -> bool {
    behind_options(line).any(is_key)
}

/// Says what is wrong with a line, and repeats of it what can be no secret.
fn unknown(line: &str) -> String {
    let word = line.split_whitespace().next().unwrap_or_default();
    let of_type = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-@.".contains(c);
    let is_type = word.len() <= TYPE_CHARS_MAX && word.contains('-') && word.chars().all(of_type);
    if is_type && (word.starts_with("ssh-") || word.contains("sha2") || word.contains('@')) {
        return format!("the type {word:?} is not supported");
    }
    "it does not begin with a key type, such as ssh-ed25519".to_owned()
}

const TYPE_CHARS_MAX: usize = 64;

fn is_base64(word: &str) -> bool {
    let of_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let digits = word.trim_end_matches('=');
    !word.is_empty() && digits.bytes().all(of_base64)
}

enum Fault {
    CutOff,
    OfAnotherType,
}

/// Returns how long the blob of a key is that begins with these bytes (RFC 4253 §6.6).
fn length(key_type: &str, bytes: &[u8]) -> Result<usize, Fault> {
    let (name, mut rest) = field(bytes).ok_or(Fault::CutOff)?;
    if name != key_type.as_bytes() {
        return Err(Fault::OfAnotherType);
    }
    for _ in 1..fields(key_type) {
        (_, rest) = field(rest).ok_or(Fault::CutOff)?;
    }
    Ok(bytes.len().saturating_sub(rest.len()))
}

fn length_of_whole(key_type: &str, blob: &[u8]) -> Option<usize> {
    let length = length(key_type, blob).ok()?;
    (length == blob.len()).then_some(length)
}

fn key_type_in(blob: &[u8]) -> Option<&'static str> {
    let (name, _) = field(blob)?;
    str::from_utf8(name).ok().and_then(key_type)
}

/// How many strings a blob has: its type, and what belongs to it.
fn fields(key_type: &str) -> usize {
    match key_type {
        "ssh-ed25519" => 2,
        "sk-ecdsa-sha2-nistp256@openssh.com" => 4,
        _ => 3,
    }
}

#[cfg(test)]
mod tests;
