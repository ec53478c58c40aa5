//! The PROXY protocol's header, with which a load balancer says whose connection it passes on (pure).
//!
//! Where a header ends is found here, within its bounds; what stands in it is read by the crate,
//! which sees exactly the header. The fields at its end (TLVs) are passed over.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>

#![warn(clippy::arithmetic_side_effects)]

use std::net::IpAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};

use crate::idp::Network;

/// What a port expects before the client's own bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// No header.
    #[default]
    Off,
    /// A header of version 2 is passed over, from anybody; nothing in it is believed.
    Ignore,
    /// A header of either version, from these networks alone.
    Required { trusted: Vec<Network> },
}

/// Which form a header has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

/// What was found at the start of what was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// It may become a header.
    Unfinished,
    /// It is none.
    Missing,
    TooLong,
    /// What follows the header starts here.
    EndsAt(usize, Version),
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Client(IpAddr),
    /// The balancer's own connection, such as a health check.
    Local,
    /// A client whose address the balancer does not tell.
    Nobody,
}

const V1_START: &[u8] = b"PROXY ";
const V1_BYTES_MAX: usize = 107;
const V2_START: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The start, the version with the command, the family, and the length of the rest.
const V2_FIXED_BYTES: usize = 16;
const V2_BYTES_MAX: usize = 4 * 1024;
const V2_LOCAL: u8 = 0x20;

/// Finds the end of a header of either version.
pub(super) fn frame(received: &[u8]) -> Frame {
    match frame_v2(received) {
        Frame::Missing => frame_v1(received),
        found @ (Frame::Unfinished | Frame::TooLong | Frame::EndsAt(..)) => found,
    }
}

fn frame_v1(received: &[u8]) -> Frame {
    if !begins_like(received, V1_START) {
        return Frame::Missing;
    }
    let mut line = received.iter().take(V1_BYTES_MAX);
    match line.position(|byte| *byte == b'\n') {
        Some(end) => Frame::EndsAt(end.saturating_add(1), Version::V1),
        None if received.len() >= V1_BYTES_MAX => Frame::TooLong,
        None => Frame::Unfinished,
    }
}

/// Finds the end of a header of version 2.
pub(super) fn frame_v2(received: &[u8]) -> Frame {
    if !begins_like(received, V2_START) {
        return Frame::Missing;
    }
    let Some((fixed, rest)) = received.split_first_chunk::<V2_FIXED_BYTES>() else {
        return Frame::Unfinished;
    };
    let [.., high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let end = V2_FIXED_BYTES.saturating_add(length);
    if end > V2_BYTES_MAX {
        Frame::TooLong
    } else if rest.len() < length {
        Frame::Unfinished
    } else {
        Frame::EndsAt(end, Version::V2)
    }
}

/// Reads a whole header, without a byte behind it; `None` if it cannot be right.
pub(super) fn named(header: &[u8], version: Version) -> Option<Named> {
    let config = ParseConfig {
        include_tlvs: false,
        allow_v1: version == Version::V1,
        allow_v2: version == Version::V2,
    };
    // It was framed: a header that wants more bytes lies about its length.
    let (parsed, _) = ProxyHeader::parse(header, config).ok()?;
    match parsed.proxied_address() {
        Some(address) if address.protocol == Protocol::Stream => {
            Some(Named::Client(address.source.ip().to_canonical()))
        }
        // This is a stream.
        Some(_) => None,
        None if version == Version::V2 && header.get(V2_START.len()) == Some(&V2_LOCAL) => {
            Some(Named::Local)
        }
        None => Some(Named::Nobody),
    }
}

fn begins_like(received: &[u8], start: &[u8]) -> bool {
    received.iter().zip(start).all(|(have, want)| have == want)
}

#[cfg(test)]
mod tests;
