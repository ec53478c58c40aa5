//! What a client says first: its version line and its key exchange offer (pure).
//!
//! It is read before the SSH library sees it, because the client's order decides which cipher is
//! used (RFC 4253 §7.1) and most clients put a slow one first. A client that can do AES-GCM is
//! offered nothing else, which makes transfers about half again as fast; all others get the full
//! list.

#![warn(clippy::arithmetic_side_effects)]

/// Longest version line, with its end (RFC 4253 §4.2).
const VERSION_LINE_BYTES_MAX: usize = 255;
/// A key exchange offer longer than this is left to the SSH library: OpenSSH sends 1.5 KiB.
const OFFER_BYTES_MAX: usize = 16 * 1024;
/// `SSH_MSG_KEXINIT` (RFC 4253 §12).
const KEXINIT: u8 = 20;
const COOKIE_BYTES: usize = 16;
const GCM: [&[u8]; 2] = [b"aes128-gcm@openssh.com", b"aes256-gcm@openssh.com"];
const CHACHA20: &[u8] = b"chacha20-poly1305@openssh.com";
/// Every cipher that we have.
const OURS: [&[u8]; 6] = [
    GCM[0],
    GCM[1],
    CHACHA20,
    b"aes256-ctr",
    b"aes192-ctr",
    b"aes128-ctr",
];

/// The bytes up to and with the first line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VersionLine {
    Unfinished,
    /// It does not speak SSH 2.0.
    Foreign,
    /// What follows the line starts here.
    EndsAt(usize),
}

/// Which ciphers a client is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CipherOffer {
    /// AES-GCM alone: the client can do it in both directions.
    Gcm,
    /// All of ours, of which the client will take AES in counter mode, both ways.
    Counter,
    /// All of ours.
    Full,
}

/// Looks for the version line at the start of what was received.
pub(super) fn version_line(received: &[u8]) -> VersionLine {
    const PREFIXES: [&[u8]; 2] = [b"SSH-2.0-", b"SSH-1.99-"];
    let possible = PREFIXES.iter().any(|prefix| {
        received
            .iter()
            .zip(*prefix)
            .all(|(have, want)| have == want)
    });
    if !possible {
        return VersionLine::Foreign;
    }
    let line = received
        .iter()
        .take(VERSION_LINE_BYTES_MAX)
        .position(|byte| *byte == b'\n');
    match line {
        // Shorter than its prefix.
        Some(end) if end < 8 => VersionLine::Foreign,
        Some(end) => VersionLine::EndsAt(end.saturating_add(1)),
        None if received.len() >= VERSION_LINE_BYTES_MAX => VersionLine::Foreign,
        None => VersionLine::Unfinished,
    }
}

/// Returns the client's version line, without its end; it may have anything in it.
pub(super) fn software(received: &[u8]) -> Option<String> {
    let VersionLine::EndsAt(end) = version_line(received) else {
        return None;
    };
    let line = received.get(..end)?.trim_ascii_end();
    Some(String::from_utf8_lossy(line).into_owned())
}

/// What the key exchange comes to (RFC 4253 §7.1): of each list the client's first that we have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Algorithms {
    pub(super) kex: Option<String>,
    /// Towards us; the other direction is hardly ever another.
    pub(super) cipher: Option<String>,
    pub(super) mac: Option<String>,
}

/// Says which algorithms will be used; `received` begins with the version line.
pub(super) fn algorithms(
    received: &[u8],
    kex: &[&str],
    ciphers: &[&str],
    macs: &[&str],
) -> Option<Algorithms> {
    let VersionLine::EndsAt(end) = version_line(received) else {
        return None;
    };
    let (length, packet) = received.get(end..)?.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let mut lists = lists(packet.get(..length)?)?;
    let first = |ours: &[&str], list: &[u8]| {
        let ours: Vec<_> = ours.iter().map(|name| name.as_bytes()).collect();
        let name = first_of(&ours, list)?;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    let (their_kex, _host_keys) = (name_list(&mut lists)?, name_list(&mut lists)?);
    let (to_server, _to_client) = (name_list(&mut lists)?, name_list(&mut lists)?);
    let cipher = first(ciphers, to_server);
    // These bring their own.
    let authenticated = |name: &String| name.ends_with("@openssh.com");
    let mac = match &cipher {
        Some(name) if !authenticated(name) => first(macs, name_list(&mut lists)?),
        Some(_) | None => None,
    };
    Some(Algorithms {
        kex: first(kex, their_kex),
        cipher,
        mac,
    })
}

/// Says whether a client with this version line copes with announced host keys: OpenSSH's list of
/// those that do not.
pub(super) fn takes_announcements(line: &[u8]) -> bool {
    const BEGINNINGS: [&str; 9] = [
        "Cisco-1.",
        "TeraTerm SSH",
        "TTSSH/1.5.",
        "TTSSH/2.1",
        "TTSSH/2.2",
        "TTSSH/2.3",
        "TTSSH/2.4",
        "TTSSH/2.5",
        "TTSSH/2.6",
    ];
    const LAST_OF_TTSSH: [&str; 3] = ["TTSSH/2.70", "TTSSH/2.71", "TTSSH/2.72"];
    let software = line.splitn(3, |byte| *byte == b'-').nth(2).unwrap_or(line);
    !BEGINNINGS
        .iter()
        .chain(&LAST_OF_TTSSH)
        .any(|beginning| software.starts_with(beginning.as_bytes()))
}

/// Says what to offer, once the first packet is complete; `packets` is what follows the line.
pub(super) fn cipher_offer(packets: &[u8]) -> Option<CipherOffer> {
    let (length, packet) = packets.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > OFFER_BYTES_MAX {
        return Some(CipherOffer::Full);
    }
    let packet = packet.get(..length)?;
    let Some((to_server, to_client)) = ciphers(packet) else {
        return Some(CipherOffer::Full);
    };
    let gcm = first_of(&GCM, to_server);
    if gcm.is_some() && gcm == first_of(&GCM, to_client) {
        return Some(CipherOffer::Gcm);
    }
    let counter = |list| first_of(&OURS, list).is_some_and(|name| name != CHACHA20);
    Some(if counter(to_server) && counter(to_client) {
        CipherOffer::Counter
    } else {
        CipherOffer::Full
    })
}

/// The two cipher lists of an unencrypted packet (RFC 4253 §6, §7.1), if it is an offer.
fn ciphers(packet: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = lists(packet)?;
    let _key_exchanges = name_list(&mut rest)?;
    let _host_keys = name_list(&mut rest)?;
    Some((name_list(&mut rest)?, name_list(&mut rest)?))
}

/// The lists of names of an unencrypted packet, if it is an offer.
fn lists(packet: &[u8]) -> Option<&[u8]> {
    let (padding, rest) = packet.split_first()?;
    let payload = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
    let (kind, rest) = payload.split_first()?;
    if *kind != KEXINIT {
        return None;
    }
    rest.get(COOKIE_BYTES..)
}

fn name_list<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (list, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    Some(list)
}

fn first_of<'a>(ours: &[&[u8]], list: &'a [u8]) -> Option<&'a [u8]> {
    list.split(|byte| *byte == b',')
        .find(|name| ours.contains(name))
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "numbers of tests, not of clients"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offer(to_server: &str, to_client: &str) -> Vec<u8> {
        let mut payload = vec![KEXINIT];
        payload.extend([7; COOKIE_BYTES]);
        for list in ["curve25519-sha256", "ssh-ed25519", to_server, to_client] {
            payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            payload.extend(list.as_bytes());
        }
        payload.extend([0; 40]);
        let padding = 6;
        let mut packet = u32::try_from(payload.len() + 1 + padding)
            .unwrap()
            .to_be_bytes()
            .to_vec();
        packet.push(u8::try_from(padding).unwrap());
        packet.extend(payload);
        packet.extend(vec![0; padding]);
        packet
    }

    const CHACHA: &str = "chacha20-poly1305@openssh.com";
    const GCM256: &str = "aes256-gcm@openssh.com";

    #[test]
    fn a_client_that_can_do_gcm_is_offered_gcm() {
        let openssh = format!("{CHACHA},aes128-ctr,aes192-ctr,aes128-gcm@openssh.com,{GCM256}");
        assert_eq!(
            cipher_offer(&offer(&openssh, &openssh)),
            Some(CipherOffer::Gcm)
        );
        assert_eq!(cipher_offer(&offer(GCM256, GCM256)), Some(CipherOffer::Gcm));
    }

    #[test]
    fn the_clients_first_algorithms_that_we_have_are_used() {
        let ours = |cipher: &str| {
            let hello = [&b"SSH-2.0-any\r\n"[..], &offer(cipher, cipher)].concat();
            algorithms(
                &hello,
                &["x", "curve25519-sha256"],
                &[GCM256, "aes128-ctr"],
                &["m"],
            )
        };
        let found = ours(&format!("{CHACHA},{GCM256},aes128-ctr")).unwrap();
        assert_eq!(found.kex.as_deref(), Some("curve25519-sha256"));
        assert_eq!((found.cipher.as_deref(), found.mac), (Some(GCM256), None));
        assert_eq!(ours("none").unwrap().cipher, None);
        assert_eq!(algorithms(b"SSH-2.0-any\r\n", &[], &[], &[]), None);
        assert_eq!(
            software(b"SSH-2.0-any thing\r\n...").unwrap(),
            "SSH-2.0-any thing"
        );
        assert_eq!(software(b"GET /\r\n"), None);
    }

    #[test]
    fn a_client_without_gcm_in_both_directions_is_offered_everything() {
        for (to_server, to_client, expected) in [
            (CHACHA, CHACHA, CipherOffer::Full),
            ("aes128-ctr", "aes128-ctr", CipherOffer::Counter),
            (
                "aes128-ctr,aes256-ctr",
                "x,aes256-ctr",
                CipherOffer::Counter,
            ),
            ("aes128-ctr", CHACHA, CipherOffer::Full),
            (GCM256, CHACHA, CipherOffer::Full),
            (CHACHA, GCM256, CipherOffer::Full),
            (GCM256, "aes128-gcm@openssh.com", CipherOffer::Counter),
            ("", "", CipherOffer::Full),
        ] {
            assert_eq!(
                cipher_offer(&offer(to_server, to_client)),
                Some(expected),
                "{to_server} / {to_client}"
            );
        }
    }

    #[test]
    fn an_offer_is_judged_when_it_is_whole() {
        let packet = offer(GCM256, GCM256);
        for end in 0..packet.len() {
            assert_eq!(cipher_offer(&packet[..end]), None);
        }
        assert_eq!(
            cipher_offer(&[0, 1, 0, 0]),
            Some(CipherOffer::Full),
            "a length beyond the bound is not waited for"
        );
    }

    #[test]
    fn the_version_line_ends_where_its_line_does() {
        for (text, expected) in [
            ("", VersionLine::Unfinished),
            ("SSH-", VersionLine::Unfinished),
            ("SSH-2.0-x\r\n", VersionLine::EndsAt(11)),
            ("SSH-2.0-x\nrest", VersionLine::EndsAt(10)),
            ("SSH-1.99-x\n", VersionLine::EndsAt(11)),
            ("SSH-1.5-x\n", VersionLine::Foreign),
            ("SSH-2\n", VersionLine::Foreign),
            ("GET / HTTP/1.1\r\n", VersionLine::Foreign),
            ("\n", VersionLine::Foreign),
        ] {
            assert_eq!(version_line(text.as_bytes()), expected, "{text:?}");
        }
        let endless = format!("SSH-2.0-{}", "x".repeat(300));
        assert_eq!(version_line(endless.as_bytes()), VersionLine::Foreign);
    }

    #[test]
    fn clients_that_do_not_cope_with_announcements_get_none() {
        for (line, expected) in [
            ("SSH-2.0-OpenSSH_9.2p1 Debian-2", true),
            ("SSH-2.0-TTSSH/2.73 Win32", true),
            ("SSH-2.0-TTSSH/2.72 Win32", false),
            ("SSH-2.0-TTSSH/2.58 Win32", false),
            ("SSH-2.0-Cisco-1.25", false),
            ("SSH-2.0-Cisco-2.0", true),
            ("SSH-2.0-", true),
        ] {
            assert_eq!(takes_announcements(line.as_bytes()), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parsers(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0_usize..400,
        ) {
            let _: VersionLine = version_line(&bytes);
            let _: Option<CipherOffer> = cipher_offer(&bytes);
            let mut packet = offer(GCM256, CHACHA);
            for (index, byte) in bytes.iter().enumerate() {
                let at = (cut + index * 7) % packet.len();
                packet[at] ^= byte;
            }
            packet.truncate(cut);
            let _: Option<CipherOffer> = cipher_offer(&packet);
        }
    }
}
