//! The lines of the `scp` protocol (pure). It has no specification beside OpenSSH's `scp.c`.

#![warn(clippy::arithmetic_side_effects)]

use crate::sftp::Attributes;

/// What a sender says before and between files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// `C`: a file of so many bytes follows.
    File { size: u64, name: Vec<u8> },
    /// `D`: what follows, up to `E`, is in this directory.
    Directory { name: Vec<u8> },
    /// `E`
    End,
    /// `T`: the times of what comes next, in seconds since 1970.
    Times { modified: u32, accessed: u32 },
    /// It could not send something, and goes on.
    Warning,
    /// It ends.
    Fatal,
}

/// Why a line is not one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadRecord {
    Unknown,
    Mode,
    Size,
    Name,
    Times,
}

impl BadRecord {
    /// Returns what the client is told.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Unknown => "expected control record",
            Self::Mode => "bad mode",
            Self::Size => "bad size",
            Self::Name => "unexpected filename",
            Self::Times => "bad times",
        }
    }
}

/// Understands a line without its line break.
pub(super) fn parse(line: &[u8]) -> Result<Record, BadRecord> {
    let (kind, rest) = line.split_first().ok_or(BadRecord::Unknown)?;
    match kind {
        1 => Ok(Record::Warning),
        2 => Ok(Record::Fatal),
        b'E' if rest.is_empty() => Ok(Record::End),
        b'T' => times(rest).ok_or(BadRecord::Times),
        b'C' => named(rest).map(|(size, name)| Record::File { size, name }),
        b'D' => named(rest).map(|(_, name)| Record::Directory { name }),
        _ => Err(BadRecord::Unknown),
    }
}

/// Reads `0644 12 name`. The mode says nothing to S3, but has to be one.
fn named(rest: &[u8]) -> Result<(u64, Vec<u8>), BadRecord> {
    let mut fields = rest.splitn(3, |byte| *byte == b' ');
    let mode = fields.next().unwrap_or_default();
    let is_octal = mode.iter().all(|digit| (b'0'..=b'7').contains(digit));
    if !(3..=6).contains(&mode.len()) || !is_octal {
        return Err(BadRecord::Mode);
    }
    let size = fields.next().and_then(number).ok_or(BadRecord::Size)?;
    let name = fields.next().ok_or(BadRecord::Name)?;
    if !is_name(name) {
        return Err(BadRecord::Name);
    }
    Ok((size, name.to_vec()))
}

/// Reads `mtime 0 atime 0`.
fn times(rest: &[u8]) -> Option<Record> {
    let fields: Vec<_> = rest.split(|byte| *byte == b' ').map(number).collect();
    let &[
        Some(modified),
        Some(microseconds),
        Some(accessed),
        Some(others),
    ] = &*fields
    else {
        return None;
    };
    if microseconds > 999_999 || others > 999_999 {
        return None;
    }
    Some(Record::Times {
        modified: modified.try_into().ok()?,
        accessed: accessed.try_into().ok()?,
    })
}

/// Reads decimal digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    let is_decimal = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_decimal)?;
    text.parse().ok()
}

/// Says whether a name is one component that a line can carry.
pub(super) fn is_name(name: &[u8]) -> bool {
    let is_special = matches!(name, b"" | b"." | b"..");
    !is_special && !name.iter().any(|byte| *byte == b'/' || is_control(*byte))
}

const fn is_control(byte: u8) -> bool {
    byte.is_ascii_control()
}

// ---- what is sent ----

/// The line before a file's bytes.
pub(super) fn file(attrs: &Attributes, size: u64, name: &[u8]) -> Vec<u8> {
    let mode = attrs.permissions.unwrap_or(0o644) & 0o7777;
    line(format!("C{mode:04o} {size} ").as_bytes(), name)
}

/// The line before what is in a directory.
pub(super) fn directory(attrs: &Attributes, name: &[u8]) -> Vec<u8> {
    let mode = attrs.permissions.unwrap_or(0o755) & 0o7777;
    line(format!("D{mode:04o} 0 ").as_bytes(), name)
}

/// The line of times before either.
pub(super) fn times_of(attrs: &Attributes) -> Option<Vec<u8>> {
    // 1970 is what stands for no time, as directories have none.
    let (accessed, modified) = attrs.times.filter(|(_, modified)| *modified > 0)?;
    Some(line(format!("T{modified} 0 {accessed} 0").as_bytes(), b""))
}

fn line(head: &[u8], name: &[u8]) -> Vec<u8> {
    [head, name, b"\n"].concat()
}

/// The answer that something did not work, after which both go on.
pub(super) fn complaint(path: &[u8], reason: &str) -> Vec<u8> {
    [b"\x01", &*sentence("scp", path, reason)].concat()
}

/// A line for people: who says it, about what, and what is wrong.
pub(super) fn sentence(program: &str, path: &[u8], reason: &str) -> Vec<u8> {
    let mut line = format!("{program}: ").into_bytes();
    let shown = path.get(..SHOWN_BYTES_MAX).unwrap_or(path);
    // What moves a cursor or ends the line stays out of terminals.
    let shown = shown.iter();
    line.extend(shown.map(|byte| if is_control(*byte) { b'?' } else { *byte }));
    line.extend_from_slice(format!(": {reason}\n").as_bytes());
    line
}

const SHOWN_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sftp::FileType;

    #[test]
    fn lines_mean_what_they_mean_to_openssh() {
        let file = |size, name: &str| {
            Ok(Record::File {
                size,
                name: name.into(),
            })
        };
        for (line, expected) in [
            (&b"C0644 12 a b"[..], file(12, "a b")),
            (b"C00755 0 -", file(0, "-")),
            (b"C0644 18446744073709551615 x", file(u64::MAX, "x")),
            (b"C0644 18446744073709551616 x", Err(BadRecord::Size)),
            (b"C0644 -1 x", Err(BadRecord::Size)),
            (b"C0644 +1 x", Err(BadRecord::Size)),
            (b"C0644  x", Err(BadRecord::Size)),
            (b"C0948 1 x", Err(BadRecord::Mode)),
            (b"C 1 x", Err(BadRecord::Mode)),
            (b"C0644 1", Err(BadRecord::Name)),
            (b"C0644 1 ", Err(BadRecord::Name)),
            (b"C0644 1 ..", Err(BadRecord::Name)),
            (b"C0644 1 .", Err(BadRecord::Name)),
            (b"C0644 1 ../x", Err(BadRecord::Name)),
            (b"C0644 1 /x", Err(BadRecord::Name)),
            (b"C0644 1 a\x1b[2Jb", Err(BadRecord::Name)),
            (b"C0644 1 a\0b", Err(BadRecord::Name)),
            (b"D0755 0 d", Ok(Record::Directory { name: b"d".into() })),
            (b"D0755 0 ..", Err(BadRecord::Name)),
            (b"E", Ok(Record::End)),
            (b"Ex", Err(BadRecord::Unknown)),
            (
                b"T1700000000 0 1700000001 0",
                Ok(Record::Times {
                    modified: 1_700_000_000,
                    accessed: 1_700_000_001,
                }),
            ),
            (b"T1 1000000 1 0", Err(BadRecord::Times)),
            (b"T4294967296 0 1 0", Err(BadRecord::Times)),
            (b"T1 0 1", Err(BadRecord::Times)),
            (b"\x01scp: gone", Ok(Record::Warning)),
            (b"\x02", Ok(Record::Fatal)),
            (b"", Err(BadRecord::Unknown)),
            (b"hello", Err(BadRecord::Unknown)),
        ] {
            assert_eq!(parse(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn complaints_are_one_line_of_bounded_length() {
        let said = complaint(b"a\nb\x1b", "No such file");
        assert_eq!(said, b"\x01scp: a?b?: No such file\n");
        let long = complaint(&[b'x'; 5_000], "No such file");
        assert!(long.len() < 1_100 && long.ends_with(b"x: No such file\n"));
    }

    proptest! {
        #[test]
        fn what_is_sent_is_understood(
            name in "[a-c .é-]{1,10}", size in any::<u64>(), modified in 1..u32::MAX,
        ) {
            let attrs = Attributes::of(FileType::Regular, size, 0o644, modified);
            let cut = |mut line: Vec<u8>| {
                prop_assert_eq!(line.pop(), Some(b'\n'));
                Ok(parse(&line))
            };
            let name = name.into_bytes();
            let sent = cut(file(&attrs, size, &name))?;
            if is_name(&name) {
                prop_assert_eq!(sent, Ok(Record::File { size, name: name.clone() }));
                let sent = cut(directory(&attrs, &name))?;
                prop_assert_eq!(sent, Ok(Record::Directory { name }));
            } else {
                prop_assert_eq!(sent, Err(BadRecord::Name));
            }
            let times = Record::Times { modified, accessed: modified };
            prop_assert_eq!(cut(times_of(&attrs).unwrap())?, Ok(times));
        }

        #[test]
        fn names_of_files_are_single_components(line in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(Record::File { name, .. } | Record::Directory { name }) = parse(&line) {
                prop_assert!(is_name(&name) && !name.contains(&b'\n'));
            }
        }
    }
}
