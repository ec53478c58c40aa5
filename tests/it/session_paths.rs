//! Paths as clients write them, with slashes and dots where they like: every request is put to
//! the gateway and to OpenSSH's `sftp-server` on a file system, and both answers are compared,
//! and what stands there afterwards.

use std::collections::BTreeSet;
use std::process::Stdio;

use portcullis::idp::UserConfig;
use portcullis::limits::Limits;
use portcullis::storage::Bucket;
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::common::raw::{
    CLOSE, EXTENDED, FAILURE, NO_SUCH_FILE, OK, OPEN, REALPATH, REMOVE, RENAME, STAT, on_handle,
    packet, string,
};
use crate::common::sftp::{Talk, as_answered, begin_as, code};
use crate::idp_examples::skip;
use crate::session::{plant, store};

const SERVER: &str = "/usr/lib/openssh/sftp-server";
const LSTAT: u8 = 7;
const SETSTAT: u8 = 9;
const OPENDIR: u8 = 11;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const READLINK: u8 = 19;

const BAD_MESSAGE: u32 = 5;
const OP_UNSUPPORTED: u32 = 8;

/// What stands there before each request; all files are empty.
const TREE: [&str; 7] = ["d/", "d/in", "d/sub/", "e/", "f", "g", "h/"];

const PATHS: [&str; 32] = [
    "f", "./f", "f/", "f//", "f/.", "f/./", "f/x", "f/x/", "f/x/.", "d", "d/", "d//", "d/.",
    "d/./", "d/sub/..", "d//in", "d/./in", "d/in/", "d/in/.", "e", "e/", "e/.", "m", "m/", "m/.",
    "m/x", "m/x/", "d/m", "d/m/", "d/m/.", ".", "d/../f",
];

/// Something to ask of one path.
struct Question {
    name: &'static str,
    kind: u8,
    before: &'static [u8],
    after: &'static [u8],
}

const fn question(name: &'static str, kind: u8, after: &'static [u8]) -> Question {
    Question {
        name,
        kind,
        before: &[],
        after,
    }
}

const QUESTIONS: [Question; 16] = [
    question("STAT", STAT, &[]),
    question("LSTAT", LSTAT, &[]),
    question(
        "SETSTAT of permissions",
        SETSTAT,
        &[0, 0, 0, 4, 0, 0, 1, 0o355],
    ),
    question(
        "SETSTAT of size 0",
        SETSTAT,
        &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    ),
    question("READLINK", READLINK, &[]),
    question("REALPATH", REALPATH, &[]),
    question("OPENDIR", OPENDIR, &[]),
    question("OPEN to read", OPEN, &[0, 0, 0, 1, 0, 0, 0, 0]),
    question("OPEN to write", OPEN, &[0, 0, 0, 2, 0, 0, 0, 0]),
    question("OPEN to write or make", OPEN, &[0, 0, 0, 0x0a, 0, 0, 0, 0]),
    question("OPEN to replace", OPEN, &[0, 0, 0, 0x1a, 0, 0, 0, 0]),
    question("OPEN to make", OPEN, &[0, 0, 0, 0x2a, 0, 0, 0, 0]),
    question("REMOVE", REMOVE, &[]),
    question("MKDIR", MKDIR, &[0, 0, 0, 0]),
    question("RMDIR", RMDIR, &[]),
    Question {
        name: "statvfs",
        kind: EXTENDED,
        before: b"\0\0\0\x13statvfs@openssh.com",
        after: &[],
    },
];

/// Returns what the gateway answers where it differs by design, as docs/semantics.md says.
fn by_design(question: &str, path: &str, theirs: u32) -> Option<u32> {
    match (question, theirs) {
        // Nothing is a link here.
        ("READLINK", BAD_MESSAGE) => Some(OP_UNSUPPORTED),
        // A handle of a directory is good for nothing.
        ("OPEN to read", OK) if !path.ends_with("in") && !path.ends_with('f') => Some(FAILURE),
        // A path is resolved without looking.
        ("REALPATH", NO_SUCH_FILE) => Some(OK),
        _ => None,
    }
}

/// The same for a move.
fn moved_by_design(from: &str, to: &str, theirs: u32) -> Option<u32> {
    // What no sense can be made of is a plain failure.
    (theirs == BAD_MESSAGE && (from.starts_with('d') && to.starts_with('d'))).then_some(FAILURE)
}

#[tokio::test]
async fn paths_with_slashes_and_dots_answer_as_on_a_file_system() {
    if !std::fs::exists(SERVER).unwrap() {
        return skip("sftp-server", "it is not installed");
    }
    let mut wrong = Vec::new();
    for question in &QUESTIONS {
        for path in PATHS {
            let fields = [question.before, &string(path), question.after];
            let asked = packet(question.kind, 7, &fields);
            let (theirs, ours) = both(&asked).await;
            let expected = by_design(question.name, path, theirs.0).unwrap_or(theirs.0);
            if ours.0 != expected || (theirs.0 == OK && ours.0 == OK && ours.1 != theirs.1) {
                let name = question.name;
                wrong.push(format!("{name} {path:?}: {theirs:?}, here {ours:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn moves_to_paths_with_slashes_and_dots_answer_as_on_a_file_system() {
    if !std::fs::exists(SERVER).unwrap() {
        return skip("sftp-server", "it is not installed");
    }
    const FROM: [&str; 13] = [
        "f", "f/", "f/.", "d", "d/", "d/.", "d/sub/..", "d//in", "d/in/", "m", "m/", "m/.", "e",
    ];
    const TO: [&str; 18] = [
        "f", "f/", "f/.", "g", "g/", "g/.", "e", "e/", "e/.", "h", "h/", "d", "d/", "m", "m/",
        "m/.", "m/x", "d/m",
    ];
    let mut wrong = Vec::new();
    for posix in [false, true] {
        for from in FROM {
            for to in TO {
                let (from_field, to_field) = (string(from), string(to));
                let asked = if posix {
                    let name = string("posix-rename@openssh.com");
                    packet(EXTENDED, 7, &[&name, &from_field, &to_field])
                } else {
                    packet(RENAME, 7, &[&from_field, &to_field])
                };
                let (theirs, ours) = both(&asked).await;
                let expected = moved_by_design(from, to, theirs.0).unwrap_or(theirs.0);
                if ours.0 != expected || ours.1 != theirs.1 {
                    wrong.push(format!(
                        "{posix} {from:?} {to:?}: {theirs:?}, here {ours:?}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Clients put a name that ends in a slash on the wire as it was typed.
#[tokio::test]
async fn a_directory_that_is_missing_never_becomes_a_file() {
    let store = store();
    let talk = Talk::start(store.clone()).await;
    let rename = async |from: &str, to: &str| {
        let renamed = talk.client.rename(from, to).await;
        renamed.map(drop).map_err(code)
    };
    for name in ["a.csv", "b.csv"] {
        assert_eq!(talk.put("outbox/", b"x").await, Err(StatusCode::Failure));
        talk.put(name, name.as_bytes()).await.unwrap();
        let missing = Err(StatusCode::NoSuchFile);
        assert_eq!(rename(name, "done/").await, missing);
        assert_eq!(
            talk.size(&format!("{name}/")).await,
            Err(StatusCode::NoSuchFile)
        );
        // That no directory has the name says nothing of the file.
        assert_eq!(talk.get(name).await.unwrap(), name.as_bytes());
        let taken = Err(StatusCode::Failure);
        assert_eq!(rename(name, &format!("{name}/")).await, taken);
    }
    // The file that is being written is no directory either.
    let handle = talk.create("c.csv").await.unwrap();
    assert_eq!(talk.size("c.csv/").await, Err(StatusCode::NoSuchFile));
    talk.close(&handle).await.unwrap();
    let keys = store.keys(&Bucket::parse("b").unwrap());
    assert_eq!(keys, ["a.csv", "b.csv", "c.csv"]);
    // A directory beside a file of its name.
    plant(&store, "a.csv/in", b"x").await;
    assert_eq!(talk.size("a.csv").await, Ok(Some(5)));
    assert_eq!(talk.size("a.csv/").await, Ok(Some(0)));
}

/// What a request was answered, and what stands there afterwards.
type Outcome = (u32, BTreeSet<String>);

async fn both(asked: &[u8]) -> (Outcome, Outcome) {
    (theirs(asked).await, ours(asked).await)
}

async fn theirs(asked: &[u8]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    for name in TREE {
        let path = folder.path().join(name);
        if name.ends_with('/') {
            std::fs::create_dir(path).unwrap();
        } else {
            std::fs::write(path, "").unwrap();
        }
    }
    let mut child: Child = Command::new(SERVER)
        .arg("-d")
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let code = ask(&mut output, &mut input, asked).await;
    drop(input);
    child.wait().await.unwrap();
    let mut names = BTreeSet::new();
    walk(folder.path().to_str().unwrap(), "", &mut names);
    (code, names)
}

fn walk(folder: &str, above: &str, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{above}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            let name = format!("{name}/");
            walk(entry.path().to_str().unwrap(), &name, names);
            names.insert(name);
        } else {
            names.insert(name);
        }
    }
}

async fn ours(asked: &[u8]) -> Outcome {
    let store = store();
    plant(&store, "w/", b"").await;
    for name in TREE {
        plant(&store, &format!("w/{name}"), b"").await;
    }
    let all = Mapping::parse("/", "/b", EntryType::Directory, Access::ReadWrite).unwrap();
    let landing = VirtualPath::parse("/w").unwrap();
    let home = HomeDirectory::logical(vec![all], landing).unwrap();
    let user = as_answered(UserConfig::new("ann", home), store.clone());
    let (pipe, running) = begin_as(user, Limits::default());
    let (mut read, mut write) = tokio::io::split(pipe);
    let code = ask(&mut read, &mut write, asked).await;
    drop((read, write));
    running.end().await.drain().await;
    let keys = store.keys(&Bucket::parse("b").unwrap());
    let inside = keys.iter().filter_map(|key| key.strip_prefix("w/"));
    let names = inside.filter(|name| !name.is_empty()).map(str::to_owned);
    (code, names.collect())
}

/// Greets, asks, and closes what was opened.
async fn ask(
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
    asked: &[u8],
) -> u32 {
    write.write_all(&[0, 0, 0, 5, 1, 0, 0, 0, 3]).await.unwrap();
    answer(read).await;
    write.write_all(asked).await.unwrap();
    let (kind, body) = answer(read).await;
    if kind == 102 {
        let close = on_handle(CLOSE, 8, &body[4..]);
        write.write_all(&close).await.unwrap();
        let (_, closed) = answer(read).await;
        return u32::from_be_bytes(closed[..4].try_into().unwrap());
    }
    if kind == 101 {
        return u32::from_be_bytes(body[..4].try_into().unwrap());
    }
    OK
}

/// Returns an answer's type, and what follows the id.
async fn answer(read: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let length = read.read_u32().await.unwrap();
    let mut packet = vec![0; usize::try_from(length).unwrap()];
    read.read_exact(&mut packet).await.unwrap();
    (packet[0], packet[5..].to_vec())
}
