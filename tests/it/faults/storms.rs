//! S3 is not well for a while, and many are at work: what was under way comes to its end.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use russh_sftp::protocol::OpenFlags;
use tokio::time::sleep;

use super::*;

/// How long S3 is unwell, in which way, and for how many.
struct Storm {
    sessions: usize,
    /// Half of all calls are refused.
    refuses: Duration,
    /// Then no call is answered.
    silent: Duration,
    /// How long a call that carries bytes waits for its answer; others wait three seconds.
    waits: Duration,
}

impl Storm {
    /// Gives a silent call up soon, and itself late.
    fn settings(&self) -> Set {
        let timeouts = Timeouts {
            call: Duration::from_secs(3),
            payload: self.waits,
            store_work: self.waits,
            ..Timeouts::default()
        };
        let retries = RetrySettings {
            // The looks of this test belong to what is under way.
            look: Duration::from_secs(300),
            ..RetrySettings::default()
        };
        Set {
            timeouts,
            retries,
            ..Set::default()
        }
    }

    async fn rages(&self, stage: &Stage, over: &AtomicBool) {
        let refused = Action::Status(503, "SlowDown".to_owned());
        let half = Fault::any(refused).sparing(1).times(u32::MAX);
        stage.s3.script(half);
        sleep(self.refuses).await;
        until(|| stage.admin_status.metrics().contains("s3_retries_total{")).await;
        stage.s3.clear_faults();
        stage.s3.script(Fault::any(Action::Hang).times(u32::MAX));
        sleep(self.silent).await;
        stage.s3.clear_faults();
        over.store(true, Ordering::Relaxed);
    }
}

/// Uploads and moves small files, reads a large one and uploads `large` ones, until the storm is
/// over; returns what has to be there then.
async fn work(
    client: &Client,
    name: &str,
    large: usize,
    over: &AtomicBool,
) -> Vec<(String, Vec<u8>)> {
    let content = bytes(PART + 1_000);
    let base = client.open("/in/base", OpenFlags::READ).await.unwrap();
    let mut written = Vec::new();
    for round in 0.. {
        let last = over.load(Ordering::Relaxed);
        let small = format!("{name} {round}").into_bytes();
        let (from, to) = (format!("in/{name}-{round}"), format!("in/{name}-m{round}"));
        client.upload(&format!("/{from}"), &small).await.unwrap();
        let moved = client.rename(&format!("/{from}"), &format!("/{to}")).await;
        moved.unwrap();
        written.push((to, small));
        let at = round * 100_000 % PART;
        let read = client.read(&base, at).await.unwrap();
        assert!(content[at..].starts_with(&read));
        if round < large {
            let path = format!("in/{name}-l{round}");
            let uploaded = client.upload(&format!("/{path}"), &content).await;
            uploaded.unwrap();
            written.push((path, content.clone()));
        }
        if last {
            break;
        }
    }
    client.close(&base).await.unwrap();
    written
}

async fn nothing_under_way_fails(storm: Storm) {
    let stage = Stage::with(storm.settings()).await;
    stage.s3.put(BUCKET, "in/base", bytes(PART + 1_000));
    let mut clients = Vec::new();
    for number in 0..storm.sessions {
        // A few of them send large files.
        let large = 2 * usize::from(number < 3);
        clients.push((stage.client().await, format!("s{number}"), large));
    }
    let over = AtomicBool::new(false);
    let working = clients.iter();
    let working = working.map(|(client, name, large)| work(client, name, *large, &over));
    let (written, ()) = tokio::join!(join_all(working), storm.rages(&stage, &over));
    let expected: Vec<_> = written.into_iter().flatten().collect();
    for (key, content) in &expected {
        assert!(stage.object(key).as_ref() == Some(content), "{key}");
    }
    let mut keys: Vec<_> = expected.into_iter().map(|(key, _)| key).collect();
    keys.push("in/base".to_owned());
    keys.sort();
    assert_eq!(stage.s3.keys(BUCKET), keys);
    let metrics = stage.admin_status.metrics();
    let given_up = metrics.lines().filter(|line| {
        line.starts_with("portcullis_s3_calls_given_up_total{") && !line.ends_with(" 0")
    });
    assert_eq!(given_up.count(), 0, "{metrics}");

    // Whatever was spent on the storm: afterwards a call is repeated as ever.
    stage.refuse("PutObject", 503, "SlowDown", 3);
    let (client, ..) = &clients[0];
    client.upload("/in/after", b"after").await.unwrap();
    assert_eq!(stage.object("in/after").unwrap(), b"after");
    drop(clients);
    let log = stage.end().await;
    for failure in ["upload failed", "download failed", "operation failed"] {
        assert_eq!(log.all(failure).len(), 0, "{failure}");
    }
}

#[tokio::test]
async fn a_storm_and_a_silence_fail_nothing_that_is_under_way() {
    let second = Duration::from_secs(1);
    nothing_under_way_fails(Storm {
        sessions: 20,
        refuses: 2 * second,
        silent: 4 * second,
        waits: 60 * second,
    })
    .await;
}

#[tokio::test]
#[ignore = "takes minutes: ./test.sh long"]
async fn a_minute_of_refusals_and_half_a_minute_of_silence_fail_nothing_that_is_under_way() {
    let second = Duration::from_secs(1);
    nothing_under_way_fails(Storm {
        sessions: 20,
        refuses: 60 * second,
        silent: 30 * second,
        waits: 10 * second,
    })
    .await;
}

#[tokio::test]
async fn a_second_in_which_everything_is_refused_fails_no_upload() {
    let stage = Stage::start().await;
    let clients = [
        stage.client().await,
        stage.client().await,
        stage.client().await,
    ];
    let large = bytes(PART + 1_000);
    for operation in [
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
    ] {
        stage.refuse(operation, 503, "SlowDown", u32::MAX);
    }
    let uploads = clients.iter().enumerate().map(|(number, client)| {
        let (path, large) = (format!("/in/{number}"), &large);
        async move { client.upload(&path, large).await }
    });
    let second = async {
        sleep(Duration::from_secs(1)).await;
        stage.s3.clear_faults();
    };
    let (uploaded, ()) = tokio::join!(join_all(uploads), second);
    assert_eq!(uploaded, [Ok(()), Ok(()), Ok(())]);
    for number in 0..3 {
        assert!(stage.object(&format!("in/{number}")).unwrap() == large);
    }
    drop(clients);
    stage.end().await;
}
