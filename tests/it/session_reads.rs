//! Files that are read in little memory.

use std::time::Duration;

use portcullis::limits::Limits;

use crate::common::raw::{self, Raw};
use crate::common::sftp::{Talk, whole_bucket};
use crate::session::{MIB, at, pattern, plant, store};

const READING: u32 = 0x01;

#[tokio::test]
async fn open_files_take_no_more_memory_than_there_is() {
    let store = store();
    let content = pattern(MIB);
    plant(&store, "f", &content).await;
    let limits = Limits {
        download_memory_bytes_max: MIB as u64,
        ..Limits::default()
    };
    let talk = Talk::with(store.clone(), whole_bucket(), limits).await;
    let flags = russh_sftp::protocol::OpenFlags::READ;
    for _ in 0..10 {
        talk.open("/f", flags).await.unwrap();
    }
    assert_eq!(talk.budget.taken_bytes().1, MIB as u64);
    assert!(talk.get("/f").await.unwrap() == content);
    assert_eq!(store.object(&at("f")).unwrap(), content);
}

#[tokio::test]
async fn a_reader_that_pauses_gives_its_memory_to_others() {
    let store = store();
    let content = pattern(20 * MIB);
    plant(&store, "f", &content).await;
    let limits = Limits {
        download_memory_bytes_max: MIB as u64,
        slot_idle_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let mut raw = Raw::with(store, whole_bucket(), limits).await;
    let handle = raw.open("/f", READING).await;
    let reads: Vec<u8> = (0..20)
        .flat_map(|id| raw::read(id, &handle, u64::from(id) * 20_000, 20_000))
        .collect();
    raw.exchange(reads, 20).await;
    assert!(raw.running.budget.taken_bytes().1 > 0);
    let given_back = async {
        while raw.running.budget.taken_bytes().1 > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), given_back)
        .await
        .unwrap();
    let later = raw.ask(raw::read(1, &handle, 400_000, 1_000)).await;
    assert_eq!(later.data(), &content[400_000..401_000]);
}
