//! Keys as `ssh-keygen` and `openssl` write them, and as people bend them.

use super::*;

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/keys/", $name))
    };
}

/// One key of each type: as a line, in PEM and in RFC 4716.
const FILES: [(&str, &str, &str); 5] = [
    (
        file!("ed25519.pub"),
        file!("ed25519.pem"),
        file!("ed25519.rfc4716"),
    ),
    (file!("p256.pub"), file!("p256.pem"), file!("p256.rfc4716")),
    (file!("p384.pub"), file!("p384.pem"), file!("p384.rfc4716")),
    (file!("p521.pub"), file!("p521.pem"), file!("p521.rfc4716")),
    (file!("rsa.pub"), file!("rsa.pem"), file!("rsa.rfc4716")),
];

fn given(texts: &[&str]) -> Vec<Given> {
    texts
        .iter()
        .map(|text| Given::from((*text).to_owned()))
        .collect()
}

fn found(texts: &[&str]) -> Keys {
    read(&given(texts)).unwrap()
}

/// The type and the base64 of each, without padding and comments.
fn keys(found: &Keys) -> Vec<String> {
    let bare = |key: &ListedKey| bare(&key.line);
    found.keys.iter().map(bare).collect()
}

fn bare(line: &str) -> String {
    let mut words = line.split_whitespace();
    let (key_type, base64) = (words.next().unwrap(), words.next().unwrap());
    format!("{key_type} {}", base64.trim_end_matches('='))
}

#[track_caller]
fn reads(texts: &[&str], expected: &[&str], forms: &[&str]) {
    let found = found(texts);
    let expected: Vec<_> = expected.iter().map(|line| bare(line)).collect();
    assert_eq!(keys(&found), expected, "{texts:?}: {:?}", found.unreadable);
    assert_eq!(found.unreadable, [""; 0], "{texts:?}");
    assert_eq!(
        found.forms.iter().copied().collect::<Vec<_>>(),
        forms,
        "{texts:?}"
    );
}

#[test]
fn every_type_is_read_in_every_form() {
    for (line, pem, rfc4716) in FILES {
        reads(&[line], &[line], &[]);
        reads(&[pem], &[line], &["PEM"]);
        reads(&[rfc4716], &[line], &["RFC 4716"]);
        let escaped = line.trim().to_owned() + "\\n";
        reads(&[&escaped], &[line], &[]);
        let one_line = pem.replace('\n', " ");
        reads(&[&one_line], &[line], &["PEM"]);
        let crlf = rfc4716.replace('\n', "\r\n");
        reads(&[&crlf], &[line], &["RFC 4716"]);
        let lines: Vec<_> = pem.lines().collect();
        reads(&lines, &[line], &["PEM"]);
        reads(&[pem, line, rfc4716], &[line; 3], &["PEM", "RFC 4716"]);
        assert!(is_key(line));
    }
    reads(&[file!("rsa.pkcs1")], &[file!("rsa.pub")], &["PEM"]);
}

#[test]
fn a_key_that_was_broken_into_lines_is_put_together() {
    for (line, ..) in FILES {
        let mut words = line.split_whitespace();
        let (key_type, base64) = (words.next().unwrap(), words.next().unwrap());
        for width in [1, 19, 64, 76] {
            let parts: Vec<_> = base64.as_bytes().chunks(width).collect();
            let parts = parts.iter().map(|part| str::from_utf8(part).unwrap());
            let parts: Vec<_> = parts.collect();
            for between in ["\n", "\r\n  ", " "] {
                for comment in ["", " ann", " a b c", " ann@laptop"] {
                    let text = format!("{key_type} {}{comment}", parts.join(between));
                    if base64.len() <= width {
                        continue;
                    }
                    let other = FILES[0].0;
                    reads(&[&text, other], &[line, other], &["broken into lines"]);
                    let all = format!("{text}\n{other}");
                    reads(&[&all], &[line, other], &["broken into lines"]);
                }
            }
        }
    }
}

#[test]
fn keys_joined_with_commas_are_taken_apart() {
    let [(a, ..), (b, ..), _, _, (c, ..)] = FILES.map(|(line, ..)| (line.trim(), ()));
    reads(&[&format!("{a},{b}, {c}")], &[a, b, c], &[]);
    reads(&[&format!("{a},ann,{b}")], &[a, b], &[]);
    let bare = bare(a);
    reads(&[&format!("{bare},{b}\n{c}")], &[a, b, c], &[]);
    // A comma inside options joins nothing: what stands there is a condition.
    let conditional = format!("command=\"x,{b}\",restrict {a}");
    let found = found(&[&conditional]);
    assert_eq!(found.keys, [conditional.as_str().into()]);
}

#[test]
fn one_bad_key_among_good_ones_is_named() {
    let [good, other] = [FILES[0].0.trim(), FILES[1].0.trim()];
    let cut_off = good.split_at(good.len() - 30).0;
    let swapped = good.replace("ssh-ed25519", "ssh-rsa");
    for (bad, why) in [
        (cut_off, "incomplete"),
        (&*swapped, "of another type"),
        ("ssh-ed25519", "incomplete"),
        ("ssh-ed25519 !!!!", "incomplete"),
        (
            "ssh-dss AAAAB3NzaC1kc3M= ann",
            "\"ssh-dss\" is not supported",
        ),
        (
            "ssh-ed25519-cert-v01@openssh.com AAAA",
            "\"ssh-ed25519-cert-v01@openssh.com\" is not supported",
        ),
        ("Walnut-39", "does not begin with a key type"),
        ("walnut-39", "does not begin with a key type"),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nd2FsbnV0\n-----END OPENSSH PRIVATE KEY-----",
            "private key",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "not a public key",
        ),
        ("-----BEGIN PUBLIC KEY-----\nMIIB", "not a public key"),
        ("---- BEGIN SSH2 PUBLIC KEY ----", "not a public key"),
    ] {
        let found = found(&[good, bad, other]);
        assert_eq!(keys(&found), [bare(good), bare(other)], "{bad}");
        let [text] = &*found.unreadable else {
            panic!("{bad}: {:?}", found.unreadable)
        };
        assert!(
            text.starts_with("key 2") && text.contains(why),
            "{bad}: {text}"
        );
        assert!(!text.to_lowercase().contains("walnut"), "{text}");
    }
    let text = format!("# ann\n{good}\n\nbad\n{other}\n");
    let found = found(&[&text]);
    assert_eq!(keys(&found), [bare(good), bare(other)]);
    assert!(
        found.unreadable[0].starts_with("key 1, line 4: "),
        "{found:?}"
    );
}

#[test]
fn what_is_blank_is_told_from_what_cannot_be_read() {
    for (texts, has_text, has_blanks) in [
        (&[][..], false, false),
        (&[""][..], false, true),
        (&[" \n\\n\n"][..], false, true),
        (&["", "x"][..], true, true),
        (&["# no keys"][..], true, false),
    ] {
        let found = found(texts);
        assert_eq!(
            (found.has_text, found.has_blanks),
            (has_text, has_blanks),
            "{texts:?}"
        );
        assert!(found.keys.is_empty(), "{texts:?}");
    }
}

#[test]
fn lists_are_bounded() {
    let refused = |texts: &[&str]| read(&given(texts)).unwrap_err().reason;
    let line = FILES[0].0;
    assert_eq!(
        found(&vec![line; limits::PUBLIC_KEYS_MAX]).keys.len(),
        limits::PUBLIC_KEYS_MAX
    );
    assert_eq!(
        refused(&vec![line; limits::PUBLIC_KEYS_MAX + 1]),
        Reason::TooManyKeys
    );
    assert_eq!(
        refused(&vec!["x"; limits::PUBLIC_KEYS_MAX + 1]),
        Reason::TooManyKeys
    );
    let long = format!("ssh-rsa {}", "A".repeat(limits::PUBLIC_KEY_BYTES_MAX));
    assert_eq!(refused(&[&long]), Reason::KeyTooLong);
}

#[test]
fn a_key_may_have_an_end() {
    let with = |expires: Option<&str>| {
        let expires = expires.map(str::to_owned);
        let text = FILES[0].0.to_owned();
        read(&[Given { text, expires }]).unwrap()
    };
    assert_eq!(with(None).keys[0].expires_at, None);
    let end = timestamp::parse("2030-01-02T03:04:05Z");
    // As Python's `isoformat` writes it, and with another zone.
    for text in [
        "2030-01-02T03:04:05+00:00",
        "2030-01-02 04:04:05.123456+01:00",
    ] {
        assert_eq!(with(Some(text)).keys[0].expires_at, end, "{text}");
    }
    for text in ["2030-01-02T03:04:05", "2030-01-02", "soon", "1893553445"] {
        let found = with(Some(text));
        assert!(found.keys.is_empty(), "{text}");
        assert!(
            found.unreadable[0].contains("not a time"),
            "{:?}",
            found.unreadable
        );
    }
}

/// Quadratic work would take hours here, and the test its patience.
#[test]
fn a_key_that_goes_on_and_on_costs_no_more_than_its_length() {
    for tail in [
        "a,".repeat(1 << 20),
        ",".repeat(1 << 21),
        ", ".repeat(1 << 20),
    ] {
        let given = Given::from(format!("ssh-ed25519 AAAA {tail}"));
        drop(read(&[given]));
    }
    let lines = Given::from("#\n".repeat(LINES_MAX));
    assert_eq!(read(&[lines]).unwrap_err().reason, Reason::TooManyKeys);
}
