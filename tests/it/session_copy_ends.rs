//! Copies whose session ends meanwhile, or whose file is gone before their turn.

use portcullis::storage::Operation;
use portcullis::storage::failing::{Fault, Gate};

use crate::auth_log::logged;
use crate::common::raw::{self, OK, Raw};
use crate::session::{MIB, at, pattern, plant};
use crate::session_copy_data::{Copier, copy_data};

#[tokio::test]
async fn a_file_that_was_removed_before_its_turn_stays_removed() {
    let (failing, store) = crate::session::failing();
    plant(&store, "f", b"content").await;
    plant(&store, "g", b"old").await;
    let mut raw = Raw::start(failing).await;
    let source = raw.open("/f", 1).await;
    let target = raw.open("/g", 0x1a).await;
    let asked = [
        raw::named(raw::REMOVE, 1, "/g"),
        raw::copy_data(2, (&source, 0, 0), (&target, 0)),
        raw::on_handle(raw::CLOSE, 3, &target),
    ];
    let answers = raw.exchange(asked.concat(), 3).await;
    assert_eq!([1, 2].map(|id| answers[&id].status()), [OK, raw::FAILURE]);
    assert_eq!(answers[&3].status(), raw::FAILURE);
    assert_eq!(store.keys(&at("x").bucket), ["f"]);
}

#[tokio::test]
async fn a_copy_whose_client_goes_at_once_is_whole() {
    let (failing, store) = crate::session::failing();
    plant(&store, "f", b"content").await;
    plant(&store, "g", b"old").await;
    let mut raw = Raw::start(failing).await;
    let source = raw.open("/f", 1).await;
    let target = raw.open("/g", 0x1a).await;
    let asked = [
        raw::copy_data(1, (&source, 0, 0), (&target, 0)),
        raw::on_handle(raw::CLOSE, 2, &target),
    ];
    raw.send(&asked.concat()).await;
    let Raw { pipe, running } = raw;
    running.gone.cancel();
    drop(pipe);
    running.end().await.drain().await;
    // The request was heard or not: the file is whole either way.
    let found = store.object(&at("g")).unwrap();
    assert!(found == b"content"[..] || found == b"old"[..], "{found:?}");
}

#[tokio::test]
async fn a_copy_that_was_begun_comes_to_its_end_without_its_client() {
    let copier = Copier::open().await;
    let content = pattern(5 * MIB);
    plant(&copier.store, "f", &content).await;
    let (source, target) = copier.both("/f", "/g").await;
    let gate = Gate::closed();
    copier
        .failing
        .spoil(Operation::PartCopy, 3, Fault::Hold(gate.clone()));
    tokio::select! {
        copied = copy_data(&copier.talk, (&source, 0, 0), (&target, 0)) => panic!("{copied:?}"),
        () = gate.reached(1) => {}
    }
    let reaper = copier.talk.abandon().await;
    gate.open();
    reaper.drain().await;
    assert!(copier.store.object(&at("g")).unwrap() == content);
    assert_eq!(copier.store.unfinished_uploads(), []);
}

#[tokio::test]
async fn a_copy_that_ends_after_its_session_has_its_line_and_is_no_failed_upload() {
    for abandoned in [false, true] {
        let ((), log) = logged(async {
            let copier = Copier::open().await;
            plant(&copier.store, "f", b"content").await;
            let (source, target) = copier.both("/f", "/g").await;
            let gate = Gate::closed();
            copier
                .failing
                .spoil(Operation::Copy, 1, Fault::Hold(gate.clone()));
            tokio::select! {
                copied = copy_data(&copier.talk, (&source, 0, 0), (&target, 0)) => panic!("{copied:?}"),
                () = gate.reached(1) => {}
            }
            let reaper = if abandoned {
                copier.talk.abandon().await
            } else {
                let cut = copier.talk.cut();
                let opens = async {
                    tokio::task::yield_now().await;
                    gate.open();
                };
                tokio::join!(cut, opens).0.0
            };
            gate.open();
            reaper.drain().await;
            assert_eq!(copier.store.object(&at("g")).unwrap(), &b"content"[..]);
        })
        .await;
        let lines = log.lines().filter(|line| line.contains("\"copied\""));
        assert_eq!(lines.count(), 1, "{log}");
        assert!(!log.contains("upload failed"), "{log}");
    }
}
