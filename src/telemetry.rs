//! Log lines on standard error: for machines, for terminals, and for the first five minutes.
//!
//! Clients choose names, and libraries repeat what clients send. So every line of every format
//! passes [`OneLine`], where nothing is left that could begin another line or fool a terminal, and
//! every field has a longest length.
//!
//! A line is written by a thread of its own ([`sink`]): no disk and no reader of the log stops the
//! work.

mod filter;
mod room;
mod sink;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;
use std::panic;
use std::sync::OnceLock;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{self, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::filter::PANIC_TARGET;
pub use self::filter::{FilterError, parse_filter};
use self::room::Kind;
pub use self::room::LostLines;
use self::sink::{AUDIT_TARGET, Sink};
use crate::limits::LOG_FIELD_BYTES_MAX;

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
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error("logging was started before")]
    StartedBefore,
    #[error("no thread for the log: {0}")]
    Thread(#[from] io::Error),
}

/// Sends everything that is logged to standard error, until [`end`].
///
/// # Errors
/// The filter cannot be read, there is no thread, or logging was started before.
pub fn start(format: Format, filter: &str) -> Result<(), TelemetryError> {
    let filter = parse_filter(filter)?;
    let sink = Sink::start()?;
    subscriber(format, filter, sink.clone())
        .try_init()
        .map_err(|_| TelemetryError::StartedBefore)?;
    LOG.set(sink).map_err(|_| TelemetryError::StartedBefore)?;
    // The system's own report of a panic would wait for a reader of standard error.
    panic::set_hook(Box::new(|panicked| {
        let location = panicked.location().map(ToString::to_string);
        let cause = panicked.payload_as_str().unwrap_or_default();
        tracing::error!(target: PANIC_TARGET, location, cause, "a task panicked");
    }));
    Ok(())
}

/// Adds a line that is no event, such as the last words of a command that serves; says whether
/// there is a log.
#[must_use]
pub fn say(line: &str) -> bool {
    let Some(sink) = LOG.get() else {
        return false;
    };
    sink.push(Kind::Record, format!("{line}\n").as_bytes());
    true
}

/// Waits a little until what was logged is written.
pub fn end() {
    if let Some(sink) = LOG.get() {
        sink.end();
    }
}

/// Returns how many lines were lost since the start.
#[must_use]
pub fn lost_lines() -> LostLines {
    LOG.get().map(Sink::lost).unwrap_or_default()
}

/// Returns how many bytes of lines wait to be written.
#[must_use]
pub fn waiting_bytes() -> usize {
    LOG.get().map(Sink::waiting_bytes).unwrap_or_default()
}

fn subscriber<W>(format: Format, filter: EnvFilter, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // They would be printed, which panics where standard error cannot be written.
        .log_internal_errors(false)
        .with_ansi(false);
    match format {
        Format::Json => {
            let whole = format::format().json().flatten_event(true);
            let lines = lines.fmt_fields(JsonFields::new());
            Box::new(lines.event_format(OneLine::json(whole)).finish())
        }
        Format::Text => {
            let lines = lines.fmt_fields(Fields);
            Box::new(lines.event_format(OneLine::text(format::format())).finish())
        }
        Format::Readable => Box::new(lines.event_format(OneLine::text(Readable)).finish()),
    }
}

/// Writes what another format makes of an event as one line, whatever is in it.
#[derive(Debug)]
struct OneLine<F> {
    inner: F,
    json: bool,
}

impl<F> OneLine<F> {
    const fn json(inner: F) -> Self {
        Self { inner, json: true }
    }

    const fn text(inner: F) -> Self {
        Self { inner, json: false }
    }
}

impl<S, N, F> FormatEvent<S, N> for OneLine<F>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.inner
            .format_event(context, Writer::new(&mut text), event)?;
        let Some(line) = text.strip_suffix('\n') else {
            // An event of which this format says nothing.
            return Ok(());
        };
        let line = if self.json {
            bounded_json(line)
        } else {
            Cow::Borrowed(line)
        };
        writeln!(writer, "{}", escaped(&line, self.json))
    }
}

/// Escapes what is not to be seen as it is; in JSON it can only be inside strings.
fn escaped(line: &str, json: bool) -> Cow<'_, str> {
    if !line.contains(is_deceptive) {
        return Cow::Borrowed(line);
    }
    let mut text = String::with_capacity(line.len().saturating_add(16));
    for c in line.chars() {
        if !is_deceptive(c) {
            text.push(c);
        } else if json {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.extend(c.escape_default());
        }
    }
    Cow::Owned(text)
}

/// Says whether a character ends lines, steers terminals, or changes the order in which others are
/// shown.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Bounds the strings of a line of JSON, and leaves out where a library's code was built.
fn bounded_json(line: &str) -> Cow<'_, str> {
    if line.len() <= LOG_FIELD_BYTES_MAX && !line.contains("\"log.") {
        return Cow::Borrowed(line);
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        return bounded(line);
    };
    fields.retain(|name, _| !name.starts_with(FROM_LOG));
    for value in fields.values_mut() {
        if let Value::String(text) = value
            && let Cow::Owned(short) = bounded(text)
        {
            *text = short;
        }
    }
    Cow::Owned(Value::Object(fields).to_string())
}

/// Cuts what is longer than a field may be, and says how much was cut.
fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= LOG_FIELD_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(LOG_FIELD_BYTES_MAX);
    let more = text.len().saturating_sub(end);
    let kept = text.get(..end).unwrap_or_default();
    Cow::Owned(format!("{kept}… ({more} bytes more)"))
}

/// Writes `message key=value key="a value"`: no value looks like several.
#[derive(Debug)]
struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line::new(&[], true);
        fields.record(&mut line);
        let fields = if line.message.is_empty() {
            line.fields.trim_start()
        } else {
            &line.fields
        };
        write!(writer, "{}{fields}", line.message)
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
        let mut line = Line::new(&NOISE, false);
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
struct Line {
    message: String,
    fields: String,
    left_out: &'static [&'static str],
    /// Whether strings have quotes even where they need none.
    quoted: bool,
}

impl Line {
    const fn new(left_out: &'static [&'static str], quoted: bool) -> Self {
        Self {
            message: String::new(),
            fields: String::new(),
            left_out,
            quoted,
        }
    }

    fn add(&mut self, field: &Field, value: &str, quoted: bool) {
        let value = bounded(value);
        let name = field.name();
        if name == "message" {
            self.message.push_str(&value);
            return;
        }
        if name.starts_with(FROM_LOG) || self.left_out.contains(&name) {
            return;
        }
        // Writing to a string does not fail.
        let _ = if quoted || !is_plain(&value) {
            write!(self.fields, " {name}={value:?}")
        } else {
            write!(self.fields, " {name}={value}")
        };
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value, self.quoted);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"), false);
    }
}

/// Says whether a value can stand without quotes.
fn is_plain(value: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || matches!(c, '"' | '\\') || is_deceptive(c);
    !value.is_empty() && !value.contains(odd)
}

/// The log of this process.
static LOG: OnceLock<Sink> = OnceLock::new();

/// Fields that matter to a log store and not to a newcomer.
const NOISE: [&str; 6] = [
    "session_id",
    "request_id",
    "fingerprint",
    "activity",
    "etag",
    "location",
];

/// How fields begin that come with the lines of libraries that use the crate `log`.
const FROM_LOG: &str = "log.";

/// Keeps spans and writes nothing.
#[cfg(test)]
pub(crate) fn spans_alone() -> impl Subscriber + Send + Sync {
    tracing_subscriber::registry()
}

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
                text.ends_with("path=\"/in/a user=root\" bytes=1\n"),
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
