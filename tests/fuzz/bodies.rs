//! What the fuzz targets do with an input, and what must hold whatever it is.
//!
//! `tests/it/fuzz_seeds.rs` does the same with the seeds, and with what is left of them when they
//! are cut short, without a fuzzer.
#![allow(dead_code, reason = "each target uses one function")]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use portcullis::clock::{Clock, SystemClock};
use portcullis::config::Exec;
use portcullis::exec::Command;
use portcullis::idp::http1::answer as http;
use portcullis::idp::token::{KeySource, Token, TokenSettings};
use portcullis::idp::wire::{self, Asked, Transport};
use portcullis::idp::{AuthMethod, UserConfig};
use portcullis::limits;
use portcullis::sftp::{Frames, Message, decode};

/// An answer of an identity provider. The first byte says what was asked and how the answer came.
pub(crate) fn answer(input: &[u8]) {
    let Some((flags, body)) = input.split_first() else {
        return;
    };
    let flag = |bit: u8| flags & 1 << bit != 0;
    let asked = Asked {
        username: "ann",
        method: if flag(0) {
            AuthMethod::PublicKey
        } else {
            AuthMethod::Password
        },
        accept_keys_with_password: flag(1),
        path_homes: portcullis::idp::PathHomes::default(),
        fs_ids: &[],
        transport: if flag(2) {
            Transport::Lambda
        } else {
            Transport::Http
        },
        function_error: flag(3),
    };
    let status = if flag(4) { 403 } else { 200 };
    if let Ok(config) = wire::parse(asked, status, body) {
        assert_eq!(config.public_keys.is_empty(), !flag(0));
        sound(&config);
    }
}

/// An HTTP/1 answer. It means the same in one piece and in pieces of a length that the first byte
/// says.
pub(crate) fn http_answer(input: &[u8]) {
    let Some((length, bytes)) = input.split_first() else {
        return;
    };
    let step = usize::from(*length) + 1;
    let Ok(Some(head)) = http::parse_head(bytes) else {
        return;
    };
    assert!(head.bytes <= bytes.len());
    for end in (0..head.bytes).step_by(step) {
        let part = http::parse_head(&bytes[..end]);
        assert_eq!(part, Ok(None), "{end} of {}", head.bytes);
    }
    assert_eq!(http::parse_head(&bytes[..head.bytes]), Ok(Some(head)));
    assert_eq!(http::header(&bytes[..head.bytes], ""), None);
    let body = &bytes[head.bytes..];
    let whole = decoded(head, std::iter::once(body));
    assert_eq!(decoded(head, body.chunks(step)), whole);
    if let Some((content, taken)) = whole {
        assert!(content.len() <= taken && taken <= body.len());
        assert!(content.len() <= limits::ANSWER_BYTES_MAX);
    }
}

/// Returns a body, if it is one, and of how many bytes it was made.
fn decoded<'a>(
    head: http::Head,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Option<(Vec<u8>, usize)> {
    let mut body = http::Body::new(head.framing).ok()?;
    let mut taken = 0;
    for piece in pieces {
        let rest = body.take(piece).ok()?;
        assert!(rest.is_empty() || body.is_complete());
        taken += piece.len() - rest.len();
    }
    body.end().ok().map(|content| (content, taken))
}

/// A command line. What is run is run whatever else is allowed, and by its name.
pub(crate) fn command_line(input: &[u8]) {
    assert!(Command::parse(input, Exec::Off).is_err());
    let command = Command::parse(input, Exec::All);
    if let Ok(command) = Command::parse(input, Exec::Scp) {
        assert!(command.name().starts_with("scp -"));
        assert_eq!(Ok(command), Command::parse(input, Exec::All));
    }
    if command.is_ok() {
        assert!(!input.contains(&0) && input.len() <= limits::COMMAND_BYTES_MAX);
    }
}

/// What holds for everybody who is let in.
fn sound(config: &UserConfig) {
    assert!(!config.user.is_empty() && !config.user.contains(char::is_control));
    for mapping in config.home.mappings() {
        let parts = mapping.prefix.split('/');
        let dotted = parts.filter(|part| matches!(*part, "" | "." | ".."));
        assert!(mapping.prefix.is_empty() || dotted.count() == 0);
    }
}

/// A password of the token provider. The first byte says how much of it is right already: nothing,
/// the signature, or the signature over a header of its own, which ends with a zero.
pub(crate) fn token(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    let signed = |header: &[u8], claims: &[u8]| {
        let message = format!("{}.{}", b64(header), b64(claims));
        let signature = crypto::sign(message.as_bytes(), &ISSUER.key, Algorithm::EdDSA);
        format!("{message}.{}", signature.expect("the key signs"))
    };
    let token = match mode % 3 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        1 => signed(br#"{"alg":"EdDSA","kid":"k"}"#, rest),
        _ => match rest.iter().position(|byte| *byte == 0) {
            Some(at) => signed(&rest[..at], &rest[at + 1..]),
            None => return,
        },
    };
    if let Ok(config) = ISSUER.provider.judge_now("ann", &token) {
        assert_ne!(mode % 3, 0, "nobody guesses a signature");
        sound(&config);
        assert_eq!(&*config.user, "ann");
        let [mapping] = config.home.mappings() else {
            panic!("one mapping was written");
        };
        assert_eq!(mapping.bucket.as_str(), "bucket");
        assert_eq!(mapping.prefix.split('/').count(), 2);
        assert!(mapping.prefix.ends_with("/in"));
        assert!(config.expires_at.is_some_and(|end| end > FixedClock.wall()));
    }
}

fn b64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..=three.len() {
            let index = bits >> (18 - 6 * digit) & 63;
            text.push(char::from(DIGITS[index as usize]));
        }
    }
    text
}

struct TestIssuer {
    key: EncodingKey,
    provider: Token,
}

static ISSUER: LazyLock<TestIssuer> = LazyLock::new(|| {
    // PKCS#8 with a private key that is no secret.
    let head = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let key = EncodingKey::from_ed_der(&[&head[..], &[7; 32]].concat());
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::EdDSA).expect("the key is one");
    jwk.common.key_id = Some("k".to_owned());
    let settings = TokenSettings {
        keys: KeySource::File(String::new()),
        issuer: "i".to_owned(),
        audience: "a".to_owned(),
        algorithms: ["EdDSA", "ES256", "RS256"].map(str::to_owned).to_vec(),
        clock_skew: Duration::from_secs(30),
        user_claim: "sub".to_owned(),
        mappings: vec!["/in=/bucket/{tenant}/in:write".to_owned()],
        home: None,
        role: Some("arn:aws:iam::1:role/{tenant}".to_owned()),
        policy: Some(r#"{"a":"{tenant}"}"#.to_owned()),
    };
    let jwks = serde_json::json!({ "keys": [jwk] }).to_string();
    let provider = Token::with_keys(&settings, &jwks, Arc::new(FixedClock));
    TestIssuer {
        key,
        provider: provider.expect("the settings are good"),
    }
});

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Instant {
        SystemClock.now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }
}

/// What an SFTP client sends, in pieces of a length that the first byte says.
pub(crate) fn sftp_packets(input: &[u8]) {
    let Some((length, rest)) = input.split_first() else {
        return;
    };
    let mut frames = Frames::default();
    for piece in rest.chunks(usize::from(*length) + 1) {
        frames.push(Bytes::copy_from_slice(piece));
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => match decode(frame) {
                    Ok(Message::Init { .. } | Message::Request { .. }) | Err(_) => {}
                },
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}
