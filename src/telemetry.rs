//! Log lines on standard error: for machines, for terminals, and for the first five minutes.
//!
//! Clients choose names, and libraries repeat what clients send. So every line of every format
//! passes through [`format`], where nothing is left that could begin another line or fool a terminal, and
//! every field has a longest length.
//!
//! A line is written by a thread of its own ([`sink`]): no disk and no reader of the log stops the
//! work.

mod filter;
mod format;
mod room;
mod sink;
mod text;

use std::io;
use std::panic;
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::filter::{FATAL_TARGET, PANIC_TARGET};
pub use self::filter::{FilterError, parse_filter};
pub use self::format::Format;
use self::format::{Lines, SpanFields};
use self::room::Kind;
pub use self::room::LostLines;
use self::sink::Sink;
use self::text::in_its_crate;

/// How bad something is that a command says at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    /// Returns the word before such a line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

#[derive(Debug)]
struct Log {
    sink: Sink,
    format: Format,
}

/// The lines could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error("logging was already started")]
    StartedBefore,
    #[error("no thread for the log: {0}")]
    Thread(#[from] io::Error),
}

/// Sends everything that is logged to standard error, until [`end`]; each line has the gateway's
/// name, unless it is empty.
///
/// # Errors
/// The filter cannot be read, there is no thread, or logging was started before.
pub fn start(format: Format, server_id: &str, filter: &str) -> Result<(), TelemetryError> {
    let filter = parse_filter(filter)?;
    let sink = Sink::start()?;
    subscriber(format, server_id, filter, sink.clone())
        .try_init()
        .map_err(|_| TelemetryError::StartedBefore)?;
    let log = Log { sink, format };
    LOG.set(log).map_err(|_| TelemetryError::StartedBefore)?;
    // The system's own report of a panic would wait for a reader of standard error.
    panic::set_hook(Box::new(|panicked| {
        let location = panicked.location();
        let location = location.map(|at| format!("{}:{}", in_its_crate(at.file()), at.line()));
        let cause = panicked.payload_as_str().unwrap_or_default();
        tracing::error!(target: PANIC_TARGET, location, cause, "a task panicked");
    }));
    Ok(())
}

/// Adds the last words of a command that serves, in the log's own format whatever its filter says;
/// returns whether there is a log.
#[must_use]
pub fn say(severity: Severity, text: &str) -> bool {
    let Some(log) = LOG.get() else {
        return false;
    };
    match (log.format, severity) {
        (Format::Readable, _) => {
            let line = format!("{}: {text}\n", severity.as_str());
            log.sink.push(Kind::Record, line.as_bytes());
        }
        (Format::Json | Format::Text, Severity::Error) => {
            tracing::error!(target: FATAL_TARGET, "{text}");
        }
        (Format::Json | Format::Text, Severity::Warning) => {
            tracing::warn!(target: FATAL_TARGET, "{text}");
        }
    }
    true
}

/// Waits a little until what was logged is written.
pub fn end() {
    if let Some(log) = LOG.get() {
        log.sink.end();
    }
}

/// Returns how many lines were lost since the start.
#[must_use]
pub fn lost_lines() -> LostLines {
    LOG.get().map(|log| log.sink.lost()).unwrap_or_default()
}

/// Returns how many bytes of lines wait to be written.
#[must_use]
pub fn waiting_bytes() -> usize {
    LOG.get()
        .map(|log| log.sink.waiting_bytes())
        .unwrap_or_default()
}

fn subscriber<W>(
    format: Format,
    server_id: &str,
    filter: EnvFilter,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // They would be printed, which panics where standard error cannot be written.
        .log_internal_errors(false)
        .with_ansi(false)
        .fmt_fields(SpanFields)
        .event_format(Lines::new(format, server_id));
    Box::new(lines.finish())
}

/// The log of this process.
static LOG: OnceLock<Log> = OnceLock::new();

/// Keeps spans and writes nothing.
#[cfg(test)]
pub(crate) fn spans_alone() -> impl Subscriber + Send + Sync {
    tracing_subscriber::registry()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use serde_json::Value;

    use super::sink::AUDIT_TARGET;
    use super::text::is_deceptive;
    use super::*;
    use crate::limits::LOG_FIELD_BYTES_MAX;

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
        let subscriber = subscriber(format, "s-1", filter, move || sink.clone());
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
    fn no_filter_that_means_something_else_hides_a_panic_or_the_audit_log() {
        let lines = || {
            tracing::error!(target: PANIC_TARGET, "a task panicked");
            tracing::info!(target: AUDIT_TARGET, "login allowed");
        };
        for filter in ["off", "portcullis=off", "error,portcullis=off", "warn"] {
            let text = logged(Format::Json, filter, lines);
            assert!(text.contains("a task panicked"), "{filter}: {text}");
            assert!(text.contains("login allowed"), "{filter}: {text}");
        }
        let named = "info,portcullis::panic=off,portcullis::audit=off";
        assert_eq!(logged(Format::Json, named, lines), "");
    }

    const FORMATS: [Format; 3] = [Format::Json, Format::Text, Format::Readable];

    /// What a client may put into a name to deceive a reader of the log.
    const DECEIT: &str =
        "a\nlogin allowed user=root\r\u{1b}[2J\u{7f}\u{85}\u{9b}\u{2028}\u{202e}\u{2066}\u{feff}";

    #[test]
    fn no_value_breaks_out_of_its_line_or_steers_a_terminal() {
        for format in FORMATS {
            let text = logged(format, "info", || {
                let span = tracing::info_span!("connection", user = DECEIT);
                let _entered = span.enter();
                tracing::warn!(target: AUDIT_TARGET, user = DECEIT, "quoted");
                tracing::warn!(target: AUDIT_TARGET, path = %DECEIT, "displayed");
                tracing::warn!(target: AUDIT_TARGET, "in the message: {DECEIT}");
            });
            assert_eq!(text.split('\n').count(), 4, "{format:?}: {text}");
            let shown = text.replace('\n', "");
            assert!(!shown.contains(is_deceptive), "{format:?}: {shown:?}");
            if format == Format::Json {
                let lines: Vec<Value> = text
                    .lines()
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect();
                assert_eq!(lines[0]["user"], DECEIT, "and nothing is lost");
                assert_eq!(lines[1]["path"], DECEIT);
            } else {
                let lines: Vec<_> = text.lines().collect();
                assert!(
                    lines[1].contains("path=\"a\\nlogin allowed user=root"),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn a_name_with_a_field_in_it_stays_one_value() {
        for format in [Format::Text, Format::Readable] {
            let text = logged(format, "info", || {
                tracing::warn!(path = %"/in/a user=root", bytes = 1, "uploaded");
            });
            assert!(
                text.ends_with("path=\"/in/a user=root\" bytes=1\n")
                    || text.ends_with("path=\"/in/a user=root\" bytes=1 server_id=\"s-1\"\n"),
                "{text}"
            );
        }
    }

    #[test]
    fn fields_have_a_longest_length() {
        for format in FORMATS {
            let long = "é".repeat(200_000);
            let text = logged(format, "russh=warn", || {
                tracing::warn!(target: "russh::server", path = %long, last = 1, "unknown {long}");
            });
            assert_eq!(text.lines().count(), 1);
            assert!(text.len() < 3 * LOG_FIELD_BYTES_MAX, "{}", text.len());
            assert_eq!(text.matches("bytes more").count(), 2, "{text}");
            assert!(text.contains("last"), "{text}");
        }
        let longest = "/".repeat(crate::limits::PATH_BYTES_MAX);
        let text = logged(
            Format::Json,
            "info",
            || tracing::info!(path = %longest, "made"),
        );
        assert!(text.contains(&longest), "a path is never cut");
    }

    #[test]
    fn json_lines_are_objects_with_the_fields_at_the_top() {
        let text = logged(Format::Json, "info", || {
            tracing::info!(target: AUDIT_TARGET, user = "ann", "login allowed");
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["user"], "ann");
        assert_eq!(line["message"], "login allowed");
        assert_eq!(line["target"], AUDIT_TARGET);
    }

    #[test]
    fn fields_of_spans_stand_at_the_top_and_once() {
        let log = || {
            let outer = tracing::info_span!("connection", source_ip = %"192.0.2.7", user = "?");
            outer.record("user", "ann");
            let _outer = outer.enter();
            let inner = tracing::info_span!("work", session_id = "7f3a");
            let _inner = inner.enter();
            tracing::info!(session_id = "99", bytes = 12, "uploaded");
        };
        let text = logged(Format::Json, "info", log);
        let line: Value = serde_json::from_str(&text).unwrap();
        for (name, value) in [
            ("source_ip", Value::from("192.0.2.7")),
            ("user", Value::from("ann")),
            ("session_id", Value::from("99")),
            ("bytes", Value::from(12)),
            ("server_id", Value::from("s-1")),
        ] {
            assert_eq!(line[name], value, "{text}");
            assert_eq!(text.matches(&format!("\"{name}\"")).count(), 1, "{text}");
        }
        assert!(line.get("span").is_none() && line.get("spans").is_none());
        let text = logged(Format::Text, "info", log);
        let expected = "uploaded session_id=\"99\" bytes=12 user=\"ann\" source_ip=192.0.2.7 \
            server_id=\"s-1\"\n";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn what_clients_make_the_ssh_library_say_is_not_heard_unless_it_is_named() {
        let log = || tracing::warn!(target: "russh::server::encrypted", "unknown channel request");
        assert_eq!(logged(Format::Json, "info", log), "");
        assert_eq!(
            logged(Format::Json, "info,russh=warn", log).lines().count(),
            1
        );
    }

    #[test]
    fn talkative_libraries_stay_at_warnings_unless_they_are_named() {
        let log = || {
            tracing::info!(target: "russh::server", "packet");
            tracing::warn!(target: "hyper::server", "odd request");
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
