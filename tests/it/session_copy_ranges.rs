//! Ranges that `copy-data` copies: they pass through the gateway like WRITEs of the client.

use portcullis::storage::Operation;
use portcullis::storage::failing::{Fault, Gate};
use russh_sftp::protocol::{OpenFlags, StatusCode};

use crate::auth_log::logged;
use crate::common::raw::{self, OK, Raw};
use crate::session::{MIB, at, pattern, plant};
use crate::session_copy_data::{Copier, copy_data};

#[tokio::test]
async fn ranges_of_files_are_written_among_what_the_client_writes() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"0123456789").await;
    let (source, target) = copier.both("/f", "/g").await;
    let talk = &copier.talk;
    talk.write(&target, 0, b"head ").await.unwrap();
    let copied = copy_data(talk, (&source, 3, 4), (&target, 5)).await;
    assert_eq!(copied, Ok(()));
    let copied = copy_data(talk, (&source, 8, 0), (&target, 9)).await;
    assert_eq!(copied, Ok(()));
    talk.write(&target, 11, b" tail").await.unwrap();
    let attrs = talk.client.fstat(&target).await.unwrap().attrs;
    assert_eq!(attrs.size, Some(16));
    talk.close(&target).await.unwrap();
    talk.close(&source).await.unwrap();
    assert_eq!(copier.object("g"), b"head 345689 tail");
    assert_eq!(copier.copies(), [0; 4]);
    copier.assert_settled();
}

#[tokio::test]
async fn a_large_range_passes_through_in_pieces() {
    let copier = Copier::open().await;
    let content = pattern(30 * MIB);
    plant(&copier.store, "f", &content).await;
    let (source, target) = copier.both("/f", "/g").await;
    let (start, length) = (MIB as u64 + 1, 25 * MIB as u64);
    copier
        .failing
        .spoil(Operation::Get, 1, Fault::CutBodyAfter(5 * MIB as u64));
    let copied = copy_data(&copier.talk, (&source, start, length), (&target, 0)).await;
    assert_eq!(copied, Ok(()));
    copier.talk.close(&target).await.unwrap();
    copier.talk.close(&source).await.unwrap();
    assert!(copier.object("g") == content[MIB + 1..26 * MIB + 1]);
    copier.assert_settled();
}

#[tokio::test]
async fn a_range_goes_over_a_file_that_is_there_and_is_read_back() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"0123456789").await;
    plant(&copier.store, "g", b"abcdefgh").await;
    let talk = &copier.talk;
    let source = talk.open("/f", OpenFlags::READ).await.unwrap();
    let both = OpenFlags::READ | OpenFlags::WRITE;
    let target = talk.open("/g", both).await.unwrap();
    assert_eq!(copy_data(talk, (&source, 0, 3), (&target, 2)).await, Ok(()));
    let read = talk.client.read(&target, 0, 100).await.unwrap();
    assert_eq!(read.data, b"ab012fgh");
    talk.close(&target).await.unwrap();
    assert_eq!(copier.object("g"), b"ab012fgh");
    let append = OpenFlags::WRITE | OpenFlags::APPEND;
    let target = talk.open("/g", append).await.unwrap();
    assert_eq!(copy_data(talk, (&source, 0, 0), (&target, 0)).await, Ok(()));
    talk.close(&target).await.unwrap();
    talk.close(&source).await.unwrap();
    assert_eq!(copier.object("g"), b"ab012fgh0123456789");
    copier.assert_settled();
}

#[tokio::test]
async fn a_range_of_a_file_that_was_replaced_fails_what_it_was_written_to() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"0123456789").await;
    plant(&copier.store, "g", b"old").await;
    let (source, target) = copier.both("/f", "/g").await;
    copier.talk.write(&target, 0, b"x").await.unwrap();
    plant(&copier.store, "f", b"another one").await;
    let copied = copy_data(&copier.talk, (&source, 2, 3), (&target, 1)).await;
    assert_eq!(copied, Err(StatusCode::Failure));
    assert_eq!(copier.talk.close(&target).await, Err(StatusCode::Failure));
    copier.talk.close(&source).await.unwrap();
    assert_eq!(copier.object("g"), b"old");
    copier.assert_settled();
}

#[tokio::test]
async fn a_close_waits_for_a_range_that_is_on_its_way() {
    let (failing, store) = crate::session::failing();
    plant(&store, "f", b"0123456789").await;
    let mut raw = Raw::start(failing).await;
    let source = raw.open("/f", 1).await;
    let target = raw.open("/g", 0x1a).await;
    let range = |id, at| raw::copy_data(id, (&source, 2, 5), (&target, at));
    // Of two at once the second one is refused, and the file is not lost.
    let asked = [
        range(1, 0),
        range(2, 5),
        raw::on_handle(raw::CLOSE, 3, &target),
    ];
    let answers = raw.exchange(asked.concat(), 3).await;
    assert_eq!(
        [1, 2, 3].map(|id| answers[&id].status()),
        [OK, raw::FAILURE, OK]
    );
    assert_eq!(store.object(&at("g")).unwrap(), &b"23456"[..]);
}

#[tokio::test]
async fn what_is_written_while_a_range_is_copied_is_refused() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", b"0123456789").await;
    let (source, target) = copier.both("/f", "/g").await;
    let talk = &copier.talk;
    let gate = Gate::closed();
    copier
        .failing
        .spoil(Operation::Get, 1, Fault::Hold(gate.clone()));
    let meanwhile = async {
        gate.reached(1).await;
        // What comes of the range would be written over it.
        let refused = talk.write(&target, 0, b"x").await;
        assert_eq!(refused, Err(StatusCode::Failure));
        gate.open();
    };
    let copied = copy_data(talk, (&source, 2, 5), (&target, 0));
    let (copied, ()) = tokio::join!(copied, meanwhile);
    assert_eq!(copied, Ok(()));
    talk.write(&target, 1, b"yz").await.unwrap();
    talk.close(&target).await.unwrap();
    talk.close(&source).await.unwrap();
    assert_eq!(copier.object("g"), b"2yz56");
    copier.assert_settled();
}

#[tokio::test]
async fn a_line_of_record_says_what_became_of_a_range() {
    let ((), log) = logged(async {
        let copier = Copier::open().await;
        plant(&copier.store, "f", b"0123456789").await;
        let talk = &copier.talk;
        let (source, target) = copier.both("/f", "/g").await;
        assert_eq!(copy_data(talk, (&source, 2, 5), (&target, 1)).await, Ok(()));
        plant(&copier.store, "f", b"another one").await;
        let failed = copy_data(talk, (&source, 2, 5), (&target, 6)).await;
        assert_eq!(failed, Err(StatusCode::Failure));
        // Refused at once: nothing was begun.
        for _ in 0..3 {
            let refused = copy_data(talk, (&source, 2, 5), (&target, 6)).await;
            assert_eq!(refused, Err(StatusCode::Failure));
        }
    })
    .await;
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.contains("\"COPY\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let messages = lines.iter().map(|line| line["fields"]["message"].as_str());
    let messages: Vec<_> = messages.map(Option::unwrap).collect();
    assert_eq!(messages, ["range copied", "range not copied"]);
    let fields = &lines[0]["fields"];
    assert_eq!([&fields["path"], &fields["to"]], ["/f", "/g"]);
    assert_eq!(
        [&fields["offset"], &fields["bytes"], &fields["at"]],
        [2, 5, 1]
    );
    assert!(lines[1]["fields"]["reason"].is_string());
}

#[tokio::test]
async fn a_client_that_goes_while_a_range_is_copied_leaves_the_old_file() {
    let copier = Copier::open().await;
    plant(&copier.store, "f", &pattern(2 * MIB)).await;
    plant(&copier.store, "g", b"old").await;
    let (source, target) = copier.both("/f", "/g").await;
    let gate = Gate::closed();
    copier
        .failing
        .spoil(Operation::Get, 1, Fault::Hold(gate.clone()));
    tokio::select! {
        copied = copy_data(&copier.talk, (&source, 1, 0), (&target, 0)) => panic!("{copied:?}"),
        () = gate.reached(1) => {}
    }
    let reaper = copier.talk.abandon().await;
    gate.open();
    reaper.drain().await;
    assert_eq!(copier.store.object(&at("g")).unwrap(), &b"old"[..]);
    assert_eq!(copier.store.unfinished_uploads(), []);
}
