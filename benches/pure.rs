//! The parts without I/O: answers of identity providers, places of paths.
//!
//! `cargo bench --bench pure`

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use divan::Bencher;
use portcullis::idp::wire::{self, Asked, Transport};
use portcullis::idp::{AuthMethod, UserConfig};
use portcullis::limits::MAPPINGS_BYTES_MAX;
use portcullis::vfs::VirtualPath;
use serde_json::json;

fn main() {
    divan::main();
}

/// As many mappings as an answer may have, as the JSON text that Transfer Family wants.
fn largest_details() -> String {
    let mut text = String::from("[");
    for number in 0.. {
        let row = format!(
            "{{\"Entry\":\"/partners/p{number:05}/in\",\"Target\":\"/bucket-{}/partners/p{number:05}/in\"}},",
            number % 3
        );
        if text.len() + row.len() > MAPPINGS_BYTES_MAX {
            break;
        }
        // Writing to a string does not fail.
        let _ = text.write_str(&row);
    }
    text.pop();
    text.push(']');
    text
}

fn transfer(details: &str) -> String {
    json!({
        "Role": "arn:aws:iam::123456789012:role/transfer",
        "HomeDirectoryType": "LOGICAL",
        "HomeDirectoryDetails": details,
    })
    .to_string()
}

fn plain() -> String {
    json!({
        "allow": true,
        "mappings": [
            {"entry": "/in", "target": "/bucket/ann/in", "access": "write"},
            {"entry": "/out", "target": "/bucket/ann/out", "access": "read"},
        ],
        "networks": ["203.0.113.0/24"],
        "limits": {"sessions": 4},
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
    match wire::parse(asked, 200, body.as_bytes()) {
        Ok(config) => config,
        other => unreachable!("{other:?}"),
    }
}

#[divan::bench]
fn a_small_plain_answer(bencher: Bencher<'_, '_>) {
    let body = plain();
    bencher.bench(|| parse(black_box(&body)));
}

#[divan::bench]
fn a_small_answer_of_transfer_family(bencher: Bencher<'_, '_>) {
    let body = transfer(r#"[{"Entry":"/","Target":"/bucket/${transfer:UserName}"}]"#);
    bencher.bench(|| parse(black_box(&body)));
}

#[divan::bench(sample_count = 20)]
fn the_largest_answer(bencher: Bencher<'_, '_>) {
    let body = transfer(&largest_details());
    bencher.bench_local(|| parse(black_box(&body)));
}

#[divan::bench]
fn a_place_among_thousands(bencher: Bencher<'_, '_>) {
    let config = parse(&transfer(&largest_details()));
    let path = VirtualPath::parse("/partners/p01234/in/some/file.txt").expect("a normal path");
    bencher.bench(|| config.home.place(black_box(&path)).is_ok());
}
