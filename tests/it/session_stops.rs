//! What a session began goes on without it, but not beyond its user's access, and not without
//! bound.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use portcullis::budget::Budget;
use portcullis::clock::Clock as _;
use portcullis::idp::UserConfig;
use portcullis::limits::{Limits, MOVES_PER_USER_MAX};
use portcullis::session::UserSessions;
use portcullis::storage::failing::{Failing, Fault, Gate};
use portcullis::storage::memory::MemoryStore;
use portcullis::storage::{Capabilities, Operation, SharedStore};
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};
use tokio_util::sync::CancellationToken;

use crate::common::clock::FakeClock;
use crate::common::sftp::{Talk, as_answered, begin_in, code, user, whole_bucket};
use crate::session::{MIB, at, failing, pattern, plant, store};
use crate::session_moves::{Noting, fill, keys_below, rename};

/// A session over a store that can be held, and what takes its user's access back.
async fn revocable(store: SharedStore) -> (Talk, CancellationToken) {
    let user = user(whole_bucket(), store);
    let revoked = user.revoked().clone();
    let (theirs, running) = begin_in(user, Limits::default(), |_| {});
    (Talk::over(theirs, running).await, revoked)
}

/// Begins a move, and does something when a call of it is held.
async fn stopped_at(
    (operation, nth): (Operation, u32),
    failing: &Failing,
    talk: Talk,
    act: impl FnOnce(Talk) -> Option<Talk>,
) {
    let gate = Gate::closed();
    failing.spoil(operation, nth, Fault::Hold(gate.clone()));
    let reaper = talk.reaper.clone();
    let asked = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::select! {
            moved = rename(&talk) => panic!("not held: {moved:?}"),
            () = gate.reached(1) => {}
        }
    });
    asked.await.unwrap();
    let kept = act(talk);
    gate.open();
    reaper.drain().await;
    drop(kept);
}

#[tokio::test]
async fn a_move_stops_when_its_user_is_revoked_and_its_copies_are_taken_back() {
    for gone_before in [false, true] {
        let (failing, store) = failing();
        fill(&store, 3_000).await;
        let noting = Noting::over(failing.clone());
        let (talk, revoked) = revocable(noting.clone()).await;
        stopped_at((Operation::Copy, 1_500), &failing, talk, |talk| {
            // A client that has gone makes no difference.
            let kept = (!gone_before).then_some(talk);
            revoked.cancel();
            kept
        })
        .await;
        let copies = noting.keys(Operation::Copy).len();
        assert!((1_500..1_510).contains(&copies), "{copies} copies");
        assert_eq!(keys_below(&store, "e/"), 0);
        assert_eq!(keys_below(&store, "d/"), 3_001);
        let deleted = noting.keys(Operation::Delete);
        assert!(deleted.iter().all(|key| key.starts_with("e/")));
    }
}

#[tokio::test]
async fn deletes_of_a_complete_copy_come_to_their_end() {
    let (failing, store) = failing();
    fill(&store, 3_000).await;
    let (talk, revoked) = revocable(failing.clone()).await;
    stopped_at((Operation::Delete, 1_500), &failing, talk, |talk| {
        revoked.cancel();
        Some(talk)
    })
    .await;
    assert_eq!(keys_below(&store, "d/"), 0);
    assert_eq!(keys_below(&store, "e/"), 3_001);
}

#[tokio::test]
async fn a_move_stops_at_the_end_of_its_users_answer() {
    let (failing, store) = failing();
    fill(&store, 500).await;
    let clock = Arc::new(FakeClock::new());
    let config = UserConfig {
        expires_at: Some(clock.wall() + Duration::from_secs(60)),
        ..UserConfig::new("ann", whole_bucket())
    };
    let user = as_answered(config, failing.clone());
    let (theirs, running) = begin_in(user, Limits::default(), |environment| {
        environment.clock = clock.clone();
    });
    let talk = Talk::over(theirs, running).await;
    stopped_at((Operation::Copy, 200), &failing, talk, |talk| {
        clock.advance(Duration::from_secs(60));
        Some(talk)
    })
    .await;
    assert_eq!(
        (keys_below(&store, "d/"), keys_below(&store, "e/")),
        (501, 0)
    );
}

#[tokio::test]
async fn nothing_is_made_or_removed_once_the_user_is_revoked() {
    let (failing, store) = failing();
    plant(&store, "file", b"kept").await;
    plant(&store, "dir/", b"").await;
    for nth in 0..4 {
        let (talk, revoked) = revocable(failing.clone()).await;
        let gate = Gate::closed();
        // The look before the change.
        let look = if nth == 1 {
            Operation::List
        } else {
            Operation::Head
        };
        failing.spoil(look, 1, Fault::Hold(gate.clone()));
        let (client, nowhere) = (&talk.client, FileAttributes::empty());
        let change = async {
            match nth {
                0 => drop(client.remove("/file").await),
                1 => drop(client.rmdir("/dir").await),
                2 => drop(client.mkdir("/new", nowhere).await),
                _ => drop(client.rename("/file", "/moved").await),
            }
        };
        tokio::select! {
            () = change => panic!("not held: {nth}"),
            () = gate.reached(1) => {}
        }
        revoked.cancel();
        let reaper = talk.reaper.clone();
        gate.open();
        reaper.drain().await;
        assert_eq!(store.keys(&at("x").bucket), ["dir/", "file"], "{nth}");
    }
}

#[tokio::test]
async fn no_upload_begins_and_nothing_is_committed_once_the_user_is_revoked() {
    let none = Capabilities {
        conditional_put: false,
        conditional_complete: false,
        ..Capabilities::all()
    };
    let (small, large) = (10, 20 * MIB);
    for (length, capabilities, look, sent) in [
        (small, Capabilities::all(), Operation::Tags, Operation::Put),
        (
            large,
            Capabilities::all(),
            Operation::Tags,
            Operation::Create,
        ),
        (small, none, Operation::Head, Operation::Put),
        (large, none, Operation::Head, Operation::Complete),
    ] {
        let content = pattern(length);
        let store = MemoryStore::new(&[&at("f").bucket]);
        let store = Arc::new(store.with_capabilities(capabilities));
        plant(&store, "f", &content).await;
        let failing = Arc::new(Failing::new(store.clone()));
        let noting = Noting::over(failing.clone());
        let (talk, revoked) = revocable(noting.clone()).await;
        let append = OpenFlags::WRITE | OpenFlags::APPEND;
        let handle = talk.open("/f", append).await.unwrap();
        talk.write(&handle, 0, b"more").await.unwrap();
        let gate = Gate::closed();
        failing.spoil(look, 1, Fault::Hold(gate.clone()));
        tokio::select! {
            closed = talk.close(&handle) => panic!("not held: {closed:?}"),
            () = gate.reached(1) => {}
        }
        revoked.cancel();
        gate.open();
        let (reaper, _) = talk.cut().await;
        reaper.drain().await;
        assert_eq!(noting.keys(sent), Vec::<String>::new(), "{look:?}");
        assert!(store.object(&at("f")).unwrap() == content);
        assert_eq!(store.unfinished_uploads(), []);
    }
}

#[tokio::test]
async fn a_user_has_four_long_moves_at_once_and_the_others_wait() {
    let (failing, store) = failing();
    let directories = MOVES_PER_USER_MAX + 2;
    for directory in 0..directories {
        for file in 0..10 {
            plant(&store, &format!("d{directory}/{file}"), b"old").await;
        }
    }
    plant(&store, "small", b"old").await;
    let noting = Noting::over(failing.clone());
    let budget = Budget::new(&Limits::default());
    let user_sessions = UserSessions::new(100, budget);
    let session = async || {
        let user = user(whole_bucket(), noting.clone());
        let (theirs, running) = begin_in(user, Limits::default(), |environment| {
            environment.user_sessions = user_sessions.clone();
        });
        let stderr = running.stderr.clone();
        (Talk::over(theirs, running).await, stderr)
    };
    let ((one, said), (other, heard)) = (session().await, session().await);
    let gate = Gate::closed();
    for nth in 1..=u32::try_from(MOVES_PER_USER_MAX).unwrap() * 8 {
        failing.spoil(Operation::Copy, nth, Fault::Hold(gate.clone()));
    }
    let moves = (0..directories).map(|directory| {
        let talk = if directory % 2 == 0 { &one } else { &other };
        let (from, to) = (format!("/d{directory}"), format!("/moved{directory}"));
        async move { talk.client.rename(from, to).await.map_err(code) }
    });
    let moves = futures_util::future::join_all(moves);
    let look = async {
        gate.reached(MOVES_PER_USER_MAX * 8).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let copies = noting.keys(Operation::Copy);
        let of: BTreeSet<_> = copies
            .iter()
            .filter_map(|key| key.split('/').next())
            .collect();
        assert_eq!(
            (copies.len(), of.len()),
            (MOVES_PER_USER_MAX * 8, MOVES_PER_USER_MAX)
        );
        let said = [said.lock().unwrap().clone(), heard.lock().unwrap().clone()].concat();
        assert!(
            said.contains("waiting until another of your moves ends"),
            "{said}"
        );
        // A file that is copied at once waits for nobody.
        one.client.rename("/small", "/renamed").await.unwrap();
        gate.open();
    };
    let (moved, ()) = tokio::join!(moves, look);
    assert!(moved.iter().all(Result::is_ok), "{moved:?}");
    assert_eq!(keys_below(&store, "moved"), directories * 10);
}

#[tokio::test]
async fn a_move_that_waits_for_its_turn_ends_with_its_session() {
    let (failing, store) = failing();
    for directory in 0..=MOVES_PER_USER_MAX {
        plant(&store, &format!("d{directory}/file"), b"old").await;
    }
    let noting = Noting::over(failing.clone());
    let (talk, _) = revocable(noting.clone()).await;
    let gate = Gate::closed();
    for nth in 1..=u32::try_from(MOVES_PER_USER_MAX).unwrap() {
        failing.spoil(Operation::Copy, nth, Fault::Hold(gate.clone()));
    }
    let moves = (0..=MOVES_PER_USER_MAX).map(|directory| {
        let (from, to) = (format!("/d{directory}"), format!("/moved{directory}"));
        talk.client.rename(from, to)
    });
    let moves = futures_util::future::join_all(moves);
    tokio::select! {
        moved = moves => panic!("not held: {moved:?}"),
        () = gate.reached(MOVES_PER_USER_MAX) => {}
    }
    let reaper = talk.abandon().await;
    gate.open();
    reaper.drain().await;
    // Those that had begun came to their end.
    assert_eq!(keys_below(&store, "moved"), MOVES_PER_USER_MAX);
    assert_eq!(keys_below(&store, "d"), 1);
}

#[tokio::test]
async fn a_move_that_waited_for_its_turn_looks_at_its_target_again() {
    let (failing, store) = failing();
    for directory in 0..=MOVES_PER_USER_MAX {
        plant(&store, &format!("d{directory}/file"), b"old").await;
    }
    let user = user(whole_bucket(), failing.clone());
    let (theirs, running) = begin_in(user, Limits::default(), |_| {});
    let said = running.stderr.clone();
    let talk = Talk::over(theirs, running).await;
    let gate = Gate::closed();
    for nth in 1..=u32::try_from(MOVES_PER_USER_MAX).unwrap() {
        failing.spoil(Operation::Copy, nth, Fault::Hold(gate.clone()));
    }
    let moves = (0..MOVES_PER_USER_MAX).map(|directory| {
        let (from, to) = (format!("/d{directory}"), format!("/moved{directory}"));
        async { talk.client.rename(from, to).await.map_err(code) }
    });
    let moves = futures_util::future::join_all(moves);
    let late = async {
        gate.reached(MOVES_PER_USER_MAX).await;
        let from = format!("/d{MOVES_PER_USER_MAX}");
        talk.client.rename(from, "/late").await.map_err(code)
    };
    let other = async {
        while !said.lock().unwrap().contains("waiting until another") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        plant(&store, "late/other", b"new").await;
        gate.open();
    };
    let all = async { tokio::join!(moves, late, other) };
    let (moved, late, ()) = tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .unwrap();
    assert!(moved.iter().all(Result::is_ok), "{moved:?}");
    assert_eq!(late.unwrap_err(), StatusCode::Failure);
    assert_eq!(keys_below(&store, "late/"), 1);
    assert_eq!(keys_below(&store, "d"), 1, "what was to be moved is there");
}

#[tokio::test]
async fn a_turn_is_not_free_again_before_its_move_has_ended() {
    let (failing, memory) = failing();
    fill(&memory, 20).await;
    let user_sessions = UserSessions::new(100, Budget::new(&Limits::default()));
    let begin = |store: SharedStore| {
        begin_in(
            user(whole_bucket(), store),
            Limits::default(),
            |environment| {
                environment.user_sessions = user_sessions.clone();
            },
        )
    };
    let gate = Gate::closed();
    failing.spoil(Operation::Copy, 1, Fault::Hold(gate.clone()));
    let (theirs, running) = begin(failing.clone());
    let talk = Talk::over(theirs, running).await;
    tokio::select! {
        moved = rename(&talk) => panic!("not held: {moved:?}"),
        () = gate.reached(1) => {}
    }
    // The client goes and comes again: three turns are left.
    let reaper = talk.abandon().await;
    let second = Arc::new(Failing::new(store()));
    let others = Gate::closed();
    let inner = second.clone();
    let (theirs, running) = begin(inner);
    let talk = Talk::over(theirs, running).await;
    for directory in 0..MOVES_PER_USER_MAX {
        talk.client
            .mkdir(format!("/d{directory}"), FileAttributes::empty())
            .await
            .unwrap();
    }
    // The markers of the copies.
    for nth in 1..=u32::try_from(MOVES_PER_USER_MAX).unwrap() {
        second.spoil(Operation::Put, nth, Fault::Hold(others.clone()));
    }
    let moves = (0..MOVES_PER_USER_MAX).map(|directory| {
        let (from, to) = (format!("/d{directory}"), format!("/e{directory}"));
        async { talk.client.rename(from, to).await.map_err(code) }
    });
    let moves = futures_util::future::join_all(moves);
    let look = async {
        others.reached(MOVES_PER_USER_MAX - 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(second.pending(), 1, "one waits");
        gate.open();
        others.reached(MOVES_PER_USER_MAX).await;
        others.open();
    };
    let (moved, ()) = tokio::join!(moves, look);
    assert!(
        moved
            .iter()
            .all(|moved: &Result<_, StatusCode>| moved.is_ok())
    );
    reaper.drain().await;
    assert_eq!(keys_below(&memory, "e/"), 21);
}
