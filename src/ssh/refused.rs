//! What a user asks for beside SFTP and does not get: a count, a line in the log, and a sentence
//! for the person at the other end.

use super::server::{Often, SshServer};
use crate::exec::NotRun;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Shell,
    Exec,
    /// Another subsystem than `sftp`.
    Subsystem,
    /// A channel for a session.
    Channel,
    /// A connection to somewhere else, or from there.
    Forwarding,
}

/// Why it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Because {
    SftpOnly,
    /// A command that is not run.
    NotRun(NotRun),
    /// The channel has a session, or what was asked for was answered.
    ChannelInUse,
    /// The connection has, or had, as many channels as it may.
    ChannelLimit,
    /// The client takes only tiny packets.
    PacketSize,
}

impl Asked {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Exec => "exec",
            Self::Subsystem => "subsystem",
            Self::Channel => "channel",
            Self::Forwarding => "port-forward",
        }
    }
}

impl Because {
    const fn as_str(self) -> &'static str {
        match self {
            Self::SftpOnly => "sftp-only",
            Self::NotRun(not_run) => not_run.as_str(),
            Self::ChannelInUse => "channel-in-use",
            Self::ChannelLimit => "channel-limit",
            Self::PacketSize => "packet-size",
        }
    }
}

/// Counts a refusal, and writes a line about it; `what` is the client's own word for it.
pub(super) fn note(server: &SshServer, asked: Asked, because: Because, what: Option<&str>) {
    let (operation, reason) = (asked.as_str(), because.as_str());
    server.metrics().operation_refused(operation, reason);
    if let Some(unlogged) = server.line_due(Often::Refused) {
        let unlogged = (unlogged > 0).then_some(unlogged);
        tracing::info!(
            target: "portcullis::audit", operation, reason, what, unlogged, "operation refused"
        );
    }
}

/// Returns the name of a command's program, without its arguments, which may be secrets.
pub(super) fn program(command: &[u8]) -> String {
    let mut words = command.split(u8::is_ascii_whitespace);
    // `NAME=value program` sets a variable first, which may be a secret as well.
    let first = words.find(|word| !word.is_empty() && !word.contains(&b'='));
    let first = first.unwrap_or_default();
    let shown = first.get(..PROGRAM_BYTES_MAX).unwrap_or(first);
    String::from_utf8_lossy(shown).into_owned()
}

/// Returns what a person reads whose command is not run.
pub(super) fn sentence(program: &str, not_run: Option<NotRun>) -> &'static str {
    match (program.rsplit('/').next(), not_run) {
        (Some("scp"), Some(NotRun::Off)) => SCP,
        (_, Some(not_run)) => not_run.sentence(),
        (_, None) => SFTP_ONLY,
    }
}

/// What a person reads who asks for a shell.
pub(super) const SFTP_ONLY: &str = "This server only speaks SFTP.\r\n";
const SCP: &str = "SFTP only: use scp without -O\r\n";
const PROGRAM_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_known_by_its_program_alone() {
        for (command, expected, told) in [
            (&b"scp -t -- /in"[..], "scp", SCP),
            (b"/usr/bin/scp -f a", "/usr/bin/scp", SCP),
            (b"mysql -psecret", "mysql", SFTP_ONLY),
            (b" PGPASSWORD=walnut psql -l", "psql", SFTP_ONLY),
            (b"A=walnut", "", SFTP_ONLY),
            (b"", "", SFTP_ONLY),
        ] {
            assert_eq!(program(command), expected);
            let told_off = sentence(&program(command), Some(NotRun::Off));
            assert_eq!(told_off, told, "{expected}");
        }
        assert_eq!(program(&[b'x'; 1_000]).len(), PROGRAM_BYTES_MAX);
    }
}
