//! Passwords for commands: from a pipe or a file, never from the command line, which others see.

use std::io::{BufRead, IsTerminal as _, Read as _};

use zeroize::Zeroizing;

use super::{Failure, output};
use crate::limits;
use crate::secret::Secret;

/// Reads a password from standard input, without its last line break: everything up to the end,
/// or a line where a person types.
///
/// # Errors
/// It cannot be read, is no UTF-8, or is longer than a password may be.
pub(super) fn from_stdin() -> Result<Secret, Failure> {
    let stdin = std::io::stdin().lock();
    let password = if stdin.is_terminal() {
        output::warning("type the password (it is visible) and press Enter");
        line(stdin)
    } else {
        read(stdin)
    };
    password.map_err(|why| Failure::Usage(format!("--password-stdin: {why}")))
}

/// Reads a password from a file.
///
/// # Errors
/// As [`from_stdin`].
pub(super) fn from_file(path: &str) -> Result<Secret, Failure> {
    let failed = |why: String| Failure::Usage(format!("password file {path}: {why}"));
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    read(file).map_err(failed)
}

/// Takes a password out of a foreign text, also where JSON escapes it.
pub(super) fn redacted(text: &str, password: &Secret) -> String {
    password
        .taken_out_of(text)
        .unwrap_or_else(|| text.to_owned())
}

fn line(source: impl BufRead) -> Result<Secret, String> {
    let most = u64::try_from(limits::TOKEN_BYTES_MAX).unwrap_or(u64::MAX);
    let mut line = Zeroizing::new(Vec::with_capacity(limits::TOKEN_BYTES_MAX + 3));
    source
        .take(most.saturating_add(3))
        .read_until(b'\n', &mut line)
        .map_err(|error| error.to_string())?;
    read(&**line)
}

fn read(source: impl std::io::Read) -> Result<Secret, String> {
    // One more than is allowed, with a line break, shows that it is too long.
    let most = u64::try_from(limits::TOKEN_BYTES_MAX).unwrap_or(u64::MAX);
    let mut text = Zeroizing::new(String::with_capacity(limits::TOKEN_BYTES_MAX + 3));
    source
        .take(most.saturating_add(3))
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.len() > limits::TOKEN_BYTES_MAX {
        return Err(format!("longer than {most} bytes"));
    }
    Ok(Secret::new(password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_a_password() {
        let read = |text: &str| read(text.as_bytes()).map(|secret| secret.expose().to_owned());
        assert_eq!(read("tidal fern\r\n"), Ok("tidal fern".to_owned()));
        assert_eq!(read(" x \n\n"), Ok(" x \n".to_owned()));
        assert_eq!(read(""), Ok(String::new()));
        let typed = line("tidal fern\nmore\n".as_bytes()).unwrap();
        assert_eq!(typed.expose(), "tidal fern");
        assert!(read(&"x".repeat(16_385)).is_err());
        assert!(read(&format!("{}\r\n", "x".repeat(16_384))).is_ok());
    }
}
