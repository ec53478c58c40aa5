//! Log lines on standard error: for machines, for terminals, and for the first five minutes.

use std::fmt::{self, Write as _};
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One object a line.
    Json,
    /// One line with time, level and fields.
    Text,
    /// Who logged in and what moved, and warnings: nothing else, and no times.
    Readable,
}

/// The lines could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log filter {filter:?}: {source}; allowed: a level, or info,portcullis::session=debug")]
    Filter {
        filter: Box<str>,
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("logging was started before")]
    StartedBefore,
}

/// Sends everything that is logged to standard error, until the process ends.
///
/// # Errors
/// The filter cannot be read, or logging was started before.
pub fn start(format: Format, filter: &str) -> Result<(), TelemetryError> {
    let filter = parse_filter(filter)?;
    subscriber(format, filter, io::stderr)
        .try_init()
        .map_err(|_| TelemetryError::StartedBefore)
}

/// Reads a filter; libraries that talk about every packet stay at warnings unless it names them.
///
/// # Errors
/// The filter cannot be read.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    let quiet = QUIET
        .iter()
        .filter(|name| !filter.contains(**name))
        .map(|name| format!("{name}=warn,"));
    let directives: String = quiet.chain([filter.to_owned()]).collect();
    EnvFilter::try_new(directives).map_err(|source| TelemetryError::Filter {
        filter: filter.into(),
        source,
    })
}

fn subscriber<W>(format: Format, filter: EnvFilter, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        Format::Json => Box::new(lines.json().flatten_event(true).finish()),
        Format::Text => Box::new(lines.with_ansi(false).finish()),
        Format::Readable => Box::new(lines.with_ansi(false).event_format(Readable).finish()),
    }
}

/// Writes `what happened · key=value key=value`, and only what a newcomer wants to see.
#[derive(Debug)]
struct Readable;

impl<S, N> FormatEvent<S, N> for Readable
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let loud = *metadata.level() <= Level::WARN;
        if !loud && metadata.target() != AUDIT_TARGET {
            return Ok(());
        }
        let mut line = Line::default();
        event.record(&mut line);
        let mark = if loud { "! " } else { "" };
        if line.fields.is_empty() {
            writeln!(writer, "{mark}{}", line.message)
        } else {
            writeln!(writer, "{mark}{} ·{}", line.message, line.fields)
        }
    }
}

/// One event's words.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => self.message.write_fmt(value),
            name if NOISE.contains(&name) => Ok(()),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if !value
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '"')
        {
            self.add(field, format_args!("{value}"));
        } else {
            self.add(field, format_args!("{value:?}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

/// Where the lines of record go.
const AUDIT_TARGET: &str = "portcullis::audit";

/// Fields that matter to a log store and not to a newcomer.
const NOISE: [&str; 6] = [
    "session_id",
    "request_id",
    "fingerprint",
    "activity",
    "etag",
    "location",
];

/// Libraries that log every packet, call or frame.
const QUIET: [&str; 9] = [
    "russh",
    "aws_config",
    "aws_sdk_s3",
    "aws_smithy",
    "h2",
    "hyper",
    "reqwest",
    "rustls",
    "s3s",
];

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            text.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str, log: impl FnOnce()) -> String {
        let captured = Captured::default();
        let sink = captured.clone();
        let filter = parse_filter(filter).unwrap();
        let subscriber = subscriber(format, filter, move || sink.clone());
        tracing::subscriber::with_default(subscriber, log);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn readable_lines_tell_of_logins_transfers_and_warnings_alone() {
        let text = logged(Format::Readable, "info", || {
            tracing::info!(target: AUDIT_TARGET, user = "ann", session_id = "7f3a", "login allowed");
            tracing::info!(target: AUDIT_TARGET, path = "/in/a b.csv", bytes = 12, "uploaded");
            tracing::info!("listening");
            tracing::warn!("something is slow");
        });
        assert_eq!(
            text,
            "login allowed · user=ann\nuploaded · path=\"/in/a b.csv\" bytes=12\n! something is slow\n"
        );
    }

    #[test]
    fn a_value_cannot_break_out_of_its_line() {
        let text = logged(Format::Readable, "info", || {
            tracing::info!(target: AUDIT_TARGET, user = "a\nlogin allowed", "login refused");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn json_lines_are_objects_with_the_fields_at_the_top() {
        let text = logged(Format::Json, "info", || {
            tracing::info!(target: AUDIT_TARGET, user = "ann", "login allowed");
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["user"], "ann");
        assert_eq!(line["message"], "login allowed");
        assert_eq!(line["target"], AUDIT_TARGET);
    }

    #[test]
    fn talkative_libraries_stay_at_warnings_unless_they_are_named() {
        let log = || {
            tracing::info!(target: "russh::server", "packet");
            tracing::warn!(target: "russh::server", "odd packet");
        };
        assert_eq!(logged(Format::Text, "debug", log).lines().count(), 1);
        assert_eq!(
            logged(Format::Text, "debug,russh=debug", log)
                .lines()
                .count(),
            2
        );
        assert!(parse_filter("debug,=nonsense=").is_err());
    }
}
