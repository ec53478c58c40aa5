//! How a line looks: one flat record of an event's own fields, then those of the spans around it,
//! each once.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::sink::AUDIT_TARGET;
use super::text::{bounded, escaped, is_plain};

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

/// Writes an event as one line, whatever is in it.
#[derive(Debug)]
pub(super) struct Lines {
    format: Format,
    /// Stands in every record; empty: it does not.
    server_id: Box<str>,
}

/// Keeps the fields of a span, for the lines in it.
#[derive(Debug)]
pub(super) struct SpanFields;

/// One event's words.
#[derive(Debug, Default)]
struct Record {
    message: String,
    /// What a library that uses the crate `log` says of where it comes from.
    target: Option<String>,
    fields: Vec<(String, Shown)>,
}

/// A field's value.
#[derive(Debug, Clone, PartialEq)]
enum Shown {
    Text(String),
    /// Displayed, such as an address: without quotes where it needs none.
    Plain(String),
    Other(Value),
}

impl Lines {
    pub(super) fn new(format: Format, server_id: &str) -> Self {
        Self {
            format,
            server_id: server_id.into(),
        }
    }

    /// Returns the line; `None`: this format says nothing of the event.
    fn line<S, N>(&self, context: &FmtContext<'_, S, N>, event: &Event<'_>) -> Option<String>
    where
        S: Subscriber + for<'s> LookupSpan<'s>,
        N: for<'w> FormatFields<'w> + 'static,
    {
        let metadata = event.metadata();
        if self.format == Format::Readable {
            return readable(event);
        }
        let mut record = Record::of(event);
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                record.add_span(fields);
            }
        }
        if !self.server_id.is_empty() {
            let server_id = Shown::Text(self.server_id.as_ref().to_owned());
            record.add_if_new("server_id", server_id);
        }
        let mut time = String::new();
        // Without a clock a line has no time; it is written all the same.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let target = record.target.take();
        let target = target.as_deref().unwrap_or_else(|| metadata.target());
        Some(match self.format {
            Format::Json => record.json(&time, *metadata.level(), target),
            Format::Text | Format::Readable => record.text(&time, *metadata.level(), target),
        })
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self.line(context, event) {
            Some(line) => writeln!(writer, "{}", escaped(&line, self.format == Format::Json)),
            None => Ok(()),
        }
    }
}

/// Writes one object for each time that fields are recorded.
impl<'w> FormatFields<'w> for SpanFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut record = Record::default();
        fields.record(&mut record);
        let mut kept = Map::new();
        for (name, shown) in record.fields {
            let value = match shown {
                Shown::Text(text) => Value::String(text),
                Shown::Plain(text) => Value::Array(vec![Value::String(text)]),
                Shown::Other(value) => value,
            };
            kept.insert(name, value);
        }
        write!(writer, "{}", Value::Object(kept))
    }
}

impl Record {
    fn of(event: &Event<'_>) -> Self {
        let mut record = Self::default();
        event.record(&mut record);
        record
    }

    /// Adds what [`SpanFields`] kept; what was recorded last stands.
    fn add_span(&mut self, kept: &str) {
        let objects = serde_json::Deserializer::from_str(kept).into_iter::<Map<String, Value>>();
        let objects: Vec<_> = objects.filter_map(Result::ok).collect();
        for (name, value) in objects.into_iter().rev().flatten() {
            let shown = match value {
                Value::String(text) => Shown::Text(text),
                Value::Array(mut one) => match one.pop() {
                    Some(Value::String(text)) => Shown::Plain(text),
                    Some(value) => Shown::Other(value),
                    None => continue,
                },
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                    Shown::Other(value)
                }
            };
            self.add_if_new(&name, shown);
        }
    }

    fn add_if_new(&mut self, name: &str, shown: Shown) {
        if !self.fields.iter().any(|(there, _)| there == name) {
            self.fields.push((name.to_owned(), shown));
        }
    }

    fn json(self, time: &str, level: Level, target: &str) -> String {
        let mut line = String::from("{");
        let head = [
            ("timestamp", time),
            ("level", level.as_str()),
            ("target", target),
            ("message", &self.message),
        ];
        for (name, value) in head {
            json_field(&mut line, name, &Value::from(value));
        }
        for (name, shown) in self.fields {
            let value = match shown {
                Shown::Text(text) | Shown::Plain(text) => Value::String(text),
                Shown::Other(value) => value,
            };
            json_field(&mut line, &name, &value);
        }
        line.push('}');
        line
    }

    fn text(&self, time: &str, level: Level, target: &str) -> String {
        let mut line = format!("{time} {level:>5} {target}: {}", self.message);
        for (name, shown) in &self.fields {
            text_field(&mut line, name, shown, true);
        }
        line
    }

    fn add(&mut self, field: &Field, shown: Shown) {
        let name = field.name();
        match (name, shown) {
            ("message", Shown::Text(text) | Shown::Plain(text)) => self.message.push_str(&text),
            ("log.target", Shown::Text(text) | Shown::Plain(text)) => self.target = Some(text),
            (_, shown) if !name.starts_with(FROM_LOG) => {
                self.fields.push((name.to_owned(), shown));
            }
            (_, _) => {}
        }
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Shown::Text(bounded(value).into_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.add(field, Shown::Plain(bounded(&text).into_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Shown::Other(value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Shown::Other(value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Shown::Other(value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Shown::Other(value.into()));
    }
}

/// Returns `what happened · key=value key=value`, and only what a newcomer wants to see.
fn readable(event: &Event<'_>) -> Option<String> {
    let metadata = event.metadata();
    let loud = *metadata.level() <= Level::WARN;
    if !loud && metadata.target() != AUDIT_TARGET {
        return None;
    }
    let record = Record::of(event);
    let mut fields = String::new();
    for (name, shown) in &record.fields {
        if !NOISE.contains(&name.as_str()) {
            text_field(&mut fields, name, shown, false);
        }
    }
    let (mark, message) = (if loud { "! " } else { "" }, record.message);
    Some(if fields.is_empty() {
        format!("{mark}{message}")
    } else {
        format!("{mark}{message} ·{fields}")
    })
}

fn json_field(line: &mut String, name: &str, value: &Value) {
    if line.len() > 1 {
        line.push(',');
    }
    // Writing to a string does not fail.
    let _ = write!(line, "{}:{value}", Value::from(name));
}

/// Adds ` name=value` or ` name="a value"`: no value looks like several. `quoted`: texts have
/// quotes even where they need none.
fn text_field(line: &mut String, name: &str, shown: &Shown, quoted: bool) {
    // Writing to a string does not fail.
    let _ = match shown {
        Shown::Other(value) => write!(line, " {name}={value}"),
        Shown::Text(text) if quoted || !is_plain(text) => write!(line, " {name}={text:?}"),
        Shown::Plain(text) if !is_plain(text) => write!(line, " {name}={text:?}"),
        Shown::Text(text) | Shown::Plain(text) => write!(line, " {name}={text}"),
    };
}

/// Fields that matter to a log store and not to a newcomer.
const NOISE: [&str; 12] = [
    "session_id",
    "request_id",
    "fingerprint",
    "activity",
    "etag",
    "location",
    "bucket",
    "key",
    "from_version_id",
    "to_bucket",
    "to_key",
    "checksum",
];

/// How fields begin that come with the lines of libraries that use the crate `log`.
const FROM_LOG: &str = "log.";
