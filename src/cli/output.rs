//! The only place that prints: results to standard output, remarks to standard error. A closed
//! pipe is not an error of ours.

use std::io::Write as _;

/// Prints a result.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).unwrap_or_default();
}

/// Prints a remark for the person at the terminal.
pub fn say_error(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").unwrap_or_default();
}
