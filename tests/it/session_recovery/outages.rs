//! What goes wrong while uploads are recovered: marks, leases, locks and aborts that fail or are late,
//! and files that are changed meanwhile.

use std::time::Duration;

use portcullis::clock::Clock as _;
use portcullis::idp::blocks::Blocked;
use portcullis::limits::LEASE_FOR;
use portcullis::storage::failing::{Fault, Gate};
use portcullis::storage::{ListQuery, ObjectStore as _, Operation, StorageErrorKind};

use super::{CREATE, Shared, state};
use crate::session::{MIB, at, pattern};

/// The parts are an object then, whose mark is all that is missing.
#[tokio::test]
async fn a_mark_that_fails_is_set_in_a_later_round() {
    let content = pattern(9 * MIB);
    for denied in [Operation::Copy, Operation::Head] {
        let shared = Shared::new();
        let (killed, other) = (shared.process().await, shared.process().await);
        let _lost = shared.sends(&killed, CREATE, (0, &content), 1).await;
        shared.leases_end(&[&other]).await;
        let before = u32::from(denied == Operation::Head);
        for nth in 1..=12 {
            let denied_now = Fault::Fail(StorageErrorKind::Denied);
            shared.files.spoil(denied, nth + before, denied_now);
        }
        other.recovery.round().await;
        assert_eq!(other.counted("later"), 1, "{denied:?}");
        let stored = shared.store.object(&at("f")).unwrap();
        assert!(stored == content[..8 * MIB]);
        assert_eq!(shared.record_keys().len(), 1);
        while shared.files.pending() > 0 {
            other.recovery.round().await;
        }
        other.recovery.round().await;
        shared.assert_kept(&content[..8 * MIB]).await;
        assert_eq!(other.counted("kept"), 1);
        other.settled().await;
        assert_eq!(shared.record_keys(), <[String; 0]>::default());
    }
}

/// Its process lives, and has its own Complete under way when fewer parts are the object.
#[tokio::test]
async fn a_close_fails_when_another_process_kept_fewer_parts() {
    let shared = Shared::new();
    let (stalled, other) = (shared.process().await, shared.process().await);
    let content = pattern(20 * MIB);
    let talk = shared.session(&stalled).await;
    let handle = talk.open("/f", CREATE).await.unwrap();
    talk.send(&handle, 0, &content).await;
    shared.parts_are_there(2).await;
    shared.leases_end(&[&other]).await;
    let gates = [(); 3].map(|()| Gate::closed());
    let held = |gate: &Gate| Fault::Hold(gate.clone());
    shared.files.spoil(Operation::Complete, 1, held(&gates[0]));
    shared.files.spoil(Operation::Complete, 2, held(&gates[1]));
    shared.files.spoil(Operation::Copy, 1, held(&gates[2]));
    let steps = async {
        gates[0].reached(1).await;
        let opens = async {
            gates[1].reached(1).await;
            gates[0].open();
            gates[2].reached(1).await;
            gates[1].open();
        };
        let (closed, ()) = tokio::join!(talk.close(&handle), opens);
        assert!(closed.is_err());
        gates[2].open();
    };
    tokio::join!(other.recovery.round(), steps);
    shared.assert_kept(&content[..16 * MIB]).await;
}

#[tokio::test]
async fn after_a_time_without_the_bucket_of_records_everybody_has_their_lease() {
    let shared = Shared::new();
    let (one, other) = (shared.process().await, shared.process().await);
    let content = pattern(9 * MIB);
    let talk = shared.sends(&one, CREATE, (0, &content), 1).await;
    let leases = shared.store.keys(&state());
    for _ in 0..4 {
        shared.clock.advance(LEASE_FOR / 2);
        for process in [&one, &other] {
            for operation in [Operation::Put, Operation::List] {
                let away = Fault::Fail(StorageErrorKind::Denied);
                shared.records.spoil(operation, 1, away);
            }
            let renewed = process.environment.upload_records.renew().await;
            assert!(renewed.is_err());
            process.recovery.round().await;
        }
    }
    while shared.records.pending() > 0 {
        drop(shared.records.list(&state(), &all()).await);
    }
    // Whoever comes first takes nothing from those that come later.
    for process in [&other, &one] {
        process.environment.upload_records.renew().await.unwrap();
        process.recovery.round().await;
    }
    assert_eq!(shared.store.keys(&state()), leases);
    assert_eq!(shared.store.object(&at("f")), None);
    assert_eq!(other.counted("kept"), 0);
    drop(talk.cut().await);
    one.settled().await;
    shared.assert_kept(&content).await;
    assert_eq!(shared.record_keys(), <[String; 0]>::default());
}

fn all() -> ListQuery {
    ListQuery {
        prefix: String::new(),
        delimited: false,
        after: None,
        max: 1,
    }
}

#[tokio::test]
async fn what_was_removed_since_does_not_come_back() {
    let shared = Shared::new();
    let (killed, other) = (shared.process().await, shared.process().await);
    let content = pattern(9 * MIB);
    let _lost = shared.sends(&killed, CREATE, (0, &content), 1).await;
    shared.clock.advance(Duration::from_secs(5));
    let back = shared.session(&other).await;
    back.put("/f", b"whole").await.unwrap();
    back.client.remove("/f").await.unwrap();
    shared.leases_end(&[&other]).await;
    other.recovery.round().await;
    assert_eq!(other.counted("discarded"), 1);
    drop(back.cut().await);
    other.settled().await;
    assert_eq!(shared.store.object(&at("f")), None);
    assert_eq!(shared.store.unfinished_uploads(), []);
    assert_eq!(shared.record_keys(), <[String; 0]>::default());
}

#[tokio::test]
async fn an_upload_that_is_being_aborted_is_left_to_who_aborts_it() {
    let shared = Shared::new();
    let (killed, other) = (shared.process().await, shared.process().await);
    let content = pattern(9 * MIB);
    let _lost = shared.sends(&killed, CREATE, (0, &content), 1).await;
    let now = shared.clock.wall();
    other.blocks.block(Blocked::user("ann"), None, now).unwrap();
    shared.leases_end(&[&other]).await;
    let gate = Gate::closed();
    let held = Fault::Hold(gate.clone());
    shared.files.spoil(Operation::Abort, 1, held);
    for _ in 0..2 {
        other.recovery.round().await;
        gate.reached(1).await;
        // Two leases, and the record.
        assert_eq!(shared.store.keys(&state()).len(), 3);
    }
    gate.open();
    while !shared.record_keys().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    other.recovery.round().await;
    assert_eq!(shared.store.keys(&state()).len(), 1);
    assert_eq!(other.counted("discarded"), 1);
    assert_eq!(shared.store.unfinished_uploads(), []);
}

#[tokio::test]
async fn whoever_has_a_lock_that_was_removed_has_none() {
    let shared = Shared::new();
    let here = tempfile::tempdir().unwrap();
    let first = shared.process_in(&here).await;
    std::fs::remove_file(here.path().join("lock")).unwrap();
    let second = shared.process_in(&here).await;
    let content = pattern(9 * MIB);
    first.environment.upload_records.renew().await.unwrap();
    // Each begins an upload of its own.
    for (process, written, parts) in [(&first, 0, 1), (&second, 1, 2)] {
        shared.sends(process, CREATE, (0, &content), parts).await;
        assert_eq!(process.counted("written"), written);
    }
}
