//! Words for people and pipes: the only place that prints.

use std::io::{self, Write as _};

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
