//! What each operation costs: calls are counted exactly, so that they do not creep up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::clock::SystemClock;
use portcullis::config::StatTimes;
use portcullis::limits::Limits;
use portcullis::session::{Changes, Environment};
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::metered::{CallObserver, Metered, Outcome};
use portcullis::storage::{Operation, SharedStore};
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};

use crate::common::sftp::{Talk, begin_in, code, user, whole_bucket};
use crate::session::{MIB, at, failing, pattern, plant};

#[derive(Debug, Default)]
struct Bill(Mutex<BTreeMap<&'static str, u32>>);

impl CallObserver for Bill {
    fn ended(&self, operation: Operation, _outcome: Outcome, _took: Duration) {
        *self.0.lock().unwrap().entry(operation.name()).or_default() += 1;
    }
}

struct Shop {
    talk: Talk,
    bill: Arc<Bill>,
    failing: Arc<Failing>,
    store: Arc<MemoryStore>,
}

impl Shop {
    async fn open() -> Self {
        Self::open_in(|_| {}).await
    }

    /// Opens it in a process that is not as usual.
    async fn open_in(change: impl FnOnce(&mut Environment)) -> Self {
        let (failing, store) = failing();
        let bill = Arc::new(Bill::default());
        let inner: SharedStore = failing.clone();
        let metered = Metered::new(inner, Arc::new(SystemClock), bill.clone());
        let user = user(whole_bucket(), Arc::new(metered));
        let (theirs, running) = begin_in(user, Limits::default(), |environment| {
            environment.names_fresh_for = FRESH;
            change(environment);
        });
        let talk = Talk::over(theirs, running).await;
        Self {
            talk,
            bill,
            failing,
            store,
        }
    }

    /// Asserts what was called since the last time.
    fn paid(&self, what: &str, expected: &[(&'static str, u32)]) {
        let bill = std::mem::take(&mut *self.bill.0.lock().unwrap());
        assert_eq!(bill, expected.iter().copied().collect(), "{what}");
    }
}

/// No machine is so slow that names are not fresh any more.
const FRESH: Duration = Duration::from_secs(3_600);

const HEAD: &str = "HeadObject";
const GET: &str = "GetObject";
const LIST: &str = "ListObjectsV2";
const PUT: &str = "PutObject";
const COPY: &str = "CopyObject";
const DELETE: &str = "DeleteObject";

/// Keeps S3 from answering until both a HEAD and a LIST are under way.
async fn size_from_afar(shop: &Shop, path: &str) -> Result<Option<u64>, StatusCode> {
    let gate = Gate::closed();
    let held = Fault::Hold(gate.clone());
    shop.failing.spoil(Operation::Head, 1, held.clone());
    shop.failing.spoil(Operation::List, 1, held);
    let open = async {
        // A HEAD has a little time ahead of the LIST beside it.
        gate.reached(2).await;
        gate.open();
    };
    tokio::join!(shop.talk.size(path), open).0
}

#[tokio::test]
async fn looking_costs_a_head_and_a_listing_at_most() {
    let shop = Shop::open().await;
    plant(&shop.store, "f", b"x").await;
    plant(&shop.store, "d/f", b"x").await;
    assert_eq!(size_from_afar(&shop, "/f").await, Ok(Some(1)));
    shop.paid(
        "stat of a file of a store that is far",
        &[(HEAD, 1), (LIST, 1)],
    );
    shop.talk.size("/f").await.unwrap();
    shop.paid("stat of a file that is answered at once", &[(HEAD, 1)]);
    shop.talk.size("/d").await.unwrap();
    shop.paid("stat of a directory", &[(HEAD, 1), (LIST, 1)]);
    shop.talk.size("/").await.unwrap();
    shop.paid("stat of a mapping", &[]);
    shop.talk.size("/none").await.unwrap_err();
    shop.paid("stat of nothing", &[(HEAD, 1), (LIST, 1)]);
}

#[tokio::test]
async fn a_name_after_a_file_is_expected_to_be_a_file() {
    let shop = Shop::open().await;
    for name in ["f", "g", "d/f"] {
        plant(&shop.store, name, b"x").await;
    }
    assert_eq!(size_from_afar(&shop, "/f").await, Ok(Some(1)));
    shop.paid("the first", &[(HEAD, 1), (LIST, 1)]);
    // The HEAD takes as long as it takes, and nothing is asked beside it.
    let gate = Gate::closed();
    let held = Fault::Hold(gate.clone());
    shop.failing.spoil(Operation::Head, 1, held);
    let open = async {
        gate.reached(1).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        gate.open();
    };
    let (size, ()) = tokio::join!(shop.talk.size("/g"), open);
    assert_eq!(size, Ok(Some(1)));
    shop.paid("the next file", &[(HEAD, 1)]);
    let attrs = shop.talk.client.stat("/d").await.unwrap().attrs;
    assert!(attrs.is_dir());
    shop.paid("a directory after it", &[(HEAD, 1), (LIST, 1)]);
    assert_eq!(size_from_afar(&shop, "/f").await, Ok(Some(1)));
    shop.paid("a file after a directory", &[(HEAD, 1), (LIST, 1)]);
}

/// OpenSSH's client asks for a name before it puts a file there.
#[tokio::test]
async fn names_after_a_missing_one_are_expected_to_be_missing() {
    let shop = Shop::open().await;
    plant(&shop.store, "d/old", b"x").await;
    let look_and_put = async |name: &str| {
        let path = format!("/d/{name}");
        assert_eq!(shop.talk.size(&path).await, Err(StatusCode::NoSuchFile));
        shop.talk.put(&path, b"abc").await.unwrap();
    };
    look_and_put("first").await;
    shop.paid("the first", &[(HEAD, 1), (LIST, 2), (PUT, 1)]);
    for number in 0..20 {
        look_and_put(&format!("{number:02}")).await;
    }
    shop.paid("the others", &[(LIST, 20), (PUT, 20)]);
    // A name with which another one begins takes two more.
    look_and_put("fir").await;
    shop.paid("a beginning", &[(HEAD, 1), (LIST, 2), (PUT, 1)]);
    // What somebody else made is there: a file, and a directory.
    plant(&shop.store, "d/theirs", b"xyz").await;
    assert_eq!(shop.talk.size("/d/theirs").await, Ok(Some(3)));
    shop.talk.size("/d/none").await.unwrap_err();
    plant(&shop.store, "d/made/", b"").await;
    let attrs = shop.talk.client.stat("/d/made").await.unwrap().attrs;
    assert!(attrs.is_dir());
}

/// rclone asks on one connection for a directory that it made on another.
#[tokio::test]
async fn a_directory_of_another_session_is_there_whatever_was_listed() {
    let shop = Shop::open().await;
    plant(&shop.store, "d/old", b"x").await;
    let other = Talk::start(shop.store.clone()).await;
    for (at, listed) in [("/d/one", true), ("/d/two", false)] {
        if listed {
            shop.talk.names("/d").await.unwrap();
        } else {
            shop.talk.size("/d/none").await.unwrap_err();
        }
        let made = other.client.mkdir(at, FileAttributes::empty());
        made.await.unwrap();
        let attrs = shop.talk.client.stat(at).await.unwrap().attrs;
        assert!(attrs.is_dir(), "{at}");
    }
}

/// OpenSSH's client asks for both before it gets a file.
#[tokio::test]
async fn an_lstat_answers_the_stat_that_follows_it() {
    let changes = Changes::default();
    let shop = Shop::open_in(|environment| environment.changes = changes.clone()).await;
    let client = &shop.talk.client;
    plant(&shop.store, "f", b"x").await;
    plant(&shop.store, "g", b"xy").await;
    let lstat = async |path: &str| client.lstat(path).await.unwrap().attrs.size;
    let stat = async |path: &str| client.stat(path).await.unwrap().attrs.size;
    assert_eq!((lstat("/f").await, stat("/f").await), (Some(1), Some(1)));
    assert_eq!(shop.talk.get("/f").await.unwrap(), b"x");
    shop.paid("a get of OpenSSH's", &[(HEAD, 1), (GET, 1)]);
    // One answer serves one more request.
    stat("/f").await;
    stat("/f").await;
    lstat("/f").await;
    lstat("/f").await;
    shop.paid("stat twice, lstat twice", &[(HEAD, 3)]);
    lstat("/f").await;
    assert_eq!(stat("/g").await, Some(2));
    assert_eq!(stat("/f").await, Some(1));
    shop.paid("of another file between", &[(HEAD, 3)]);
    // What any session of the process changed counts.
    let user = user(whole_bucket(), shop.store.clone());
    let (theirs, running) = begin_in(user, Limits::default(), |environment| {
        environment.changes = changes.clone();
    });
    let other = Talk::over(theirs, running).await;
    assert_eq!(lstat("/g").await, Some(2));
    other.put("/g", b"longer").await.unwrap();
    assert_eq!(stat("/g").await, Some(6));
    lstat("/g").await;
    shop.talk.put("/g", b"own").await.unwrap();
    assert_eq!(stat("/g").await, Some(3));
    lstat("/g").await;
    other.client.remove("/g").await.unwrap();
    assert_eq!(
        client.stat("/g").await.map_err(code).err(),
        Some(StatusCode::NoSuchFile)
    );
    lstat("/f").await;
    other.client.rename("/f", "/moved").await.unwrap();
    assert_eq!(
        client.stat("/f").await.map_err(code).err(),
        Some(StatusCode::NoSuchFile)
    );
}

#[tokio::test]
async fn a_small_file_costs_its_put_and_a_look_at_its_name() {
    let shop = Shop::open().await;
    plant(&shop.store, "d/e/f", b"x").await;
    shop.talk.put("/d/e/new", b"abc").await.unwrap();
    shop.paid("put into a new directory", &[(LIST, 2), (PUT, 1)]);
    shop.talk.put("/d/e/newer", b"abc").await.unwrap();
    shop.paid("the second put lists the directory", &[(LIST, 1), (PUT, 1)]);
    for number in 0..20 {
        let path = format!("/d/e/{number}");
        shop.talk.put(&path, b"abc").await.unwrap();
    }
    shop.paid("more puts", &[(PUT, 20)]);
    shop.talk.put("/d/e/newer", b"abc").await.unwrap();
    shop.paid("put over a file of its own", &[(LIST, 1), (PUT, 1)]);
    shop.talk.put("/d/e/f", b"abc").await.unwrap();
    shop.paid("put over a file that was listed", &[(PUT, 1)]);
    shop.talk.size("/d/e/looked").await.unwrap_err();
    shop.paid("stat of nothing, where all names are known", &[(LIST, 1)]);
    shop.talk.put("/d/e/looked", b"abc").await.unwrap();
    shop.paid("put after a look", &[(PUT, 1)]);
    shop.talk.get("/d/e/new").await.unwrap();
    shop.paid("get", &[(GET, 1)]);
    shop.talk.get("/d/e/none").await.unwrap_err();
    shop.paid("get of nothing", &[(GET, 1), (LIST, 1)]);
    let rename = shop.talk.client.rename("/d/e/new", "/d/e/moved");
    rename.await.unwrap();
    let expected = [(HEAD, 2), (LIST, 1), (COPY, 1), (DELETE, 1)];
    shop.paid("rename in a known directory", &expected);
    shop.talk.put("/d/e/newest", b"abc").await.unwrap();
    shop.paid("put after a rename", &[(PUT, 1)]);
    shop.talk.client.remove("/d/e/moved").await.unwrap();
    let expected = [(HEAD, 1), (LIST, 1), (DELETE, 1)];
    shop.paid("the first remove in a directory", &expected);
    shop.talk.client.remove("/d/e/newest").await.unwrap();
    shop.paid("remove", &[(HEAD, 1), (DELETE, 1)]);
}

#[tokio::test]
async fn a_large_directory_is_listed_once_in_place_of_looks() {
    let shop = Shop::open().await;
    for number in 0..1_001 {
        plant(&shop.store, &format!("d/{number:04}"), b"x").await;
    }
    for number in 0..5 {
        let path = format!("/d/new-{number}");
        shop.talk.put(&path, b"abc").await.unwrap();
    }
    // The directory and the first name; the second look is too large, and says nothing.
    let looks = 2 + (1 + 1) + 3;
    shop.paid("five puts", &[(LIST, looks), (PUT, 5)]);
}

#[tokio::test]
async fn what_a_listing_showed_hides_no_file_of_another_session() {
    let shop = Shop::open().await;
    plant(&shop.store, "d/old", b"x").await;
    let other = Talk::start(shop.store.clone()).await;
    shop.talk.names("/d").await.unwrap();
    other.put("/d/new", b"abc").await.unwrap();
    assert_eq!(shop.talk.size("/d/new").await, Ok(Some(3)));
    assert_eq!(shop.talk.get("/d/new").await.unwrap(), b"abc");
    other.client.remove("/d/old").await.unwrap();
    assert_eq!(shop.talk.size("/d/old").await, Err(StatusCode::NoSuchFile));
    // An exclusive OPEN of a name that came meanwhile makes no second file.
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
    other.put("/d/newer", b"abc").await.unwrap();
    let handle = shop.talk.open("/d/newer", flags).await.unwrap();
    shop.talk.write(&handle, 0, b"other").await.unwrap();
    assert_eq!(shop.talk.close(&handle).await, Err(StatusCode::Failure));
    assert_eq!(other.get("/d/newer").await.unwrap(), b"abc");
}

#[tokio::test]
async fn names_are_asked_about_each_time_where_none_may_be_fresh() {
    let store = failing().0;
    let bill = Arc::new(Bill::default());
    let metered = Metered::new(store, Arc::new(SystemClock), bill.clone());
    let user = user(whole_bucket(), Arc::new(metered));
    let (theirs, running) = begin_in(user, Limits::default(), |environment| {
        environment.names_fresh_for = Duration::ZERO;
    });
    let talk = Talk::over(theirs, running).await;
    for path in ["/1", "/2", "/3"] {
        talk.names("/").await.unwrap();
        talk.size(path).await.unwrap_err();
        talk.put(path, b"abc").await.unwrap();
    }
    let bill = std::mem::take(&mut *bill.0.lock().unwrap());
    let expected = [(LIST, 9), (HEAD, 1), (PUT, 3)];
    assert_eq!(bill, expected.into_iter().collect());
}

#[tokio::test]
async fn directories_cost_their_marker_and_a_look() {
    let shop = Shop::open().await;
    let mkdir = async |path: &str| {
        shop.talk
            .client
            .mkdir(path, FileAttributes::empty())
            .await
            .unwrap();
    };
    mkdir("/d").await;
    shop.paid("mkdir", &[(HEAD, 1), (LIST, 1), (PUT, 1)]);
    mkdir("/d/e").await;
    shop.paid("mkdir in a known one", &[(HEAD, 1), (LIST, 1), (PUT, 1)]);
    shop.talk.names("/d").await.unwrap();
    shop.paid("ls", &[(LIST, 1)]);
    mkdir("/d/listed").await;
    shop.paid("mkdir in one that was just listed", &[(PUT, 1)]);
    shop.talk.size("/d/e").await.unwrap();
    shop.paid("stat of a directory that was just listed", &[]);
    shop.talk.client.rmdir("/d/e").await.unwrap();
    shop.paid(
        "rmdir in a directory that was made",
        &[(LIST, 1), (DELETE, 1)],
    );
    for number in 0..2_500 {
        plant(&shop.store, &format!("many/{number:04}"), b"x").await;
    }
    assert_eq!(shop.talk.names("/many").await.unwrap().len(), 2_500);
    shop.paid("ls of 2,500 names", &[(LIST, 4)]);
    for number in 0..1_000 {
        plant(&shop.store, &format!("some/{number:04}"), b"x").await;
    }
    assert_eq!(shop.talk.names("/some").await.unwrap().len(), 1_000);
    shop.paid("ls of 1,000 names", &[(LIST, 2)]);
    shop.talk.put("/some/new", b"abc").await.unwrap();
    shop.paid("put into what was just listed", &[(PUT, 1)]);
}

/// Returns what STAT, FSTAT and the listing of its directory show of a file.
async fn shown(talk: &Talk, directory: &str, name: &str) -> [FileAttributes; 3] {
    let path = format!("{directory}/{name}");
    let stat = talk.client.stat(&path).await.unwrap().attrs;
    let handle = talk.open(&path, OpenFlags::READ).await.unwrap();
    let fstat = talk.client.fstat(&handle).await.unwrap().attrs;
    talk.close(&handle).await.unwrap();
    let handle = talk.client.opendir(directory).await.unwrap().handle;
    let page = talk.client.readdir(&handle).await.unwrap();
    talk.close(&handle).await.unwrap();
    let mut files = page.files.into_iter();
    let listed = files.find(|file| file.filename == name).unwrap().attrs;
    [stat, fstat, listed]
}

/// Puts a file with a time of its own.
async fn put_dated(talk: &Talk, path: &str, mtime: u32) {
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let attrs = FileAttributes {
        atime: Some(mtime),
        mtime: Some(mtime),
        ..FileAttributes::empty()
    };
    let handle = talk.client.open(path, flags, attrs).await.unwrap().handle;
    talk.write(&handle, 0, b"abc").await.unwrap();
    talk.close(&handle).await.unwrap();
}

#[tokio::test]
async fn stat_of_a_listed_file_costs_nothing_where_it_shows_the_time_of_the_store() {
    let shop = Shop::open_in(|environment| environment.stat_times = StatTimes::Store).await;
    let talk = &shop.talk;
    plant(&shop.store, "d/f", b"abc").await;
    put_dated(talk, "/d/dated", 1_000).await;
    for name in ["f", "dated"] {
        let all = shown(talk, "/d", name).await;
        let [stat, fstat, listed] = all.map(|attrs| (attrs.size, attrs.mtime, attrs.permissions));
        assert_eq!((stat, fstat), (listed, listed), "{name}");
        assert_ne!(stat.1, Some(1_000));
    }
    std::mem::take(&mut *shop.bill.0.lock().unwrap());
    for _ in 0..20 {
        assert_eq!(talk.size("/d/f").await, Ok(Some(3)));
        let attrs = talk.client.lstat("/d/dated").await.unwrap().attrs;
        assert_eq!(attrs.size, Some(3));
    }
    shop.paid("stat of files that were just listed", &[]);
    assert_eq!(talk.size("/d/f/").await, Err(StatusCode::NoSuchFile));
    shop.paid("a file's name with a slash", &[(LIST, 1)]);
    // Its own changes count at once.
    talk.put("/d/f", b"longer").await.unwrap();
    talk.client.rename("/d/dated", "/d/moved").await.unwrap();
    std::mem::take(&mut *shop.bill.0.lock().unwrap());
    assert_eq!(talk.size("/d/f").await, Ok(Some(6)));
    assert_eq!(talk.size("/d/moved").await, Ok(Some(3)));
    shop.paid("stat of what the session changed", &[(HEAD, 2)]);
    assert_eq!(talk.size("/d/dated").await, Err(StatusCode::NoSuchFile));
    talk.names("/d").await.unwrap();
    // Where it matters, the store is asked: a size is set of the file that is there.
    plant(&shop.store, "d/f", b"by others").await;
    let attrs = FileAttributes {
        size: Some(6),
        ..FileAttributes::empty()
    };
    talk.client.setstat("/d/f", attrs).await.unwrap();
    assert_eq!(
        shop.store.object(&at("d/f")).as_deref(),
        Some(&b"by oth"[..])
    );
}

#[tokio::test]
async fn stat_of_a_listed_file_shows_others_changes_once_the_listing_is_old() {
    let shop = Shop::open_in(|environment| {
        environment.stat_times = StatTimes::Store;
        environment.names_fresh_for = Duration::from_millis(300);
    })
    .await;
    plant(&shop.store, "d/f", b"abc").await;
    shop.talk.names("/d").await.unwrap();
    plant(&shop.store, "d/f", b"by others").await;
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(shop.talk.size("/d/f").await, Ok(Some(9)));
    let shop = Shop::open_in(|environment| {
        environment.stat_times = StatTimes::Store;
        environment.names_fresh_for = Duration::ZERO;
    })
    .await;
    plant(&shop.store, "d/f", b"abc").await;
    shop.talk.names("/d").await.unwrap();
    plant(&shop.store, "d/f", b"by others").await;
    assert_eq!(shop.talk.size("/d/f").await, Ok(Some(9)));
    shop.paid("nothing is fresh", &[(LIST, 1), (HEAD, 1)]);
}

#[tokio::test]
async fn stat_shows_the_time_that_was_kept_whatever_a_listing_showed() {
    let shop = Shop::open().await;
    put_dated(&shop.talk, "/dated", 1_000).await;
    for _ in 0..2 {
        let [stat, fstat, listed] = shown(&shop.talk, "", "dated").await;
        assert_eq!((stat.mtime, fstat.mtime), (Some(1_000), Some(1_000)));
        assert_ne!(listed.mtime, Some(1_000));
    }
}

#[tokio::test]
async fn a_directory_that_empties_itself_costs_its_marker() {
    let shop = Shop::open().await;
    for number in 0..20 {
        plant(&shop.store, &format!("in/{number:02}"), b"x").await;
    }
    let remove = async |number: u32| {
        let path = format!("/in/{number:02}");
        shop.talk.client.remove(path).await.unwrap();
    };
    shop.talk.names("/in").await.unwrap();
    shop.paid("ls", &[(LIST, 1)]);
    for number in 0..19 {
        remove(number).await;
    }
    shop.paid("all but the last", &[(HEAD, 19), (DELETE, 19)]);
    remove(19).await;
    let expected = [(HEAD, 1), (LIST, 1), (PUT, 1), (DELETE, 1)];
    shop.paid("the last", &expected);
    shop.talk.put("/in/20", b"x").await.unwrap();
    shop.paid("put into what was just listed", &[(PUT, 1)]);
    remove(20).await;
    shop.paid("a directory with a marker", &[(HEAD, 1), (DELETE, 1)]);
    shop.talk.client.rmdir("/in").await.unwrap();
    shop.paid("rmdir", &[(LIST, 1), (DELETE, 1)]);
}

#[tokio::test]
async fn moving_a_directory_costs_three_calls_for_each_object() {
    let shop = Shop::open().await;
    let rename = async |from: &str, to: &str| shop.talk.client.rename(from, to).await.unwrap();
    plant(&shop.store, "few/", b"").await;
    for number in 0..20 {
        plant(&shop.store, &format!("few/{number}"), b"x").await;
    }
    rename("/few", "/moved").await;
    // Two looks at each name, and one listing.
    let expected = [
        (HEAD, 2 + 21),
        (LIST, 2 + 1),
        (PUT, 1),
        (COPY, 20),
        (DELETE, 21),
    ];
    shop.paid("a directory that fits into one listing", &expected);
    for number in 0..2_500 {
        plant(&shop.store, &format!("many/{number:04}"), b"x").await;
    }
    rename("/many", "/more").await;
    let expected = [
        (HEAD, 2 + 2_500),
        (LIST, 2 + 3 * 3),
        (COPY, 2_500),
        (DELETE, 2_500),
    ];
    shop.paid("a directory of three pages, listed three times", &expected);
    assert_eq!(shop.store.keys(&at("x").bucket).len(), 2_521);
}

#[tokio::test]
async fn a_large_file_costs_its_parts() {
    let shop = Shop::open().await;
    let content = pattern(20 * MIB);
    shop.talk.put("/big", &content).await.unwrap();
    let expected = [
        (LIST, 1),
        ("CreateMultipartUpload", 1),
        ("UploadPart", 3),
        ("CompleteMultipartUpload", 1),
    ];
    shop.paid("put of 20 MiB", &expected);
    shop.talk.put("/exact", &content[..8 * MIB]).await.unwrap();
    let expected = [
        (LIST, 1),
        ("CreateMultipartUpload", 1),
        ("UploadPart", 1),
        ("CompleteMultipartUpload", 1),
    ];
    shop.paid("put of exactly one part", &expected);
    assert!(shop.talk.get("/big").await.unwrap() == content);
    let gets = std::mem::take(&mut *shop.bill.0.lock().unwrap());
    let names: Vec<_> = gets.keys().copied().collect();
    assert_eq!(names, [GET]);
    // 256 KiB first, then a window that grows: each range is fetched once.
    assert!(gets[GET] <= 20, "{gets:?}");
}
