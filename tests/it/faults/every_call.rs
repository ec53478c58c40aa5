//! One call to S3 fails, whichever it is and however it fails: the client hears of a success and the
//! file is exact, or of a failure and the old file is whole. Nothing stays open.

use portcullis::config::PartialUploads;
use russh_sftp::protocol::{FileAttributes, OpenFlags};

use super::*;

/// Long enough for a call that is answered, also on a machine that is busy.
const SOON: Duration = Duration::from_millis(700);
const FILE: &str = "in/f";
const PATH: &str = "/in/f";
const THEN: u32 = 1_600_000_000;
const RANGES_FROM: usize = 2 * PART;

/// What one call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Refused,
    Error500,
    AnswerCut,
    AnswerLost,
    TimeOut,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Refused,
        Self::Error500,
        Self::AnswerCut,
        Self::AnswerLost,
        Self::TimeOut,
    ];

    fn action(self, operation: &str) -> Action {
        match self {
            Self::Refused => Action::Status(403, "AccessDenied".to_owned()),
            Self::Error500 => Action::Status(500, "InternalError".to_owned()),
            // In the middle of a body, and where there is none behind the status.
            Self::AnswerCut if operation == "GetObject" => Action::CutBody { after: 1_000 },
            Self::AnswerCut => Action::Alter(vec![Alteration::Empty]),
            Self::AnswerLost => Action::LoseAnswer,
            Self::TimeOut => Action::Hang,
        }
    }

    /// Nobody knows of an upload whose beginning was not answered: the bucket's lifecycle rule
    /// removes it.
    fn leaves_upload(self, operation: &str) -> bool {
        operation == "CreateMultipartUpload"
            && match self {
                Self::AnswerCut | Self::AnswerLost | Self::TimeOut => true,
                Self::Refused | Self::Error500 => false,
            }
    }
}

/// What a client does to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    AppendToSmall,
    AppendToLarge,
    Edit,
    Resume,
    Time,
    TimeOfLarge,
}

impl Change {
    fn old_length(self) -> usize {
        match self {
            Self::AppendToSmall | Self::Time => 100_000,
            Self::AppendToLarge => PART + 200_000,
            Self::Edit => 2 * PART + 300_000,
            Self::Resume => PART + 1_000_000,
            // From here on a copy is made in ranges.
            Self::TimeOfLarge => RANGES_FROM + 300_000,
        }
    }

    fn flags(self) -> OpenFlags {
        match self {
            Self::AppendToSmall => OpenFlags::WRITE | OpenFlags::APPEND,
            _ => OpenFlags::WRITE | OpenFlags::CREATE,
        }
    }

    /// Where it writes, and how much.
    fn place(self) -> (usize, usize) {
        let end = self.old_length();
        match self {
            Self::AppendToSmall | Self::AppendToLarge => (end, 50_000),
            Self::Edit => (PART + 1_000, 50_000),
            Self::Resume => (end, PART + 500_000),
            Self::Time | Self::TimeOfLarge => (0, 0),
        }
    }

    fn applied(self, old: &[u8]) -> Vec<u8> {
        let (at, length) = self.place();
        let mut new = old.to_vec();
        let written = written(length);
        let over = new.len().saturating_sub(at).min(length);
        new.splice(at..at + over, written);
        new
    }

    async fn act(self, client: &Client, time: u32) -> Result<(), Refused> {
        if matches!(self, Self::Time | Self::TimeOfLarge) {
            let attributes = FileAttributes {
                atime: Some(time),
                mtime: Some(time),
                ..FileAttributes::empty()
            };
            return client.set(PATH, attributes).await;
        }
        let (at, length) = self.place();
        let handle = client.open(PATH, self.flags()).await?;
        let wrote = client.write(&handle, at, &written(length)).await;
        let closed = client.close(&handle).await;
        wrote.and(closed)
    }
}

/// Other bytes than those of the old file.
fn written(length: usize) -> Vec<u8> {
    bytes(length).into_iter().map(|byte| !byte).collect()
}

async fn stage() -> Stage {
    let mut set = Set {
        timeouts: Timeouts {
            connect: SOON,
            call: SOON,
            payload: SOON,
            store_work: SOON,
            body_idle: SOON,
            ..Set::impatient().timeouts
        },
        ..Set::resigned_after(SOON)
    };
    set.sftp.partial_uploads = PartialUploads::Keep;
    set.limits.keep_times = true;
    set.limits.range_copy_bytes_min = RANGES_FROM as u64;
    set.limits.range_bytes_min = PART as u64;
    Stage::with(set).await
}

/// Puts the old file there; one that is resumed was kept of a client that went.
async fn plant(stage: &Stage, change: Change, old: &[u8]) {
    let is_there = stage.object(FILE).is_some_and(|stored| stored == old);
    if change != Change::Resume {
        if !is_there {
            stage.s3.put(BUCKET, FILE, old.to_vec());
        }
        return;
    }
    if is_there && is_marked(stage) {
        return;
    }
    stage.s3.delete(BUCKET, FILE);
    let client = stage.client().await;
    let handle = client.create(PATH).await.unwrap();
    client.write(&handle, 0, old).await.unwrap();
    drop(client);
    until(|| stage.object(FILE).is_some() && is_marked(stage)).await;
    assert!(stage.object(FILE).unwrap() == old);
}

fn is_marked(stage: &Stage) -> bool {
    metadata(stage, "portcullis-partial").is_some()
}

fn metadata(stage: &Stage, name: &str) -> Option<String> {
    let object = stage.s3.object(BUCKET, FILE)?;
    object.metadata.get(name).cloned()
}

/// Does it once without a fault, and returns which calls that took.
async fn calls_of(stage: &Stage, change: Change, old: &[u8]) -> Vec<String> {
    plant(stage, change, old).await;
    let client = stage.client().await;
    stage.s3.clear_requests();
    change.act(&client, THEN).await.unwrap();
    let requests = stage.s3.requests().into_iter();
    drop(client);
    assert!(
        stage.object(FILE).unwrap() == change.applied(old),
        "{change:?}"
    );
    requests.map(|request| request.operation).collect()
}

/// Asserts that what a client heard is so.
fn assert_heard(stage: &Stage, change: Change, heard: &Result<(), Refused>, old: &[u8], time: u32) {
    let stored = stage.object(FILE).unwrap();
    match heard {
        Ok(()) => assert!(stored == change.applied(old), "not what was acknowledged"),
        Err(refused) => assert!(stored == old, "{refused:?}, and another file"),
    }
    let timed = metadata(stage, "mtime") == Some(time.to_string());
    match change {
        Change::Resume => assert_eq!(is_marked(stage), heard.is_err(), "{heard:?}"),
        // A time that S3 denies is left out, and that is a success.
        Change::Time | Change::TimeOfLarge => assert!(heard.is_ok() || !timed, "{heard:?}"),
        Change::AppendToSmall | Change::AppendToLarge | Change::Edit => {}
    }
}

/// Spoils one call after the other, in each way.
async fn each_call_each_way(change: Change, least: &[&str]) {
    let stage = stage().await;
    let old = bytes(change.old_length());
    let calls = calls_of(&stage, change, &old).await;
    for operation in least {
        assert!(calls.iter().any(|call| call == operation), "{calls:?}");
    }
    let (mut orphans, mut time) = (0, THEN);
    // Calls that go side by side come in any order: of each operation each is spoiled.
    for kind in Kind::ALL {
        for (index, operation) in calls.iter().enumerate() {
            let before = calls[..index].iter().filter(|call| *call == operation);
            let nth = before.count();
            println!("{change:?}: {kind:?} at {operation} {nth}");
            plant(&stage, change, &old).await;
            let client = stage.client().await;
            stage.s3.clear_requests();
            time += 1;
            let fault = Fault::on(operation, kind.action(operation));
            stage.s3.script(fault.skip(u32::try_from(nth).unwrap()));
            let heard = within(change.act(&client, time)).await;
            // Whether a listing is asked for beside a HEAD depends on how soon that is answered.
            let met = stage.s3.count(operation) > nth;
            assert!(met || operation == "ListObjectsV2", "it was not met");
            drop(client);
            assert_heard(&stage, change, &heard, &old, time);
            stage.s3.clear_faults();
            orphans += usize::from(kind.leaves_upload(operation));
            until(|| stage.s3.uploads(BUCKET).len() <= orphans).await;
        }
    }
    within(stage.gateway.drain()).await;
    assert!(stage.s3.uploads(BUCKET).len() <= orphans);
}

#[tokio::test]
async fn an_append_of_which_one_call_fails_is_exact_or_leaves_the_old_file() {
    each_call_each_way(Change::AppendToSmall, &["GetObject", "PutObject"]).await;
    let large = ["CreateMultipartUpload", "UploadPartCopy", "UploadPart"];
    each_call_each_way(Change::AppendToLarge, &large).await;
}

#[tokio::test]
async fn an_edit_of_which_one_call_fails_is_exact_or_leaves_the_old_file() {
    let calls = ["UploadPartCopy", "GetObject", "CompleteMultipartUpload"];
    each_call_each_way(Change::Edit, &calls).await;
}

#[tokio::test]
async fn a_resumed_upload_of_which_one_call_fails_is_exact_or_leaves_the_beginning() {
    let calls = ["UploadPartCopy", "UploadPart", "CompleteMultipartUpload"];
    each_call_each_way(Change::Resume, &calls).await;
}

#[tokio::test]
async fn a_copy_for_a_time_of_which_one_call_fails_is_exact_or_leaves_the_old_file() {
    each_call_each_way(Change::Time, &["HeadObject", "CopyObject"]).await;
    let calls = ["UploadPartCopy", "CompleteMultipartUpload"];
    each_call_each_way(Change::TimeOfLarge, &calls).await;
}
