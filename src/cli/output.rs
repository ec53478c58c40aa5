//! Words for people and pipes: the only place that prints.

use std::io::{self, IsTerminal as _, Write as _};
use std::thread;

use crate::config::without_colour;
use crate::telemetry::{self, Severity};

/// Writes to standard output; a pipe that nobody reads any more is no failure.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Writes lines that may begin with a verdict, which has a colour where a person looks on.
pub fn print_verdicts(text: &str) {
    let in_colour = io::stdout().is_terminal() && !without_colour();
    if in_colour {
        print(&coloured(text));
    } else {
        print(text);
    }
}

/// Gives the first word of each line its colour, if it is a verdict.
fn coloured(text: &str) -> String {
    let line = |line: &str| {
        let word = line.split([' ', '\n']).next().unwrap_or_default();
        let colour = match word {
            "ok" | "allowed" => "\x1b[32m",
            "advice" => "\x1b[33m",
            "WRONG" | "open" | "denied" | "unavailable" | "invalid" => "\x1b[31m",
            _ => return line.to_owned(),
        };
        let rest = line.strip_prefix(word).unwrap_or_default();
        format!("{colour}{word}\x1b[0m{rest}")
    };
    text.split_inclusive('\n').map(line).collect()
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

/// Where there is a log, standard error is its own, and may be stuck. Names of files and of users
/// come from elsewhere: a terminal must not take them for commands.
fn complain(severity: Severity, line: &str) {
    let shown = |c: char| {
        if c.is_control() && c != '\t' {
            '\u{fffd}'
        } else {
            c
        }
    };
    let line: String = line.chars().map(shown).collect();
    if !telemetry::say(severity, &line) {
        let kind = severity.as_str();
        drop(writeln!(io::stderr().lock(), "{kind}: {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_at_the_beginning_of_a_line_have_a_colour() {
        let text = "ok      speed\nWRONG   names denied\n  denied\nokay\ndenied";
        let expected = "\x1b[32mok\x1b[0m      speed\n\x1b[31mWRONG\x1b[0m   names denied\n  denied\n\
            okay\n\x1b[31mdenied\x1b[0m";
        assert_eq!(coloured(text), expected);
    }
}
