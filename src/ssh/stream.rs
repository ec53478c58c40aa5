//! The socket as the SSH library sees it.
//!
//! It replays what was read of the client's greeting and swallows the version line that was sent
//! already; reads 64 KiB at a time, or 16 where no memory is lent, into a buffer that is held only
//! while bytes wait (the library itself reads a packet in two small pieces); stops reading while
//! the connection's gate is closed, though writes go on; gives back what was lent when nothing
//! moves; and fails both ways once the connection is cut, also when it is parked, which is the only
//! way to end the library's loop from outside.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::state::ConnectionState;
use crate::limits::{CONNECTION_LOAN_IDLE, SOCKET_READ_BYTES_MAX, SOCKET_READ_BYTES_SMALL};

/// A TCP stream under the connection's rules.
#[derive(Debug)]
pub(super) struct Stream {
    tcp: TcpStream,
    state: Arc<ConnectionState>,
    /// Bytes read and not yet taken, from `taken` on.
    waiting: Vec<u8>,
    taken: usize,
    /// Bytes of output to be left out: they were sent before.
    swallow: usize,
    /// While memory is lent: when it is looked at again, and the bytes that had moved before.
    rest: Option<(Pin<Box<Sleep>>, (u64, u64))>,
}

impl Stream {
    /// Continues a connection on which `received` was read and `sent` bytes were written.
    pub(super) const fn new(
        tcp: TcpStream,
        state: Arc<ConnectionState>,
        received: Vec<u8>,
        sent: usize,
    ) -> Self {
        Self {
            tcp,
            state,
            waiting: received,
            taken: 0,
            swallow: sent,
            rest: None,
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.state.gone.is_cancelled() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    /// Moves waiting bytes to `buf`; says whether there were any.
    fn take_waiting(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Some(waiting) = self.waiting.get(self.taken..).filter(|w| !w.is_empty()) else {
            return false;
        };
        let length = waiting.len().min(buf.remaining());
        buf.put_slice(waiting.get(..length).unwrap_or_default());
        self.taken += length;
        if self.taken == self.waiting.len() {
            self.waiting.clear();
            self.taken = 0;
        }
        true
    }

    /// Gives back what was lent when nothing has moved for a while.
    fn rest(&mut self, cx: &mut Context<'_>) {
        if !self.state.memory.has_loan() {
            self.rest = None;
            return;
        }
        let moved = self.state.bytes();
        let (due, before) = self
            .rest
            .get_or_insert_with(|| (Box::pin(sleep(CONNECTION_LOAN_IDLE)), moved));
        while due.as_mut().poll(cx).is_ready() {
            if *before == moved {
                self.state.memory.give_back();
                self.rest = None;
                return;
            }
            *before = moved;
            due.as_mut().reset(Instant::now() + CONNECTION_LOAN_IDLE);
        }
    }

    /// Reads what the socket has, at most as much as there is memory for.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            if self.tcp.poll_read_ready(cx)?.is_pending() {
                // Nothing is under way: an idle connection holds no buffer.
                self.waiting = Vec::new();
                self.rest(cx);
                return Poll::Pending;
            }
            let most = if self.state.memory.borrow() {
                SOCKET_READ_BYTES_MAX
            } else {
                SOCKET_READ_BYTES_SMALL
            };
            self.waiting.reserve_exact(most);
            match self.tcp.try_read_buf(&mut self.waiting) {
                Ok(length) => {
                    self.state.count_in(length);
                    return Poll::Ready(Ok(length));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        // Most reads end here: the library takes each packet in two pieces.
        if !this.state.gate.is_closed() && this.take_waiting(buf) {
            return Poll::Ready(Ok(()));
        }
        // The waker is left first: a cut between the two lines is seen by the second.
        this.state.register_socket(cx.waker());
        this.check()?;
        if this.state.gate.poll_open(cx).is_pending() {
            // Nothing moves: what is lent for moving goes back.
            this.rest(cx);
            return Poll::Pending;
        }
        if this.take_waiting(buf) {
            return Poll::Ready(Ok(()));
        }
        if ready!(this.poll_fill(cx))? > 0 {
            this.state.hello_seen();
            this.take_waiting(buf);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        if this.swallow > 0 {
            let length = this.swallow.min(buf.len());
            this.swallow -= length;
            return Poll::Ready(Ok(length));
        }
        let written = Pin::new(&mut this.tcp).poll_write(cx, buf);
        match written {
            Poll::Ready(Ok(length)) => this.state.output_moved(length),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                this.state.register_socket(cx.waker());
                this.check()?;
                this.state.output_stalled();
            }
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The library waits for the client's side without an end.
        this.state.begin_closing();
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}
