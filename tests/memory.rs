//! Memory that the largest answers take: a process of its own, so that nothing else counts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use portcullis::idp::wire::{self, Asked, Transport};
use portcullis::idp::{AuthMethod, UserConfig};
use portcullis::limits::MAPPINGS_BYTES_MAX;
use serde_json::json;

#[test]
fn the_largest_mappings_stay_within_three_times_their_size() {
    let body = largest_answer();
    // What the parser needs for a moment is taken once and used again.
    let first = parse(&body);
    let before = resident_bytes();
    let kept: Vec<_> = (0..KEPT).map(|_| parse(&body)).collect();
    let each = (resident_bytes() - before) / KEPT;
    assert!(
        each <= 3 * MAPPINGS_BYTES_MAX,
        "{each} bytes for mappings of {MAPPINGS_BYTES_MAX}"
    );
    drop((first, kept));
}

const KEPT: usize = 8;

fn largest_answer() -> String {
    let mut details = String::new();
    for number in 0.. {
        let row = format!(
            "{{\"Entry\":\"/partners/p{number:05}/in\",\"Target\":\"/bucket/partners/p{number:05}/in\"}},"
        );
        if details.len() + row.len() > MAPPINGS_BYTES_MAX - 2 {
            break;
        }
        details.push_str(&row);
    }
    let details = format!("[{}]", details.trim_end_matches(','));
    json!({
        "Role": "arn:aws:iam::123456789012:role/transfer",
        "HomeDirectoryType": "LOGICAL",
        "HomeDirectoryDetails": details,
    })
    .to_string()
}

fn parse(body: &str) -> Arc<UserConfig> {
    let asked = Asked {
        username: "ann",
        method: AuthMethod::Password,
        accept_keys_with_password: false,
        path_homes: portcullis::idp::PathHomes::default(),
        fs_ids: &[],
        transport: Transport::Http,
        function_error: false,
    };
    wire::parse(asked, 200, body.as_bytes()).unwrap()
}

fn resident_bytes() -> usize {
    const PAGE: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * PAGE
}
