//! An open file: what reads it, what writes it, and how they go together.

use std::time::Instant;

use crate::clock::unix_seconds;
use crate::limits;
use crate::sftp::{Attributes, Pending, Status};
use crate::storage::ObjectMeta;
use crate::transfer::WriteFile;
use crate::transfer::read_file::ReadHeard;
use crate::transfer::write_file::{NOT_HERE, Source, source};

use super::names::attributes_of;
use super::order::Ticket;
use super::plan::file_attributes;
use super::reading::{ReadPlace, Reading};
use super::shell::Shell;
use super::status::INVALID_HANDLE;
use super::writing::{Place, Writing};

/// A file opened for both has both halves.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) place: Place,
    pub(super) reading: Option<Reading>,
    pub(super) writing: Option<Writing>,
    /// The place in the order of a CLOSE that is at its turn.
    pub(super) closing: Option<Ticket>,
    /// That CLOSE, while READs that came before it are not answered, and since when.
    pub(super) held_close: Option<(Pending, Instant)>,
}

impl OpenFile {
    /// Returns what is written, if the file is.
    pub(super) fn own(&self) -> Option<&WriteFile> {
        self.writing.as_ref().map(Writing::file)
    }

    pub(super) fn is_close_asked(&self) -> bool {
        self.own().is_some_and(WriteFile::is_close_asked)
    }

    /// Says whether something of it is kept, if the client vanishes before CLOSE.
    pub(super) fn keeps_partial(&self) -> bool {
        self.writing.as_ref().is_some_and(Writing::keeps_partial)
    }

    /// Says whether another session writes the file, whose client is there.
    pub(super) fn is_written_elsewhere(&self) -> bool {
        let writing = self.writing.as_ref();
        writing.is_some_and(|writing| writing.is_written_elsewhere(&self.place))
    }

    /// Returns when it wants to hear of the time; `rest`: when readers do that may be idle.
    pub(super) fn deadline(&self, rest: Option<Instant>) -> Option<Instant> {
        let writing = self.own().and_then(WriteFile::deadline);
        let reading = self.reading.as_ref();
        let rest = rest.filter(|_| reading.is_some());
        let reading = reading.and_then(|reading| reading.file().deadline());
        let held = self.close_held_until();
        [writing, reading, rest, held].into_iter().flatten().min()
    }

    fn reader(&mut self) -> Option<(&mut Reading, ReadPlace<'_>)> {
        let own = self.writing.as_ref().map(Writing::file);
        let place = &self.place;
        Some((self.reading.as_mut()?, ReadPlace { place, own }))
    }

    /// Tells what reads it what happened.
    pub(super) fn hear_read(&mut self, shell: &mut Shell, heard: ReadHeard) {
        if let Some((reading, place)) = self.reader() {
            reading.hear(shell, place, heard);
        }
    }

    /// Goes on where there was no room for answers.
    pub(super) fn go_on_reading(&mut self, shell: &mut Shell) {
        if let Some((reading, place)) = self.reader() {
            reading.go_on(shell, place);
        }
    }

    /// Takes what was found under its new name.
    pub(super) fn followed(&mut self, shell: &mut Shell, outcome: Result<ObjectMeta, Status>) {
        if let Some((reading, place)) = self.reader() {
            reading.followed(shell, place, outcome);
        }
    }

    pub(super) fn stop_reading(&mut self, shell: &mut Shell, status: Status) {
        if let Some((reading, place)) = self.reader() {
            reading.close(shell, place, status);
        }
    }

    /// Answers a READ: of what was written, as far as it is here, and of what was there.
    pub(super) fn read(&mut self, shell: &mut Shell, pending: Pending, offset: u64, length: u32) {
        let own = self.own();
        // They are answered in their order.
        let waits = self.reading.as_ref().is_some_and(|r| r.file().is_asked());
        if let Some(own) = own
            .filter(|_| !waits)
            .filter(|own| own.is_written() || self.reading.is_none())
        {
            let source = if own.mode().read {
                source(own, offset, length)
            } else {
                Err(NOT_FOR_READING)
            };
            match source {
                // It was copied to where the file is, and its first READ would open it.
                Ok(Source::Base) if self.reading.is_none() => {
                    return shell.answers.status(pending, NOT_HERE);
                }
                Ok(Source::Base) => {}
                Ok(Source::Here(bytes)) => {
                    return shell.answers.data_without_memory(pending, bytes);
                }
                Err(status) => return shell.answers.status(pending, status),
            }
        }
        if self.reading.is_none() {
            return shell.answers.status(pending, INVALID_HANDLE);
        }
        let heard = ReadHeard::Read {
            pending,
            offset,
            length,
        };
        self.hear_read(shell, heard);
    }

    /// Says whether READs wait for bytes that CLOSE would send away.
    pub(super) fn keeps_for_reads(&self) -> bool {
        let reading = self.reading.as_ref();
        let asked = reading.is_some_and(|reading| reading.file().is_asked());
        asked && self.own().is_some_and(WriteFile::is_written)
    }

    /// Returns a CLOSE that has waited for READs, and waits for nothing any more.
    pub(super) fn take_close(&mut self, now: Instant, at_once: bool) -> Option<Pending> {
        let until = self.close_held_until()?;
        let over = at_once || now >= until || !self.keeps_for_reads();
        let (pending, _) = self.held_close.take_if(|_| over)?;
        Some(pending)
    }

    fn close_held_until(&self) -> Option<Instant> {
        let (_, since) = self.held_close.as_ref()?;
        Some(
            since
                .checked_add(limits::CLOSE_AFTER_READS_FOR)
                .unwrap_or(*since),
        )
    }

    /// Returns what FSTAT shows, and STAT of a file that is written.
    pub(super) fn attributes(&self, shell: &Shell) -> Option<Attributes> {
        let (access, shows) = (self.place.access, shell.shows());
        match (self.own(), &self.reading) {
            (Some(own), _) => {
                let now = unix_seconds(shell.environment.clock.wall());
                let attrs = file_attributes(access, own.size(), now);
                Some(shows.with(attrs, shell.to_be_stored(own.given(), own.given_late())))
            }
            (None, Some(reading)) => Some(attributes_of(reading.meta(), access, shows)),
            (None, None) => None,
        }
    }
}

pub(super) const NOT_FOR_READING: Status = Status::denied("The file is not open for reading");
