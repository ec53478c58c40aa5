//! What a command beside SFTP may make the gateway hold and compute.

use portcullis::limits::Limits;

use crate::common::exec::Running;
use crate::exec::Store;

#[tokio::test]
async fn a_tree_of_many_directories_takes_little_memory() {
    let store = Store::new();
    for at in 0..2_000 {
        store.put(&format!("t/d{at:04}/x"), "");
    }
    let mut scp = store.run("scp -r -f /t");
    // One word for the tree and one to begin with, and four for each directory in it.
    scp.send(vec![0; 2 + 4 * 1_500]).await;
    let mut directories = 0;
    while directories < 1_500 {
        let line = scp.line().await;
        directories += usize::from(line.contains("D0755 0 d"));
    }
    let taken = scp.budget.account().taken_bytes();
    assert!(taken <= 512 * 1024, "{taken}");
    scp.send(vec![0; 10_000]).await;
    let said = scp.ended().await;
    assert_eq!((said.status, &*said.stderr), (0, ""));
    let sums = store.run("md5sum /t/d0*/x").ended().await;
    assert_eq!((sums.status, sums.stdout.lines().count()), (0, 1_000));
}

#[tokio::test]
async fn what_a_command_line_takes_is_on_the_account() {
    let store = Store::new();
    let mut scp = store.run(&format!("scp -f {}", "/none ".repeat(900)));
    while scp.budget.account().taken_bytes() < 50_000 {
        tokio::task::yield_now().await;
    }
    scp.send([0]).await;
    let said = scp.ended().await;
    assert_eq!(said.stdout.matches("/none: No such file").count(), 900);

    for at in 0..500 {
        store.put(&format!("t/{at}/x"), "");
    }
    let limits = || Limits {
        session_memory_bytes_max: 1024 * 1024,
        ..Limits::default()
    };
    // What follows a wildcard is held once for each path.
    let long = format!("scp -f /t/*/{}", "a/".repeat(1_500));
    let mut scp = Running::start_in(store.user(), limits(), |_| {}, &long);
    scp.send([0]).await;
    let said = scp.ended().await;
    assert!(said.stdout.contains("short of memory"), "{}", said.stdout);
    // What is longer than a path may be is nowhere, and takes nothing.
    let longer = format!("scp -f /t/*/{}", "x".repeat(5_000));
    let mut scp = Running::start_in(store.user(), limits(), |_| {}, &longer);
    scp.send([0]).await;
    let said = scp.ended().await;
    assert_eq!(said.status, 1);
    assert!(!said.stdout.contains("short of memory"), "{}", said.stdout);
}

#[tokio::test]
async fn a_pattern_that_takes_long_is_refused() {
    let store = Store::new();
    store.put("bbbb", "");
    let class = "b".repeat(3_000);
    let ran = store.run(&format!("ls *[{class}]")).ended().await;
    assert_eq!((ran.status, &*ran.stdout), (1, ""));
    assert!(
        ran.stderr.contains("The pattern is too long"),
        "{}",
        ran.stderr
    );
}
