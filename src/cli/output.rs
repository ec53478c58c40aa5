//! Words for people and pipes: the only place that prints.

use std::io::{self, IsTerminal as _, Write as _};

/// Writes to standard output; a pipe that nobody reads any more is no failure.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Writes what went wrong to standard error, a line for each thing.
pub fn error(text: &str) {
    let mut out = io::stderr().lock();
    for line in text.lines() {
        drop(writeln!(out, "error: {line}"));
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
    let mut out = io::stderr().lock();
    drop(writeln!(out, "warning: {text}"));
}
