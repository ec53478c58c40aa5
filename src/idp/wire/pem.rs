//! Public keys in PEM, written as SSH writes them.

/// Reads the DER of a block with this label: the key's type, and its blob (RFC 4253 §6.6).
pub(super) fn to_ssh(label: &str, der: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    match label {
        "PUBLIC KEY" => subject_public_key_info(der),
        "RSA PUBLIC KEY" => rsa(der),
        _ => None,
    }
}

/// RFC 5280 §4.1.2.7.
fn subject_public_key_info(der: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let (info, _) = value(der, SEQUENCE)?;
    let (algorithm, rest) = value(info, SEQUENCE)?;
    let (bits, _) = value(rest, BIT_STRING)?;
    // The first byte counts bits that are not used; keys are whole bytes.
    let key = bits.strip_prefix(&[0])?;
    let (algorithm, parameters) = value(algorithm, OBJECT_IDENTIFIER)?;
    match algorithm {
        RSA => rsa(key),
        ED25519 if key.len() == 32 => Some(("ssh-ed25519", blob(&[b"ssh-ed25519", key])?)),
        EC => {
            let (curve, _) = value(parameters, OBJECT_IDENTIFIER)?;
            let (key_type, name, length): (&str, &str, usize) = match curve {
                P256 => ("ecdsa-sha2-nistp256", "nistp256", 65),
                P384 => ("ecdsa-sha2-nistp384", "nistp384", 97),
                P521 => ("ecdsa-sha2-nistp521", "nistp521", 133),
                _ => return None,
            };
            // SSH has points in full alone.
            let is_full = key.first() == Some(&4) && key.len() == length;
            let fields = [key_type.as_bytes(), name.as_bytes(), key];
            is_full.then(|| Some((key_type, blob(&fields)?)))?
        }
        _ => None,
    }
}

/// RFC 8017 §A.1.1; a positive INTEGER is an mpint byte by byte.
fn rsa(der: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let (key, _) = value(der, SEQUENCE)?;
    let (modulus, rest) = value(key, INTEGER)?;
    let (exponent, _) = value(rest, INTEGER)?;
    Some(("ssh-rsa", blob(&[b"ssh-rsa", exponent, modulus])?))
}

/// Takes one value with its tag; returns what stands in it and what follows.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    if first < 0x80 {
        return rest.split_at_checked(first.into());
    }
    let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    let mut length = 0_usize;
    for digit in digits {
        length = length.checked_mul(256)?.checked_add(usize::from(*digit))?;
    }
    rest.split_at_checked(length)
}

fn blob(fields: &[&[u8]]) -> Option<Vec<u8>> {
    let mut blob = Vec::new();
    for field in fields {
        blob.extend(u32::try_from(field.len()).ok()?.to_be_bytes());
        blob.extend(*field);
    }
    Some(blob)
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.34
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// 1.3.132.0.35
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
/// 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
