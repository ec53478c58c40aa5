//! `portcullis hash-password`: from a password to the line that the file of users wants.

use std::io::{self, IsTerminal as _, Read as _};

use clap::Args;

use super::{Failure, output};
use crate::auth;
use crate::idp::static_file::PasswordHash;
use crate::limits;
use crate::secret::Secret;

/// Options of `hash-password`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    /// Make a bcrypt hash instead of argon2id, for files that other programs read as well.
    #[arg(long)]
    bcrypt: bool,
    /// Read the password from standard input, up to the end of its line, instead of the terminal.
    #[arg(long)]
    password_stdin: bool,
}

/// Prints the hash of one password.
///
/// # Errors
/// There is nowhere to ask, or the password is one that no login could use.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let password = if options.password_stdin {
        from_stdin()?
    } else {
        from_terminal()?
    };
    if let Some(fault) = auth::password_fault(password.expose(), limits::PASSWORD_BYTES_MAX) {
        return Err(Failure::Usage(fault.cause().to_owned()));
    }
    let hash = if options.bcrypt {
        PasswordHash::bcrypt(&password)
    } else {
        PasswordHash::argon2id(&password)
    };
    let hash = hash.map_err(|error| Failure::Run(error.to_string()))?;
    output::print(&format!("{hash}\n"));
    Ok(())
}

fn from_terminal() -> Result<Secret, Failure> {
    // Asking goes to the terminal itself, but a pipe means that nobody sits there to answer.
    if !io::stdin().is_terminal() {
        return Err(no_terminal());
    }
    let ask = |prompt: &str| {
        let answer = rpassword::prompt_password(prompt).map(Secret::new);
        answer.map_err(|_| no_terminal())
    };
    let password = ask("Password: ")?;
    if ask("The same again: ")?.expose() == password.expose() {
        Ok(password)
    } else {
        Err(Failure::Usage("the two passwords differ".to_owned()))
    }
}

fn no_terminal() -> Failure {
    Failure::Usage(
        "no terminal for a prompt; use --password-stdin to read the password from a pipe"
            .to_owned(),
    )
}

fn from_stdin() -> Result<Secret, Failure> {
    let failed = |error: io::Error| Failure::Run(format!("cannot read standard input: {error}"));
    // One byte more than a password may have, and a line end.
    let longest = limits::PASSWORD_BYTES_MAX.saturating_add(3);
    let mut input = io::stdin()
        .lock()
        .take(u64::try_from(longest).unwrap_or(u64::MAX));
    // Room for all of it: a buffer that grows leaves copies behind.
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(longest.saturating_add(32)));
    input.read_to_end(&mut bytes).map_err(failed)?;
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let rest = bytes.get(line.len()..).unwrap_or_default();
    if !matches!(rest, b"" | b"\n" | b"\r\n" | b"\r") {
        let message = "standard input has more than one line, or the password is too long";
        return Err(Failure::Usage(message.to_owned()));
    }
    match std::str::from_utf8(line) {
        Ok(password) => Ok(Secret::new(password.to_owned())),
        Err(_) => Err(Failure::Usage("the password is not UTF-8".to_owned())),
    }
}

const EXAMPLES: &str = "\
Examples:
  portcullis hash-password
  portcullis hash-password --password-stdin < password.txt

Put the hash into the users file (docs/static-users.md):
  [users.ann]
  password_hash = \"$argon2id$…\"";
