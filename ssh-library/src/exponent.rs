//! How long the exponents of finite-field groups are.

use crate::Names;
use crate::cipher::CIPHERS;
use crate::mac::MACS;

/// Bits below which no exponent is.
const BITS_MIN: usize = 512;

/// Twice the key material that the exchange is to give, as OpenSSH has it.
pub(crate) fn bits(names: &Names) -> usize {
    let cipher = CIPHERS
        .get(&names.cipher)
        .map_or(0, |cipher| cipher.key_len().max(cipher.nonce_len()));
    let macs = [&names.client_mac, &names.server_mac]
        .map(|mac| MACS.get(mac).map_or(0, |mac| mac.key_len()));
    let material = macs.into_iter().fold(cipher, usize::max);
    let bits = BITS_MIN.max(2 * 8 * material);
    log::debug!("an exponent of {bits} bits, if the group is a finite field");
    bits
}
