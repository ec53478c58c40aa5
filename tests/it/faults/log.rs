//! What the operator reads.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Keeps what is logged on this thread, which is where the test's gateway runs.
pub(super) struct Log {
    lines: Lines,
    _guard: DefaultGuard,
}

#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn begin() -> Self {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_env_filter(EnvFilter::new("info,portcullis=trace"))
            .with_writer(lines.clone())
            .finish();
        Self {
            lines,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    pub(super) fn text(&self) -> String {
        let lines = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8(lines.clone()).unwrap()
    }

    /// The lines with exactly this message.
    pub(super) fn all(&self, message: &str) -> Vec<Line> {
        self.text()
            .lines()
            .map(|line| Line(serde_json::from_str(line).unwrap()))
            .filter(|line| line.field("message") == message)
            .collect()
    }

    /// The only line with this message.
    pub(super) fn one(&self, message: &str) -> Line {
        let mut lines = self.all(message);
        assert_eq!(lines.len(), 1, "{message}: {}", self.text());
        lines.remove(0)
    }

    /// What sessions and their tasks write can be found by the session.
    pub(super) fn every_line_names_its_session(&self) {
        for line in self.text().lines() {
            let line = Line(serde_json::from_str(line).unwrap());
            let target = line.0["target"].as_str().unwrap();
            let of_sessions = ["audit", "session", "storage", "reaper"]
                .iter()
                .any(|module| target.starts_with(&format!("portcullis::{module}")));
            if of_sessions {
                assert_eq!(line.span("session_id").len(), 16, "{line:?}");
            }
        }
    }

    /// The only line with this message, which is one of the audit log.
    pub(super) fn audit(&self, message: &str) -> Line {
        let line = self.one(message);
        assert_eq!(line.0["target"], "portcullis::audit");
        line
    }
}

/// One line of the log.
#[derive(Debug, Clone)]
pub(super) struct Line(Value);

impl Line {
    /// Returns a field as text; empty if it is not there.
    pub(super) fn field(&self, name: &str) -> String {
        let field = &self.0["fields"][name];
        match field.as_str() {
            Some(text) => text.to_owned(),
            None if field.is_null() => String::new(),
            None => field.to_string(),
        }
    }

    /// Returns a field of the spans around the line.
    pub(super) fn span(&self, name: &str) -> &str {
        let spans = self.0["spans"].as_array().into_iter().flatten();
        let mut found = spans.filter_map(|span| span[name].as_str());
        found.next_back().unwrap_or_default()
    }

    pub(super) fn level(&self) -> &str {
        self.0["level"].as_str().unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
