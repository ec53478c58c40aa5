//! Commands beside SFTP, byte by byte: `scp` as its clients speak it and as nobody should, sums,
//! and what programs look for. OpenSSH's own `scp` is in `faults/scp.rs`.

use std::sync::Arc;

use portcullis::auth::AuthenticatedUser;
use portcullis::idp::UserConfig;
use portcullis::limits::Limits;
use portcullis::session::UserSessions;
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Bucket, Key, Location, SharedStore};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, PartialUploads, VirtualPath};

use crate::common::exec::{Ended, Running};
use crate::common::sftp::{as_answered, user, whole_bucket};

pub(crate) struct Store(Arc<MemoryStore>);

impl Store {
    pub(crate) fn new() -> Self {
        Self(MemoryStore::new(&[&Bucket::parse("b").unwrap()]).into())
    }

    pub(crate) fn put(&self, key: &str, bytes: impl Into<bytes::Bytes>) {
        self.0.insert(&at(key), bytes);
    }

    fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.0.object(&at(key)).map(|bytes| bytes.to_vec())
    }

    fn keys(&self) -> Vec<String> {
        self.0.keys(&Bucket::parse("b").unwrap())
    }

    fn shared(&self) -> SharedStore {
        Arc::<MemoryStore>::clone(&self.0)
    }

    pub(crate) fn user(&self) -> AuthenticatedUser {
        user(whole_bucket(), self.shared())
    }

    pub(crate) fn run(&self, line: &str) -> Running {
        Running::start(self.user(), line)
    }
}

fn at(key: &str) -> Location {
    Location {
        bucket: Bucket::parse("b").unwrap(),
        key: Key::parse(key).unwrap(),
    }
}

fn ended(status: u32, stdout: &str, stderr: &str) -> Ended {
    Ended {
        status,
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
    }
}

fn bytes(length: usize) -> Vec<u8> {
    let word = |at: u32| at.wrapping_mul(2_654_435_761).to_be_bytes();
    (0..).flat_map(word).take(length).collect()
}

// ---- scp -t ----

#[tokio::test]
async fn a_file_is_confirmed_when_it_is_in_the_store() {
    let store = Store::new();
    let mut scp = store.run("scp -t /a");
    scp.confirmed().await;
    scp.send("C0644 5 local name\n").await;
    scp.confirmed().await;
    scp.send("hel").await;
    assert_eq!(store.keys(), [""; 0]);
    scp.send("lo\0").await;
    scp.confirmed().await;
    assert_eq!(store.object("a").unwrap(), b"hello");
    assert_eq!(scp.ended().await, ended(0, "", ""));
}

#[tokio::test]
async fn files_and_directories_go_into_a_directory() {
    let store = Store::new();
    store.put("in/", "");
    let large = bytes(20_000_000);
    let mut scp = store.run("scp -v -r -p -d -t /in/");
    scp.confirmed().await;
    for record in [
        "T1600000000 0 1600000001 0\n",
        "D0755 0 tree\n",
        "D0700 0 empty\n",
        "E\n",
    ] {
        scp.send(record).await;
        scp.confirmed().await;
    }
    for (name, content) in [("large", &*large), ("none", b""), ("a 'b' é", b"x")] {
        scp.send(format!(
            "T1600000000 0 1600000001 0\nC0644 {} {name}\n",
            content.len()
        ))
        .await;
        scp.confirmed().await;
        scp.confirmed().await;
        scp.send(content).await;
        scp.send([0]).await;
        scp.confirmed().await;
    }
    scp.send("E\n").await;
    scp.confirmed().await;
    scp.send("C0644 1 beside\nx\0").await;
    scp.confirmed().await;
    scp.confirmed().await;
    assert_eq!(scp.ended().await, ended(0, "", ""));
    assert!(store.object("in/tree/large").unwrap() == large);
    assert_eq!(
        store.keys(),
        [
            "in/",
            "in/beside",
            "in/tree/",
            "in/tree/a 'b' é",
            "in/tree/empty/",
            "in/tree/large",
            "in/tree/none"
        ]
    );
    // The time went with the file.
    let mut scp = store.run("scp -p -f /in/tree/large");
    scp.send([0]).await;
    assert_eq!(scp.line().await, "T1600000000 0 1600000000 0");
    scp.send([0]).await;
    assert_eq!(scp.line().await, "C0644 20000000 large");
    scp.send([0]).await;
    assert!(scp.read(20_000_001).await[..20_000_000] == large);
    scp.send([0]).await;
    assert_eq!(scp.ended().await, ended(0, "", ""));
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_and_the_rest_goes_on() {
    let store = Store::new();
    store.put("in/file", "old");
    store.put("out/x", "");
    let mapping = |entry: &str, target: &str, access| {
        Mapping::parse(entry, target, EntryType::Directory, access).unwrap()
    };
    let mappings = [
        mapping("/in", "/b/in", Access::ReadWrite),
        mapping("/out", "/b/out", Access::Read),
    ];
    let home = HomeDirectory::logical(mappings.into(), VirtualPath::root()).unwrap();
    let user = || user(home.clone(), store.shared());

    let mut scp = Running::start(user(), "scp -t -d -r /");
    scp.confirmed().await;
    for (record, answer) in [
        ("C0644 5 file\n", "\x01scp: /file: "),
        ("D0755 0 dir\n", "\x01scp: /dir: "),
    ] {
        scp.send(record).await;
        let said = scp.line().await;
        assert!(said.starts_with(answer), "{said:?}");
    }
    scp.send("D0755 0 out\n").await;
    scp.confirmed().await;
    scp.send("C0644 5 file\n").await;
    assert_eq!(
        scp.line().await,
        "\x01scp: /out/file: This directory is read-only"
    );
    scp.send("E\nD0755 0 in\n").await;
    scp.confirmed().await;
    scp.confirmed().await;
    scp.send("D0755 0 file\n").await;
    assert_eq!(scp.line().await, "\x01scp: /in/file: Not a directory");
    scp.send("C0644 3 file\nnew\0E\n").await;
    for _ in 0..3 {
        scp.confirmed().await;
    }
    let Ended { status, stderr, .. } = scp.ended().await;
    assert_eq!(status, 1);
    assert!(stderr.contains("put files below /in, /out"), "{stderr}");
    assert_eq!(store.object("in/file").unwrap(), b"new");
    assert_eq!(store.keys(), ["in/file", "out/x"]);

    for (target, reason) in [
        ("/in/file", "\x01scp: /in/file: Not a directory\n"),
        ("/in/none", "\x01scp: /in/none: No such file\n"),
    ] {
        let scp = Running::start(user(), &format!("scp -d -t {target}"));
        assert_eq!(scp.ended().await, ended(1, reason, ""));
    }
}

#[tokio::test]
async fn a_client_that_lies_or_vanishes_leaves_nothing() {
    for (line, sent, expected) in [
        // Less than was announced, and nothing more.
        ("scp -t /in", "C0644 10 a\nhello", None),
        // More.
        ("scp -t /in", "C0644 2 a\nhello", Some("expected an answer")),
        (
            "scp -t /in",
            "C0644 99999999999999999999 a\n",
            Some("bad size"),
        ),
        (
            "scp -t /in",
            "C0644 5 ../a\nhello\0",
            Some("unexpected filename"),
        ),
        (
            "scp -t /in",
            "C0644 5 a/b\nhello\0",
            Some("unexpected filename"),
        ),
        (
            "scp -t /in",
            "C0644 5 \x1b[2J\nhello\0",
            Some("unexpected filename"),
        ),
        ("scp -t /in", "C0644 5 a", None),
        (
            "scp -t /in",
            "D0755 0 a\n",
            Some("received directory without -r"),
        ),
        ("scp -rt /in", "D0755 0 ..\n", Some("unexpected filename")),
        ("scp -t /in", "E\n", Some("unexpected E")),
        ("scp -t /in", "hello\n", Some("expected control record")),
        ("scp -t /in", "T1 2\n", Some("bad times")),
        // It read the file half, and says so: the rest is padded.
        (
            "scp -t /in",
            "C0644 5 a\nhe\0\0\0\x01scp: a: I/O error\n",
            None,
        ),
        ("scp -t /in", "C0644 5 a\nhello\x02it ends\n", None),
        // It says so and is gone before it says why.
        ("scp -t /in", "C0644 5 a\nhe\0\0\0\x01", None),
        ("scp -t /in", "C0644 5 a\nhello\x01scp: a: I/O", None),
        ("scp -t /in", "C0644 5 a\nhello\x02", None),
    ] {
        for partial in [PartialUploads::Discard, PartialUploads::Keep] {
            let store = Store::new();
            let keep = |environment: &mut portcullis::session::Environment| {
                environment.partial_uploads = partial;
            };
            let mut scp = Running::start_in(store.user(), Limits::default(), keep, line);
            scp.send(sent).await;
            let Ended { status, stdout, .. } = scp.ended().await;
            assert_eq!(status, 1, "{sent:?}");
            if let Some(reason) = expected {
                let said = format!("\x01scp: protocol error: {reason}\n");
                assert!(stdout.ends_with(&said), "{sent:?}: {stdout:?}");
            }
            let kept = sent.ends_with("hello") && sent.contains(" 10 ");
            if partial == PartialUploads::Keep && kept {
                assert_eq!(store.object("in").unwrap(), b"hello");
            } else {
                assert_eq!(store.keys(), [""; 0], "{sent:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_endless_line_ends_the_command() {
    let store = Store::new();
    let mut scp = store.run("scp -t /in");
    scp.send(vec![b'C'; 1 << 20]).await;
    let Ended { status, stdout, .. } = scp.ended().await;
    assert_eq!(status, 1);
    assert_eq!(stdout, "\0\x01scp: protocol error: line too long\n");
}

#[tokio::test]
async fn a_file_that_the_client_could_not_read_does_not_stop_the_others() {
    let store = Store::new();
    store.put("in/a", "old");
    let mut scp = store.run("scp -d -t /in");
    scp.send("C0644 3 a\nab\0\x01scp: a: I/O error\nC0644 1 b\nx\0\x01scp: c: No such file\n")
        .await;
    assert_eq!(scp.ended().await, ended(1, "\0\0\0\0\0", ""));
    assert_eq!(store.object("in/a").unwrap(), b"old");
    assert_eq!(store.object("in/b").unwrap(), b"x");
}

#[tokio::test]
async fn what_a_client_sends_of_a_file_that_failed_is_not_taken_without_end() {
    let store = Store::new();
    let limited = || {
        let mut config = UserConfig::new("ann", whole_bucket());
        config.limits.file_bytes = Some(1_000_000);
        as_answered(config, store.shared())
    };
    // A little more is thrown away, and the next file comes.
    let mut scp = Running::start(limited(), "scp -d -t /");
    let content = bytes(2_000_000);
    scp.send("C0644 2000000 a\n").await;
    scp.send(&content).await;
    scp.send("\0C0644 1 b\nx\0").await;
    let Ended { status, stdout, .. } = scp.ended().await;
    assert_eq!(status, 1);
    assert!(stdout.starts_with("\0\0\x01scp: /a: "), "{stdout:?}");
    assert!(stdout.ends_with("\n\0\0"), "{stdout:?}");
    assert_eq!(store.keys(), ["b"]);
    // Much more ends it.
    let mut scp = Running::start(limited(), "scp -t /c");
    scp.send("C0644 50000000000 c\n").await;
    for _ in 0..4 {
        scp.send(&content).await;
    }
    let Ended {
        status,
        stdout,
        stderr,
    } = scp.ended().await;
    assert_eq!((status, &*stdout), (1, "\0\0"));
    assert!(stderr.starts_with("scp: /c: "), "{stderr:?}");
    assert_eq!(store.keys(), ["b"]);
}

#[tokio::test]
async fn what_came_of_a_large_file_is_gone_with_its_client() {
    let store = Store::new();
    let mut scp = store.run("scp -t /in");
    scp.send("C0644 50000000 a\n").await;
    scp.send(bytes(20_000_000)).await;
    // The connection is cut, without an end of the channel's bytes.
    scp.gone.cancel();
    assert_eq!(scp.ended().await.status, 1);
    assert_eq!(store.keys(), [""; 0]);
    assert_eq!(store.0.unfinished_uploads(), []);
}

// ---- scp -f ----

#[tokio::test]
async fn several_files_and_what_is_missing() {
    let store = Store::new();
    store.put("a b", "hello");
    store.put("dir/x", "");
    store.put("in/a\nb", "x");
    let mut scp = store.run("scp -f '/a b' /none /dir 'in/a\nb'");
    scp.send([0; 4]).await;
    let expected = "C0644 5 a b\nhello\0\x01scp: /none: No such file\n\
                    \x01scp: /dir: not a regular file\n\
                    \x01scp: in/a?b: scp cannot send this name\n";
    assert_eq!(scp.ended().await, ended(1, expected, ""));
}

#[tokio::test]
async fn a_tree_is_sent_with_what_is_in_it() {
    let store = Store::new();
    for (key, content) in [
        ("t/", ""),
        ("t/a", "1"),
        ("t/d/b", "22"),
        ("t/d/e/", ""),
        ("t/z", ""),
    ] {
        store.put(key, content);
    }
    for path in ["/t", "t/", "/t/d/.."] {
        let mut scp = store.run(&format!("scp -r -f {path}"));
        scp.send([0; 30]).await;
        let mut said = scp.ended().await;
        assert_eq!((said.status, &*said.stderr), (0, ""));
        // In whatever order the store lists them.
        for part in [
            "D0755 0 t\n",
            "C0644 1 a\n1\0",
            "D0755 0 d\n",
            "C0644 2 b\n22\0",
            "D0755 0 e\nE\n",
            "C0644 0 z\n\0",
            "E\n",
            "E\n",
        ] {
            assert!(said.stdout.contains(part), "{part:?} {:?}", said.stdout);
            said.stdout = said.stdout.replacen(part, "", 1);
        }
        assert_eq!(said.stdout, "");
    }
}

#[tokio::test]
async fn many_names_in_many_pages() {
    let store = Store::new();
    for at in 0..2_500 {
        store.put(&format!("t/f{at:04}"), "");
    }
    let mut scp = store.run("scp -r -f /t");
    scp.send(vec![0; 10_000]).await;
    let said = scp.ended().await;
    assert_eq!(
        (said.status, said.stdout.matches("C0644 0 f").count()),
        (0, 2_500)
    );
    let mut scp = store.run("scp -f /t/f1*");
    scp.send(vec![0; 10_000]).await;
    let said = scp.ended().await;
    assert_eq!(
        (said.status, said.stdout.matches("C0644 0 f1").count()),
        (0, 1_000)
    );
}

#[tokio::test]
async fn wildcards_are_resolved_by_the_gateway() {
    let store = Store::new();
    for key in [
        "a1.txt", "a2.txt", ".a3.txt", "b.txt", "d1/x", "d2/x", "d2/y", "d3", "[q]",
    ] {
        store.put(key, key.to_owned());
    }
    for (pattern, expected) in [
        ("a*.txt", &["a1.txt", "a2.txt"][..]),
        ("/[ab]?.txt", &["a1.txt", "a2.txt"]),
        ("'a1'.t*", &["a1.txt"]),
        ("d*/x", &["d1/x", "d2/x"]),
        ("/d?/[!x]", &["d2/y"]),
        (".*", &[".a3.txt"]),
        // What matches nothing stands for itself.
        ("[q]", &["[q]"]),
        ("'[q]'", &["[q]"]),
    ] {
        let mut scp = store.run(&format!("scp -f {pattern}"));
        scp.send([0; 20]).await;
        let said = scp.ended().await;
        assert_eq!(said.status, 0, "{pattern} {said:?}");
        for name in expected {
            assert!(said.stdout.contains(name), "{pattern} {said:?}");
        }
        assert_eq!(
            said.stdout.matches("C0644").count(),
            expected.len(),
            "{pattern}"
        );
    }
    let mut scp = store.run("scp -f none*");
    scp.send([0]).await;
    let missing = "\x01scp: none*: No such file\n";
    assert_eq!(scp.ended().await, ended(1, missing, ""));
    let scp = store.run("scp -t d*");
    let ambiguous = "\x01scp: d*: ambiguous target\n";
    assert_eq!(scp.ended().await, ended(1, ambiguous, ""));
    // The one that matches is where it goes.
    let mut scp = store.run("scp -t /d[1]");
    scp.send("C0644 1 new\nx\0").await;
    assert_eq!(scp.ended().await, ended(0, "\0\0\0", ""));
    assert!(store.object("d1/new").is_some());
}

#[tokio::test]
async fn a_client_may_not_want_a_file() {
    let store = Store::new();
    store.put("t/a", "1");
    store.put("t/b", "2");
    let mut scp = store.run("scp -f t/a t/b");
    scp.send("\0\x01scp: a: Permission denied\n\0\0").await;
    let said = scp.ended().await;
    assert_eq!(said, ended(1, "C0644 1 a\nC0644 1 b\n2\0", ""));
    let mut scp = store.run("scp -r -f t");
    scp.send("\0\x01scp: t: Permission denied\n").await;
    assert_eq!(scp.ended().await, ended(1, "D0755 0 t\n", ""));
    for word in ["\0\x02no\n", "\0x", ""] {
        let mut scp = store.run("scp -f t/a t/b");
        scp.send(word).await;
        let said = scp.ended().await;
        assert_eq!(said.status, 1, "{word:?}");
        assert!(!said.stdout.contains(" b\n"), "{word:?}");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_makes_the_gateway_hold_little() {
    let store = Store::new();
    store.put("large", bytes(100_000_000));
    let mut scp = store.run("scp -f /large");
    scp.send([0, 0]).await;
    assert_eq!(scp.line().await, "C0644 100000000 large");
    let mut before = 1;
    // Until nothing is read ahead any more.
    loop {
        let taken = scp.budget.taken_bytes().1;
        assert!(taken <= 20_000_000, "{taken}");
        if taken == before {
            break;
        }
        before = taken;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(scp.read(100_000_000).await == bytes(100_000_000));
    scp.send([0]).await;
    assert_eq!(scp.ended().await.status, 0);
}

#[tokio::test]
async fn a_file_that_changes_is_not_made_up() {
    let store = Store::new();
    store.put("large", bytes(60_000_000));
    let mut scp = store.run("scp -f /large");
    scp.send([0, 0]).await;
    assert_eq!(scp.line().await, "C0644 60000000 large");
    store.put("large", "other");
    let said = scp.ended().await;
    assert_eq!(said.status, 1);
    assert!(said.stdout.len() < 60_000_000);
    assert!(said.stderr.starts_with("scp: /large: "), "{}", said.stderr);
}

// ---- sums, and what programs look for ----

#[tokio::test]
async fn sums_are_those_of_coreutils() {
    let store = Store::new();
    store.put("a", "abc");
    store.put("b\\", "");
    store.put("large", bytes(3_000_000));
    let md5 = "900150983cd24fb0d6963f7d28e17f72";
    let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let empty = "d41d8cd98f00b204e9800998ecf8427e";
    for (line, expected) in [
        ("md5sum /a", format!("{md5}  /a\n")),
        ("md5sum -b a /a", format!("{md5} *a\n{md5} */a\n")),
        ("md5sum 'b\\'", format!("\\{empty}  b\\\\\n")),
        ("sha1sum a*", format!("{sha1}  a\n")),
        ("sha256sum -- a", format!("{sha256}  a\n")),
        ("md5sum", format!("{empty}  -\n")),
        ("md5sum - a", format!("{empty}  -\n{md5}  a\n")),
    ] {
        let ran = store.run(line).ended().await;
        assert_eq!(ran, ended(0, &expected, ""), "{line}");
    }
    let mut sum = store.run("sha1sum");
    sum.send("a").await;
    sum.send("bc").await;
    assert_eq!(sum.ended().await, ended(0, &format!("{sha1}  -\n"), ""));
    let ran = store.run("md5sum none a .").ended().await;
    assert_eq!((ran.status, &*ran.stdout), (1, &*format!("{md5}  a\n")));
    assert!(
        ran.stderr
            .starts_with("md5sum: none: No such file\nmd5sum: .: ")
    );
    // What is not a file is summed up as long as it is short.
    let mut sum = store.run("md5sum");
    sum.send(bytes(5_000_000)).await;
    let ran = sum.ended().await;
    assert_eq!((ran.status, &*ran.stdout), (1, ""));
    assert!(ran.stderr.contains("More than 4 MiB"), "{}", ran.stderr);
    let ran = store.run("sha512sum large").ended().await;
    use sha2::Digest as _;
    let expected = sha2::Sha512::digest(bytes(3_000_000));
    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(ran.stdout, format!("{expected}  large\n"));
}

#[tokio::test]
async fn other_programs_find_what_they_look_for() {
    let store = Store::new();
    store.put("d/a\tb", "1");
    store.put("d/.hidden", "1");
    store.put("d/e/x", "1");
    for (line, expected) in [
        ("pwd", "/\n"),
        ("echo ${ShellId}%ComSpec%", "%ComSpec%\n"),
        ("ls", "d\n"),
        ("ls -d /d", "/d\n"),
    ] {
        assert_eq!(
            store.run(line).ended().await,
            ended(0, expected, ""),
            "{line}"
        );
    }
    let lines = |stdout: &str| {
        let mut lines: Vec<_> = stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(
        lines(&store.run("ls /d").ended().await.stdout),
        ["a?b", "e"]
    );
    let all = store.run("ls -a /d").ended().await.stdout;
    assert_eq!(lines(&all), [".hidden", "a?b", "e"]);
    let long = store.run("ls -l /d").ended().await.stdout;
    assert!(lines(&long)[0].starts_with("-rw-r--r-- "), "{long}");
    assert!(lines(&long)[1].starts_with("drwxr-xr-x "), "{long}");
    store.put("d/e\nf/x", "1");
    let several = store.run("ls 'd/e\nf' d/e").ended().await.stdout;
    assert_eq!(several, "d/e?f:\nx\nd/e:\nx\n");
    let missing = store.run("ls none").ended().await;
    assert_eq!(missing, ended(1, "", "ls: none: No such file\n"));
}

#[tokio::test]
async fn a_command_counts_as_a_session() {
    let store = Store::new();
    let none = |environment: &mut portcullis::session::Environment| {
        environment.user_sessions = UserSessions::new(0, Arc::clone(&environment.budget));
    };
    let ran = Running::start_in(store.user(), Limits::default(), none, "scp -t /a");
    let sentence = "too many sessions: close another one first\n";
    assert_eq!(ran.ended().await, ended(1, "", sentence));
}

#[tokio::test]
async fn a_drain_lets_a_command_finish_its_file() {
    let store = Store::new();
    let mut drain = None;
    let note = |environment: &mut portcullis::session::Environment| {
        drain = Some(environment.drain.clone());
    };
    let mut scp = Running::start_in(store.user(), Limits::default(), note, "scp -d -t /");
    scp.send("C0644 2 a\nx").await;
    scp.confirmed().await;
    scp.confirmed().await;
    drain.unwrap().cancel();
    scp.send("y\0").await;
    scp.confirmed().await;
    assert_eq!(store.object("a").unwrap(), b"xy");
    assert_eq!(scp.ended().await, ended(0, "", ""));

    // Where the client receives, the last word is its own.
    let mut drain = None;
    let note = |environment: &mut portcullis::session::Environment| {
        drain = Some(environment.drain.clone());
    };
    let mut scp = Running::start_in(store.user(), Limits::default(), note, "scp -f /a");
    scp.send([0]).await;
    assert_eq!(scp.line().await, "C0644 2 a");
    drain.unwrap().cancel();
    scp.send([0]).await;
    assert_eq!(scp.read(3).await, b"xy\0");
    scp.send([0]).await;
    assert_eq!(scp.ended().await, ended(0, "", ""));

    // And it begins no other.
    let mut drain = None;
    let note = |environment: &mut portcullis::session::Environment| {
        drain = Some(environment.drain.clone());
    };
    let mut scp = Running::start_in(store.user(), Limits::default(), note, "scp -d -t /");
    scp.send("C0644 1 b\n").await;
    scp.confirmed().await;
    scp.confirmed().await;
    drain.unwrap().cancel();
    scp.send("x\0").await;
    scp.confirmed().await;
    scp.send("C0644 1 c\n").await;
    let Ended { status, stderr, .. } = scp.ended().await;
    assert_eq!((status, &*stderr), (1, "The session ended\n"));
    assert_eq!(store.keys(), ["a", "b"]);
}
