//! What goes to the client: replies gather in a queue, the writer sends them on.
//!
//! While the writer waits for the client's window the next replies gather behind it, so that they
//! leave in full channel packets. File data is not copied to wait here: it keeps the memory that it
//! came with. Whatever else waits is on the account of bytes, beyond a little that every session may
//! keep. The session asks [`Out::is_full`] before it makes more data; where the account has nothing
//! left, replies that have to be made all the same exceed by their own size, and no more requests
//! are heard ([`Out::is_crowded`]).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, mpsc};

use crate::budget::{Charge, Share};
use crate::limits;
use crate::sftp::{Replies, Reply, RequestId};

/// What a session says.
#[derive(Debug)]
pub enum Said {
    Reply(RequestId, Reply),
    /// File data.
    Data(RequestId, Vec<Bytes>),
    /// A sentence for people.
    Sentence(String),
}

/// Shared by the session and its writer.
#[derive(Debug)]
pub(crate) struct Out {
    /// Who hears typed replies instead of bytes.
    hearer: Option<mpsc::UnboundedSender<Said>>,
    queue: Mutex<Queue>,
    stderr: Mutex<Vec<Bytes>>,
    /// Bytes that the channel took, ever.
    sent: AtomicU64,
    finished: AtomicBool,
    /// A sentence may come from another task than the session's, which polls the writer.
    spoken: Notify,
}

/// Replies that are made and not yet sent.
#[derive(Debug)]
struct Queue {
    pieces: VecDeque<Piece>,
    /// Those made last.
    tail: Replies,
    /// Bytes of all of them, and of what the writer sends just now.
    queued: usize,
    /// Those of them that have no memory of their own.
    own: usize,
    charge: Option<Charge>,
    account: Share,
    /// Whatever is said is dropped.
    nobody_listens: bool,
}

/// A piece of the conversation.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// File data, whose memory is its own.
    brings_memory: bool,
}

/// What is sent at once.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) own: usize,
}

impl Out {
    pub(crate) fn new(account: Share) -> Self {
        Self {
            hearer: None,
            queue: Mutex::new(Queue {
                pieces: VecDeque::new(),
                tail: Replies::default(),
                queued: 0,
                own: 0,
                charge: None,
                account,
                nobody_listens: false,
            }),
            stderr: Mutex::default(),
            sent: AtomicU64::new(0),
            finished: AtomicBool::new(false),
            spoken: Notify::new(),
        }
    }

    /// Begins with somebody who hears what is said as it is.
    pub(crate) fn typed(account: Share, hearer: mpsc::UnboundedSender<Said>) -> Self {
        Self {
            hearer: Some(hearer),
            ..Self::new(account)
        }
    }

    /// Encodes one reply.
    pub(crate) fn reply(&self, id: RequestId, reply: &Reply) {
        if let Some(hearer) = &self.hearer {
            return tell(hearer, Said::Reply(id, reply.clone()));
        }
        let mut queue = self.queue();
        queue.encode(reply.bytes_max(), |tail| tail.reply(id, reply));
    }

    /// Takes file data, each slice with the memory that it came with.
    pub(crate) fn data(&self, id: RequestId, length: u32, slices: Vec<Bytes>) {
        if let Some(hearer) = &self.hearer {
            return tell(hearer, Said::Data(id, slices));
        }
        let mut queue = self.queue();
        queue.encode(DATA_HEAD_BYTES, |tail| tail.data_head(id, length));
        for slice in slices {
            queue.slice(slice);
        }
    }

    /// Takes file data that has no memory of its own.
    pub(crate) fn data_without_memory(&self, id: RequestId, bytes: Bytes) {
        if let Some(hearer) = &self.hearer {
            return tell(hearer, Said::Data(id, Vec::from([bytes])));
        }
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut queue = self.queue();
        queue.encode(DATA_HEAD_BYTES, |tail| tail.data_head(id, length));
        queue.push(bytes, false);
    }

    pub(crate) fn version(&self) {
        self.queue().encode(0, Replies::version);
    }

    /// Sends a sentence for people.
    pub(crate) fn stderr(&self, text: String) {
        if let Some(hearer) = &self.hearer {
            return tell(hearer, Said::Sentence(text));
        }
        self.sentences().push(Bytes::from(text));
        self.spoken.notify_one();
    }

    /// Takes the sentences that wait, for tests.
    #[cfg(test)]
    pub(crate) fn take_stderr(&self) -> Vec<String> {
        let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
        self.texts().into_iter().map(text).collect()
    }

    /// Says whether the client has to take some of what is there first.
    pub(crate) fn is_full(&self) -> bool {
        let queue = self.queue();
        queue.queued >= limits::REPLY_BYTES_QUEUED_MAX || queue.uncharged() > KEPT_BYTES
    }

    /// Returns how many bytes of a reply may be made now; 0: none, the client has to take some of
    /// what is there first.
    pub(crate) fn room_bytes(&self, wanted: usize) -> usize {
        // What is heard at once does not wait here; who hears it asks for one at a time.
        if self.hearer.is_some() {
            return wanted;
        }
        let mut queue = self.queue();
        if queue.queued >= limits::REPLY_BYTES_QUEUED_MAX {
            return 0;
        }
        queue.charge_for(wanted);
        KEPT_BYTES.saturating_sub(queue.uncharged()).min(wanted)
    }

    /// Says whether other answers than data pile up: the client asks faster than it listens.
    pub(crate) fn is_crowded(&self) -> bool {
        let queue = self.queue();
        queue.queued >= limits::REPLY_BYTES_QUEUED_SOFT_MAX || queue.uncharged() > KEPT_BYTES
    }

    /// Says whether anything waits to be sent.
    pub(crate) fn is_waiting(&self) -> bool {
        self.queue().queued > 0
    }

    /// Returns how many bytes the channel took.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Drops what is queued, and whatever is said from now on.
    pub(crate) fn nobody_listens(&self) {
        let mut queue = self.queue();
        queue.nobody_listens = true;
        queue.drop_all();
    }

    /// Lets the writer end after what is queued.
    pub(crate) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    pub(super) fn next_chunk(&self) -> Option<Chunk> {
        self.queue().next_chunk()
    }

    /// Notes that the channel took a chunk.
    pub(super) fn took(&self, length: usize, own: usize) {
        self.queue().took(length, own);
        let length = u64::try_from(length).unwrap_or(0);
        self.sent.fetch_add(length, Ordering::AcqRel);
    }

    /// Takes the sentences that wait.
    pub(super) fn texts(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.sentences())
    }

    /// Says whether a writer has something to do.
    pub(super) fn has_more(&self) -> bool {
        let said = self.is_waiting() || !self.sentences().is_empty();
        said || self.is_over()
    }

    /// Waits for a sentence.
    pub(super) async fn spoken(&self) {
        self.spoken.notified().await;
    }

    /// Says whether the session says no more.
    pub(super) fn is_over(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    fn sentences(&self) -> MutexGuard<'_, Vec<Bytes>> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Encodes behind what is there; at most `most` bytes.
    fn encode(&mut self, most: usize, encode: impl FnOnce(&mut Replies)) {
        if self.nobody_listens {
            return;
        }
        let free = self
            .tail
            .buffer
            .capacity()
            .saturating_sub(self.tail.buffer.len());
        if free < most {
            self.flush();
            self.tail.buffer = BytesMut::with_capacity(most.max(BLOCK_BYTES));
        }
        let before = self.tail.buffer.len();
        encode(&mut self.tail);
        let added = self.tail.buffer.len().saturating_sub(before);
        self.count(added, added);
    }

    /// Takes a slice that brings its memory.
    fn slice(&mut self, slice: Bytes) {
        if slice.len() >= COPIED_BYTES_MAX {
            return self.push(slice, true);
        }
        // It is not worth a piece, and would keep a whole frame here.
        self.encode(slice.len(), |tail| tail.buffer.extend_from_slice(&slice));
    }

    fn push(&mut self, bytes: Bytes, brings_memory: bool) {
        if bytes.is_empty() || self.nobody_listens {
            return;
        }
        self.flush();
        let length = bytes.len();
        let own = if brings_memory { 0 } else { length };
        self.count(length, own.saturating_add(PIECE_BYTES));
        self.pieces.push_back(Piece {
            bytes,
            brings_memory,
        });
    }

    /// Makes a piece of what was encoded last.
    fn flush(&mut self) {
        let bytes = self.tail.buffer.split().freeze();
        if !bytes.is_empty() {
            self.count(0, PIECE_BYTES);
            self.pieces.push_back(Piece {
                bytes,
                brings_memory: false,
            });
        }
    }

    fn drop_all(&mut self) {
        self.pieces = VecDeque::new();
        self.tail = Replies::default();
        (self.queued, self.own, self.charge) = (0, 0, None);
    }

    fn count(&mut self, length: usize, own: usize) {
        self.queued = self.queued.saturating_add(length);
        self.own = self.own.saturating_add(own);
        self.charge_for(0);
    }

    /// Sees that the account covers what is there and `more`, as far as it can.
    fn charge_for(&mut self, more: usize) {
        let lacking = self
            .uncharged()
            .saturating_add(more)
            .saturating_sub(KEPT_BYTES);
        if lacking == 0 {
            return;
        }
        let steps = lacking.div_ceil(CHARGE_STEP_BYTES);
        let bytes = as_u64(steps.saturating_mul(CHARGE_STEP_BYTES));
        if let Some(charge) = self.account.try_take(bytes) {
            charge.join_into(&mut self.charge);
        }
    }

    /// Returns the bytes without memory of their own that the account does not cover.
    fn uncharged(&self) -> usize {
        let charged = self.charge.as_ref().map_or(0, Charge::bytes);
        let charged = usize::try_from(charged).unwrap_or(usize::MAX);
        self.own.saturating_sub(charged)
    }

    fn next_chunk(&mut self) -> Option<Chunk> {
        if self.pieces.is_empty() {
            self.flush();
        }
        let first = self.pieces.front()?;
        if first.bytes.len() >= limits::CHANNEL_CHUNK_BYTES_MAX {
            return self.take_piece(limits::CHANNEL_CHUNK_BYTES_MAX);
        }
        let whole = self.take_piece(usize::MAX)?;
        self.flush();
        if self.pieces.is_empty() {
            return Some(whole);
        }
        // Several short ones leave in one channel packet.
        let most = limits::CHANNEL_CHUNK_BYTES_MAX;
        let mut bytes = BytesMut::with_capacity(self.queued.min(most));
        bytes.extend_from_slice(&whole.bytes);
        let mut own = whole.own;
        while bytes.len() < most
            && let Some(next) = self.take_piece(most.saturating_sub(bytes.len()))
        {
            bytes.extend_from_slice(&next.bytes);
            own = own.saturating_add(next.own);
        }
        Some(Chunk {
            bytes: bytes.freeze(),
            own,
        })
    }

    /// Takes the next piece, or the beginning of it.
    fn take_piece(&mut self, most: usize) -> Option<Chunk> {
        let piece = self.pieces.front_mut()?;
        let brings_memory = piece.brings_memory;
        let (bytes, more) = if piece.bytes.len() > most {
            (piece.bytes.split_to(most), 0)
        } else {
            (self.pieces.pop_front()?.bytes, PIECE_BYTES)
        };
        let own = if brings_memory { 0 } else { bytes.len() };
        let own = own.saturating_add(more);
        Some(Chunk { bytes, own })
    }

    /// Notes that the channel took bytes, and gives back what nothing needs any more.
    fn took(&mut self, length: usize, own: usize) {
        self.queued = self.queued.saturating_sub(length);
        self.own = self.own.saturating_sub(own);
        let needed = self.own.saturating_sub(KEPT_BYTES);
        let steps = needed.div_ceil(CHARGE_STEP_BYTES);
        if steps == 0 {
            self.charge = None;
        } else if let Some(charge) = &mut self.charge {
            charge.shrink_to(as_u64(steps.saturating_mul(CHARGE_STEP_BYTES)));
        }
        if self.queued == 0 {
            // A burst is not remembered.
            self.tail = Replies::default();
            self.pieces.shrink_to(PIECES_KEPT);
        }
    }
}

/// Whoever hears no more has had what it wanted.
fn tell(hearer: &mpsc::UnboundedSender<Said>, said: Said) {
    hearer.send(said).unwrap_or_default();
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

const KEPT_BYTES: usize = limits::REPLY_BYTES_KEPT;
/// In what steps the account is asked.
const CHARGE_STEP_BYTES: usize = 64 * 1024;
/// Room for what is encoded: many short replies, or one long one.
const BLOCK_BYTES: usize = 4 * 1024;
/// Shorter slices are copied.
const COPIED_BYTES_MAX: usize = 8 * 1024;
/// What a piece itself takes.
const PIECE_BYTES: usize = 64;
const PIECES_KEPT: usize = 64;
const DATA_HEAD_BYTES: usize = 13;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::budget::{Budget, UserMemory};
    use crate::limits::Limits;
    use crate::sftp::{Attributes, FileType, Name, Status};

    fn memory(account: u64) -> (Arc<Budget>, UserMemory) {
        let budget = Budget::new(&Limits {
            session_memory_bytes_max: account,
            ..Limits::default()
        });
        let user = budget.user();
        (budget, user)
    }

    fn some_names(count: usize, length: usize) -> Reply {
        let name = Name {
            name: Bytes::from(vec![b'n'; length]),
            attrs: Attributes::of(FileType::Regular, u64::MAX, 0o644, u32::MAX),
        };
        Reply::Names {
            names: vec![name; count],
            now: 0,
        }
    }

    /// Sends one chunk, and returns it.
    fn send_one(out: &Out) -> Option<Bytes> {
        let Chunk { bytes, own } = out.next_chunk()?;
        out.took(bytes.len(), own);
        Some(bytes)
    }

    #[test]
    fn replies_beyond_a_little_are_on_the_account_until_they_are_sent() {
        let (budget, user) = memory(1024 * 1024);
        let out = Out::new(user.account);
        for id in 0..400 {
            out.reply(RequestId(id), &Reply::Status(Status::OK));
        }
        assert_eq!(budget.account().taken_bytes(), 0);
        for id in 0..5_000 {
            out.reply(RequestId(id), &Reply::Status(Status::OK));
        }
        let waiting = out.queue().queued;
        let taken = usize::try_from(budget.account().taken_bytes()).unwrap();
        assert!(taken + KEPT_BYTES >= waiting, "{taken} for {waiting}");
        assert!(taken < waiting + 2 * CHARGE_STEP_BYTES);
        assert!(!out.is_full() && !out.is_crowded());
        let mut last = taken;
        while send_one(&out).is_some() {
            let taken = usize::try_from(budget.account().taken_bytes()).unwrap();
            assert!(taken <= last);
            last = taken;
        }
        assert_eq!((last, out.is_waiting()), (0, false));
        assert_eq!(out.queue().own, 0);
    }

    /// The most that one session keeps of replies when the account is empty, beside the one chunk
    /// that its writer sends: what it may keep always, one reply that goes beyond, and replies to
    /// requests that were heard before, each shorter than what the account had for the request.
    #[test]
    fn without_an_account_a_session_keeps_little_and_hears_no_more() {
        let (budget, user) = memory(1024 * 1024);
        let mut hogged = Vec::new();
        while budget.account().free_bytes() > 1_024 {
            let half = budget.account().free_bytes() / 2;
            hogged.extend(budget.user().account.try_take(half));
        }
        let out = Out::new(user.account);
        let mut names = 0;
        loop {
            let room = out.room_bytes(limits::NAME_REPLY_BYTES_MAX);
            let one = some_names(1, 900);
            if out.is_full() || room < one.bytes_max() {
                break;
            }
            names += 1;
            out.reply(RequestId(1), &one);
        }
        assert!((8..32).contains(&names), "{names}");
        assert!(out.queue().queued <= KEPT_BYTES && !out.is_crowded());
        // Requests that were heard before get their answers.
        let status = Status::NO_SUCH_FILE;
        while !out.is_crowded() {
            out.reply(RequestId(1), &Reply::Status(status));
        }
        assert!(out.is_full());
        assert!(out.queue().own <= KEPT_BYTES + 256);
        drop(hogged);
        out.reply(RequestId(1), &Reply::Status(status));
        assert!(!out.is_crowded());
    }

    #[test]
    fn what_is_heard_typed_leaves_nothing_on_the_account() {
        let (budget, user) = memory(1024 * 1024);
        let (hearer, mut hears) = mpsc::unbounded_channel();
        let out = Out::typed(user.account, hearer);
        for id in 0..100 {
            let wanted = limits::NAME_REPLY_BYTES_MAX;
            assert_eq!(out.room_bytes(wanted), wanted);
            out.reply(RequestId(id), &some_names(70, 300));
            assert!(hears.try_recv().is_ok());
        }
        assert_eq!(budget.account().taken_bytes(), 0);
    }

    #[test]
    fn file_data_keeps_its_memory_until_it_is_sent() {
        let (budget, user) = memory(1024 * 1024);
        let out = Out::new(user.account.clone());
        let charge = user.read_ahead.try_take(100_000).unwrap();
        out.data(
            RequestId(1),
            100_000,
            vec![charge.with(vec![7; 100_000].into())],
        );
        assert_eq!(
            (
                budget.taken_bytes().1,
                budget.account().taken_bytes(),
                out.is_full()
            ),
            (100_000, 0, false)
        );
        let mut sent = 0;
        while let Some(bytes) = send_one(&out) {
            sent += bytes.len();
        }
        assert_eq!((sent, budget.taken_bytes().1), (100_013, 0));
        out.data_without_memory(RequestId(1), vec![7; 400_000].into());
        assert!(budget.account().taken_bytes() >= 360_000);
    }

    #[test]
    fn where_nobody_listens_nothing_is_kept() {
        let (budget, user) = memory(1024 * 1024);
        let out = Out::new(user.account);
        out.data_without_memory(RequestId(1), vec![7; 400_000].into());
        assert!(out.is_waiting() && budget.account().taken_bytes() > 0);
        out.nobody_listens();
        out.data_without_memory(RequestId(2), vec![7; 400_000].into());
        out.data(RequestId(3), 20_000, vec![vec![7; 20_000].into()]);
        out.reply(RequestId(4), &some_names(100, 900));
        out.reply(RequestId(5), &Reply::Status(Status::OK));
        let Queue { queued, own, .. } = *out.queue();
        assert_eq!((queued, own, budget.account().taken_bytes()), (0, 0, 0));
        assert!(!out.is_full() && !out.is_crowded() && !out.is_waiting());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Status,
        Names(usize, usize),
        Bytes(Vec<u32>),
        Own(u32),
        Send,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Status),
            1 => (0_usize..100, 1_usize..900).prop_map(|(count, length)| Step::Names(count, length)),
            2 => prop::collection::vec(1_u32..60_000, 0..4).prop_map(Step::Bytes),
            1 => (0_u32..60_000).prop_map(Step::Own),
            3 => Just(Step::Send),
        ]
    }

    proptest! {
        #[test]
        fn everything_leaves_in_order_in_full_packets(
            steps in prop::collection::vec(step(), 1..60),
            account in 0_u64..1_000_000,
        ) {
            let (budget, user) = memory(account);
            let out = Out::new(user.account);
            let (mut expected, mut sent) = (Replies::default(), Vec::new());
            let fill = |length: u32| vec![length.to_be_bytes()[3]; usize::try_from(length).unwrap()];
            for (step, id) in steps.into_iter().zip(0..) {
                let id = RequestId(id);
                match step {
                    Step::Status => {
                        expected.reply(id, &Reply::Status(Status::EOF));
                        out.reply(id, &Reply::Status(Status::EOF));
                    }
                    Step::Names(count, length) => {
                        let names = some_names(count, length);
                        let before = expected.buffer.len();
                        expected.reply(id, &names);
                        prop_assert!(expected.buffer.len() - before <= names.bytes_max());
                        out.reply(id, &names);
                    }
                    Step::Bytes(lengths) => {
                        let length = lengths.iter().sum();
                        expected.data_head(id, length);
                        let slices: Vec<Bytes> = lengths.iter().map(|l| fill(*l).into()).collect();
                        expected.buffer.extend_from_slice(&slices.concat());
                        out.data(id, length, slices);
                    }
                    Step::Own(length) => {
                        expected.data_head(id, length);
                        expected.buffer.extend_from_slice(&fill(length));
                        out.data_without_memory(id, fill(length).into());
                    }
                    Step::Send => sent.extend(send_one(&out)),
                }
                let queue = out.queue();
                prop_assert!(queue.queued == 0 || queue.own > 0);
                let charged = queue.charge.as_ref().map_or(0, Charge::bytes);
                prop_assert_eq!(charged, budget.account().taken_bytes());
            }
            let waiting = out.queue().queued;
            let before = sent.len();
            while let Some(chunk) = send_one(&out) {
                prop_assert!(chunk.len() <= limits::CHANNEL_CHUNK_BYTES_MAX);
                sent.push(chunk);
            }
            let packets = waiting.div_ceil(limits::CHANNEL_CHUNK_BYTES_MAX);
            prop_assert_eq!(sent.len() - before, packets);
            prop_assert!(sent.concat() == expected.buffer);
            prop_assert_eq!((out.queue().own, budget.account().taken_bytes()), (0, 0));
        }
    }
}
