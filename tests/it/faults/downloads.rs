//! Reads of an S3 that is cut, silent, away or overtaken.

use russh_sftp::protocol::OpenFlags;

use super::*;

#[tokio::test]
async fn a_cut_get_goes_on_where_it_stopped() {
    let stage = Stage::start().await;
    let content = bytes(3 << 20);
    stage.s3.put(BUCKET, "in/a", content.clone());
    let cut = Action::CutBody { after: 100_000 };
    stage.s3.script(Fault::on("GetObject", cut.clone()));
    stage.s3.script(Fault::on("GetObject", cut).skip(2));
    let local = stage.path("a");
    let seen = stage.sftp(&format!("get /in/a {local}\n")).await;
    assert_eq!((seen.exit, seen.stderr.as_str()), (0, ""));
    assert!(std::fs::read(&local).unwrap() == content);
    let resumed = stage.s3.requests().iter().any(|request| {
        // A reset takes with it what was not read yet.
        let range = request.range.as_deref().unwrap_or_default();
        let start = range
            .strip_prefix("bytes=")
            .and_then(|range| range.split('-').next());
        let start: u64 = start.and_then(|start| start.parse().ok()).unwrap_or(0);
        (1..=100_000).contains(&start) && request.if_match.is_some()
    });
    assert!(resumed, "the rest is asked of the same version");
    let log = stage.end().await;
    let line = log.audit("downloaded");
    assert_eq!(line.field("bytes_out"), content.len().to_string());
    assert_eq!(line.field("whole"), "true");
}

#[tokio::test]
async fn two_versions_are_never_spliced() {
    let set = Set::default();
    let limits = Limits {
        read_ahead_per_handle_bytes_max: 256 * 1024,
        ..set.limits
    };
    let stage = Stage::with(Set { limits, ..set }).await;
    stage.s3.put(BUCKET, "in/a", vec![1; 8 << 20]);
    let client = stage.client().await;
    let handle = client.open("/in/a", OpenFlags::READ).await.unwrap();
    assert_eq!(client.read(&handle, 0).await.unwrap()[0], 1);
    stage.s3.put(BUCKET, "in/a", vec![2; 8 << 20]);
    let changed = Refused::failure("The file was changed by somebody else");
    assert_eq!(client.read(&handle, 7 << 20).await, Err(changed));
    client.close(&handle).await.unwrap();
    let fresh = client.open("/in/a", OpenFlags::READ).await.unwrap();
    assert_eq!(client.read(&fresh, 7 << 20).await.unwrap()[0], 2);
    client.close(&fresh).await.unwrap();
    drop(client);
    let log = stage.end().await;
    let line = log.one("download failed");
    assert_eq!(line.level(), "WARN");
    assert!(line.field("location").contains("in/a"), "{line:?}");
}

#[tokio::test]
async fn an_object_deleted_under_its_reader_is_a_clear_failure() {
    let stage = Stage::start().await;
    stage.s3.put(BUCKET, "in/a", vec![1; 64 << 20]);
    let client = stage.client().await;
    let handle = client.open("/in/a", OpenFlags::READ).await.unwrap();
    stage.s3.delete(BUCKET, "in/a");
    let changed = Refused::failure("The file was changed by somebody else");
    assert_eq!(client.read(&handle, 60 << 20).await, Err(changed));
    client.close(&handle).await.unwrap();
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn a_silent_get_is_asked_again() {
    let stage = Stage::with(Set::impatient()).await;
    let content = bytes(1 << 20);
    stage.s3.put(BUCKET, "in/a", content.clone());
    stage.s3.script(Fault::on("GetObject", Action::Hang));
    stage
        .s3
        .script(Fault::on("GetObject", Action::Hang).skip(1));
    let client = stage.client().await;
    assert!(client.download("/in/a").await.unwrap() == content);
    drop(client);
    stage.end().await;
}

#[tokio::test]
async fn an_outage_that_lasts_fails_the_read_and_leaves_the_session() {
    let stage = Stage::with(Set::resigned()).await;
    stage.s3.put(BUCKET, "in/a", bytes(64 << 20));
    let client = stage.client().await;
    let handle = client.open("/in/a", OpenFlags::READ).await.unwrap();
    stage.s3.set_down(true);
    let away = Err(Refused::failure(storage::UNAVAILABLE));
    assert_eq!(client.read(&handle, 60 << 20).await, away);
    client.close(&handle).await.unwrap();
    stage.s3.set_down(false);
    let handle = client.open("/in/a", OpenFlags::READ).await.unwrap();
    assert!(client.read(&handle, 60 << 20).await.is_ok());
    client.close(&handle).await.unwrap();
    drop(client);
    let log = stage.end().await;
    assert_eq!(log.one("download failed").level(), "WARN");
}

/// Inverts one bit of a GET's answer.
fn flip(at: usize) -> Action {
    Action::Alter(vec![Alteration::Flip { at }])
}

#[tokio::test]
async fn one_flipped_bit_is_found_whatever_checksum_the_object_has() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    let damaged = Refused::failure("The bytes were damaged on the way to or from the storage");
    for (name, length, get) in [
        ("small", 10_000, 0),
        ("full", 256 << 10, 0),
        ("large", 2 << 20, 1),
    ] {
        let content = bytes(length);
        for kind in ["CRC64NVME", "CRC32", "CRC32C", "SHA1", "SHA256"] {
            let (key, path) = (format!("in/{name}-{kind}"), format!("/in/{name}-{kind}"));
            stage
                .s3
                .put_checked(BUCKET, &key, content.clone(), Some(kind));
            assert!(client.download(&path).await.unwrap() == content, "{path}");
            // One in each answer: of one that is sent again any may count.
            let flip = Fault::on("GetObject", flip(7)).skip(get);
            stage.s3.script(flip.times(u32::MAX));
            assert_eq!(client.download(&path).await, Err(damaged.clone()), "{path}");
            stage.s3.clear_faults();
        }
    }
    drop(client);
    let log = stage.end().await;
    assert_eq!(log.all("operation failed").len(), 15);
}

#[tokio::test]
async fn an_object_without_a_checksum_is_read_as_it_comes() {
    let stage = Stage::start().await;
    let client = stage.client().await;
    for (name, length) in [("small", 10_000), ("large", 2 << 20)] {
        let content = bytes(length);
        stage
            .s3
            .put_checked(BUCKET, &format!("in/{name}"), content.clone(), None);
        stage.s3.clear_requests();
        let path = format!("/in/{name}");
        assert!(client.download(&path).await.unwrap() == content);
        // A HEAD that is slow is sent over another connection as well.
        let heads = stage.s3.count("HeadObject");
        assert!((1..=2).contains(&heads), "asked for once: {heads}");
        // A look that fails fails no download.
        stage.refuse("HeadObject", 403, "AccessDenied", u32::MAX);
        assert!(client.download(&path).await.unwrap() == content);
        stage.s3.clear_faults();
    }
    drop(client);
    stage.end().await;
}
