//! What a command line asks for (pure).

#![warn(clippy::arithmetic_side_effects)]

use super::sum::{self, of_program};
use super::words::{Uncut, Word, words};
use crate::config::Exec;
use crate::limits::{COMMAND_BYTES_MAX, COMMAND_WORDS_MAX};
use crate::transfer::Algorithm;

/// A command that is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command(pub(super) Act);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// `scp -t`: the client sends.
    Receive(Receive),
    /// `scp -f`: the client receives.
    Send(Send),
    Sums(Sums),
    /// `pwd`
    WorkingDirectory,
    /// `ls`
    List(List),
    /// What rclone asks to find out which shell it talks to.
    ShellProbe,
}

/// What a command expects of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Nothing.
    Unwanted,
    /// Short answers to what it is sent.
    Answers,
    /// As many bytes as it likes to send.
    Data,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receive {
    pub(super) target: Word,
    pub(super) is_recursive: bool,
    /// The target has to be a directory.
    pub(super) into_directory: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Send {
    pub(super) paths: Vec<Word>,
    pub(super) is_recursive: bool,
    pub(super) with_times: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) algorithm: Algorithm,
    pub(super) is_binary: bool,
    /// None: what the client sends.
    pub(super) paths: Vec<Word>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    pub(super) paths: Vec<Word>,
    pub(super) with_hidden: bool,
    pub(super) is_long: bool,
    /// Directories themselves, not what is in them.
    pub(super) themselves: bool,
}

/// Why a command is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRun {
    /// No command is.
    Off,
    /// It is none that the gateway knows, or that this configuration allows.
    Unknown {
        sums: bool,
    },
    /// It needs a shell.
    Shell,
    Unfinished,
    TooLong,
    ScpUsage,
    SumUsage,
    ListUsage,
}

impl NotRun {
    /// Returns the word for the log and the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "sftp-only",
            Self::Unknown { .. } => "unknown-command",
            Self::Shell => "shell-syntax",
            Self::Unfinished | Self::TooLong => "malformed",
            Self::ScpUsage | Self::SumUsage | Self::ListUsage => "usage",
        }
    }

    /// Returns what a person reads.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Off => "This server only speaks SFTP.\r\n",
            Self::Unknown { sums: false } => "This server only speaks SFTP and scp.\r\n",
            Self::Unknown { sums: true } => {
                "This server only speaks SFTP and scp, and knows the commands md5sum, sha1sum, \
                 sha256sum, sha512sum, ls and pwd.\r\n"
            }
            Self::Shell => {
                "This server has no shell: put names with ; & | < > ( ) $ # ` or line breaks in \
                 single quotes.\r\n"
            }
            Self::Unfinished => "A quote or backslash in the command has nothing behind it.\r\n",
            Self::TooLong => "The command is too long: name fewer files at once.\r\n",
            Self::ScpUsage => "usage: scp -t [-dprqv] path, or scp -f [-dprqv] path ...\r\n",
            Self::SumUsage => "usage: md5sum [-bt] [path ...]\r\n",
            Self::ListUsage => "usage: ls [-1Aadl] [path ...]\r\n",
        }
    }
}

impl Command {
    /// Understands a command line.
    ///
    /// # Errors
    /// It is none that is run.
    pub fn parse(line: &[u8], allowed: Exec) -> Result<Self, NotRun> {
        let sums = match allowed {
            Exec::Off => return Err(NotRun::Off),
            Exec::Scp => false,
            Exec::All => true,
        };
        if line.len() > COMMAND_BYTES_MAX {
            return Err(NotRun::TooLong);
        }
        if line == SHELL_PROBE && sums {
            return Ok(Self(Act::ShellProbe));
        }
        // What is unknown is said to be that, in whatever way it is written.
        let program = program(line);
        let algorithm = of_program(program);
        match (program, algorithm) {
            (b"scp", _) => {}
            (b"pwd" | b"ls", _) | (_, Some(_)) if sums => {}
            _ => return Err(NotRun::Unknown { sums }),
        }
        let mut words = words(line).map_err(|uncut| match uncut {
            Uncut::Shell => NotRun::Shell,
            Uncut::Unfinished => NotRun::Unfinished,
        })?;
        if words.is_empty() {
            return Err(NotRun::Unknown { sums });
        }
        if words.len() > COMMAND_WORDS_MAX {
            return Err(NotRun::TooLong);
        }
        let arguments = words.split_off(1);
        let act = match (program, algorithm) {
            (_, Some(algorithm)) => self::sums(algorithm, arguments)?,
            (b"ls", None) => list(arguments)?,
            (b"pwd", None) => Act::WorkingDirectory,
            (_, None) => scp(arguments)?,
        };
        Ok(Self(act))
    }

    /// Returns its name for the log and the metric.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match &self.0 {
            Act::Receive(_) => "scp -t",
            Act::Send(_) => "scp -f",
            Act::Sums(sums) => sum::program(sums.algorithm),
            Act::WorkingDirectory => "pwd",
            Act::List(_) => "ls",
            Act::ShellProbe => "echo",
        }
    }

    /// Returns what it expects of its client.
    pub(super) fn input(&self) -> Input {
        match &self.0 {
            Act::Receive(_) => Input::Data,
            Act::Send(_) => Input::Answers,
            Act::Sums(sums) if sums.paths.is_empty() => Input::Data,
            Act::Sums(sums) if sums.paths.iter().any(Word::is_dash) => Input::Data,
            Act::Sums(_) | Act::WorkingDirectory | Act::List(_) | Act::ShellProbe => {
                Input::Unwanted
            }
        }
    }

    /// Returns what its words take in memory, also as paths.
    pub(super) fn bytes(&self) -> usize {
        let words: &[Word] = match &self.0 {
            Act::Receive(receive) => std::slice::from_ref(&receive.target),
            Act::Send(send) => &send.paths,
            Act::Sums(sums) => &sums.paths,
            Act::List(list) => &list.paths,
            Act::WorkingDirectory | Act::ShellProbe => &[],
        };
        let bytes = words.iter().map(Word::bytes);
        bytes.fold(0, usize::saturating_add)
    }
}

/// Returns the name of a line's program, without the directory that it is said to be in.
fn program(line: &[u8]) -> &[u8] {
    let mut words = line.split(u8::is_ascii_whitespace);
    let first = words.find(|word| !word.is_empty()).unwrap_or_default();
    first.rsplit(|byte| *byte == b'/').next().unwrap_or(first)
}

/// Takes the letters of the options at the beginning, and leaves the operands.
fn options(arguments: &mut Vec<Word>) -> Vec<u8> {
    let mut letters = Vec::new();
    let mut taken = 0_usize;
    for word in &*arguments {
        match word.text.split_first() {
            Some((b'-', b"-")) => {
                taken = taken.saturating_add(1);
                break;
            }
            Some((b'-', cluster)) if !cluster.is_empty() => letters.extend_from_slice(cluster),
            Some(_) | None => break,
        }
        taken = taken.saturating_add(1);
    }
    arguments.drain(..taken);
    letters
}

fn scp(mut arguments: Vec<Word>) -> Result<Act, NotRun> {
    let letters = options(&mut arguments);
    let has = |letter| letters.contains(&letter);
    if letters.iter().any(|letter| !b"dfprtqv".contains(letter)) {
        return Err(NotRun::ScpUsage);
    }
    let (is_recursive, with_times) = (has(b'r'), has(b'p'));
    match (has(b't'), has(b'f'), &*arguments) {
        (true, false, [target]) => Ok(Act::Receive(Receive {
            target: target.clone(),
            is_recursive,
            into_directory: has(b'd'),
        })),
        (false, true, [_, ..]) => Ok(Act::Send(Send {
            paths: arguments,
            is_recursive,
            with_times,
        })),
        (true | false, ..) => Err(NotRun::ScpUsage),
    }
}

fn sums(algorithm: Algorithm, mut arguments: Vec<Word>) -> Result<Act, NotRun> {
    let letters = options(&mut arguments);
    if letters.iter().any(|letter| !b"bt".contains(letter)) {
        return Err(NotRun::SumUsage);
    }
    Ok(Act::Sums(Sums {
        algorithm,
        is_binary: letters.last() == Some(&b'b'),
        paths: arguments,
    }))
}

fn list(mut arguments: Vec<Word>) -> Result<Act, NotRun> {
    let letters = options(&mut arguments);
    if letters.iter().any(|letter| !b"1Aadl".contains(letter)) {
        return Err(NotRun::ListUsage);
    }
    let has = |letter| letters.contains(&letter);
    Ok(Act::List(List {
        paths: arguments,
        with_hidden: has(b'a') || has(b'A'),
        is_long: has(b'l'),
        themselves: has(b'd'),
    }))
}

/// It would print something else in PowerShell and in Windows' old shell.
const SHELL_PROBE: &[u8] = b"echo ${ShellId}%ComSpec%";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Result<Act, NotRun> {
        Command::parse(line.as_bytes(), Exec::All).map(|command| command.0)
    }

    fn word(text: &str) -> Word {
        Word {
            text: text.into(),
            pattern: None,
        }
    }

    #[test]
    fn scp_is_understood_with_the_options_that_clients_send() {
        let receive = |target: &str, is_recursive, into_directory| {
            Ok(Act::Receive(Receive {
                target: word(target),
                is_recursive,
                into_directory,
            }))
        };
        let send = |paths: &[&str], is_recursive, with_times| {
            Ok(Act::Send(Send {
                paths: paths.iter().copied().map(word).collect(),
                is_recursive,
                with_times,
            }))
        };
        for (line, expected) in [
            ("scp -t /in", receive("/in", false, false)),
            ("scp -v -r -p -d -t -- -in", receive("-in", true, true)),
            ("scp -qrdt 'a b'", receive("a b", true, true)),
            ("/usr/bin/scp -t ''", receive("", false, false)),
            ("scp -f a b", send(&["a", "b"], false, false)),
            ("scp -rpf ~/x", send(&["./x"], true, true)),
            ("scp -t", Err(NotRun::ScpUsage)),
            ("scp -t a b", Err(NotRun::ScpUsage)),
            ("scp -f", Err(NotRun::ScpUsage)),
            ("scp -t -f a", Err(NotRun::ScpUsage)),
            ("scp a host:b", Err(NotRun::ScpUsage)),
            ("scp -S evil -t a", Err(NotRun::ScpUsage)),
            ("scp -t a; rm -r /", Err(NotRun::Shell)),
            ("scp -t 'a", Err(NotRun::Unfinished)),
        ] {
            assert_eq!(parse(line), expected, "{line}");
        }
        let long = format!("scp -f {}", "x".repeat(COMMAND_BYTES_MAX));
        assert_eq!(parse(&long), Err(NotRun::TooLong));
        let many = format!("scp -f{}", " x".repeat(COMMAND_WORDS_MAX));
        assert_eq!(parse(&many), Err(NotRun::TooLong));
    }

    #[test]
    fn what_rclone_and_others_probe_for_is_known() {
        let sums = |algorithm, is_binary, paths: &[&str]| {
            Ok(Act::Sums(Sums {
                algorithm,
                is_binary,
                paths: paths.iter().copied().map(word).collect(),
            }))
        };
        assert_eq!(parse("md5sum"), sums(Algorithm::Md5, false, &[]));
        assert_eq!(
            parse(r"sha1sum /a\ b"),
            sums(Algorithm::Sha1, false, &["/a b"])
        );
        assert_eq!(
            parse("sha256sum -b -- -x"),
            sums(Algorithm::Sha256, true, &["-x"])
        );
        assert_eq!(parse("md5sum -c x"), Err(NotRun::SumUsage));
        assert_eq!(parse("pwd"), Ok(Act::WorkingDirectory));
        assert!(matches!(
            parse("ls -la /a"),
            Ok(Act::List(List { is_long: true, .. }))
        ));
        assert_eq!(parse("ls -R"), Err(NotRun::ListUsage));
        assert_eq!(parse("echo ${ShellId}%ComSpec%"), Ok(Act::ShellProbe));
        let unknown = Err(NotRun::Unknown { sums: true });
        for line in [
            "",
            " ",
            "echo x",
            "rm -r /",
            "b3sum",
            "A=b scp -t x",
            "bash -c 'x",
            "cd /;ls",
        ] {
            assert_eq!(parse(line), unknown, "{line}");
        }
    }

    #[test]
    fn only_what_is_allowed_is_run() {
        let parse = |line: &str, allowed| Command::parse(line.as_bytes(), allowed);
        for line in ["scp -t x", "md5sum", "echo ${ShellId}%ComSpec%"] {
            assert_eq!(parse(line, Exec::Off), Err(NotRun::Off));
        }
        assert!(parse("scp -t x", Exec::Scp).is_ok());
        for line in ["md5sum", "pwd", "ls", "echo ${ShellId}%ComSpec%"] {
            assert_eq!(parse(line, Exec::Scp), Err(NotRun::Unknown { sums: false }));
        }
    }

    proptest! {
        #[test]
        fn no_line_breaks_it(rest in prop::collection::vec(any::<u8>(), 0..60)) {
            for program in ["", "scp -t ", "scp -f ", "md5sum ", "ls "] {
                let line = [program.as_bytes(), &rest].concat();
                drop(Command::parse(&line, Exec::All));
            }
        }
    }
}
