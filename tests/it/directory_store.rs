//! A directory as a store: sessions over it, and what other programs see and do.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis::limits::Limits;
use portcullis::storage::directory::DirectoryStore;
use portcullis::storage::{
    Bucket, Key, ListCursor, ListQuery, Location, ObjectStore as _, PartNumber, Precondition,
    PutObject, StorageErrorKind as Kind, UploadPart,
};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};
use tempfile::TempDir;

use crate::common::sftp::{Talk, code};
use crate::common::stores::{checksum, collect, new_object};
use crate::session::{MIB, pattern};

/// A root, and a store over it.
pub(crate) struct Shelf {
    pub(crate) root: TempDir,
    pub(crate) store: Arc<DirectoryStore>,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap())
    }

    pub(crate) fn over(root: TempDir) -> Self {
        let path = root.path().display().to_string();
        let store = DirectoryStore::open(&path, &[bucket()]).unwrap();
        Self {
            root,
            store: Arc::new(store),
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root.path().display())
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        if let Some((above, _)) = path.rsplit_once('/') {
            fs::create_dir_all(above).unwrap();
        }
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn unfinished(&self) -> usize {
        fs::read_dir(self.path(".portcullis-uploads"))
            .unwrap()
            .count()
    }

    pub(crate) async fn talk(&self) -> Talk {
        let all = Mapping::parse("/", "/data", EntryType::Directory, Access::ReadWrite).unwrap();
        let home = HomeDirectory::logical(vec![all], VirtualPath::root()).unwrap();
        Talk::with(self.store.clone(), home, Limits::default()).await
    }

    /// Lists every key, so many at once.
    async fn keys(&self, prefix: &str, delimited: bool, max: u16) -> Vec<String> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let query = ListQuery {
                prefix: prefix.to_owned(),
                delimited,
                after,
                max,
            };
            let page = self.store.list(&bucket(), &query).await.unwrap();
            assert!(page.objects.len() + page.prefixes.len() <= usize::from(max));
            let mut keys: Vec<_> = page.objects.into_iter().map(|object| object.key).collect();
            keys.extend(page.prefixes);
            keys.sort_unstable();
            found.extend(keys);
            after = page.next.map(ListCursor::Continuation);
            if after.is_none() {
                return found;
            }
        }
    }

    async fn put(&self, key: &str, condition: &Precondition) -> Result<(), Kind> {
        let put = PutObject {
            object: &new_object(),
            checksum: checksum(b"x"),
            condition,
        };
        let stored = self.store.put(&at(key), "x".into(), put).await;
        stored.map(drop).map_err(|error| error.kind)
    }
}

pub(crate) fn bucket() -> Bucket {
    Bucket::parse("data").unwrap()
}

pub(crate) fn at(key: &str) -> Location {
    Location {
        bucket: bucket(),
        key: Key::parse(key).unwrap(),
    }
}

#[tokio::test]
async fn files_are_files_of_the_directory() {
    let shelf = Shelf::new();
    let talk = shelf.talk().await;
    for length in [0, 1, 300_000, 20 * MIB] {
        let content = pattern(length);
        let name = format!("/f{length}");
        talk.put(&name, &content).await.unwrap();
        assert!(shelf.read(&name) == content, "{length}");
        assert!(talk.get(&name).await.unwrap() == content, "{length}");
        assert_eq!(talk.size(&name).await, Ok(Some(length as u64)));
    }
    shelf.write("theirs", b"of another program");
    assert_eq!(talk.get("/theirs").await.unwrap(), b"of another program");
    assert_eq!(shelf.unfinished(), 0);
}

#[tokio::test]
async fn nothing_is_there_before_close_and_nothing_stays_of_what_is_cut() {
    let shelf = Shelf::new();
    let talk = shelf.talk().await;
    let handle = talk.create("/f").await.unwrap();
    let content = pattern(20 * MIB);
    for (n, piece) in content.chunks(32_768).enumerate() {
        talk.write(&handle, (n * 32_768) as u64, piece)
            .await
            .unwrap();
    }
    assert!(fs::metadata(shelf.path("f")).is_err());
    let others = shelf.talk().await;
    assert_eq!(others.names("/").await.unwrap(), Vec::<String>::new());
    let (reaper, _) = talk.cut().await;
    reaper.drain().await;
    assert!(fs::metadata(shelf.path("f")).is_err());
    assert_eq!(shelf.unfinished(), 0);
}

#[tokio::test]
async fn directories_are_directories() {
    let shelf = Shelf::new();
    let talk = shelf.talk().await;
    let attrs = FileAttributes::empty;
    talk.client.mkdir("/d", attrs()).await.unwrap();
    assert!(fs::metadata(shelf.path("d")).unwrap().is_dir());
    let again = talk.client.mkdir("/d", attrs()).await.map_err(code);
    assert_eq!(again.unwrap_err(), StatusCode::Failure);
    talk.put("/d/f", b"x").await.unwrap();
    let full = talk.client.rmdir("/d").await.map_err(code);
    assert_eq!(full.unwrap_err(), StatusCode::Failure);
    talk.client.rename("/d", "/e").await.unwrap();
    assert_eq!(shelf.read("e/f"), b"x");
    assert!(fs::metadata(shelf.path("d")).is_err());
    talk.client.remove("/e/f").await.unwrap();
    assert_eq!(talk.names("/").await.unwrap(), ["e"]);
    talk.client.rmdir("/e").await.unwrap();
    assert_eq!(talk.names("/").await.unwrap(), Vec::<String>::new());
    assert!(fs::metadata(shelf.path("e")).is_err());
}

#[tokio::test]
async fn a_name_is_a_file_or_a_directory() {
    let shelf = Shelf::new();
    shelf.write("file", b"f");
    shelf.write("dir/x", b"x");
    let none = Precondition::None;
    for key in ["file/below", "file/", "dir"] {
        assert_eq!(shelf.put(key, &none).await, Err(Kind::Refused), "{key}");
    }
    for key in [
        "a//b",
        "a/../b",
        "./a",
        ".portcullis-uploads/x",
        &"n".repeat(300),
    ] {
        assert_eq!(shelf.put(key, &none).await, Err(Kind::Refused), "{key}");
        let found = shelf.store.head(&at(key)).await;
        assert_eq!(found.unwrap_err().kind, Kind::NotFound, "{key}");
        shelf.store.delete(&at(key), None).await.unwrap();
    }
    assert_eq!(shelf.read("file"), b"f");
    for key in ["file/below", "file/", "dir", "dir/x/"] {
        let found = shelf.store.head(&at(key)).await;
        assert_eq!(found.unwrap_err().kind, Kind::NotFound, "{key}");
    }
    assert_eq!(shelf.unfinished(), 0);
}

#[tokio::test]
async fn listings_are_in_the_order_of_bytes_on_every_page() {
    let shelf = Shelf::new();
    for name in [
        "a", "a-b", "a.d/1", "a0", "d/1", "d/e/2", "d/e/f/3", "d/z", "d-x", "e", "ü/1", "Z",
    ] {
        shelf.write(name, b"x");
    }
    fs::create_dir(shelf.path("empty")).unwrap();
    let mut all = shelf.keys("", false, 1000).await;
    assert_eq!(all.len(), 12 + 6);
    assert!(all.is_sorted(), "{all:?}");
    for max in [1, 2, 3, 5] {
        assert_eq!(shelf.keys("", false, max).await, all, "{max}");
    }
    let grouped = shelf.keys("", true, 1000).await;
    let top = [
        "Z", "a", "a-b", "a.d/", "a0", "d-x", "d/", "e", "empty/", "ü/",
    ];
    assert_eq!(grouped, top);
    for max in [1, 3] {
        assert_eq!(shelf.keys("", true, max).await, top, "{max}");
    }
    assert_eq!(
        shelf.keys("d/", true, 2).await,
        ["d/", "d/1", "d/e/", "d/z"]
    );
    assert_eq!(shelf.keys("d", true, 9).await, ["d-x", "d/"]);
    assert_eq!(
        shelf.keys("d/e", false, 1).await,
        ["d/e/", "d/e/2", "d/e/f/", "d/e/f/3"]
    );
    // From any key on, there or not, there is what comes after it.
    all.extend(["d/e/1", "d/f", "", "zz", "d/e/f/", "b"].map(str::to_owned));
    let keys = shelf.keys("", false, 1000).await;
    for after in all.iter().filter(|after| !after.is_empty()) {
        let query = ListQuery {
            prefix: String::new(),
            delimited: false,
            after: Some(ListCursor::StartAfter(after.clone())),
            max: 1000,
        };
        let page = shelf.store.list(&bucket(), &query).await.unwrap();
        let found: Vec<_> = page.objects.into_iter().map(|object| object.key).collect();
        let expected: Vec<_> = keys.iter().filter(|key| *key > after).cloned().collect();
        assert_eq!(found, expected, "after {after}");
    }
}

#[tokio::test]
async fn a_large_directory_is_listed_page_by_page() {
    let shelf = Shelf::new();
    for n in 0..2_500 {
        shelf.write(&format!("many/{n:04}"), b"");
    }
    let talk = shelf.talk().await;
    let names = talk.names("/many").await.unwrap();
    assert_eq!(names.len(), 2_500);
    assert!(names.is_sorted());
    let deep = shelf.keys("", false, 700).await;
    assert_eq!(deep.len(), 2_501);
}

#[tokio::test]
async fn no_link_is_followed_and_no_pipe_is_waited_for() {
    let shelf = Shelf::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"s").unwrap();
    shelf.write("real/f", b"f");
    symlink(outside.path(), shelf.path("out")).unwrap();
    symlink("/etc/passwd", shelf.path("passwd")).unwrap();
    symlink("real", shelf.path("inside")).unwrap();
    symlink(".", shelf.path("loop")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(shelf.path("pipe"))
        .status();
    assert!(made.unwrap().success());
    let talk = shelf.talk().await;
    assert_eq!(talk.names("/").await.unwrap(), ["real"]);
    for path in [
        "/out/secret",
        "/passwd",
        "/inside/f",
        "/loop/real/f",
        "/pipe",
    ] {
        assert_eq!(talk.get(path).await, Err(StatusCode::NoSuchFile), "{path}");
    }
    assert!(talk.put("/out/new", b"x").await.is_err());
    assert!(talk.put("/inside/new", b"x").await.is_err());
    assert!(fs::metadata(outside.path().join("new")).is_err());
    // A file that takes the name of a link takes its place.
    talk.put("/passwd", b"mine").await.unwrap();
    assert!(
        fs::symlink_metadata(shelf.path("passwd"))
            .unwrap()
            .is_file()
    );
    assert_eq!(
        shelf.keys("", false, 100).await,
        ["passwd", "real/", "real/f"]
    );
}

#[tokio::test]
async fn unfinished_files_are_never_seen() {
    let shelf = Shelf::new();
    shelf.write(".portcullis-uploads/x", b"x");
    let talk = shelf.talk().await;
    assert_eq!(talk.names("/").await.unwrap(), Vec::<String>::new());
    for path in ["/.portcullis-uploads", "/.portcullis-uploads/x"] {
        assert_eq!(talk.size(path).await, Err(StatusCode::NoSuchFile));
        assert!(talk.client.rename(path, "/y").await.is_err());
        assert!(talk.client.remove(path).await.is_err());
    }
    assert!(talk.put("/.portcullis-uploads/y", b"y").await.is_err());
    assert_eq!(shelf.unfinished(), 1);
}

#[tokio::test]
async fn only_old_unfinished_files_that_nobody_works_on_are_swept() {
    let shelf = Shelf::new();
    shelf.write(".portcullis-uploads/old", b"x");
    shelf.write(".portcullis-uploads/new", b"x");
    let location = at("f");
    let id = shelf.store.create(&location, &new_object()).await.unwrap();
    let held = format!(".portcullis-uploads/{}", id.0);
    let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 24 * 3_600);
    for name in [".portcullis-uploads/old", &held] {
        let file = fs::File::options().write(true).open(shelf.path(name));
        file.unwrap().set_modified(two_days_ago).unwrap();
    }
    // Another process begins.
    let path = shelf.root.path().display().to_string();
    let _other = DirectoryStore::open(&path, &[bucket()]).unwrap();
    assert!(fs::metadata(shelf.path(".portcullis-uploads/old")).is_err());
    assert!(fs::metadata(shelf.path(".portcullis-uploads/new")).is_ok());
    assert!(fs::metadata(shelf.path(&held)).is_ok());
    shelf.store.abort(&location, &id).await.unwrap();
    assert!(fs::metadata(shelf.path(&held)).is_err());
}

#[tokio::test]
async fn what_another_program_changes_is_another_version() {
    let shelf = Shelf::new();
    shelf.write("f", &pattern(MIB));
    let first = shelf.store.head(&at("f")).await.unwrap();
    let get = portcullis::storage::GetObject {
        range: None,
        etag: Some(&first.etag),
    };
    let body = shelf.store.get(&at("f"), get).await.unwrap();
    shelf.write("f", b"otherwise");
    // Never the one and the other mixed.
    assert_eq!(collect(body).await.unwrap_err().kind, Kind::Unavailable);
    let stale = Precondition::IfMatch(first.etag.clone());
    assert_eq!(shelf.put("f", &stale).await, Err(Kind::Precondition));
    let removed = shelf.store.delete(&at("f"), Some(&first.etag)).await;
    assert_eq!(removed.unwrap_err().kind, Kind::Precondition);
    assert_eq!(shelf.read("f"), b"otherwise");
}

#[tokio::test]
async fn parts_that_come_out_of_order_are_put_in_order() {
    let shelf = Shelf::new();
    let location = at("f");
    let id = shelf.store.create(&location, &new_object()).await.unwrap();
    let parts = [pattern(5 * MIB), pattern(6 * MIB), pattern(17)];
    let mut done = Vec::new();
    for number in [2, 3, 1] {
        let payload = parts[number - 1].clone();
        let part = UploadPart {
            upload: &id,
            number: PartNumber(u32::try_from(number).unwrap()),
            checksum: checksum(&payload),
        };
        done.push(
            shelf
                .store
                .part(&location, payload.into(), part)
                .await
                .unwrap(),
        );
    }
    done.sort_by_key(|part| part.number);
    let complete = portcullis::storage::CompleteUpload {
        upload: &id,
        parts: &done,
        checksum: Some(checksum(&parts.concat())),
        condition: &Precondition::None,
    };
    let stored = shelf.store.complete(&location, complete).await.unwrap();
    assert!(shelf.read("f") == parts.concat());
    assert_eq!(shelf.store.head(&location).await.unwrap().etag, stored.etag);
    assert_eq!(shelf.unfinished(), 0);
}

#[tokio::test]
async fn times_are_those_of_the_file_system() {
    let shelf = Shelf::new();
    shelf.write("f", b"x");
    let file = fs::File::options().write(true).open(shelf.path("f"));
    let then = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123_456_789);
    file.unwrap().set_modified(then).unwrap();
    let talk = shelf.talk().await;
    let modified = async |path: &str| talk.client.stat(path).await.unwrap().attrs.mtime;
    assert_eq!(modified("/f").await, Some(1_234_567_890));
    // They go along when a file moves.
    talk.client.rename("/f", "/g").await.unwrap();
    assert_eq!(modified("/g").await, Some(1_234_567_890));
    let moved = fs::metadata(shelf.path("g")).unwrap().modified().unwrap();
    assert_eq!(moved, then);
}

#[tokio::test]
async fn what_may_not_be_written_is_denied() {
    let shelf = Shelf::new();
    fs::create_dir(shelf.path("closed")).unwrap();
    fs::set_permissions(shelf.path("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    // Whoever runs the tests may be allowed everything.
    if fs::write(shelf.path("closed/x"), b"").is_ok() {
        println!("skipped: this user may write everywhere");
        return;
    }
    let talk = shelf.talk().await;
    let put = talk.put("/closed/f", b"x").await;
    assert_eq!(put, Err(StatusCode::PermissionDenied));
    assert_eq!(shelf.unfinished(), 0);
}

#[tokio::test]
async fn files_are_edited_and_appended_to() {
    let shelf = Shelf::new();
    let talk = shelf.talk().await;
    let content = pattern(12 * MIB);
    shelf.write("f", &content);
    let flags = OpenFlags::WRITE | OpenFlags::APPEND;
    let handle = talk.open("/f", flags).await.unwrap();
    talk.write(&handle, 0, b"the end").await.unwrap();
    talk.close(&handle).await.unwrap();
    let expected = [&content[..], b"the end"].concat();
    assert!(shelf.read("f") == expected);
    assert_eq!(shelf.unfinished(), 0);
}
