//! Zeros below a size that the client set, where it wrote nothing.

use bytes::Bytes;

use super::fill::NextZeros;
use super::parked::{Parked, Writer};
use super::{Effect, WriteFile};
use crate::sftp::Payload;

/// Makes the zeros that are due; `true`: nothing is left to be filled here.
pub(super) fn make(file: &mut WriteFile) -> bool {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    while let Some(fill) = &mut file.fill {
        let (at, length) = match fill.next_zeros(ZEROS.len()) {
            NextZeros::Piece(at, length) => (at, length),
            NextZeros::Announce(bytes) => {
                file.effects.push_back(Effect::Zeros(bytes));
                return false;
            }
            NextZeros::Wait => return false,
            NextZeros::Done => {
                file.fill = None;
                return true;
            }
        };
        let payload = Payload {
            slices: Vec::from([Bytes::from_static(&ZEROS)]),
            length,
        };
        file.place_or_park(Parked::new(Writer::Zeros, at, payload));
        file.ship();
        if file.failed.is_some() {
            return true;
        }
        if !file.parked.is_empty() {
            return false;
        }
    }
    false
}
