//! `/.history`: what the files of a bucket with versions were.

use std::sync::Arc;

use embedded_s3::{Action, EmbeddedS3, Fault};
use portcullis::limits::Limits;
use portcullis::storage::history::History;
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::s3::S3Store;
use portcullis::storage::{Bucket, Key, Location, ObjectStore as _, StorageErrorKind};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use crate::auth_log::logged;
use crate::common::sftp::{Talk, code, whole_bucket};
use crate::common::stores::{repeated, s3_settings};
use crate::session::{MIB, pattern};

/// A bucket with versions, and a session that sees some of its directories.
struct Archive {
    server: EmbeddedS3,
    talk: Talk,
}

impl Archive {
    async fn open() -> Self {
        let server = EmbeddedS3::start(embedded_s3::Settings {
            log_requests: true,
            ..embedded_s3::Settings::default()
        });
        let server = server.await.unwrap();
        server.keep_versions("bucket");
        let talk = session(&server, home()).await;
        Self { server, talk }
    }

    async fn names(&self, path: &str) -> Result<Vec<String>, StatusCode> {
        let mut names = self.talk.names(path).await?;
        names.retain(|name| !matches!(&**name, "." | ".."));
        names.sort_unstable();
        Ok(names)
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), StatusCode> {
        let renamed = self.talk.client.rename(from, to).await;
        renamed.map(drop).map_err(code)
    }

    /// Returns the version that has this content.
    async fn version(&self, directory: &str, content: &[u8]) -> String {
        for name in self.names(directory).await.unwrap() {
            let path = format!("{directory}/{name}");
            if self
                .talk
                .get(&path)
                .await
                .is_ok_and(|found| found == content)
            {
                return path;
            }
        }
        panic!("{directory} has no such version")
    }
}

async fn session(server: &EmbeddedS3, home: HomeDirectory) -> Talk {
    let (access, secret) = (server.access_key(), server.secret_key());
    let store = S3Store::connect(s3_settings(server.endpoint(), access, secret)).await;
    let limits = Limits {
        range_copy_bytes_min: 10 * MIB as u64,
        range_bytes_min: 5 * MIB as u64,
        ..Limits::default()
    };
    Talk::with(repeated(store.unwrap()), home.with_history(), limits).await
}

fn mapping(entry: &str, target: &str, access: Access) -> Mapping {
    Mapping::parse(entry, target, EntryType::Directory, access).unwrap()
}

fn home() -> HomeDirectory {
    let file = Mapping::parse("/one", "/bucket/in/f", EntryType::File, Access::ReadWrite);
    let mappings = vec![
        mapping("/in", "/bucket/in", Access::ReadWrite),
        mapping("/drop", "/bucket/drop", Access::Write),
        mapping("/out", "/bucket/out", Access::Read),
        file.unwrap(),
    ];
    HomeDirectory::logical(mappings, VirtualPath::root()).unwrap()
}

#[tokio::test]
async fn versions_and_deletions_of_a_file_are_listed_and_read() {
    let archive = Archive::open().await;
    let talk = &archive.talk;
    for content in [&b"first"[..], b"second!"] {
        talk.put("/in/f", content).await.unwrap();
    }
    talk.client.remove("/in/f").await.unwrap();
    assert_eq!(archive.names("/in").await.unwrap(), Vec::<String>::new());
    let names = archive.names("/.history/in/f").await.unwrap();
    assert_eq!(names.len(), 3, "{names:?}");
    let (deleted, versions): (Vec<_>, Vec<_>) =
        names.iter().partition(|name| name.ends_with(".deleted"));
    assert_eq!((deleted.len(), versions.len()), (1, 2));
    let mut contents = Vec::new();
    for name in versions {
        let path = format!("/.history/in/f/{name}");
        let content = talk.get(&path).await.unwrap();
        assert_eq!(talk.size(&path).await.unwrap(), Some(content.len() as u64));
        contents.push(content);
    }
    contents.sort();
    assert_eq!(contents, [b"first".to_vec(), b"second!".to_vec()]);
    let deletion = format!("/.history/in/f/{}", deleted[0]);
    assert_eq!(talk.size(&deletion).await.unwrap(), Some(0));
    assert_eq!(talk.get(&deletion).await, Err(StatusCode::PermissionDenied));
    // Another session, which has seen no listing, finds the same.
    let other = session(&archive.server, home()).await;
    assert_eq!(other.size(&deletion).await.unwrap(), Some(0));
    // Without memory for its bytes it cannot be opened either, nor under the name of a file.
    assert_eq!(
        other.get(&deletion).await,
        Err(StatusCode::PermissionDenied)
    );
    let no_file = Err(StatusCode::NoSuchFile);
    let alias = deletion.strip_suffix(".deleted").unwrap();
    assert_eq!(other.size(alias).await, Err(StatusCode::NoSuchFile));
    assert_eq!(other.get(alias).await, no_file);
    let long_gone = deletion.replace("/20", "/19");
    assert_eq!(other.size(&long_gone).await, Err(StatusCode::NoSuchFile));
    let first = archive.version("/.history/in/f", b"first").await;
    assert_eq!(other.get(&first).await.unwrap(), b"first");
    let long_ago = first.replace("/20", "/19");
    assert_eq!(other.get(&long_ago).await, no_file);
}

#[tokio::test]
async fn a_deletion_costs_a_head_and_one_short_page_where_the_store_does_not_say_what_it_is() {
    let archive = Archive::open().await;
    archive.talk.put("/in/f", b"content").await.unwrap();
    archive.talk.client.remove("/in/f").await.unwrap();
    let names = archive.names("/.history/in/f").await.unwrap();
    let deleted = names.iter().find(|name| name.ends_with(".deleted"));
    let name = deleted.unwrap();
    let (access, secret) = (archive.server.access_key(), archive.server.secret_key());
    let settings = s3_settings(archive.server.endpoint(), access, secret);
    let store = History::new(Arc::new(S3Store::connect(settings).await.unwrap()));
    let at = |name: &str| Location {
        bucket: Bucket::parse("bucket").unwrap().history("in"),
        key: Key::parse(&format!("in/f/{name}")).unwrap(),
    };
    archive.server.clear_requests();
    let told = store.head(&at(name)).await.unwrap();
    let invented = name.replace("Z-", "Z-x");
    for no_version in [&*invented, &name.replacen("20", "19", 1)] {
        let error = store.head(&at(no_version)).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::NotFound, "{no_version}");
    }
    assert_eq!(archive.server.count("ListObjectVersions"), 0);
    let bare = Action::Status(405, "MethodNotAllowed".to_owned());
    archive.server.script(Fault::on("HeadObject", bare));
    assert_eq!(store.head(&at(name)).await.unwrap(), told);
    assert_eq!(archive.server.count("ListObjectVersions"), 1);
}

#[tokio::test]
async fn a_history_that_was_listed_keeps_no_directory() {
    let archive = Archive::open().await;
    let talk = &archive.talk;
    for key in ["in/d/f", "in/d/g"] {
        archive.server.put("bucket", key, "content");
    }
    talk.client.remove("/in/d/f").await.unwrap();
    assert_eq!(archive.names("/.history/in/d").await.unwrap(), ["f", "g"]);
    talk.client.remove("/in/d/g").await.unwrap();
    let names = session(&archive.server, home()).await.names("/in").await;
    assert!(names.unwrap().contains(&"d".to_owned()));
    talk.client.stat("/in/d").await.unwrap();
    // One that had nothing but its marker is shown, and has no past of its own.
    let made = talk.client.mkdir("/in/m", FileAttributes::empty());
    made.await.unwrap();
    assert_eq!(archive.names("/.history/in").await.unwrap(), ["d", "m"]);
    let marker = archive.names("/.history/in/m").await;
    assert_eq!(marker, Err(StatusCode::NoSuchFile));
}

#[tokio::test]
async fn a_line_of_record_names_the_version_that_was_brought_back() {
    let (version, log) = logged(Box::pin(async {
        let archive = Archive::open().await;
        archive.talk.put("/in/f", b"content").await.unwrap();
        let version = archive.version("/.history/in/f", b"content").await;
        archive.rename(&version, "/in/g").await.unwrap();
        version
    }))
    .await;
    let line = log
        .lines()
        .find(|line| line.contains("\"copied\""))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let fields = &line["fields"];
    assert_eq!([&fields["activity"], &fields["path"]], ["COPY", &*version]);
    assert_eq!([&fields["key"], &fields["to_key"]], ["in/f", "in/g"]);
    let id = fields["from_version_id"].as_str().unwrap();
    assert!(version.ends_with(id), "{version} {id}");
    assert!(!log.contains("\"renamed\""));
}

#[tokio::test]
async fn a_version_is_brought_back_and_stays_in_the_history() {
    let archive = Archive::open().await;
    let talk = &archive.talk;
    let large = pattern(17 * MIB);
    talk.put("/in/f", &large).await.unwrap();
    talk.put("/in/f", b"newer").await.unwrap();
    let version = archive.version("/.history/in/f", &large).await;
    // RENAME replaces nothing.
    assert_eq!(
        archive.rename(&version, "/in/f").await,
        Err(StatusCode::Failure)
    );
    talk.client.remove("/in/f").await.unwrap();
    archive.server.clear_requests();
    archive.rename(&version, "/in/f").await.unwrap();
    assert_eq!(archive.server.count("UploadPartCopy"), 4);
    assert_eq!(archive.server.count("DeleteObject"), 0);
    assert!(talk.get("/in/f").await.unwrap() == large);
    assert!(talk.get(&version).await.unwrap() == large);
    let small = archive.version("/.history/in/f", b"newer").await;
    archive.rename(&small, "/in/g").await.unwrap();
    assert_eq!(talk.get("/in/g").await.unwrap(), b"newer");
    assert_eq!(archive.server.count("CopyObject"), 1);
    assert_eq!(archive.names("/.history/in").await.unwrap(), ["f", "g"]);
    assert_eq!(archive.names("/.history/in/f").await.unwrap().len(), 4);
}

#[tokio::test]
async fn the_past_is_not_changed_and_shows_no_more_than_the_mappings() {
    let archive = Archive::open().await;
    let talk = &archive.talk;
    talk.put("/in/f", b"content").await.unwrap();
    for key in [
        "in",
        "out",
        "inn/f",
        "other/f",
        "in/f/deep",
        "out/f",
        "drop/f",
    ] {
        archive.server.put("bucket", key, "secret");
    }
    // Nobody meets it who does not ask for it.
    assert_eq!(
        archive.names("/").await.unwrap(),
        ["drop", "in", "one", "out"]
    );
    assert_eq!(archive.names("/.history").await.unwrap(), ["in", "out"]);
    assert_eq!(archive.names("/.history/in").await.unwrap(), ["f"]);
    // A name that is a file and a directory shows both.
    let both = archive.names("/.history/in/f").await.unwrap();
    assert!(
        both.len() == 2 && both.contains(&"deep".to_owned()),
        "{both:?}"
    );
    for hidden in [
        "/.history/drop",
        "/.history/drop/f",
        "/.history/other",
        "/.history/one",
        "/.history/nothing",
        "/.history/in/none",
        "/.historyx",
    ] {
        assert_eq!(
            archive.names(hidden).await,
            Err(StatusCode::NoSuchFile),
            "{hidden}"
        );
    }
    let version = archive.version("/.history/in/f", b"content").await;
    let denied = Err(StatusCode::PermissionDenied);
    let write = OpenFlags::WRITE | OpenFlags::CREATE;
    for path in [&*version, "/.history/in/new", "/.history/in/f/new"] {
        assert_eq!(talk.open(path, write).await.map(drop), denied, "{path}");
    }
    let client = &talk.client;
    assert_eq!(
        client.remove(&version).await.map(drop).map_err(code),
        denied
    );
    let made = client.mkdir("/.history/in/d", FileAttributes::empty());
    assert_eq!(made.await.map(drop).map_err(code), denied);
    let removed = client.rmdir("/.history/in/f").await;
    assert_eq!(removed.map(drop).map_err(code), denied);
    assert_eq!(archive.rename("/in/f", "/.history/in/x").await, denied);
    assert_eq!(archive.rename("/.history/in/f", "/in/d").await, denied);
    // What is brought back needs a place that may be written to.
    assert_eq!(archive.rename(&version, "/out/x").await, denied);
    talk.put("/in/g", b"content").await.unwrap();
    talk.client.remove("/in/g").await.unwrap();
    let names = archive.names("/.history/in/g").await.unwrap();
    let deletion = names
        .iter()
        .find(|name| name.ends_with(".deleted"))
        .unwrap();
    let deletion = format!("/.history/in/g/{deletion}");
    assert_eq!(archive.rename(&deletion, "/in/h").await, denied);
    assert_eq!(talk.get("/in/f").await.unwrap(), b"content");
}

#[tokio::test]
async fn a_long_history_comes_page_by_page() {
    let archive = Archive::open().await;
    for version in 0..1_203 {
        archive.server.put("bucket", "in/f", version.to_string());
    }
    for file in 0..1_102 {
        archive
            .server
            .put("bucket", &format!("in/d{file:04}/x"), "x");
    }
    assert_eq!(archive.names("/.history/in/f").await.unwrap().len(), 1_203);
    archive.server.clear_requests();
    assert_eq!(archive.names("/.history/in").await.unwrap().len(), 1_103);
    // The versions of one name do not fill the pages.
    let pages = archive.server.count("ListObjectVersions");
    assert!(pages <= 5, "{pages}");
}

#[tokio::test]
async fn without_versions_or_the_setting_there_is_no_past() {
    let archive = Archive::open().await;
    archive
        .server
        .put("bucket", "in/.history/f", "a file of that name");
    archive.server.put("plain", "f", "only this");
    let plain = HomeDirectory::logical(
        vec![mapping("/", "/plain", Access::ReadWrite)],
        VirtualPath::root(),
    );
    let talk = session(&archive.server, plain.unwrap()).await;
    let names = talk.names("/.history/f").await.unwrap();
    let names: Vec<_> = names.iter().filter(|name| !name.starts_with('.')).collect();
    assert_eq!(names.len(), 1);
    assert_eq!(
        talk.get(&format!("/.history/f/{}", names[0]))
            .await
            .unwrap(),
        b"only this"
    );
    // Elsewhere it is a name like every other.
    assert_eq!(
        archive.talk.get("/in/.history/f").await.unwrap(),
        b"a file of that name"
    );
    // A store that knows of no versions.
    let store = Arc::new(MemoryStore::new(&[&crate::common::stores::bucket("b")]));
    let talk = Talk::with(store, whole_bucket().with_history(), Limits::default()).await;
    talk.put("/f", b"content").await.unwrap();
    assert_eq!(
        talk.names("/.history").await.map(drop),
        Err(StatusCode::NoSuchFile)
    );
    assert_eq!(
        talk.names("/.history/f").await.map(drop),
        Err(StatusCode::NoSuchFile)
    );
}

#[tokio::test]
async fn who_may_not_list_versions_hears_so() {
    let archive = Archive::open().await;
    archive.talk.put("/in/f", b"content").await.unwrap();
    let denied = Action::Status(403, "AccessDenied".to_owned());
    archive.server.script(Fault {
        times: u32::MAX,
        ..Fault::on("ListObjectVersions", denied)
    });
    assert_eq!(
        archive.names("/.history/in").await,
        Err(StatusCode::PermissionDenied)
    );
    archive.server.clear_faults();
    assert_eq!(archive.names("/.history/in").await.unwrap(), ["f"]);
}
