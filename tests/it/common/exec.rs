//! A command that runs over a store, without SSH.

use std::sync::{Arc, Mutex};

use portcullis::auth::AuthenticatedUser;
use portcullis::budget::Budget;
use portcullis::config::Exec;
use portcullis::exec::{self, Command};
use portcullis::limits::Limits;
use portcullis::reaper::Reaper;
use portcullis::session::Environment;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::sftp::{Pipe, process};

/// A command, and its client.
pub(crate) struct Running {
    read: ReadHalf<DuplexStream>,
    write: Option<WriteHalf<DuplexStream>>,
    pub(crate) gone: CancellationToken,
    pub(crate) budget: Arc<Budget>,
    reaper: Reaper,
    stderr: Arc<Mutex<String>>,
    task: JoinSet<u32>,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) status: u32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(user: AuthenticatedUser, line: &str) -> Self {
        Self::start_in(user, Limits::default(), |_| {}, line)
    }

    /// Starts it in a process that is not as usual.
    pub(crate) fn start_in(
        user: AuthenticatedUser,
        limits: Limits,
        change: impl FnOnce(&mut Environment),
        line: &str,
    ) -> Self {
        let mut environment = process(limits);
        change(&mut environment);
        let command = Command::parse(line.as_bytes(), Exec::All).unwrap();
        let Pipe {
            theirs,
            inbound,
            outbound,
            gone,
            stderr,
        } = Pipe::new();
        let (budget, reaper) = (Arc::clone(&environment.budget), environment.reaper.clone());
        let mut task = JoinSet::new();
        let gate = Arc::default();
        task.spawn(exec::serve(
            environment,
            user,
            command,
            gate,
            inbound,
            outbound,
        ));
        let (read, write) = tokio::io::split(theirs);
        Self {
            read,
            write: Some(write),
            gone,
            budget,
            reaper,
            stderr,
            task,
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // It may have had enough.
        let write = self.write.as_mut().unwrap();
        drop(write.write_all(bytes.as_ref()).await);
    }

    /// Reads so many bytes.
    pub(crate) async fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// Reads the byte that says that all is well.
    #[track_caller]
    pub(crate) fn confirmed(&mut self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let byte = self.read(1).await;
            assert_eq!(byte, [0], "{caller}");
        }
    }

    pub(crate) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            let byte = self.read(1).await[0];
            if byte == b'\n' {
                return String::from_utf8(line).unwrap();
            }
            line.push(byte);
        }
    }

    /// Sends no more.
    pub(crate) async fn close(&mut self) {
        if let Some(mut write) = self.write.take() {
            drop(write.shutdown().await);
        }
    }

    /// Waits for the end of the command and of what it left to others, without sending more.
    pub(crate) async fn ended(mut self) -> Ended {
        self.close().await;
        let mut stdout = Vec::new();
        let status = async {
            let status = self.task.join_next().await.unwrap().unwrap();
            self.reaper.drain().await;
            status
        };
        let (status, _) = tokio::join!(status, self.read.read_to_end(&mut stdout));
        assert_eq!(self.budget.account().taken_bytes(), 0);
        assert_eq!(self.budget.taken_bytes(), (0, 0));
        let stderr = self.stderr.lock().unwrap().clone();
        Ended {
            status,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr,
        }
    }
}
