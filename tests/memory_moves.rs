//! Memory that moves of large directories take: a process of its own, so that nothing else counts.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

#[expect(dead_code, reason = "this test needs little of it")]
#[path = "it/common/sftp.rs"]
mod sftp;
#[expect(dead_code, reason = "this test needs little of it")]
#[path = "it/common/vast.rs"]
mod vast;

use sftp::Talk;
use vast::Vast;

const MOVES: usize = 20;
const OBJECTS: usize = 20_000;
/// Room for a page of short names, and for its objects' places while they are deleted.
const PAGE: usize = 256 * 1024;

/// 805 MiB when both names of every object were kept.
#[tokio::test]
async fn a_move_takes_a_page_and_48_bytes_for_each_object() {
    let mut moves = Vec::new();
    for _ in 0..MOVES {
        let vast = Arc::new(Vast::of(OBJECTS, 1));
        moves.push((Talk::start(vast.clone()).await, vast));
    }
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let renames = moves.iter().map(|(talk, _)| talk.client.rename("/d", "/e"));
    for renamed in futures_util::future::join_all(renames).await {
        renamed.unwrap();
    }
    let each = (ALLOCATOR.peak_usage() - before) / MOVES;
    for (_, vast) in &moves {
        assert_eq!(vast.count(), (0, OBJECTS));
    }
    assert!(each <= PAGE + 48 * OBJECTS, "{each} bytes for each move");
    // What was kept was charged, and is given back.
    for (talk, _) in &moves {
        assert_eq!(talk.budget.account().taken_bytes(), 0);
    }
}
