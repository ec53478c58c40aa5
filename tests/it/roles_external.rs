//! Session policies, judged by an S3 and STS of others: the mappings are too wide on purpose, so
//! that nothing but S3's refusal stops a request.
//!
//! Runs where `TEST_STS_ENDPOINT` and `TEST_STS_ROLE_PREFIX` are set beside the `TEST_S3_…`
//! variables; with the prefix, `BothBuckets`, `OneBucket` and `NobodysRole` are roles.

use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::SystemClock;
use portcullis::limits::Limits;
use portcullis::metrics::Metrics;
use portcullis::refusal::{Reason, Refusal, Verdict};
use portcullis::storage::addressing::Buckets;
use portcullis::storage::credentials::{Assumed, Grant, Opened, Stores as _, StsSettings};
use portcullis::storage::metered::Meter;
use portcullis::storage::{Location, StorageErrorKind};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::client::error::Error;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode};
use serde_json::{Value, json};

use crate::common::raw::string;
use crate::common::sftp::{Talk, code};
use crate::common::stores::{Subject, environment};

/// Larger than a first part, so that an upload is made of parts.
const LARGE: usize = 6 * 1024 * 1024;

/// A place at the external S3, and its STS.
struct Judge {
    subject: Subject,
    assumed: Assumed,
    role_prefix: String,
}

impl Judge {
    async fn call() -> Option<Self> {
        let (Some(endpoint), Some(role_prefix)) = (
            environment("TEST_STS_ENDPOINT"),
            environment("TEST_STS_ROLE_PREFIX"),
        ) else {
            println!("skipped: TEST_STS_ENDPOINT and TEST_STS_ROLE_PREFIX are not set");
            return None;
        };
        let (subject, store) = Subject::external_s3().await?;
        let settings = StsSettings {
            endpoint: Some(endpoint),
            duration: Duration::from_secs(3_600),
            timeout: Duration::from_secs(20),
            server_id: "s-0123456789abcdef0".into(),
            ..StsSettings::default()
        };
        let clock = Arc::new(SystemClock);
        let meter = Meter::new(clock.clone(), Arc::new(Metrics::default()));
        let assumed = Assumed::new(store, settings, meter, clock).unwrap();
        Some(Self {
            subject,
            assumed,
            role_prefix,
        })
    }

    async fn open(&self, role: &str, policy: Option<&Value>) -> Result<Opened, Refusal> {
        let role = format!("{}{role}", self.role_prefix);
        let policy = policy.map(ToString::to_string);
        let grant = Grant {
            user: "ann",
            session_id: "0123456789abcdef",
            provider: "",
            role: Some(&role),
            policy: policy.as_deref(),
            buckets: Buckets::OfMappings,
            mapped: Vec::new(),
        };
        self.assumed.open(grant).await
    }

    /// Allows everything below `in` in the test's own place; elsewhere in it nothing, or to look.
    fn policy(&self, look: bool) -> Value {
        let (bucket, prefix) = (&self.subject.bucket, &self.subject.prefix);
        let (whole, all) = (format!("arn:aws:s3:::{bucket}"), format!("{prefix}*"));
        let mut statements = vec![
            json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": whole,
                "Condition": {"StringLike": {"s3:prefix": [
                    format!("{prefix}in"), format!("{prefix}in/*")]}}}),
            json!({"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject",
                "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
                "Resource": format!("{whole}/{prefix}in/*")}),
        ];
        if look {
            statements.push(json!({"Effect": "Allow", "Action": "s3:ListBucket",
                "Resource": whole, "Condition": {"StringLike": {"s3:prefix": all}}}));
            statements.push(json!({"Effect": "Allow", "Action": "s3:GetObject",
                "Resource": format!("{whole}/{all}")}));
        }
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    /// Begins a session under the policy.
    async fn session(&self, look: bool, mappings: Vec<Mapping>) -> Talk {
        let policy = self.policy(look);
        let opened = self.open("BothBuckets", Some(&policy)).await.unwrap();
        let home = HomeDirectory::logical(mappings, VirtualPath::root()).unwrap();
        Talk::with(opened.store, home, Limits::default()).await
    }

    async fn content(&self, location: &Location) -> Vec<u8> {
        self.subject.read(location).await.to_vec()
    }
}

fn mapping(entry: &str, target: &str, entry_type: EntryType) -> Mapping {
    Mapping::parse(entry, target, entry_type, Access::ReadWrite).unwrap()
}

/// Everything that can be done with one name, and what came of each: `ok` or the status.
async fn everything(talk: &Talk, path: &str, allowed: &str) -> Vec<(&'static str, StatusCode)> {
    let client = &talk.client;
    let at = |name: &str| format!("{path}/{name}");
    let size = FileAttributes {
        size: Some(1),
        ..FileAttributes::empty()
    };
    vec![
        ("stat", of(client.stat(at("a")).await)),
        ("lstat", of(client.lstat(at("a")).await)),
        ("stat of nothing", of(client.stat(at("none")).await)),
        ("stat of a directory", of(client.stat(at("dir")).await)),
        ("read", status(talk.get(&at("a")).await)),
        ("list", status(talk.names(path).await)),
        ("list below", status(talk.names(&at("dir")).await)),
        (
            "write a new one",
            status(talk.put(&at("new"), b"new").await),
        ),
        ("write over", status(talk.put(&at("b"), b"new").await)),
        (
            "write a large one",
            status(talk.put(&at("large"), &vec![7; LARGE]).await),
        ),
        (
            "write without truncating",
            status(overwrite(talk, &at("c")).await),
        ),
        (
            "create exclusively",
            status(exclusive(talk, &at("only")).await),
        ),
        ("set the size", of(client.setstat(at("c"), size).await)),
        (
            "make a directory",
            of(client.mkdir(at("made"), FileAttributes::empty()).await),
        ),
        (
            "move out",
            of(client.rename(at("d"), format!("{allowed}/from-d")).await),
        ),
        (
            "move in",
            of(client.rename(format!("{allowed}/x"), at("x")).await),
        ),
        (
            "posix-move out",
            posix_rename(talk, &at("e"), &format!("{allowed}/from-e")).await,
        ),
        (
            "posix-move in",
            posix_rename(talk, &format!("{allowed}/y"), &at("y")).await,
        ),
        (
            "move a directory",
            of(client
                .rename(at("dir"), format!("{allowed}/from-dir"))
                .await),
        ),
        ("remove", of(client.remove(at("f")).await)),
        ("remove a directory", of(client.rmdir(at("empty")).await)),
    ]
}

fn status<T>(outcome: Result<T, StatusCode>) -> StatusCode {
    outcome.err().unwrap_or(StatusCode::Ok)
}

fn of<T>(outcome: Result<T, Error>) -> StatusCode {
    status(outcome.map_err(code))
}

async fn posix_rename(talk: &Talk, from: &str, to: &str) -> StatusCode {
    let names = [string(from), string(to)].concat();
    let answer = talk
        .client
        .extended("posix-rename@openssh.com", names)
        .await;
    match answer {
        Ok(Packet::Status(status)) => status.status_code,
        other => panic!("no status: {other:?}"),
    }
}

async fn overwrite(talk: &Talk, path: &str) -> Result<(), StatusCode> {
    let handle = talk.open(path, OpenFlags::WRITE).await?;
    let written = talk.write(&handle, 0, b"new").await;
    talk.close(&handle).await.and(written)
}

async fn exclusive(talk: &Talk, path: &str) -> Result<(), StatusCode> {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
    let handle = talk.open(path, flags).await?;
    let written = talk.write(&handle, 0, b"new").await;
    talk.close(&handle).await.and(written)
}

/// Puts down what [`everything`] works on.
async fn furnish(subject: &Subject, folder: &str) {
    for name in ["a", "b", "c", "d", "e", "f", "dir/inside", "empty/"] {
        let content = if name.ends_with('/') { "" } else { "old" };
        subject.put(&format!("{folder}/{name}"), content).await;
    }
}

/// Everything in a directory that is left after [`everything`] was refused.
async fn assert_untouched(judge: &Judge, folder: &str) {
    for name in ["a", "b", "c", "d", "e", "f", "dir/inside"] {
        let place = judge.subject.at(&format!("{folder}/{name}"));
        assert_eq!(judge.content(&place).await, b"old", "{folder}/{name}");
    }
    for name in ["new", "large", "only", "made/", "x", "y"] {
        let place = judge.subject.at(&format!("{folder}/{name}"));
        let error = judge.subject.store.head(&place).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::NotFound, "{folder}/{name}");
    }
}

/// Mappings that show what the policy allows and more, with where both can be seen.
fn too_wide(subject: &Subject) -> [(Vec<Mapping>, String, String); 3] {
    let bucket = &subject.bucket;
    let prefix = subject.prefix.trim_end_matches('/');
    let directory = |entry: &str, below: &str| {
        mapping(entry, &format!("/{bucket}{below}"), EntryType::Directory)
    };
    [
        (
            vec![directory("/", "")],
            format!("/{prefix}/in"),
            format!("/{prefix}/out"),
        ),
        (
            vec![directory("/", &format!("/{prefix}"))],
            "/in".to_owned(),
            "/out".to_owned(),
        ),
        (
            vec![
                directory("/good", &format!("/{prefix}/in")),
                directory("/bad", &format!("/{prefix}/out")),
            ],
            "/good".to_owned(),
            "/bad".to_owned(),
        ),
    ]
}

/// Tries everything outside of the policy and then inside, under one of the mappings.
async fn confine(look: bool, which: usize) {
    let Some(judge) = Judge::call().await else {
        return;
    };
    let subject = &judge.subject;
    let (mappings, allowed, forbidden) = too_wide(subject)[which].clone();
    for folder in ["in", "out", "in/sub"] {
        furnish(subject, folder).await;
    }
    for name in ["x", "y", "home/x", "home/y"] {
        subject.put(&format!("in/{name}"), "old").await;
    }
    let talk = judge.session(look, mappings).await;
    for (act, status) in everything(&talk, &forbidden, &allowed).await {
        let looks = act.starts_with("stat") || act.starts_with("list");
        let expected = match act {
            "stat of nothing" if look => StatusCode::NoSuchFile,
            "lstat" | "read" if look => StatusCode::Ok,
            _ if look && looks => StatusCode::Ok,
            _ => StatusCode::PermissionDenied,
        };
        assert_eq!(status, expected, "{act} at {forbidden}");
    }
    assert_untouched(&judge, "out").await;
    let inside = format!("{allowed}/sub");
    for (act, status) in everything(&talk, &inside, &format!("{allowed}/home")).await {
        let expected = match act {
            "stat of nothing" => StatusCode::NoSuchFile,
            _ => StatusCode::Ok,
        };
        assert_eq!(status, expected, "{act} at {inside}");
    }
    let sized = subject.at("in/sub/c");
    assert_eq!(judge.content(&sized).await, b"n", "written over, then cut");
    drop(talk.cut().await);
}

#[tokio::test]
async fn a_session_policy_confines_every_request_whatever_the_mapping() {
    for which in 0..3 {
        confine(false, which).await;
    }
}

#[tokio::test]
async fn a_session_policy_that_lets_look_lets_nothing_change() {
    for which in 0..3 {
        confine(true, which).await;
    }
}

#[tokio::test]
async fn without_a_policy_the_same_mapping_reaches_further() {
    let Some(judge) = Judge::call().await else {
        return;
    };
    furnish(&judge.subject, "out").await;
    let (mappings, _, forbidden) = too_wide(&judge.subject)[0].clone();
    let opened = judge.open("BothBuckets", None).await.unwrap();
    let home = HomeDirectory::logical(mappings, VirtualPath::root()).unwrap();
    let talk = Talk::with(opened.store, home, Limits::default()).await;
    let content = talk.get(&format!("{forbidden}/a")).await.unwrap();
    assert_eq!(content, b"old", "the refusals above are the policy's");
    drop(talk.cut().await);
}

#[tokio::test]
async fn a_mapping_of_a_file_or_of_another_bucket_is_no_way_around_the_policy() {
    let Some(judge) = Judge::call().await else {
        return;
    };
    let subject = &judge.subject;
    let (bucket, other) = (&subject.bucket, &subject.other_bucket);
    let prefix = subject.prefix.trim_end_matches('/');
    subject.put("in/a", "old").await;
    subject.put("out/a", "old").await;
    let elsewhere = subject.elsewhere("in/a");
    subject
        .put_if(&elsewhere, "old", &portcullis::storage::Precondition::None)
        .await
        .unwrap();
    let talk = judge
        .session(
            false,
            vec![
                mapping(
                    "/good",
                    &format!("/{bucket}/{prefix}/in"),
                    EntryType::Directory,
                ),
                mapping(
                    "/file",
                    &format!("/{bucket}/{prefix}/out/a"),
                    EntryType::File,
                ),
                mapping(
                    "/other",
                    &format!("/{other}/{prefix}/in"),
                    EntryType::Directory,
                ),
            ],
        )
        .await;
    assert_eq!(talk.get("/good/a").await.unwrap(), b"old");
    for path in ["/file", "/other/a"] {
        let denied = StatusCode::PermissionDenied;
        assert_eq!(status(talk.get(path).await), denied, "{path}");
        assert_eq!(status(talk.put(path, b"new").await), denied, "{path}");
        assert_eq!(of(talk.client.stat(path).await), denied, "{path}");
    }
    let moved = posix_rename(&talk, "/good/a", "/other/a").await;
    assert_eq!(moved, StatusCode::PermissionDenied);
    assert_eq!(judge.content(&subject.at("out/a")).await, b"old");
    assert_eq!(judge.content(&elsewhere).await, b"old");
    drop(talk.cut().await);
}

#[tokio::test]
async fn a_policy_cannot_widen_its_role_and_a_role_is_not_for_the_asking() {
    let Some(judge) = Judge::call().await else {
        return;
    };
    let everything = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
    let opened = judge.open("OneBucket", Some(&everything)).await.unwrap();
    let role = opened.role.unwrap();
    assert_eq!(
        &*role.session_name,
        "ann.0123456789abcdef@s-0123456789abcdef0"
    );
    opened
        .store
        .check_bucket(&judge.subject.bucket)
        .await
        .unwrap();
    let error = opened.store.check_bucket(&judge.subject.other_bucket).await;
    assert_eq!(error.unwrap_err().kind, StorageErrorKind::Denied);
    for role in ["NobodysRole", "NoSuchRole"] {
        let error = judge.open(role, None).await.unwrap_err();
        assert_eq!(error.verdict(), Verdict::Invalid, "{role}: {error}");
        assert_eq!(error.reason, Reason::RoleNotAssumable, "{role}: {error}");
    }
    let error = judge
        .open("OneBucket", Some(&json!({"Statement": 7})))
        .await;
    assert_eq!(error.unwrap_err().verdict(), Verdict::Invalid);
}
