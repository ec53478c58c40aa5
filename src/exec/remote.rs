//! The user's files, as a command sees them: questions to a session.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::fault::Fault;
use crate::budget::{Charge, Share};
use crate::limits::{EXEC_READ_BYTES, EXEC_READS_AT_ONCE, EXEC_WRITES_AT_ONCE};
use crate::session::{Admitted, CHANGED, ENDED, Said, TypedSession, Withdrawal};
use crate::sftp::{
    Attributes, CheckForm, CheckRequest, CheckedFile, Extension, HandleId, Name, OpenMode, Payload,
    Reply, Request, RequestId, Status, StatusCode,
};
use crate::transfer::Algorithm;

/// What is answered: the inner refusal is about one file, the outer ends the command.
pub(super) type Answer<T> = Result<Result<T, Status>, Fault>;

/// A session that is asked in turn.
#[derive(Debug)]
pub(super) struct Remote {
    session: TypedSession,
    account: Share,
    sums: std::sync::Arc<Semaphore>,
}

/// A file that is read from its beginning to its end.
#[derive(Debug)]
pub(super) struct Download {
    handle: HandleId,
    pub(super) attrs: Attributes,
    size: u64,
    asked: u64,
    /// READs in order.
    pieces: VecDeque<Piece>,
}

#[derive(Debug)]
struct Piece {
    id: RequestId,
    offset: u64,
    length: u32,
    slices: Option<Vec<Bytes>>,
}

/// A file that is written from its beginning to its end.
#[derive(Debug)]
pub(super) struct Upload {
    handle: HandleId,
    offset: u64,
    /// WRITEs without an answer.
    waiting: usize,
    /// Nothing of it will become visible.
    pub(super) failed: Option<Status>,
}

/// Names of a directory, with the memory that they take.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) names: Vec<Name>,
    /// What times are compared with.
    pub(super) now: u32,
    pub(super) held: Held,
}

/// Memory of a command, on the account.
#[derive(Debug)]
pub(super) struct Held {
    account: Share,
    charge: Option<Charge>,
    bytes: u64,
}

impl Held {
    /// Takes memory for so many bytes more; `false`: there is none.
    #[must_use]
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let needed = u64::try_from(bytes)
            .unwrap_or(u64::MAX)
            .saturating_add(self.bytes);
        let charged = self.charge.as_ref().map_or(0, Charge::bytes);
        let lacking = needed.saturating_sub(charged);
        if lacking > 0 {
            let Some(charge) = self.account.try_take(lacking.next_multiple_of(STEP_BYTES)) else {
                return false;
            };
            charge.join_into(&mut self.charge);
        }
        self.bytes = needed;
        true
    }
}

impl Remote {
    pub(super) fn new(admitted: Admitted) -> Self {
        let Admitted {
            session,
            account,
            sums,
            ..
        } = admitted;
        Self {
            session,
            account,
            sums,
        }
    }

    /// Returns the turns of the user's checksums.
    pub(super) const fn sums(&self) -> &std::sync::Arc<Semaphore> {
        &self.sums
    }

    pub(super) fn held(&self) -> Held {
        Held {
            account: self.account.clone(),
            charge: None,
            bytes: 0,
        }
    }

    /// Takes what the session said to the person.
    pub(super) fn sentences(&mut self) -> Vec<String> {
        self.session.sentences()
    }

    async fn ask(&mut self, request: Request) -> Answer<Said> {
        match self.session.ask(request).await {
            Err(ENDED) => Err(Fault::Ended),
            answer => Ok(answer),
        }
    }

    pub(super) async fn stat(&mut self, path: &[u8]) -> Answer<Attributes> {
        let path = Bytes::copy_from_slice(path);
        let said = self.ask(Request::Stat { path }).await?;
        Ok(said.and_then(|said| attributes(&said)))
    }

    /// Returns a path in full.
    pub(super) async fn real_path(&mut self, path: &[u8]) -> Answer<Bytes> {
        let path = Bytes::copy_from_slice(path);
        let said = self.ask(Request::RealPath { path }).await?;
        Ok(said.and_then(|said| match said {
            Said::Reply(_, Reply::Path(path)) => Ok(path),
            Said::Reply(..) | Said::Data(..) | Said::Sentence(_) => Err(Status::FAILURE),
        }))
    }

    pub(super) async fn make_directory(&mut self, path: &[u8]) -> Answer<()> {
        let path = Bytes::copy_from_slice(path);
        Ok(self.ask(Request::MkDir { path }).await?.map(drop))
    }

    pub(super) async fn open_directory(&mut self, path: &[u8]) -> Answer<HandleId> {
        let path = Bytes::copy_from_slice(path);
        let said = self.ask(Request::OpenDir { path }).await?;
        Ok(said.and_then(|said| handle(&said)))
    }

    /// Returns the next names of a directory, without the two that every one has; `None`: that was
    /// all.
    pub(super) async fn names(&mut self, handle: HandleId) -> Answer<Option<Page>> {
        let said = match self.ask(Request::ReadDir { handle }).await? {
            Err(Status {
                code: StatusCode::Eof,
                ..
            }) => return Ok(Ok(None)),
            said => said,
        };
        Ok(said.and_then(|said| match said {
            Said::Reply(_, Reply::Names { mut names, now }) => {
                names.retain(|name| !matches!(&*name.name, b"." | b".."));
                let bytes = names.iter().map(Name::bytes_max);
                let mut held = self.held();
                if !held.hold(bytes.fold(0, usize::saturating_add)) {
                    return Err(NO_MEMORY);
                }
                Ok(Some(Page { names, now, held }))
            }
            Said::Reply(..) | Said::Data(..) | Said::Sentence(_) => Err(Status::FAILURE),
        }))
    }

    pub(super) async fn close(&mut self, handle: HandleId) -> Answer<()> {
        Ok(self.ask(Request::Close { handle }).await?.map(drop))
    }

    // ---- a file that is read ----

    /// Returns the checksum that the store keeps of a file. Why there is none is seen where the
    /// file is opened.
    pub(super) async fn stored_sum(
        &mut self,
        path: &[u8],
        algorithm: Algorithm,
    ) -> Result<Option<Bytes>, Fault> {
        if !algorithm.may_be_stored() {
            return Ok(None);
        }
        let check = Request::Extended(Extension::Check(CheckRequest {
            of: CheckedFile::Name(Bytes::copy_from_slice(path)),
            algorithms: Bytes::from_static(algorithm.name().as_bytes()),
            offset: 0,
            length: 0,
            block: 0,
            form: CheckForm::Stored,
        }));
        Ok(match self.ask(check).await? {
            Ok(Said::Reply(_, Reply::Sums { sums, .. })) if !sums.is_empty() => Some(sums),
            Ok(_) | Err(_) => None,
        })
    }

    pub(super) async fn open_to_read(&mut self, path: &[u8]) -> Answer<Download> {
        let open = Request::Open {
            path: Bytes::copy_from_slice(path),
            pflags: OpenMode::READ,
            attrs: Attributes::default(),
        };
        let handle = match self.ask(open).await?.and_then(|said| handle(&said)) {
            Ok(handle) => handle,
            Err(status) => return Ok(Err(status)),
        };
        let attrs = self.ask(Request::FStat { handle }).await?;
        match attrs.and_then(|said| attributes(&said)) {
            Ok(attrs) => Ok(Ok(Download {
                handle,
                attrs,
                size: attrs.size.unwrap_or(0),
                asked: 0,
                pieces: VecDeque::new(),
            })),
            Err(status) => {
                self.close(handle).await?.unwrap_or_default();
                Ok(Err(status))
            }
        }
    }

    /// Returns the next bytes of a file; `None`: that was all. As many bytes as its attributes say,
    /// or it fails.
    pub(super) async fn next_bytes(&mut self, file: &mut Download) -> Answer<Option<Vec<Bytes>>> {
        loop {
            while file.pieces.len() < EXEC_READS_AT_ONCE && file.asked < file.size {
                let length = file.size.saturating_sub(file.asked);
                let length =
                    u32::try_from(length).map_or(EXEC_READ_BYTES, |left| left.min(EXEC_READ_BYTES));
                let piece = self.read(file.handle, file.asked, length).await?;
                file.pieces.push_back(piece);
                file.asked = file.asked.saturating_add(length.into());
            }
            let Some(first) = file.pieces.front_mut() else {
                return Ok(Ok(None));
            };
            if let Some(slices) = first.slices.take() {
                let came: usize = slices.iter().map(Bytes::len).sum();
                let came = u32::try_from(came).unwrap_or(u32::MAX);
                let (offset, left) = (first.offset, first.length.saturating_sub(came));
                file.pieces.pop_front();
                if came == 0 {
                    return Ok(Err(CHANGED));
                }
                if left > 0 {
                    let offset = offset.saturating_add(came.into());
                    let piece = self.read(file.handle, offset, left).await?;
                    file.pieces.push_front(piece);
                }
                return Ok(Ok(Some(slices)));
            }
            match self.session.hear().await.ok_or(Fault::Ended)? {
                Said::Data(id, slices) => {
                    let mut pieces = file.pieces.iter_mut();
                    if let Some(piece) = pieces.find(|piece| piece.id == id) {
                        piece.slices = Some(slices);
                    }
                }
                Said::Reply(id, Reply::Status(status))
                    if file.pieces.iter().any(|piece| piece.id == id) =>
                {
                    let ended = status.code == StatusCode::Eof;
                    return Ok(Err(if ended { CHANGED } else { status }));
                }
                Said::Reply(..) | Said::Sentence(_) => {}
            }
        }
    }

    async fn read(&mut self, handle: HandleId, offset: u64, length: u32) -> Result<Piece, Fault> {
        let read = Request::Read {
            handle,
            offset,
            length,
        };
        let id = self.session.send(read).await.map_err(|_| Fault::Ended)?;
        Ok(Piece {
            id,
            offset,
            length,
            slices: None,
        })
    }

    pub(super) async fn close_read(&mut self, file: Download) -> Answer<()> {
        self.close(file.handle).await
    }

    // ---- a file that is written ----

    /// Opens a file to be written anew.
    pub(super) async fn open_to_write(
        &mut self,
        path: &[u8],
        times: Option<(u32, u32)>,
    ) -> Answer<Upload> {
        let open = Request::Open {
            path: Bytes::copy_from_slice(path),
            pflags: OpenMode::WRITE | OpenMode::CREATE | OpenMode::TRUNCATE,
            attrs: Attributes {
                times,
                ..Attributes::default()
            },
        };
        let opened = self.ask(open).await?.and_then(|said| handle(&said));
        Ok(opened.map(|handle| Upload {
            handle,
            offset: 0,
            waiting: 0,
            failed: None,
        }))
    }

    /// Writes on; whether that worked stands in the upload, at the latest when it is closed.
    pub(super) async fn write(&mut self, file: &mut Upload, bytes: Bytes) -> Result<(), Fault> {
        let length = bytes.len();
        let write = Request::Write {
            handle: file.handle,
            offset: file.offset,
            payload: Payload {
                slices: vec![bytes],
                length,
            },
        };
        self.session.send(write).await.map_err(|_| Fault::Ended)?;
        file.waiting = file.waiting.saturating_add(1);
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        file.offset = file.offset.saturating_add(length);
        // A failure is seen as soon as it is known.
        while let Some(said) = self.session.heard() {
            file.hear(&said);
        }
        while file.waiting >= EXEC_WRITES_AT_ONCE {
            self.hear_write(file).await?;
        }
        Ok(())
    }

    async fn hear_write(&mut self, file: &mut Upload) -> Result<(), Fault> {
        let said = self.session.hear().await.ok_or(Fault::Ended)?;
        file.hear(&said);
        Ok(())
    }

    /// Closes a file: it is in the store, whole, or it is not there.
    pub(super) async fn close_written(&mut self, mut file: Upload) -> Answer<()> {
        while file.waiting > 0 {
            self.hear_write(&mut file).await?;
        }
        let closed = self.close(file.handle).await?;
        self.withdrawal(&file).forget();
        Ok(file.failed.map_or(closed, Err))
    }

    /// Returns a way to withdraw a file at once.
    pub(super) fn withdrawal(&self, file: &Upload) -> Withdrawal {
        self.session.withdrawal(file.handle)
    }

    /// Closes a file of which nothing is to be seen.
    pub(super) async fn withdraw(&mut self, file: Upload) -> Result<(), Fault> {
        let withdrawn = self.session.withdraw(file.handle).await;
        withdrawn.map_err(|_| Fault::Ended)?;
        // That it failed is what was wanted.
        self.close_written(file).await?.unwrap_or_default();
        Ok(())
    }
}

impl Upload {
    /// Takes the answer to a WRITE.
    fn hear(&mut self, said: &Said) {
        if let Said::Reply(_, Reply::Status(status)) = said {
            self.waiting = self.waiting.saturating_sub(1);
            if *status != Status::OK {
                self.failed.get_or_insert(*status);
            }
        }
    }
}

fn handle(said: &Said) -> Result<HandleId, Status> {
    match *said {
        Said::Reply(_, Reply::Handle(handle)) => Ok(handle),
        Said::Reply(..) | Said::Data(..) | Said::Sentence(_) => Err(Status::FAILURE),
    }
}

fn attributes(said: &Said) -> Result<Attributes, Status> {
    match *said {
        Said::Reply(_, Reply::Attrs(attrs)) => Ok(attrs),
        Said::Reply(..) | Said::Data(..) | Said::Sentence(_) => Err(Status::FAILURE),
    }
}

pub(super) const NO_MEMORY: Status =
    Status::failure("The server is short of memory; try again later");
/// In what steps the account is asked.
const STEP_BYTES: u64 = 16 * 1024;
