//! Who a line is about, that a client cannot write one, and that a client cannot fill the log.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use russh_sftp::protocol::{FileAttributes, OpenFlags};

use super::*;

fn names_its_session(line: &log::Line) {
    assert_eq!(line.span("user"), USER, "{line:?}");
    assert_eq!(line.span("session_id").len(), 16, "{line:?}");
}

#[tokio::test]
async fn what_fails_in_the_background_names_the_session_and_its_user() {
    let stage = Stage::start().await;
    let client = stage.client().await;

    stage.s3.put(BUCKET, "in/a", vec![1; 8 << 20]);
    let cut = Action::CutBody { after: 100_000 };
    stage.s3.script(Fault::on("GetObject", cut).times(2));
    let handle = client.open("/in/a", OpenFlags::READ).await.unwrap();
    client.read(&handle, 200_000).await.unwrap();
    stage.s3.put(BUCKET, "in/a", vec![2; 8 << 20]);
    client.read(&handle, 7 << 20).await.unwrap_err();
    client.close(&handle).await.unwrap();

    stage.refuse("UploadPart", 403, "AccessDenied", u32::MAX);
    client.upload("/in/b", &bytes(3 * PART)).await.unwrap_err();

    stage.refuse("ListObjectsV2", 403, "AccessDenied", u32::MAX);
    client.names("/in").await.unwrap_err();
    stage.s3.clear_faults();

    drop(client);
    let log = stage.end().await;
    for message in [
        "download resumed",
        "download failed",
        "upload failed",
        "operation failed",
    ] {
        let lines = log.all(message);
        assert!(!lines.is_empty(), "{message}: {}", log.text());
        lines.iter().for_each(names_its_session);
    }
}

#[tokio::test]
async fn failures_that_a_client_repeats_are_counted_rather_than_repeated() {
    let stage = Stage::start().await;
    stage.refuse("HeadObject", 403, "AccessDenied", u32::MAX);
    stage.refuse("ListObjectsV2", 403, "AccessDenied", u32::MAX);
    // A second session is no way to more lines.
    let clients = [stage.client().await, stage.client().await];
    // At once, so that they come within one interval on a slow machine too.
    let asked = (0..200).flat_map(|number| {
        clients
            .iter()
            .map(move |client| async move { client.size(&format!("/in/{number}")).await })
    });
    for outcome in futures_util::future::join_all(asked).await {
        outcome.unwrap_err();
    }
    stage.s3.clear_faults();
    drop(clients);
    let log = stage.end().await;
    let lines = log.all("operation failed");
    let sums = log.all("lines about failures were omitted");
    let left_out: usize = [lines.as_slice(), sums.as_slice()]
        .concat()
        .iter()
        .filter_map(|line| line.field("unlogged").parse::<usize>().ok())
        .sum();
    assert!(lines.len() < 400, "{}", lines.len());
    assert!(left_out > 0);
    assert_eq!(lines.len() + left_out, 400, "each is there or counted");
}

#[tokio::test]
async fn a_name_with_a_line_break_forges_no_line() {
    let files = tempfile::tempdir().unwrap();
    let password = files.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args([
            "quickstart",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--user",
            USER,
        ])
        .arg("--state")
        .arg(files.path())
        .arg("--password-file")
        .arg(&password)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(gateway.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let started: Value = serde_json::from_str(&line).unwrap();
    let address = started["address"].as_str().unwrap().parse().unwrap();
    let client = Client::connect(address, PASSWORD).await.unwrap();
    let name = "/pics/a\nlogin allowed · user=root\u{1b}[2J\u{202e}\u{85}";
    let made = client.sftp.mkdir(name, FileAttributes::empty()).await;
    made.unwrap();
    drop(client);
    // What is logged is written when it ends.
    assert!(shutdown::signal(gateway.id(), "TERM").await);
    gateway.wait().unwrap();
    let mut text = String::new();
    let mut stderr = gateway.stderr.take().unwrap();
    stderr.read_to_string(&mut text).unwrap();
    let made: Vec<_> = text
        .split('\n')
        .filter(|line| line.contains("root"))
        .collect();
    let [line] = &*made else { panic!("{text}") };
    assert!(
        line.starts_with("directory made · path=\"/pics/a\\n"),
        "{text}"
    );
    let hidden = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(hidden), "{text:?}");
}

#[tokio::test]
async fn files_of_a_bucket_with_versions_name_theirs() {
    let stage = Stage::start().await;
    let header = |name, value: &str| Alteration::Header {
        name,
        value: Some(value.to_owned()),
    };
    for (operation, version) in [
        ("PutObject", "v-put"),
        ("CompleteMultipartUpload", "v-complete"),
        ("CopyObject", "v-copy"),
        ("HeadObject", "v-head"),
        ("GetObject", "v-head"),
        ("DeleteObject", "v-marker"),
    ] {
        let mut all = vec![header("x-amz-version-id", version)];
        if operation == "DeleteObject" {
            all.push(header("x-amz-delete-marker", "true"));
        }
        let fault = Fault::on(operation, Action::Alter(all));
        stage.s3.script(fault.times(u32::MAX));
    }
    let client = stage.client().await;
    client.upload("/in/a", b"small").await.unwrap();
    client.upload("/in/b", &bytes(3 * PART)).await.unwrap();
    client.download("/in/a").await.unwrap();
    client.mkdir("/in/d").await.unwrap();
    client.rename("/in/a", "/in/d/a").await.unwrap();
    client.remove("/in/d/a").await.unwrap();
    client.rmdir("/in/d").await.unwrap();
    drop(client);
    let log = stage.end().await;
    let uploaded: Vec<_> = log.all("uploaded");
    let versions: Vec<_> = uploaded
        .iter()
        .map(|line| line.field("version_id"))
        .collect();
    assert_eq!(versions, ["v-put", "v-complete"]);
    for (message, version) in [
        ("downloaded", "v-head"),
        ("directory made", "v-put"),
        ("renamed", "v-copy"),
        ("removed", "v-marker"),
        ("directory removed", "v-marker"),
    ] {
        let line = log.audit(message);
        assert_eq!(line.field("version_id"), version, "{message}");
        let marker = matches!(message, "removed" | "directory removed");
        let expected = if marker { "true" } else { "" };
        assert_eq!(line.field("delete_marker"), expected, "{message}");
    }
    let moved = log.audit("renamed");
    assert_eq!(moved.field("replaced"), "false");
    assert_eq!(moved.field("etag"), uploaded[0].field("etag"));
}
