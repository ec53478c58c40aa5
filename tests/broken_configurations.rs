//! Forty configurations and more that are broken as people break them, and what `check-config` and
//! `test-identity-provider` say about each. The texts stand in a file, to be read by a person: what
//! was found, what is allowed, what to change.
//!
//! `REGENERATE=1 cargo test --test broken_configurations` writes them anew.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

#[test]
fn what_is_said_about_broken_configurations_is_what_was_read_and_found_good() {
    let text = std::fs::read_to_string(FILE).expect("the file is there");
    let service = serve();
    let mut said = String::new();
    let mut cases = 0;
    let (preface, all) = text.split_once("\n=== ").expect("there are cases");
    for case in all.split("\n=== ") {
        let (given, _) = case.split_once("\n---\n").expect("its end is marked");
        let output = outcome(given, service);
        said.extend(["\n=== ", given, "\n---\n", &output]);
        cases += 1;
    }
    assert!(cases >= 40, "{cases}");
    let said = format!("{preface}{said}");
    if regenerate() {
        std::fs::write(FILE, &said).expect("it can be written");
        return;
    }
    for (line, (was, is)) in text.lines().zip(said.lines()).enumerate() {
        let line = line + 1;
        assert_eq!(was, is, "{FILE}:{line}: run with REGENERATE=1, and read it");
    }
    assert_eq!(text.len(), said.len(), "{FILE}: its end");
}

/// Runs one case: the first line is its name, the second the command, the rest files, each below
/// `> its name`.
fn outcome(given: &str, service: SocketAddr) -> String {
    let directory = tempfile::tempdir().expect("there is room");
    let mut parts = given.split("\n> ");
    let head = parts.next().unwrap_or_default();
    let (_, command) = head.split_once("\n$ ").expect("it has a command");
    for part in parts {
        let (name, text) = part.split_once('\n').unwrap_or((part, ""));
        let text = text
            .replace("http://nobody", "http://127.0.0.1:1")
            .replace("://service", &format!("://{service}"));
        std::fs::write(directory.path().join(name), text).expect("it can be written");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(command.split(' '))
        .current_dir(directory.path())
        .env_clear()
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let typed = child.stdin.take().expect("it can be typed to");
    // A command that refuses its configuration reads nothing.
    drop({ typed }.write_all(b"s3cret\n"));
    let output = child.wait_with_output().expect("it ends");
    let root = directory.path().to_string_lossy().into_owned();
    let printed: String = [output.stdout, output.stderr]
        .iter()
        .map(|bytes| String::from_utf8_lossy(bytes).replace(&root, "DIRECTORY"))
        .collect();
    let mut text = format!("exit {}\n", output.status.code().unwrap_or_default());
    for line in printed.lines().map(str::trim_end) {
        text.push_str(&without_times(line, service));
        text.push('\n');
    }
    text
}

/// Leaves out what is another one each time.
fn without_times(line: &str, service: SocketAddr) -> String {
    let line = line.replace(&service.to_string(), "service");
    if line.starts_with("  timing ") {
        return "  timing    …".to_owned();
    }
    match line.rsplit_once(" · ") {
        Some((rest, time)) if time.ends_with(" ms") => format!("{rest} · … ms"),
        _ => line,
    }
}

/// Starts a service that answers as `ANSWERS` says.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

/// Answers one request, or closes the connection of somebody who has none.
fn answer(stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    if reader.fill_buf().ok()?.first() != Some(&b'P') {
        // Bytes that are no HTTP are answered as most servers do.
        (&stream)
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .ok()?;
        stream.shutdown(Shutdown::Write).ok()?;
        // Closed with bytes unread it would be a reset, which could overtake the answer.
        return std::io::copy(&mut reader, &mut std::io::sink())
            .ok()
            .map(drop);
    }
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.trim_start_matches('/').to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if header.trim().is_empty() {
            break;
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    let (status, body) = ANSWERS
        .iter()
        .find(|(name, ..)| *name == path)
        .map(|a| (a.1, a.2))?;
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nLocation: https://sso.example.com/\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    { stream }.write_all(head.as_bytes()).ok()
}

#[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
fn regenerate() -> bool {
    std::env::var("REGENERATE").is_ok_and(|value| value == "1")
}

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/broken-configurations.txt"
);

/// What the service answers, by the path that it is asked at.
const ANSWERS: &[(&str, u16, &str)] = &[
    ("a-page", 200, "<html>Sign in</html>"),
    ("nothing", 200, ""),
    ("two-answers", 200, r#"{"allow": false}{"allow": true}"#),
    ("redirect", 302, ""),
    ("not-found", 404, "not found"),
    ("unauthorized", 401, r#"{"message": "Unauthorized"}"#),
    ("crash", 500, r#"{"message": "Internal server error"}"#),
    (
        "access",
        200,
        r#"{"allow": true, "mappings": [{"entry": "/", "target": "/inbox/ann", "access": "rw"}]}"#,
    ),
    (
        "no-slash",
        200,
        r#"{"allow": true, "mappings": [{"entry": "in", "target": "inbox/ann"}]}"#,
    ),
    (
        "overlap",
        200,
        r#"{"allow": true, "mappings": [{"entry": "/in", "target": "/inbox/ann"},
            {"entry": "/in/old", "target": "/inbox/old"}]}"#,
    ),
    (
        "quoted",
        200,
        r#"{"allow": "true", "mappings": [{"entry": "/", "target": "/inbox/ann"}]}"#,
    ),
    (
        "home",
        200,
        r#"{"allow": true, "home": "/out", "mappings": [{"entry": "/in", "target": "/inbox/ann"}]}"#,
    ),
    (
        "policy",
        200,
        r#"{"allow": true, "policy": "{}", "mappings": [{"entry": "/", "target": "/inbox/ann"}]}"#,
    ),
    ("no-mapping", 200, r#"{"allow": true}"#),
    (
        "keys",
        200,
        r#"{"allow": true, "publicKeys": ["ssh-ed25519 AAAA"],
            "mappings": [{"entry": "/", "target": "/inbox/ann"}]}"#,
    ),
];
