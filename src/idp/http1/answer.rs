//! An HTTP/1 answer, from bytes to a status and a body (pure, bounded).

#![warn(clippy::arithmetic_side_effects)]

use crate::limits;

/// What stands before the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub framing: Framing,
    /// The connection may carry another question after this answer.
    pub keeps_open: bool,
    /// The body is compressed, although nobody asked for that.
    pub encoded: bool,
    /// Bytes of the head itself.
    pub bytes: usize,
}

impl Head {
    /// Says whether the true answer is still to come.
    #[must_use]
    pub const fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }
}

/// How the end of the body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the answer is not HTTP/1")]
    NotHttp,
    #[error("the head is longer than {} bytes", limits::ANSWER_HEAD_BYTES_MAX)]
    HeadTooLong,
    #[error("the body is longer than {} bytes", limits::ANSWER_BYTES_MAX)]
    BodyTooLong,
    #[error("the length of the body is unclear: {0}")]
    Framing(&'static str),
    #[error("the connection ended in the middle of the answer")]
    Cut,
}

/// Parses the head at the beginning of the bytes; `None` while there is more of it to come.
///
/// # Errors
/// This will not become the head of an answer.
pub fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    const BEGIN: &[u8] = b"HTTP/1.";
    // A server of another protocol may say a word and wait for ours.
    if !bytes.iter().zip(BEGIN).all(|(found, right)| found == right) {
        return Err(Fault::NotHttp);
    }
    // Complete before it is parsed: otherwise each byte of a slow head would parse all of it.
    let Some(length) = length(bytes) else {
        let too_long = bytes.len() > limits::ANSWER_HEAD_BYTES_MAX;
        return if too_long {
            Err(Fault::HeadTooLong)
        } else {
            Ok(None)
        };
    };
    if length > limits::ANSWER_HEAD_BYTES_MAX {
        return Err(Fault::HeadTooLong);
    }
    let mut headers = [httparse::EMPTY_HEADER; limits::ANSWER_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = bytes.get(..length).unwrap_or_default();
    match response.parse(head) {
        Ok(httparse::Status::Complete(bytes)) => read_head(&response, bytes).map(Some),
        Ok(httparse::Status::Partial) => Err(Fault::NotHttp),
        Err(httparse::Error::TooManyHeaders) => Err(Fault::HeadTooLong),
        Err(_) => Err(Fault::NotHttp),
    }
}

/// Returns the value of a header of a head that was parsed, the first one of its name.
#[must_use]
pub fn header<'h>(head: &'h [u8], name: &str) -> Option<&'h [u8]> {
    let mut headers = [httparse::EMPTY_HEADER; limits::ANSWER_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).ok()?;
    let mut found = response.headers.iter();
    let found = found.find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(found.value.trim_ascii())
}

/// Returns how long the head is, once its empty line is there.
fn length(bytes: &[u8]) -> Option<usize> {
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.find_map(|(at, _)| {
        let after = at.saturating_add(1);
        match bytes.get(after..)? {
            [b'\n', ..] => Some(after.saturating_add(1)),
            [b'\r', b'\n', ..] => Some(after.saturating_add(2)),
            _ => None,
        }
    })
}

fn read_head(response: &httparse::Response<'_, '_>, bytes: usize) -> Result<Head, Fault> {
    let status = response.code.ok_or(Fault::NotHttp)?;
    let newest = response.version == Some(1);
    let (mut keeps_open, mut encoded) = (newest, false);
    let (mut length, mut chunked) = (None, false);
    for header in response.headers.iter() {
        let value = header.value.trim_ascii();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let found = number(value).ok_or(Fault::Framing("Content-Length is not a number"))?;
            if length.is_some_and(|length| length != found) {
                return Err(Fault::Framing("two lengths"));
            }
            length = Some(found);
        } else if is("transfer-encoding") {
            if !newest || chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Fault::Framing("an unknown Transfer-Encoding"));
            }
            chunked = true;
        } else if is("connection") {
            let words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            for word in words {
                if word.eq_ignore_ascii_case(b"close") {
                    keeps_open = false;
                } else if !newest && word.eq_ignore_ascii_case(b"keep-alive") {
                    keeps_open = true;
                }
            }
        } else if is("content-encoding") {
            encoded |= !value.is_empty() && !value.eq_ignore_ascii_case(b"identity");
        }
    }
    let framing = match (length, chunked) {
        _ if matches!(status, 100..=199 | 204 | 304) => Framing::Length(0),
        // Whoever reads one and not the other sees another answer.
        (Some(_), true) => return Err(Fault::Framing("both a length and chunks")),
        (Some(length), false) => Framing::Length(length),
        (None, true) => Framing::Chunked,
        (None, false) => Framing::UntilClose,
    };
    Ok(Head {
        status,
        framing,
        keeps_open: keeps_open && framing != Framing::UntilClose,
        encoded,
        bytes,
    })
}

/// Reads digits alone: `u64::from_str` takes a sign as well.
fn number(digits: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(digits).ok()?;
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok())?
}

/// Gathers a body from the pieces in which it comes.
#[derive(Debug)]
pub struct Body {
    step: Step,
    content: Vec<u8>,
    /// The line that is being read, between chunks.
    line: Vec<u8>,
    /// Bytes of the lines after the last chunk.
    trailer: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Counted(u64),
    UntilClose,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    Done,
}

impl Body {
    /// Prepares for a body.
    ///
    /// # Errors
    /// It says itself that it is too long.
    pub fn new(framing: Framing) -> Result<Self, Fault> {
        let longest = u64::try_from(limits::ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
        let step = match framing {
            Framing::Length(length) if length > longest => return Err(Fault::BodyTooLong),
            Framing::Length(0) => Step::Done,
            Framing::Length(length) => Step::Counted(length),
            Framing::Chunked => Step::ChunkSize,
            Framing::UntilClose => Step::UntilClose,
        };
        Ok(Self {
            step,
            content: Vec::new(),
            line: Vec::new(),
            trailer: 0,
        })
    }

    /// Takes the next bytes; returns what does not belong to the body any more.
    ///
    /// # Errors
    /// The body is too long, or not what its head said.
    pub fn take<'b>(&mut self, mut bytes: &'b [u8]) -> Result<&'b [u8], Fault> {
        while !bytes.is_empty() && self.step != Step::Done {
            bytes = match self.step {
                Step::Counted(left) | Step::Chunk(left) => self.take_counted(left, bytes)?,
                Step::UntilClose => {
                    self.append(bytes)?;
                    &[]
                }
                Step::ChunkSize | Step::ChunkEnd | Step::Trailer => self.take_line(bytes)?,
                Step::Done => bytes,
            };
        }
        Ok(bytes)
    }

    /// Says whether nothing more is expected.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.step == Step::Done
    }

    /// Returns the body, at the end of the connection or of the body itself.
    ///
    /// # Errors
    /// There should have been more.
    pub fn end(self) -> Result<Vec<u8>, Fault> {
        match self.step {
            Step::Done | Step::UntilClose => Ok(self.content),
            Step::Counted(_) | Step::Chunk(_) => Err(Fault::Cut),
            Step::ChunkSize | Step::ChunkEnd | Step::Trailer => Err(Fault::Cut),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.content.len().saturating_add(bytes.len()) > limits::ANSWER_BYTES_MAX {
            return Err(Fault::BodyTooLong);
        }
        self.content.extend_from_slice(bytes);
        Ok(())
    }

    fn take_counted<'b>(&mut self, left: u64, bytes: &'b [u8]) -> Result<&'b [u8], Fault> {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let (now, rest) = bytes.split_at(bytes.len().min(most));
        self.append(now)?;
        let taken = u64::try_from(now.len()).unwrap_or(u64::MAX);
        let left = left.saturating_sub(taken);
        self.step = match (self.step, left) {
            (Step::Chunk(_), 0) => Step::ChunkEnd,
            (Step::Chunk(_), left) => Step::Chunk(left),
            (_, 0) => Step::Done,
            (_, left) => Step::Counted(left),
        };
        Ok(rest)
    }

    /// Takes a line, or as much of it as there is.
    fn take_line<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Fault> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end.saturating_add(1));
        let (now, rest) = bytes.split_at(taken);
        if self.line.len().saturating_add(now.len()) > limits::CHUNK_LINE_BYTES_MAX {
            return Err(Fault::Framing("a line between chunks is too long"));
        }
        self.line.extend_from_slice(now);
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.step = self.after_line(line)?;
        }
        Ok(rest)
    }

    fn after_line(&mut self, line: &[u8]) -> Result<Step, Fault> {
        match self.step {
            Step::ChunkEnd if line.is_empty() => Ok(Step::ChunkSize),
            Step::ChunkEnd => Err(Fault::Framing("a chunk is longer than it said")),
            Step::ChunkSize => match chunk_size(line) {
                None => Err(Fault::Framing("the size of a chunk is not a number")),
                Some(0) => Ok(Step::Trailer),
                Some(size) => Ok(Step::Chunk(size)),
            },
            Step::Trailer if line.is_empty() => Ok(Step::Done),
            Step::Trailer => {
                self.trailer = self.trailer.saturating_add(line.len());
                if self.trailer > limits::ANSWER_HEAD_BYTES_MAX {
                    return Err(Fault::HeadTooLong);
                }
                Ok(Step::Trailer)
            }
            step @ (Step::Counted(_) | Step::UntilClose | Step::Chunk(_) | Step::Done) => Ok(step),
        }
    }
}

/// Reads a size in hexadecimal digits; what an extension says is passed over.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let digits = str::from_utf8(digits).ok()?;
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    all_digits.then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests;
