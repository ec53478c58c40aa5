//! Writes the log on a thread of its own: logging a line never waits for standard error.
//!
//! A full disk, a closed pipe or a pipe that nobody reads stops this thread and nothing else. What
//! cannot be written waits in a [`Room`] and is tried again; what the room has no place for is
//! counted, and a line says so where it is missing. (`tracing-appender`'s writer bounds lines and
//! not bytes, drops a line whose write fails without counting it, and prints at its end, which
//! panics where standard output is closed.)

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::room::{Due, Kind, LostLines, Room};
use crate::limits::{
    LOG_BATCH_BYTES, LOG_END_WAIT, LOG_GATHERED_FOR, LOG_RETRY_INTERVAL, LOG_ROOM_BYTES_MAX,
};

/// Where the lines of record go.
pub(super) const AUDIT_TARGET: &str = "portcullis::audit";

/// Takes lines for the thread that writes them; clones are the same log.
#[derive(Debug, Clone)]
pub(super) struct Sink(Arc<Shared>);

/// One line's way into the [`Sink`].
#[derive(Debug)]
pub(super) struct LineWriter<'s> {
    sink: &'s Sink,
    kind: Kind,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or the end comes.
    changed: Condvar,
    /// The thread has ended.
    ended: Condvar,
    /// It was said on standard output that the log cannot be written.
    complained: AtomicBool,
}

#[derive(Debug)]
struct State {
    room: Room,
    ending: bool,
    ended: bool,
}

impl Sink {
    /// Begins to write to standard error.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start() -> io::Result<Self> {
        // A copy: a write that hangs must not hold the lock that others print under.
        match io::stderr().as_fd().try_clone_to_owned() {
            Ok(copy) => Self::write_to(File::from(copy)),
            Err(_) => Self::write_to(io::stderr()),
        }
    }

    fn write_to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let sink = Self(Arc::new(Shared {
            state: Mutex::new(State {
                room: Room::new(LOG_ROOM_BYTES_MAX),
                ending: false,
                ended: false,
            }),
            changed: Condvar::new(),
            ended: Condvar::new(),
            complained: AtomicBool::new(false),
        }));
        let shared = Arc::clone(&sink.0);
        let write = move || shared.write_all_lines(out);
        drop(thread::Builder::new().name("log".to_owned()).spawn(write)?);
        Ok(sink)
    }

    /// Takes a line that ends in a line feed.
    pub(super) fn push(&self, kind: Kind, line: &[u8]) {
        let mut state = self.0.lock();
        let before = state.room.lost();
        state.room.push(kind, line);
        let first_loss = before == LostLines::default() && state.room.lost() != before;
        drop(state);
        self.0.changed.notify_one();
        if first_loss {
            self.0.complain("nobody reads standard error");
        }
    }

    pub(super) fn lost(&self) -> LostLines {
        self.0.lock().room.lost()
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.0.lock().room.bytes()
    }

    /// Waits until everything is written, or cannot be; not for long.
    pub(super) fn end(&self) {
        let mut state = self.0.lock();
        state.ending = true;
        self.0.changed.notify_one();
        let ended = &self.0.ended;
        drop(ended.wait_timeout_while(state, LOG_END_WAIT, |state| !state.ended));
    }
}

impl<'s> MakeWriter<'s> for Sink {
    type Writer = LineWriter<'s>;

    fn make_writer(&'s self) -> LineWriter<'s> {
        let kind = Kind::Other;
        LineWriter { sink: self, kind }
    }

    fn make_writer_for(&'s self, meta: &Metadata<'_>) -> LineWriter<'s> {
        let kind = match meta.target() {
            AUDIT_TARGET if meta.fields().field(NOTE_FIELD).is_some() => Kind::Note,
            AUDIT_TARGET => Kind::Record,
            _ => Kind::Other,
        };
        LineWriter { sink: self, kind }
    }
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // An event of which the format says nothing.
        if !line.is_empty() {
            self.sink.push(self.kind, line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all_lines(&self, mut out: impl Write) {
        let mut buffer = Vec::with_capacity(LOG_BATCH_BYTES);
        while let Some(due) = self.wait(&mut buffer) {
            if let Due::Note(lost) = due {
                note(lost);
                self.lock().room.take_note(&mut buffer);
            }
            if !self.write(&mut out, &buffer) {
                break;
            }
            buffer.clear();
            self.lock().room.written();
        }
        self.lock().ended = true;
        self.ended.notify_all();
    }

    /// Waits for something to write; `None` when everything is written and the end comes.
    fn wait(&self, buffer: &mut Vec<u8>) -> Option<Due> {
        let mut state = self.lock();
        loop {
            match state.room.next_batch(buffer, LOG_BATCH_BYTES) {
                Due::Nothing if state.ending => return None,
                Due::Nothing => {
                    let woken = self.changed.wait(state);
                    state = woken.unwrap_or_else(PoisonError::into_inner);
                    if !state.ending {
                        drop(state);
                        thread::sleep(LOG_GATHERED_FOR);
                        state = self.lock();
                    }
                }
                due @ (Due::Lines | Due::Note(_)) => return Some(due),
            }
        }
    }

    /// Writes bytes, however long that takes: where a write fails, the rest is tried again. Once
    /// the end comes there is one try more; says whether everything was written.
    fn write(&self, out: &mut impl Write, mut bytes: &[u8]) -> bool {
        let mut last_try = false;
        while !bytes.is_empty() {
            let error = match out.write(bytes) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    bytes = bytes.get(count..).unwrap_or_default();
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let is_full = error.kind() == io::ErrorKind::WouldBlock;
            let pause = match (is_full, last_try) {
                (true, false) => FULL_PIPE_PAUSE,
                (true, true) => {
                    // Its reader is only slow; who ends waits no longer than it wants to.
                    thread::sleep(FULL_PIPE_PAUSE);
                    continue;
                }
                (false, false) => {
                    self.complain(&error.to_string());
                    LOG_RETRY_INTERVAL
                }
                (false, true) => return false,
            };
            let state = self.lock();
            let waited = self
                .changed
                .wait_timeout_while(state, pause, |state| !state.ending);
            last_try = waited.unwrap_or_else(PoisonError::into_inner).0.ending;
        }
        true
    }

    /// Says on standard output, once, that the log cannot be written. Nobody waits for that: there
    /// may be nobody to read it either.
    fn complain(&self, cause: &str) {
        if self.complained.swap(true, Ordering::Relaxed) {
            return;
        }
        let text = format!(
            "portcullis: the log cannot be written to standard error: {cause}. The gateway \
             continues to serve. Lines wait in memory; lost ones are counted in the metric \
             portcullis_log_lines_lost_total\n"
        );
        let say = move || {
            let mut out = io::stdout().lock();
            drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        };
        drop(
            thread::Builder::new()
                .name("complaint".to_owned())
                .spawn(say),
        );
    }
}

/// Logs how many lines are missing at this place; the line comes back as a [`Kind::Note`].
fn note(lost: LostLines) {
    let LostLines { record, other } = lost;
    tracing::warn!(
        target: AUDIT_TARGET,
        lines_lost = record.saturating_add(other),
        audit_lines_lost = record,
        "log lines are missing here: standard error could not be written"
    );
}

/// The field by which [`note`]'s line is known.
const NOTE_FIELD: &str = "audit_lines_lost";
/// Where standard error is a full pipe that does not block.
const FULL_PIPE_PAUSE: Duration = Duration::from_millis(20);
