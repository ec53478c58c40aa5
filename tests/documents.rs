//! Documents that are made out of the code say what the code says.
//!
//! `REGENERATE=1 cargo test --test documents` writes them anew.

use std::collections::BTreeSet;

use portcullis::config;
use portcullis::idp::warning;
use portcullis::metrics::Metrics;
use portcullis::refusal::{self, Reason};

#[test]
fn configuration_lists_every_setting() {
    check("docs/configuration.md", &config::document());
}

#[test]
fn operations_list_every_metric() {
    check_between("docs/operations.md", "metrics", &Metrics::document());
}

/// One test, since each writes the file anew.
#[test]
fn troubleshooting_lists_every_reason_and_every_warning() {
    check_between("docs/troubleshooting.md", "reasons", &refusal::document());
    check_between("docs/troubleshooting.md", "warnings", &warning::document());
}

/// The compiler sees that each reason has a row; that somebody gives it, it does not see.
#[test]
fn every_reason_is_given_by_somebody() {
    let is_judge = |path: &str| !path.starts_with("src/refusal/") && !path.ends_with("/tests.rs");
    let sources = sources().into_iter().filter(|(path, _)| is_judge(path));
    let code: Vec<String> = sources
        .map(|(_, text)| text.split("#[cfg(test)]").next().unwrap_or("").to_owned())
        .collect();
    let code = code.concat();
    let given: BTreeSet<&str> = code
        .split("Reason::")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next())
        .collect();
    for reason in Reason::ALL {
        let name = format!("{reason:?}");
        assert!(given.contains(&*name), "nobody refuses for {name}");
    }
}

#[test]
fn troubleshooting_quotes_lines_that_are_logged() {
    let text = read("docs/troubleshooting.md");
    let code: String = sources().into_iter().map(|(_, text)| text).collect();
    let rows = text
        .split("## Reasons")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("---"));
    let mut quoted = 0;
    for row in rows {
        let line = row.split(" | ").nth(1).unwrap_or_default();
        let Some(message) = line
            .strip_prefix('`')
            .and_then(|line| line.split('`').next())
        else {
            continue;
        };
        quoted += 1;
        assert!(
            code.contains(&format!("\"{message}")),
            "nobody logs {message:?}"
        );
    }
    assert!(quoted > 8, "{quoted}");
}

/// Compares what stands between two marks.
fn check_between(path: &str, name: &str, table: &str) {
    let (begin, end) = (
        format!("<!-- {name}: begin -->"),
        format!("<!-- {name}: end -->"),
    );
    let text = read(path);
    let (before, rest) = text.split_once(&begin).expect("the begin mark is there");
    let (_, after) = rest.split_once(&end).expect("the end mark is there");
    check(path, &format!("{before}{begin}\n{table}{end}{after}"));
}

/// Returns all modules with their paths.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec!["src".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(in_repository(&folder)).expect("a folder can be read") {
            let entry = entry.expect("a folder can be read");
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.ends_with(".rs") {
                let text = read(&path);
                found.push((path, text));
            }
        }
    }
    found
}

fn check(path: &str, expected: &str) {
    if regenerate() {
        std::fs::write(in_repository(path), expected).expect("the document can be written");
    }
    assert!(
        read(path) == expected,
        "{path} is out of date; run: REGENERATE=1 cargo test --test documents"
    );
}

#[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
fn regenerate() -> bool {
    std::env::var("REGENERATE").is_ok_and(|value| value == "1")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(in_repository(path)).unwrap_or_default()
}

fn in_repository(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}
