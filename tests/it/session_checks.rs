//! Checksums that clients ask for over SFTP: as the store keeps them, or of what is read.

use std::sync::Arc;

use portcullis::idp::UserConfig;
use portcullis::limits::Limits;
use portcullis::metrics::Metrics;
use portcullis::session::Environment;
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Capabilities, Digest, Operation, StorageErrorKind};
use portcullis::vfs::{Access, HomeDirectory};
use russh_sftp::protocol::{OpenFlags, Packet};
use sha2::{Digest as _, Sha256};

use crate::auth_log::logged;
use crate::common::exec::Running;
use crate::common::raw::string;
use crate::common::sftp::{Talk, as_answered, begin_as, user, whole_bucket};
use crate::session::{at, pattern, plant};
use crate::session_moves::{Noting, spied};

struct Checker {
    store: Arc<MemoryStore>,
    failing: Arc<Failing>,
    noting: Arc<Noting>,
    talk: Talk,
}

impl Checker {
    async fn open() -> Self {
        Self::of(UserConfig::new("ann", whole_bucket())).await
    }

    async fn of(config: UserConfig) -> Self {
        let (store, failing, noting) = spied(Capabilities::all());
        let answered = as_answered(config, noting.clone());
        let (theirs, running) = begin_as(answered, Limits::default());
        let talk = Talk::over(theirs, running).await;
        Self {
            store,
            failing,
            noting,
            talk,
        }
    }

    /// How often objects were looked at, and read.
    fn calls(&self) -> [usize; 2] {
        [Operation::Head, Operation::Get].map(|operation| self.noting.keys(operation).len())
    }

    async fn ask(&self, name: &str, file: &str, what: What<'_>) -> Result<Vec<u8>, String> {
        let fields = [
            &string(file)[..],
            &string(what.0),
            &what.1.to_be_bytes(),
            &what.2.to_be_bytes(),
            &what.3.to_be_bytes(),
        ];
        match self.talk.client.extended(name, fields.concat()).await {
            Ok(Packet::ExtendedReply(reply)) => Ok(reply.data),
            Ok(Packet::Status(status)) => Err(status.error_message),
            Ok(other) => panic!("neither status nor answer: {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn by_name(&self, file: &str, what: What<'_>) -> Result<Vec<u8>, String> {
        self.ask("check-file-name", file, what).await
    }
}

/// Algorithms, offset, length and size of blocks.
type What<'a> = (&'a str, u64, u64, u32);

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn answer(algorithm: &str, sums: &[u8]) -> Vec<u8> {
    [&string(algorithm)[..], sums].concat()
}

#[tokio::test]
async fn a_checksum_that_is_stored_is_told_without_a_read() {
    let checker = Checker::open().await;
    let content = pattern(3_000_000);
    plant(&checker.store, "a", &content).await;
    let sum = sha256(&content);
    checker.store.keep_checksum(&at("a"), Digest::Sha256(sum));
    // As WinSCP asks.
    let (told, log) = logged(checker.by_name("/a", ("sha256", 0, 0, 0))).await;
    assert_eq!(told, Ok(answer("sha256", &sum)));
    assert_eq!(checker.calls(), [1, 0]);
    assert!(
        log.contains("checksum told") && log.contains("\"stored\":true"),
        "{log}"
    );
    // An open file is the version that was opened.
    let handle = checker.talk.open("/a", OpenFlags::READ).await.unwrap();
    let [heads, gets] = checker.calls();
    let whole = ("none,sha256,md5", 0, 3_000_000, 4_000_000);
    let told = checker.ask("check-file-handle", &handle, whole).await;
    assert_eq!(told, Ok(answer("sha256", &sum)));
    assert_eq!(checker.calls(), [heads + 1, gets]);
    plant(&checker.store, "a", b"other").await;
    checker
        .store
        .keep_checksum(&at("a"), Digest::Sha256(sha256(b"other")));
    let told = checker.ask("check-file-handle", &handle, whole).await;
    assert!(told.unwrap_err().contains("changed"));
    // A sum of a part, or of another kind, is not what is stored.
    for what in [("sha256", 0, 4, 0), ("md5", 0, 0, 0)] {
        let [_, gets] = checker.calls();
        assert!(checker.by_name("/a", what).await.is_ok());
        assert_eq!(checker.calls()[1], gets + 1, "{what:?}");
    }
}

#[tokio::test]
async fn what_is_not_stored_is_read() {
    let checker = Checker::open().await;
    let content = pattern(700_001);
    plant(&checker.store, "a", &content).await;
    plant(&checker.store, "none", b"").await;
    let blocks: Vec<u8> = content[1_000..].chunks(100_000).flat_map(sha256).collect();
    let part = sha256(&content[256..512]);
    let md5 = [
        0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0, 0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1, 0x7f,
        0x72,
    ];
    plant(&checker.store, "abc", b"abc").await;
    for (file, what, sums) in [
        ("/a", ("sha256", 0, 0, 0), &sha256(&content)[..]),
        ("/a", ("sha256,md5", 1_000, 0, 100_000), &blocks),
        ("/a", ("sha256", 256, 256, 256), &part),
        (
            "/a",
            ("sha256", 700_000, 99, 0),
            &sha256(&content[700_000..]),
        ),
        ("/a", ("sha256", 700_001, 0, 0), &sha256(b"")),
        ("/none", ("sha256", 0, 0, 0), &sha256(b"")),
    ] {
        let told = checker.by_name(file, what).await;
        assert_eq!(told, Ok(answer("sha256", sums)), "{what:?}");
    }
    let told = checker.by_name("/abc", ("md5", 0, 0, 0)).await;
    assert_eq!(told, Ok(answer("md5", &md5)));
    let told = checker.by_name("/abc", ("crc32", 0, 0, 0)).await;
    assert_eq!(told, Ok(answer("crc32", &[0x35, 0x24, 0x41, 0xc2])));
    // paramiko's form, over an open file.
    let handle = checker.talk.open("/abc", OpenFlags::READ).await.unwrap();
    let told = checker.ask("check-file", &handle, ("md5", 0, 0, 0)).await;
    let named = [&string("check-file")[..], &answer("md5", &md5)].concat();
    assert_eq!(told, Ok(named));
    checker.talk.close(&handle).await.unwrap();
    assert_eq!(checker.talk.budget.taken_bytes(), (0, 0));
}

#[tokio::test]
async fn what_cannot_be_summed_up_is_refused_and_says_why() {
    let checker = Checker::open().await;
    plant(&checker.store, "a", &pattern(600_000)).await;
    plant(&checker.store, "d/x", b"x").await;
    for (file, what, says) in [
        ("/a", ("sha3,blake2", 0, 0, 0), "sha512"),
        ("/a", ("md5", 0, 0, 255), "256"),
        ("/a", ("md5", 0, 0, 256), "Too many blocks"),
        ("/a", ("md5", 600_001, 0, 0), "behind the end"),
        ("/missing", ("md5", 0, 0, 0), "No such file"),
        ("/missing/", ("md5", 0, 0, 0), "No such file"),
        ("/d", ("md5", 0, 0, 0), "directory"),
        ("/d/", ("md5", 0, 0, 0), "directory"),
        ("/", ("md5", 0, 0, 0), "directory"),
        ("/a\nb", ("md5", 0, 0, 0), "No such file"),
    ] {
        let refused = checker.by_name(file, what).await.unwrap_err();
        assert!(refused.contains(says), "{file:?} {what:?}: {refused}");
    }
    for handle in ["7fffffff", "x"] {
        let asked = checker.ask("check-file-handle", handle, ("md5", 0, 0, 0));
        assert!(asked.await.unwrap_err().contains("Invalid handle"));
    }
    // What a handle wrote is not in the store.
    let flags = OpenFlags::WRITE | OpenFlags::CREATE;
    let handle = checker.talk.open("/new", flags).await.unwrap();
    let asked = checker.ask("check-file-handle", &handle, ("md5", 0, 0, 0));
    assert!(asked.await.is_err());
    assert_eq!(checker.calls()[1], 0);
}

#[tokio::test]
async fn a_checksum_needs_the_permission_to_read() {
    let home = HomeDirectory::path("/b", Access::Write).unwrap();
    let checker = Checker::of(UserConfig::new("ann", home)).await;
    plant(&checker.store, "a", b"abc").await;
    let (refused, log) = logged(checker.by_name("/b/a", ("md5", 0, 0, 0))).await;
    assert!(refused.unwrap_err().contains("write-only"));
    assert!(
        log.contains("write-only") && log.contains("check-file"),
        "{log}"
    );
    assert_eq!(checker.calls(), [0, 0]);
}

#[tokio::test]
async fn a_read_for_a_checksum_goes_on_where_it_was_cut() {
    let checker = Checker::open().await;
    let content = pattern(2_000_000);
    plant(&checker.store, "a", &content).await;
    checker
        .failing
        .spoil(Operation::Get, 1, Fault::CutBodyAfter(900_000));
    let told = checker.by_name("/a", ("sha256", 0, 0, 0)).await;
    assert_eq!(told, Ok(answer("sha256", &sha256(&content))));
    assert_eq!(checker.calls()[1], 2);
    let denied = Fault::Fail(StorageErrorKind::Denied);
    checker.failing.spoil(Operation::Get, 1, denied);
    let told = checker.by_name("/a", ("sha256", 0, 0, 0)).await;
    assert!(told.is_err());
    // The session goes on.
    assert!(checker.talk.client.stat("/a").await.is_ok());
    assert_eq!(checker.talk.budget.taken_bytes(), (0, 0));
}

#[tokio::test]
async fn a_read_for_a_checksum_holds_up_nothing_else() {
    let mut config = UserConfig::new("ann", whole_bucket());
    config.limits.bytes_per_second = Some(1_000_000_000);
    let checker = Checker::of(config).await;
    plant(&checker.store, "a", &pattern(300_000)).await;
    let gate = Gate::closed();
    checker
        .failing
        .spoil(Operation::Get, 1, Fault::Hold(gate.clone()));
    // Others of the session go on meanwhile, and all are answered in the end.
    let slow = checker.by_name("/a", ("sha256", 0, 0, 0));
    let beside = async {
        let stated = checker.talk.client.stat("/a").await;
        gate.open();
        stated.is_ok()
    };
    let (told, beside) = tokio::join!(slow, beside);
    assert!(told.is_ok() && beside);
}

#[tokio::test]
async fn commands_print_checksums_that_are_stored_without_a_read() {
    let (store, _, noting) = spied(Capabilities::all());
    plant(&store, "a", b"abc").await;
    store.keep_checksum(&at("a"), Digest::Sha256(sha256(b"abc")));
    let hex: String = sha256(b"abc").iter().map(|b| format!("{b:02x}")).collect();
    let metrics = Arc::new(Metrics::default());
    let run = |line| {
        let user = user(whole_bucket(), noting.clone());
        let count = |process: &mut Environment| process.metrics = Arc::clone(&metrics);
        Running::start_in(user, Limits::default(), count, line)
    };
    let told = |algorithm, origin, times| {
        let labels = format!("algorithm=\"{algorithm}\",origin=\"{origin}\"");
        let line = format!("portcullis_checksums_told_total{{{labels}}} {times}\n");
        assert!(metrics.encode().contains(&line), "{line}");
    };
    let ran = run("sha256sum a").ended().await;
    assert_eq!((ran.status, ran.stdout), (0, format!("{hex}  a\n")));
    let calls = [Operation::Head, Operation::Get].map(|call| noting.keys(call).len());
    assert_eq!(calls, [1, 0]);
    // Another kind is read.
    let ran = run("sha1sum a").ended().await;
    assert!(
        ran.stdout
            .starts_with("a9993e364706816aba3e25717850c26c9cd0d89d")
    );
    assert_eq!(noting.keys(Operation::Get).len(), 1);
    told("sha256", "stored", 1);
    told("sha256", "read", 0);
    told("sha1", "read", 1);
    told("sha1", "stored", 0);
    // What is not there has no sum.
    drop(run("md5sum missing").ended().await);
    told("md5", "read", 0);
}
