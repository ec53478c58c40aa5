//! What runs on one session channel, the `sftp` subsystem or a command: its bytes in and out, and its
//! end.
//!
//! Replies reserve window before they are queued, so the library never holds data that waits for
//! window (it would then take nothing from any channel). A sender that waits for window is not
//! woken when its channel ends: every wait is raced with the channel's token.

use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use russh::server::{Handle, Msg};
use russh::{ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::state::{ConnectionState, EndReason, OpenChannel};
use super::window::Windows;
use crate::auth::AuthenticatedUser;
use crate::budget::Gate;
use crate::exec::{self, Command, NotRun};
use crate::limits::{CHANNEL_CHUNK_BYTES_MAX, CHANNEL_CHUNK_BYTES_SMALL};
use crate::session::{self, Environment, Gone, Inbound, Outbound};

/// `SSH_EXTENDED_DATA_STDERR` (RFC 4254 §5.2).
pub(super) const STDERR: u32 = 1;

/// Runs on every channel whose client asked for `sftp`.
pub trait ServeChannel: Debug + Send + Sync + 'static {
    /// Serves until the client is done or the channel is gone.
    fn serve(
        &self,
        user: AuthenticatedUser,
        channel: u32,
        gate: Arc<Gate>,
        inbound: ChannelInbound,
        outbound: ChannelOutbound,
    ) -> BoxFuture<'static, ()>;

    /// Understands a command line.
    ///
    /// # Errors
    /// It is not run; as long as nothing else is said, none is.
    fn command(&self, _line: &[u8]) -> Result<Command, NotRun> {
        Err(NotRun::Off)
    }

    /// Runs a command, and returns its exit status.
    fn run(
        &self,
        _command: Command,
        _user: AuthenticatedUser,
        _gate: Arc<Gate>,
        _inbound: ChannelInbound,
        _outbound: ChannelOutbound,
    ) -> BoxFuture<'static, u32> {
        Box::pin(std::future::ready(NOT_RUN))
    }
}

/// What is asked for on a channel.
#[derive(Debug)]
pub(super) enum Asked {
    Sftp,
    Command(Command),
}

/// The exit status of a command that there is not, as shells have it.
pub(super) const NOT_RUN: u32 = 127;

/// SFTP sessions, each with the storage that was opened for its user.
impl ServeChannel for Environment {
    fn serve(
        &self,
        user: AuthenticatedUser,
        channel: u32,
        gate: Arc<Gate>,
        inbound: ChannelInbound,
        outbound: ChannelOutbound,
    ) -> BoxFuture<'static, ()> {
        let environment = self.clone();
        Box::pin(session::serve(
            environment,
            user,
            channel,
            gate,
            inbound,
            outbound,
        ))
    }

    fn command(&self, line: &[u8]) -> Result<Command, NotRun> {
        Command::parse(line, self.exec)
    }

    fn run(
        &self,
        command: Command,
        user: AuthenticatedUser,
        gate: Arc<Gate>,
        inbound: ChannelInbound,
        outbound: ChannelOutbound,
    ) -> BoxFuture<'static, u32> {
        let environment = self.clone();
        Box::pin(exec::serve(
            environment,
            user,
            command,
            gate,
            inbound,
            outbound,
        ))
    }
}

/// What the client sends on its channel.
#[derive(Debug)]
pub struct ChannelInbound {
    half: ChannelReadHalf,
    credit: Credit,
    state: Arc<ConnectionState>,
    closed: CancellationToken,
}

impl ChannelInbound {
    async fn message(&mut self) -> Option<ChannelMsg> {
        tokio::select! {
            biased;
            message = self.half.wait() => message,
            () = self.closed.cancelled() => None,
        }
    }

    /// Returns the next bytes, and counts their message.
    async fn receive(&mut self, count: impl Fn(&Credit, usize)) -> Option<Bytes> {
        loop {
            let message = self.message().await?;
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "non-exhaustive; channel requests are answered by the callbacks"
            )]
            match message {
                ChannelMsg::Data { data } => {
                    self.state.touch();
                    count(&self.credit, data.len());
                    return Some(data);
                }
                ChannelMsg::Eof | ChannelMsg::Close => return None,
                other => self.credit.discarded(&other),
            }
        }
    }
}

impl Inbound for ChannelInbound {
    async fn next(&mut self) -> Option<Bytes> {
        self.receive(Credit::taken).await
    }

    async fn early(&mut self) -> Option<Bytes> {
        self.receive(|credit, _| credit.set_aside()).await
    }

    fn used(&mut self, bytes: usize) {
        self.credit.used(bytes);
    }

    fn dropped(&mut self, bytes: usize) {
        self.credit.dropped(bytes);
    }

    async fn rest(&mut self) {
        while let Some(message) = self.message().await {
            self.credit.discarded(&message);
        }
        // The library may let go of a channel before that is known.
        self.closed.cancelled().await;
    }

    fn gone(&self) -> CancellationToken {
        self.closed.clone()
    }
}

/// What goes to the client on its channel.
#[derive(Debug)]
pub struct ChannelOutbound {
    half: Arc<ChannelWriteHalf<Msg>>,
    state: Arc<ConnectionState>,
    closed: CancellationToken,
}

impl ChannelOutbound {
    async fn send_as(&self, extended: Option<u32>, mut bytes: Bytes) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let small = bytes.len() <= CHANNEL_CHUNK_BYTES_SMALL;
            let most = if small || self.state.memory.borrow() {
                CHANNEL_CHUNK_BYTES_MAX
            } else {
                CHANNEL_CHUNK_BYTES_SMALL
            };
            let chunk = bytes.split_to(bytes.len().min(most));
            let sending = async {
                match extended {
                    None => self.half.data_bytes(chunk).await,
                    Some(code) => self.half.extended_data_bytes(code, chunk).await,
                }
            };
            let sending = within(&self.state, &self.closed, sending);
            tokio::pin!(sending);
            tokio::select! {
                biased;
                sent = &mut sending => sent?,
                () = tokio::time::sleep(OUTPUT_STUCK_AFTER) => {
                    let _stuck = self.state.memory.output_stuck();
                    sending.await?;
                }
            }
            self.state.touch();
        }
        Ok(())
    }
}

impl Outbound for ChannelOutbound {
    async fn send(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.send_as(None, bytes).await
    }

    async fn send_stderr(&mut self, text: Bytes) -> Result<(), Gone> {
        self.send_as(Some(STDERR), text).await
    }

    fn is_under_way(&self) {
        self.state.touch();
    }
}

/// The receive window of one channel, which grows when what was received is taken.
#[derive(Debug)]
pub(super) struct Credit {
    state: Arc<ConnectionState>,
    handle: Handle,
    channel: ChannelId,
}

impl Credit {
    /// Counts the channel in, until this is dropped.
    pub(super) fn new(state: Arc<ConnectionState>, handle: Handle, channel: ChannelId) -> Self {
        state.change_windows(|windows| windows.open(channel.into()));
        Self {
            state,
            handle,
            channel,
        }
    }

    /// Gives the client credit for what is taken from the channel's queue.
    fn discarded(&self, message: &ChannelMsg) {
        let (ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) = message else {
            return;
        };
        self.taken(data.len());
    }

    /// Gives the client credit for a message of so many bytes.
    fn taken(&self, bytes: usize) {
        self.grow(bytes, |windows| windows.set_aside(self.channel.into()));
    }

    /// Counts a message that was taken, and whose bytes are kept without credit.
    fn set_aside(&self) {
        let id = self.channel.into();
        self.state.change_windows(|windows| windows.set_aside(id));
    }

    /// Gives the client credit for bytes that were kept.
    fn used(&self, bytes: usize) {
        self.grow(bytes, |_| {});
    }

    fn grow(&self, bytes: usize, first: impl FnOnce(&mut Windows)) {
        let id = self.channel.into();
        let now = self.state.now();
        let more = self.state.change_windows(|windows| {
            first(windows);
            windows.taken(id, bytes, || self.state.memory.window_bytes(), now)
        });
        if let Some(more) = more {
            self.handle.grow_window(self.channel, more);
        }
    }

    /// Forgets bytes that were kept, without credit.
    fn dropped(&self, bytes: usize) {
        let id = self.channel.into();
        self.state
            .change_windows(|windows| windows.dropped(id, bytes));
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        let id = self.channel.into();
        self.state.change_windows(|windows| windows.close(id));
    }
}

/// A session channel on which nothing runs yet.
#[derive(Debug)]
pub(super) struct WaitingChannel {
    pub(super) read: ChannelReadHalf,
    pub(super) write: ChannelWriteHalf<Msg>,
    pub(super) credit: Credit,
    pub(super) open: OpenChannel,
}

impl WaitingChannel {
    /// Throws away what has arrived: unread, it would stop the whole connection.
    pub(super) fn discard_unread(&mut self) {
        while let Some(Some(message)) = self.read.wait().now_or_never() {
            self.credit.discarded(&message);
        }
    }
}

/// Runs one channel's session and closes the channel: exit-status, EOF, CLOSE.
pub(super) async fn run(
    serving: Arc<dyn ServeChannel>,
    asked: Asked,
    user: AuthenticatedUser,
    state: Arc<ConnectionState>,
    closed: CancellationToken,
    waiting: WaitingChannel,
) {
    let WaitingChannel {
        read,
        write,
        credit,
        open,
    } = waiting;
    let channel = write.id().into();
    let half = Arc::new(write);
    let inbound = ChannelInbound {
        half: read,
        credit,
        state: Arc::clone(&state),
        closed: closed.clone(),
    };
    let outbound = ChannelOutbound {
        half: Arc::clone(&half),
        state: Arc::clone(&state),
        closed: closed.clone(),
    };
    let gate = Arc::clone(&state.gate);
    // The call itself may panic too, so it stands inside.
    let session = async {
        match asked {
            Asked::Sftp => {
                serving.serve(user, channel, gate, inbound, outbound).await;
                0
            }
            Asked::Command(command) => serving.run(command, user, gate, inbound, outbound).await,
        }
    };
    let exit_status = match AssertUnwindSafe(session).catch_unwind().await {
        Ok(exit_status) => exit_status,
        Err(_panic) => {
            tracing::error!(channel, "session panicked");
            1
        }
    };
    let ending = async {
        half.exit_status(exit_status).await?;
        half.eof().await?;
        half.close().await
    };
    if within(&state, &closed, ending).await.is_err() {
        tracing::debug!(channel, "channel closed before its end was sent");
    }
    closed.cancel();
    drop(open);
}

/// Waits for output no longer than the channel lives, nor than the client may stall.
async fn within(
    state: &ConnectionState,
    closed: &CancellationToken,
    output: impl Future<Output = Result<(), russh::Error>>,
) -> Result<(), Gone> {
    if closed.is_cancelled() {
        return Err(Gone);
    }
    let sent = tokio::select! {
        biased;
        sent = timeout(state.limits().stalled_output_timeout, output) => sent,
        () = closed.cancelled() => return Err(Gone),
    };
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Gone),
        Err(_elapsed) => {
            state.cut(EndReason::StalledOutput);
            Err(Gone)
        }
    }
}

/// Output that is not taken for so long waits for the client's word.
const OUTPUT_STUCK_AFTER: Duration = Duration::from_millis(5);
