//! Lines that wait to be written: bounded in bytes, lines of record before others.

#![warn(clippy::arithmetic_side_effects)]

use std::collections::VecDeque;

/// What a line is, when there is not room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of record: takes the room of others.
    Record,
    Other,
    /// Says how many lines were lost.
    Note,
}

/// Lines that were lost because nothing could be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LostLines {
    /// Lines of record.
    pub record: u64,
    pub other: u64,
}

/// What is to be written next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The lines that are in the buffer now.
    Lines,
    /// A line about those that were lost at this place of the log.
    Note(LostLines),
    Nothing,
}

/// The lines, in the order in which they came.
#[derive(Debug)]
pub(super) struct Room {
    bytes_max: usize,
    /// Of all lines, with those that are being written.
    bytes: usize,
    being_written: usize,
    record: VecDeque<Line>,
    other: VecDeque<Line>,
    note: Option<Box<[u8]>>,
    next: u64,
    lost: LostLines,
    said: LostLines,
    /// Lines from this number on came after a loss of which nothing was said yet.
    loss_before: Option<u64>,
}

#[derive(Debug)]
struct Line {
    number: u64,
    text: Box<[u8]>,
}

impl Room {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            being_written: 0,
            record: VecDeque::new(),
            other: VecDeque::new(),
            note: None,
            next: 0,
            lost: LostLines {
                record: 0,
                other: 0,
            },
            said: LostLines {
                record: 0,
                other: 0,
            },
            loss_before: None,
        }
    }

    /// Takes a line, or counts it as lost; one of record takes the room of the oldest others.
    pub(super) fn push(&mut self, kind: Kind, text: &[u8]) {
        let cost = cost(text);
        match kind {
            Kind::Note => self.note = Some(text.into()),
            Kind::Record => {
                while !self.fits(cost) {
                    let Some(line) = self.other.pop_front() else {
                        self.lost.record = self.lost.record.saturating_add(1);
                        return self.mark_loss();
                    };
                    self.bytes = self.bytes.saturating_sub(line.cost());
                    self.lost.other = self.lost.other.saturating_add(1);
                    self.mark_loss();
                }
                let line = self.line(text, cost);
                self.record.push_back(line);
            }
            Kind::Other if self.fits(cost) => {
                let line = self.line(text, cost);
                self.other.push_back(line);
            }
            Kind::Other => {
                self.lost.other = self.lost.other.saturating_add(1);
                self.mark_loss();
            }
        }
    }

    /// Moves lines into the empty buffer, up to `bytes_max` or one; they have their room until
    /// [`Self::written`].
    pub(super) fn next_batch(&mut self, buffer: &mut Vec<u8>, bytes_max: usize) -> Due {
        while let Some(line) = self.first() {
            let before_loss = self.loss_before.is_none_or(|loss| line.number < loss);
            let room = bytes_max.saturating_sub(buffer.len());
            if !before_loss || (line.text.len() > room && !buffer.is_empty()) {
                break;
            }
            let Some(line) = self.pop() else { break };
            self.being_written = self.being_written.saturating_add(line.cost());
            buffer.extend_from_slice(&line.text);
        }
        if !buffer.is_empty() {
            return Due::Lines;
        }
        if self.loss_before.take().is_none() {
            return Due::Nothing;
        }
        let lost = LostLines {
            record: self.lost.record.saturating_sub(self.said.record),
            other: self.lost.other.saturating_sub(self.said.other),
        };
        self.said = self.lost;
        Due::Note(lost)
    }

    /// Moves the line about lost ones into the buffer.
    pub(super) fn take_note(&mut self, buffer: &mut Vec<u8>) {
        if let Some(note) = self.note.take() {
            buffer.extend_from_slice(&note);
        }
    }

    /// Gives back the room of the last batch.
    pub(super) const fn written(&mut self) {
        self.bytes = self.bytes.saturating_sub(self.being_written);
        self.being_written = 0;
    }

    pub(super) const fn lost(&self) -> LostLines {
        self.lost
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    const fn fits(&self, cost: usize) -> bool {
        self.bytes.saturating_add(cost) <= self.bytes_max
    }

    fn line(&mut self, text: &[u8], cost: usize) -> Line {
        self.bytes = self.bytes.saturating_add(cost);
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let text = text.into();
        Line { number, text }
    }

    fn mark_loss(&mut self) {
        let next = self.next;
        let _ = self.loss_before.get_or_insert(next);
    }

    fn first(&self) -> Option<&Line> {
        match (self.record.front(), self.other.front()) {
            (Some(record), Some(other)) if other.number < record.number => Some(other),
            (Some(record), _) => Some(record),
            (None, other) => other,
        }
    }

    fn pop(&mut self) -> Option<Line> {
        let first = self.first()?.number;
        let record = self.record.pop_front_if(|line| line.number == first);
        record.or_else(|| self.other.pop_front())
    }
}

impl Line {
    fn cost(&self) -> usize {
        cost(&self.text)
    }
}

const fn cost(text: &[u8]) -> usize {
    text.len().saturating_add(LINE_COST_BYTES)
}

/// What a line takes beside its text.
const LINE_COST_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 10 * (LINE_COST_BYTES + 2);

    fn batch(room: &mut Room) -> (Due, String) {
        let mut buffer = Vec::new();
        let due = room.next_batch(&mut buffer, 1_000);
        (due, String::from_utf8(buffer).unwrap())
    }

    #[test]
    fn lines_come_out_in_the_order_in_which_they_came() {
        let mut room = Room::new(MAX);
        for (kind, text) in [
            (Kind::Other, b"a\n"),
            (Kind::Record, b"b\n"),
            (Kind::Record, b"c\n"),
            (Kind::Other, b"d\n"),
        ] {
            room.push(kind, text);
        }
        assert_eq!(batch(&mut room), (Due::Lines, "a\nb\nc\nd\n".to_owned()));
        assert_eq!(batch(&mut room), (Due::Nothing, String::new()));
        assert_eq!(room.lost(), LostLines::default());
    }

    #[test]
    fn a_batch_has_a_longest_length_and_a_longer_line_goes_alone() {
        let mut room = Room::new(1_000);
        room.push(Kind::Other, b"0123456789\n");
        room.push(Kind::Other, b"a\n");
        room.push(Kind::Other, b"b\n");
        for expected in ["0123456789\n", "a\nb\n"] {
            let mut buffer = Vec::new();
            assert_eq!(room.next_batch(&mut buffer, 4), Due::Lines);
            assert_eq!(buffer, expected.as_bytes());
        }
    }

    #[test]
    fn lines_of_record_take_the_room_of_others_and_never_the_reverse() {
        let mut room = Room::new(MAX);
        for _ in 0..10 {
            room.push(Kind::Other, b"o\n");
        }
        for _ in 0..12 {
            room.push(Kind::Record, b"r\n");
        }
        room.push(Kind::Other, b"o\n");
        let lost = LostLines {
            record: 2,
            other: 11,
        };
        assert_eq!(room.lost(), lost);
        assert_eq!(room.bytes(), MAX);
        // Where the first one was lost.
        assert_eq!(batch(&mut room), (Due::Note(lost), String::new()));
        assert_eq!(batch(&mut room), (Due::Lines, "r\n".repeat(10)));
        assert_eq!(batch(&mut room), (Due::Nothing, String::new()));
    }

    #[test]
    fn what_is_being_written_has_its_room_until_it_is_written() {
        let mut room = Room::new(MAX);
        for _ in 0..10 {
            room.push(Kind::Record, b"r\n");
        }
        assert_eq!(batch(&mut room).0, Due::Lines);
        room.push(Kind::Record, b"lost\n");
        assert_eq!(room.lost().record, 1);
        room.written();
        assert_eq!(room.bytes(), 0);
        room.push(Kind::Record, b"after\n");
        let Due::Note(lost) = batch(&mut room).0 else {
            panic!("the loss is spoken of before what came after it");
        };
        assert_eq!(lost.record, 1);
        room.push(Kind::Note, b"1 was lost\n");
        let mut buffer = Vec::new();
        room.take_note(&mut buffer);
        assert_eq!(buffer, b"1 was lost\n");
        assert_eq!(batch(&mut room), (Due::Lines, "after\n".to_owned()));
        assert_eq!(batch(&mut room).0, Due::Nothing, "and it is said once");
    }
}
