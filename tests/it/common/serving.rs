//! `portcullis serve` as a process of its own, and what it logs.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// The binary; it ends with this.
#[derive(Debug)]
pub(crate) struct Serving {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Serving {
    pub(crate) fn start(config: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["serve", "--config", config])
            .env_clear()
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// Returns the next line; `None`: it has ended.
    pub(crate) async fn line(&mut self) -> Option<String> {
        self.log.next_line().await.unwrap()
    }

    /// Waits for a line with these words.
    pub(crate) async fn logged(&mut self, words: &str) -> String {
        while let Some(line) = self.line().await {
            if line.contains(words) {
                return line;
            }
        }
        panic!("the gateway ended without saying {words}")
    }

    /// Waits for a line with these words, and returns the port that it tells.
    pub(crate) async fn port(&mut self, words: &str) -> String {
        port_in(&self.logged(words).await)
    }

    pub(crate) async fn hang_up(&self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status().await;
        assert!(sent.unwrap().success());
    }
}

/// Returns the port of the loopback address in a line.
pub(crate) fn port_in(line: &str) -> String {
    let (_, rest) = line.split_once("127.0.0.1:").unwrap();
    rest.chars().take_while(char::is_ascii_digit).collect()
}
