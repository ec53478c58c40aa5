//! The only place that prints: results to standard output, remarks to standard error. A closed
//! pipe is not an error of ours.

use std::io::Write as _;

/// Prints a result.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints a remark for the person at the terminal.
pub fn say_error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
