//! Words for people and pipes: the only place that prints.

use std::io::{self, IsTerminal as _, Write as _};
use std::thread;

use crate::telemetry::{self, Severity};

/// Writes to standard output; a pipe that nobody reads any more is no failure.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Writes to standard output while something is served: nobody waits until it is read.
pub fn announce(text: String) {
    let announcing = thread::Builder::new().name("announcement".to_owned());
    drop(announcing.spawn(move || print(&text)));
}

/// Writes what went wrong to standard error, a line for each thing.
pub fn error(text: &str) {
    for line in text.lines() {
        complain(Severity::Error, line);
    }
}

/// Shows how far long work is, in place, if a person looks on; an empty text wipes the line.
pub fn progress(text: &str) {
    let mut out = io::stderr().lock();
    if out.is_terminal() {
        drop(write!(out, "\r\x1b[K{text}").and_then(|()| out.flush()));
    }
}

/// Writes what somebody should know to standard error.
pub fn warning(text: &str) {
    complain(Severity::Warning, text);
}

/// Where there is a log, standard error is its own, and may be stuck.
fn complain(severity: Severity, line: &str) {
    if !telemetry::say(severity, line) {
        let kind = severity.as_str();
        drop(writeln!(io::stderr().lock(), "{kind}: {line}"));
    }
}
