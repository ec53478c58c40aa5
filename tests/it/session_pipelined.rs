//! Many requests at once: each gets exactly one answer, in an order that a file system could have
//! given, in bounded memory.

use std::time::Duration;

use portcullis::limits::{self, Limits};
use portcullis::storage::failing::{Fault, Gate};
use portcullis::storage::{Operation, StorageErrorKind};

use crate::common::raw::{self, EOF, FAILURE, NO_SUCH_FILE, OK, Raw, named, on_handle, packet};
use crate::common::sftp::whole_bucket;
use crate::session::{MIB, at, failing, pattern, plant, store};

/// Whoever is not heard for so long is not heard.
const PATIENCE: Duration = Duration::from_millis(500);
const READING: u32 = 0x01;
const READ_AND_WRITE: u32 = 0x03;
const CREATING: u32 = 0x1a;

#[tokio::test]
async fn thousands_that_wait_are_answered_when_the_storage_comes_back() {
    let (failing, _store) = failing();
    let mut raw = Raw::start(failing.clone()).await;
    let gate = Gate::closed();
    let slow = Limits::default().storage_calls_per_session_max;
    for nth in 1..=slow {
        let nth = u32::try_from(nth).unwrap();
        failing.spoil(Operation::Head, nth, Fault::Hold(gate.clone()));
    }
    let mut packets = Vec::new();
    for id in 0..u32::try_from(slow).unwrap() {
        packets.extend(named(raw::STAT, id, &format!("/slow-{id}")));
    }
    for id in 1_000..31_000 {
        let fields = [raw::string("statvfs@openssh.com"), raw::string("/")];
        packets.extend(packet(raw::EXTENDED, id, &[&fields.concat()]));
    }
    raw.send(&packets).await;
    gate.reached(slow).await;
    gate.open();
    let answers = raw.exchange(Vec::new(), 30_000 + slow).await;
    assert_eq!(answers[&0].status(), NO_SUCH_FILE);
    assert_eq!(answers[&30_999].kind, 201);
}

#[tokio::test]
async fn a_whole_file_may_be_asked_for_at_once() {
    let store = store();
    let content = pattern(16 * MIB + 5);
    plant(&store, "f", &content).await;
    let mut raw = Raw::start(store).await;
    let handle = raw.open("/f", READING).await;
    let reads: Vec<u8> = (0..32_768)
        .flat_map(|id| raw::read(id, &handle, u64::from(id) * 513, 513))
        .collect();
    let answers = raw.exchange(reads, 32_768).await;
    let mut read: Vec<u8> = Vec::new();
    for answer in answers.values().filter(|answer| answer.kind == 103) {
        read.extend(answer.data());
    }
    assert!(read == content);
    assert_eq!(answers[&32_767].status(), EOF);
}

#[tokio::test]
async fn reads_that_a_close_overtakes_are_answered() {
    for flags in [READING, READ_AND_WRITE] {
        let (failing, store) = failing();
        plant(&store, "f", &pattern(3 * MIB)).await;
        let mut raw = Raw::start(failing.clone()).await;
        let handle = raw.open("/f", flags).await;
        let gate = Gate::closed();
        failing.spoil(Operation::Get, 1, Fault::Hold(gate));
        let mut packets = raw::read(1, &handle, 2 * MIB as u64, 100);
        packets.extend(raw::read(2, &handle, 2 * MIB as u64 + 100, 100));
        packets.extend(on_handle(raw::CLOSE, 3, &handle));
        let answers = raw.exchange(packets, 3).await;
        assert_eq!(answers[&1].status(), FAILURE, "{flags}");
        assert_eq!(answers[&2].status(), FAILURE, "{flags}");
        assert_eq!(answers[&3].status(), OK, "{flags}");
    }
}

#[tokio::test]
async fn reads_of_a_changed_file_are_answered_in_order_and_before_its_close() {
    let (failing, store) = failing();
    let mut content = pattern(3 * MIB);
    plant(&store, "f", &content).await;
    let mut raw = Raw::start(failing.clone()).await;
    let handle = raw.open("/f", READ_AND_WRITE).await;
    let (middle, end) = (2 * MIB as u64, 3 * MIB as u64);
    let gate = Gate::closed();
    failing.spoil(Operation::Get, 1, Fault::Hold(gate.clone()));
    let packets = [
        raw::write(1, &handle, 0, b"new"),
        raw::write(2, &handle, end, b"tail"),
        raw::read(3, &handle, middle, 100),
        raw::read(4, &handle, 0, 3),
        raw::read(5, &handle, end + 1, 100),
        raw::read(6, &handle, end + 4, 1),
        on_handle(raw::CLOSE, 7, &handle),
    ];
    raw.send(&packets.concat()).await;
    gate.reached(1).await;
    gate.open();
    content[..3].copy_from_slice(b"new");
    content.extend(b"tail");
    for id in 1..=7 {
        let (answered, answer) = raw.answer().await.unwrap();
        assert_eq!(answered, id);
        match id {
            3 => assert_eq!(answer.data(), &content[2 * MIB..][..100]),
            4 => assert_eq!(answer.data(), b"new"),
            5 => assert_eq!(answer.data(), b"ail"),
            6 => assert_eq!(answer.status(), EOF),
            _ => assert_eq!(answer.status(), OK, "{id}"),
        }
    }
    assert!(store.object(&at("f")).unwrap() == content);
}

fn resize(id: u32, path: &str, size: u64) -> Vec<u8> {
    let size_flag = 1_u32.to_be_bytes();
    packet(
        9,
        id,
        &[&raw::string(path), &size_flag, &size.to_be_bytes()],
    )
}

#[tokio::test]
async fn a_size_that_is_set_by_name_has_its_place_among_the_writes() {
    let (failing, store) = failing();
    plant(&store, "d/", b"").await;
    let mut raw = Raw::start(failing.clone()).await;
    let handle = raw.open("/d/f", CREATING).await;
    let gate = Gate::closed();
    failing.spoil(Operation::List, 1, Fault::Hold(gate.clone()));
    let packets = [
        raw::write(1, &handle, 0, b"0123456789"),
        // What only looks at the directory changes nothing.
        named(11, 2, "/d"),
        resize(3, "/d/f", 0),
        raw::write(4, &handle, 0, b"abc"),
        on_handle(raw::CLOSE, 5, &handle),
    ];
    let open = async {
        gate.reached(1).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(raw.exchange(packets.concat(), 5), open);
    for id in [1, 3, 4, 5] {
        assert_eq!(answers[&id].status(), OK, "{id}");
    }
    assert_eq!(store.object(&at("d/f")).as_deref(), Some(&b"abc"[..]));
}

#[tokio::test]
async fn a_size_that_is_set_by_name_before_a_close_is_that_of_the_new_file() {
    let (failing, store) = failing();
    plant(&store, "d/f", b"old").await;
    let mut raw = Raw::start(failing.clone()).await;
    let handle = raw.open("/d/f", CREATING).await;
    let gate = Gate::closed();
    failing.spoil(Operation::Head, 1, Fault::Hold(gate.clone()));
    let packets = [
        raw::write(1, &handle, 0, b"0123456789"),
        // It might change what the name means.
        packet(14, 2, &[&raw::string("/d"), &[0; 4]]),
        resize(3, "/d/f", 4),
        on_handle(raw::CLOSE, 4, &handle),
    ];
    let open = async {
        gate.reached(1).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(raw.exchange(packets.concat(), 4), open);
    let statuses = [1, 2, 3, 4].map(|id| answers[&id].status());
    assert_eq!(statuses, [OK, FAILURE, OK, OK]);
    assert_eq!(store.object(&at("d/f")).as_deref(), Some(&b"0123"[..]));
}

#[tokio::test]
async fn nothing_may_be_asked_of_a_handle_after_its_close() {
    let (failing, store) = failing();
    let mut raw = Raw::start(failing.clone()).await;
    let handle = raw.open("/f", CREATING).await;
    let gate = Gate::closed();
    failing.spoil(Operation::Put, 1, Fault::Hold(gate.clone()));
    let mut packets = raw::write(1, &handle, 0, b"abc");
    packets.extend(on_handle(raw::CLOSE, 2, &handle));
    packets.extend(raw::write(3, &handle, 0, b"XYZ"));
    packets.extend(raw::write(4, &handle, 20 * MIB as u64, b"XYZ"));
    packets.extend(raw::set_size(5, &handle, 1));
    packets.extend(on_handle(raw::FSTAT, 6, &handle));
    packets.extend(raw::read(7, &handle, 0, 3));
    packets.extend(on_handle(raw::CLOSE, 8, &handle));
    let open = async {
        gate.reached(1).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(raw.exchange(packets, 8), open);
    assert_eq!((answers[&1].status(), answers[&2].status()), (OK, OK));
    for id in 3..=8 {
        assert_eq!(answers[&id].status(), FAILURE, "{id}");
    }
    assert_eq!(store.object(&at("f")).as_deref(), Some(&b"abc"[..]));
}

/// Sends a question again and again until nobody hears it any more; returns how often it was.
async fn until_unheard(raw: &mut Raw, question: impl Fn(u32) -> Vec<u8>, bytes_max: usize) -> u32 {
    let (mut asked, mut sent) = (0, 0);
    loop {
        let packet = question(asked);
        let writing = tokio::io::AsyncWriteExt::write_all(&mut raw.pipe, &packet);
        if tokio::time::timeout(PATIENCE, writing).await.is_err() {
            return asked;
        }
        asked += 1;
        sent += packet.len();
        assert!(sent < bytes_max, "{sent}");
    }
}

#[tokio::test]
async fn a_client_that_asks_and_never_listens_is_not_heard() {
    let mut raw = Raw::start(store()).await;
    let long = format!("/{}", "x".repeat(4_000));
    let question = |id| named(raw::REALPATH, id, &long);
    let bytes_max = 4 * limits::REPLY_BYTES_QUEUED_SOFT_MAX;
    let asked = until_unheard(&mut raw, question, bytes_max).await;
    assert!(asked > 0);
}

#[tokio::test]
async fn paths_that_wait_are_bounded() {
    let (failing, _store) = failing();
    let limits = Limits {
        session_memory_bytes_max: 4 * MIB as u64,
        ..Limits::default()
    };
    let mut raw = Raw::with(failing.clone(), whole_bucket(), limits).await;
    let gate = Gate::closed();
    failing.spoil(Operation::Head, 1, Fault::Hold(gate.clone()));
    let long = format!("/x/{}", "y/".repeat(2_000));
    raw.send(&named(raw::REMOVE, 1_000_000, "/x")).await;
    let question = |id| raw::rename(id, &long, &long);
    // Half of what others leave, and what is on its way.
    let asked = until_unheard(&mut raw, question, 4 * MIB).await;
    let taken = raw.running.budget.account().taken_bytes();
    assert!(taken > MIB as u64 && taken <= 2 * MIB as u64, "{taken}");
    gate.open();
    let waiting = usize::try_from(asked).unwrap() + 1;
    assert_eq!(raw.exchange(Vec::new(), waiting).await.len(), waiting);
}

#[tokio::test]
async fn changes_of_one_path_run_in_the_order_of_their_arrival() {
    let (failing, store) = failing();
    plant(&store, "x", b"old").await;
    plant(&store, "y", b"new").await;
    let mut raw = Raw::start(failing.clone()).await;
    // The first change is slow; everything that follows has to wait for it.
    let gate = Gate::closed();
    failing.spoil(Operation::Delete, 1, Fault::Hold(gate.clone()));
    let mut packets = named(raw::REMOVE, 1, "/x");
    packets.extend(raw::rename(2, "/y", "/x"));
    packets.extend(named(raw::STAT, 3, "/x"));
    packets.extend(raw::open(4, "/x", READING));
    packets.extend(named(raw::STAT, 5, "/y"));
    packets.extend(raw::rename(6, "/x", "/z"));
    packets.extend(named(raw::STAT, 7, "/x"));
    packets.extend(named(raw::STAT, 8, "/z"));
    let open = async {
        gate.reached(1).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(raw.exchange(packets, 8), open);
    assert_eq!((answers[&1].status(), answers[&2].status()), (OK, OK));
    assert_eq!(answers[&3].kind, 105);
    let handle = answers[&4].handle();
    assert_eq!(answers[&5].status(), NO_SUCH_FILE);
    assert_eq!(answers[&6].status(), OK);
    assert_eq!(answers[&7].status(), NO_SUCH_FILE);
    assert_eq!(answers[&8].kind, 105);
    assert_eq!(raw.ask(raw::read(9, &handle, 0, 9)).await.data(), b"new");
}

#[tokio::test]
async fn a_close_and_the_rename_behind_it_do_not_swap() {
    let (failing, store) = failing();
    let mut raw = Raw::start(failing.clone()).await;
    let handle = raw.open("/part", CREATING).await;
    let mut packets = raw::write(1, &handle, 0, b"abc");
    packets.extend(on_handle(raw::CLOSE, 2, &handle));
    packets.extend(raw::rename(3, "/part", "/whole"));
    packets.extend(named(raw::STAT, 4, "/whole"));
    let gate = Gate::closed();
    failing.spoil(Operation::Put, 1, Fault::Hold(gate.clone()));
    let open = async {
        gate.reached(1).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(raw.exchange(packets, 4), open);
    assert_eq!(answers[&3].status(), OK);
    assert_eq!(answers[&4].kind, 105);
    assert_eq!(store.object(&at("whole")).as_deref(), Some(&b"abc"[..]));
}

#[tokio::test]
async fn a_failed_storage_fails_each_request_once() {
    let (failing, store) = failing();
    plant(&store, "f", &pattern(3 * MIB)).await;
    let mut raw = Raw::start(failing.clone()).await;
    let handle = raw.open("/f", READING).await;
    failing.spoil(Operation::Get, 1, Fault::Fail(StorageErrorKind::Denied));
    let reads: Vec<u8> = (0..2_000)
        .flat_map(|id| raw::read(id, &handle, 2 * MIB as u64 + u64::from(id), 10))
        .collect();
    let answers = raw.exchange(reads, 2_000).await;
    assert!(answers.values().all(|answer| answer.status() != OK));
    let closed = raw.ask(on_handle(raw::CLOSE, 9, &handle)).await;
    assert_eq!(closed.status(), OK);
}

#[tokio::test]
async fn handles_are_bounded() {
    let store = store();
    plant(&store, "f", b"x").await;
    let limits = Limits {
        handles_per_session_max: 5,
        ..Limits::default()
    };
    let mut raw = Raw::with(store.clone(), whole_bucket(), limits).await;
    let opens: Vec<u8> = (0..20)
        .flat_map(|id| raw::open(id, "/f", READING))
        .collect();
    let answers = raw.exchange(opens, 20).await;
    let opened: Vec<_> = answers
        .values()
        .filter(|answer| answer.kind == 102)
        .collect();
    assert_eq!(opened.len(), 5);
    let close = on_handle(raw::CLOSE, 1, &opened[0].handle());
    assert_eq!(raw.ask(close).await.status(), OK);
    assert_eq!(raw.open("/f", READING).await.len(), 8);
}
