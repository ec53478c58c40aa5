//! Documents that are made out of the code say what the code says.
//!
//! `REGENERATE=1 cargo test --test documents` writes them anew.

use portcullis::config;
use portcullis::metrics::Metrics;

#[test]
fn configuration_lists_every_setting() {
    check("docs/configuration.md", &config::document());
}

#[test]
fn operations_list_every_metric() {
    let path = "docs/operations.md";
    let text = read(path);
    let (before, rest) = text.split_once(BEGIN).expect("the begin mark is there");
    let (_, after) = rest.split_once(END).expect("the end mark is there");
    let table = Metrics::document();
    check(path, &format!("{before}{BEGIN}\n{table}{END}{after}"));
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

const BEGIN: &str = "<!-- metrics: begin -->";
const END: &str = "<!-- metrics: end -->";
