//! How often an operation waits for S3, one time after the other, where S3 is far: calls that are
//! under way side by side count once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use portcullis::limits::Limits;
use portcullis::storage::layer::{About, Layer};
use portcullis::storage::{
    Bucket, Capabilities, Checksum, Key, Location, NewObject, Nonce, Precondition, PutObject,
    Result, SharedStore,
};
use portcullis::vfs::{Access, EntryType, HomeDirectory, Mapping, VirtualPath};
use russh_sftp::protocol::{OpenFlags, StatusCode};
use tokio::sync::Semaphore;

use crate::common::sftp::{Talk, begin_in, user};
use crate::common::stores::Subject;

/// Holds each call until all have come that come together.
#[derive(Debug)]
struct Far {
    inner: SharedStore,
    called: Mutex<BTreeMap<&'static str, u32>>,
    waiting: Mutex<usize>,
    pass: Semaphore,
}

impl Layer for Far {
    async fn around<T, F, R>(&self, about: About<'_>, run: R) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
        R: Fn(SharedStore) -> F + Send + Sync,
    {
        let name = about.operation.name();
        *self.called.lock().unwrap().entry(name).or_default() += 1;
        *self.waiting.lock().unwrap() += 1;
        self.pass.acquire().await.unwrap().forget();
        run(self.inner.clone()).await
    }

    fn capabilities(&self, bucket: &Bucket) -> Capabilities {
        self.inner.capabilities(bucket)
    }
}

impl Far {
    fn waiting(&self) -> usize {
        *self.waiting.lock().unwrap()
    }

    /// Waits until calls wait, and no more come.
    async fn held(&self) {
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(15)).await;
            let now = self.waiting();
            if now > 0 && now == before {
                return;
            }
            before = now;
        }
    }

    fn let_through(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        self.pass.add_permits(waiting);
    }
}

struct Coast {
    talk: Talk,
    far: Arc<Far>,
    subject: Subject,
}

impl Coast {
    /// Reaches an S3 over HTTP.
    async fn reach() -> Self {
        Self::of(Subject::embedded().await).await
    }

    async fn of(subject: Subject) -> Self {
        let far = Arc::new(Far {
            inner: subject.store.clone(),
            called: Mutex::default(),
            waiting: Mutex::default(),
            pass: Semaphore::new(0),
        });
        let target = format!("/{}", subject.bucket);
        let all = Mapping::parse("/", &target, EntryType::Directory, Access::ReadWrite).unwrap();
        let home = HomeDirectory::logical(vec![all], VirtualPath::root()).unwrap();
        let user = user(home, far.clone());
        let (theirs, running) = begin_in(user, Limits::default(), |environment| {
            environment.names_fresh_for = FRESH;
        });
        let talk = Talk::over(theirs, running).await;
        Self { talk, far, subject }
    }

    async fn plant(&self, key: &str, content: &'static [u8]) {
        let location = Location {
            bucket: self.subject.bucket.clone(),
            key: Key::parse(key).unwrap(),
        };
        let object = NewObject::new(Nonce::parse("0123456789abcdef0123456789abcdef").unwrap());
        let put = PutObject {
            object: &object,
            checksum: Checksum::of(content),
            condition: &Precondition::None,
        };
        let bytes = Bytes::from_static(content);
        self.subject.store.put(&location, bytes, put).await.unwrap();
    }

    /// Does something, and asserts how often it waited and what it called.
    async fn costs<T>(
        &self,
        what: &str,
        trips: u32,
        called: &[(&'static str, u32)],
        act: impl Future<Output = T>,
    ) -> T {
        let (done, waited, calls) = self.counted(act).await;
        assert_eq!(calls, called.iter().copied().collect(), "{what}");
        assert_eq!(waited, trips, "{what}");
        done
    }

    /// Does something; returns how often it waited, and what it called.
    async fn counted<T>(
        &self,
        act: impl Future<Output = T>,
    ) -> (T, u32, BTreeMap<&'static str, u32>) {
        let mut waited = 0;
        tokio::pin!(act);
        let done = loop {
            tokio::select! {
                biased;
                done = &mut act => break done,
                () = self.far.held() => {
                    waited += 1;
                    self.far.let_through();
                }
            }
        };
        let calls = std::mem::take(&mut *self.far.called.lock().unwrap());
        (done, waited, calls)
    }
}

/// No machine is so slow that names are not fresh any more.
const FRESH: Duration = Duration::from_secs(3_600);
const HEAD: &str = "HeadObject";
const GET: &str = "GetObject";
const LIST: &str = "ListObjectsV2";
const PUT: &str = "PutObject";

#[tokio::test]
async fn a_small_file_is_got_in_one_round_trip() {
    let coast = Coast::reach().await;
    for key in ["d/a", "d/b", "d/c"] {
        coast.plant(key, b"abc").await;
    }
    let talk = &coast.talk;
    let calls = [(GET, 1), (HEAD, 1)];
    let got = talk.get("/d/a");
    let got = coast.costs("get", 1, &calls, got).await;
    assert_eq!(got.unwrap(), b"abc");
    let calls = [(HEAD, 1), (LIST, 1)];
    let size = coast.costs("stat", 1, &calls, talk.size("/d/a")).await;
    assert_eq!(size, Ok(Some(3)));
    // The HEAD of the STAT told the checksum.
    let got = talk.get("/d/a");
    let got = coast.costs("get after a stat", 1, &[(GET, 1)], got).await;
    assert_eq!(got.unwrap(), b"abc");
    let names = coast.costs("ls", 1, &[(LIST, 1)], talk.names("/d")).await;
    assert_eq!(names.unwrap(), ["a", "b", "c"]);
    // A GET of the whole object tells it.
    let got = talk.get("/d/b");
    let got = coast.costs("get after ls", 1, &[(GET, 1)], got).await;
    assert_eq!(got.unwrap(), b"abc");
    let size = coast.costs("stat after ls", 1, &[(HEAD, 1)], talk.size("/d/c"));
    assert_eq!(size.await, Ok(Some(3)));
}

#[tokio::test]
async fn files_that_follow_a_small_one_are_expected_to_be_small() {
    let coast = Coast::reach().await;
    for key in ["d/a", "d/b", "d/c", "d/d"] {
        coast.plant(key, b"abc").await;
    }
    coast.plant("d/large", LARGE).await;
    let talk = &coast.talk;
    let calls = [(GET, 1), (HEAD, 1)];
    let got = coast.costs("the first get", 1, &calls, talk.get("/d/a"));
    assert_eq!(got.await.unwrap(), b"abc");
    let got = coast.costs("the second get", 1, &[(GET, 1)], talk.get("/d/b"));
    assert_eq!(got.await.unwrap(), b"abc");
    let got = coast.costs("nothing", 2, &[(GET, 1), (LIST, 1)], talk.get("/d/none"));
    assert_eq!(got.await, Err(StatusCode::NoSuchFile));
    let handle = talk.open("/d/large", OpenFlags::READ);
    let handle = coast.costs("a large file", 1, &[(GET, 1)], handle);
    talk.close(&handle.await.unwrap()).await.unwrap();
    // The one after it is taken for large.
    let got = coast.costs("get after a large one", 1, &calls, talk.get("/d/c"));
    assert_eq!(got.await.unwrap(), b"abc");
    let got = coast.costs("and small again", 1, &[(GET, 1)], talk.get("/d/d"));
    assert_eq!(got.await.unwrap(), b"abc");
}

#[tokio::test]
async fn what_was_seen_of_a_file_does_not_hide_another_version() {
    let coast = Coast::reach().await;
    coast.plant("d/empty", b"").await;
    coast.plant("d/f", b"abc").await;
    let talk = &coast.talk;
    coast
        .costs("stat", 1, &[(HEAD, 1), (LIST, 1)], talk.size("/d/f"))
        .await
        .unwrap();
    coast.plant("d/f", b"other").await;
    // The checksum of the STAT is of another version: a HEAD asks for this one's.
    let calls = [(GET, 1), (HEAD, 1)];
    let got = coast.costs("get of a new version", 2, &calls, talk.get("/d/f"));
    assert_eq!(got.await.unwrap(), b"other");
    coast
        .costs("ls", 1, &[(LIST, 1)], talk.names("/d"))
        .await
        .unwrap();
    let got = coast.costs("an empty file", 1, &[(GET, 1)], talk.get("/d/empty"));
    assert_eq!(got.await.unwrap(), b"");
    coast.plant("d/empty", LARGE).await;
    let handle = talk.open("/d/empty", OpenFlags::READ);
    let handle = coast.costs("a file that has grown", 1, &[(GET, 1)], handle);
    let handle = handle.await.unwrap();
    // No call is let through: they are here.
    let read = talk.client.read(&handle, 0, 10).await.unwrap();
    assert_eq!(read.data, LARGE[..10]);
}

static LARGE: &[u8] = &[7; 300_000];

#[tokio::test]
async fn a_small_file_is_put_in_one_round_trip_where_names_are_fresh() {
    let coast = Coast::reach().await;
    coast.plant("d/f", b"abc").await;
    let talk = &coast.talk;
    let put = talk.put("/d/1", b"x");
    let put = coast.costs("the first put", 2, &[(LIST, 2), (PUT, 1)], put);
    put.await.unwrap();
    let put = talk.put("/d/2", b"x");
    let put = coast.costs("the second put", 2, &[(LIST, 1), (PUT, 1)], put);
    put.await.unwrap();
    for number in 3..6 {
        let path = format!("/d/{number}");
        let put = coast.costs("a further put", 1, &[(PUT, 1)], talk.put(&path, b"x"));
        put.await.unwrap();
    }
}

#[tokio::test]
async fn a_long_directory_is_listed_side_by_side() {
    let coast = Coast::of(Subject::memory()).await;
    let expected: Vec<String> = (0..12_000).map(|n| format!("{n:06}.csv")).collect();
    for name in &expected {
        coast.plant(&format!("d/{name}"), b"x").await;
    }
    let (names, waited, calls) = coast.counted(coast.talk.names("/d")).await;
    assert!(names.unwrap() == expected);
    // Page by page it would wait for thirteen.
    assert!(waited <= 8, "{waited}");
    assert!(calls[LIST] <= 13 + 7, "{calls:?}");
}
