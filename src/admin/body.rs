//! Bodies of requests. Of those for AWS's tools, what has come is on the process's account of bytes
//! until it is answered.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::http::request;
use tokio::sync::SemaphorePermit;

use super::aws::Aws;
use crate::budget::{Charge, Share};
use crate::limits::{ADMIN_BODY_BYTES_MAX, AWS_BODY_BYTES_MAX};

/// A body that was read to its end, and what it takes.
pub(super) struct HeldBody<'a> {
    pub(super) text: Vec<u8>,
    _room: Option<SemaphorePermit<'a>>,
    _charge: Option<Charge>,
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// Or its connection was cut, and nobody hears about it.
    TooLarge,
    TooSlow,
    /// The account has no more bytes.
    NoMemory,
}

/// Reads a body, in the room that there is for it.
pub(super) async fn read<'a>(
    aws: Option<&'a Arc<Aws>>,
    head: &request::Parts,
    body: Incoming,
    timeout: Duration,
) -> Result<HeldBody<'a>, Unread> {
    let room = match aws {
        Some(aws) => aws.room_for(head).await,
        None => None,
    };
    let longest = match &room {
        Some(_) => AWS_BODY_BYTES_MAX,
        None => ADMIN_BODY_BYTES_MAX,
    };
    let coming = Coming {
        text: Vec::new(),
        charge: None,
        memory: aws.map(|aws| aws.memory()),
        longest,
    };
    match tokio::time::timeout(timeout, coming.whole(body)).await {
        Ok(Ok((text, charge))) => Ok(HeldBody {
            text,
            _room: room,
            _charge: charge,
        }),
        Ok(Err(unread)) => Err(unread),
        Err(_elapsed) => Err(Unread::TooSlow),
    }
}

/// A body on its way. Its memory grows with what has come: anybody can announce much.
struct Coming<'a> {
    text: Vec<u8>,
    charge: Option<Charge>,
    memory: Option<&'a Share>,
    longest: usize,
}

impl Coming<'_> {
    async fn whole(mut self, mut body: Incoming) -> Result<(Vec<u8>, Option<Charge>), Unread> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_cut| Unread::TooLarge)?;
            // Trailers say nothing here.
            if let Ok(piece) = frame.into_data() {
                self.grow(piece.len())?;
                self.text.extend_from_slice(&piece);
            }
        }
        Ok((self.text, self.charge))
    }

    /// Makes place for so many bytes more, once the account has them.
    fn grow(&mut self, bytes: usize) -> Result<(), Unread> {
        let (length, held) = (self.text.len(), self.text.capacity());
        let needed = length.saturating_add(bytes);
        if needed > self.longest {
            return Err(Unread::TooLarge);
        }
        if needed <= held {
            return Ok(());
        }
        let wanted = held.saturating_mul(2).clamp(needed, self.longest);
        if let Some(memory) = self.memory {
            let more = u64::try_from(wanted.saturating_sub(held)).unwrap_or(u64::MAX);
            let more = memory.try_take(more).ok_or(Unread::NoMemory)?;
            match &mut self.charge {
                Some(charge) => charge.join(more),
                None => self.charge = Some(more),
            }
        }
        self.text.reserve_exact(wanted.saturating_sub(length));
        Ok(())
    }
}
