//! Lines of a log, one at a time, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use anyhow::Context as _;

use crate::limits::LOG_LINE_BYTES_MAX;

/// What came next.
#[derive(Debug)]
pub(super) enum LineRead<'l> {
    Line(&'l str),
    TooLong,
    End,
}

/// Reads a file, or standard input.
pub(super) struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    line: Vec<u8>,
}

impl Lines {
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(file: &str) -> anyhow::Result<Self> {
        let reader: Box<dyn BufRead + Send> = match file {
            "-" => Box::new(BufReader::new(io::stdin())),
            path => Box::new(BufReader::with_capacity(
                BUFFER_BYTES,
                File::open(path).with_context(|| path.to_owned())?,
            )),
        };
        Ok(Self {
            name: file.to_owned(),
            reader,
            line: Vec::new(),
        })
    }

    /// Returns the next line.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn next(&mut self) -> anyhow::Result<LineRead<'_>> {
        self.line.clear();
        let mut is_too_long = false;
        loop {
            let read = self.reader.fill_buf().with_context(|| self.name.clone())?;
            if read.is_empty() {
                if self.line.is_empty() && !is_too_long {
                    return Ok(LineRead::End);
                }
                break;
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(read.len(), |end| end.saturating_add(1));
            if self.line.len().saturating_add(taken) > LOG_LINE_BYTES_MAX {
                is_too_long = true;
                self.line.clear();
            }
            if !is_too_long {
                self.line
                    .extend_from_slice(read.get(..taken).unwrap_or_default());
            }
            self.reader.consume(taken);
            if end.is_some() {
                break;
            }
        }
        match std::str::from_utf8(&self.line) {
            Ok(line) if !is_too_long => Ok(LineRead::Line(line)),
            // What is no text cannot be read either.
            Ok(_) => Ok(LineRead::TooLong),
            Err(_) => Ok(LineRead::Line("?")),
        }
    }
}

const BUFFER_BYTES: usize = 256 * 1024;
