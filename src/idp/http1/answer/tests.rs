//! Heads and bodies, whole and in pieces.

use proptest::prelude::*;

use super::*;

fn head(text: &str) -> Head {
    parse_head(text.as_bytes()).unwrap().unwrap()
}

#[test]
fn a_header_is_found_by_its_name_in_any_spelling() {
    let head = b"HTTP/1.1 200 OK\r\nX-Amz-Function-Error:  Unhandled \r\nEmpty:\r\n\
        x-amz-function-error: Handled\r\nNot-Text: \xff\r\n\r\n";
    for (name, value) in [
        ("X-Amz-Function-Error", Some(&b"Unhandled"[..])),
        ("x-amz-function-error", Some(b"Unhandled")),
        ("empty", Some(b"")),
        ("not-text", Some(b"\xff")),
        ("function-error", None),
        ("", None),
    ] {
        assert_eq!(header(head, name), value, "{name}");
    }
    for cut in 0..head.len() {
        assert_eq!(header(&head[..cut], "x"), None);
    }
}

#[test]
fn a_head_says_how_its_body_ends() {
    for (text, framing, keeps_open) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            Framing::Length(2),
            true,
        ),
        (
            "HTTP/1.1 200\r\ncontent-length: 2\r\nCONTENT-LENGTH: 2\r\n\r\n",
            Framing::Length(2),
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
            Framing::Chunked,
            true,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose, false),
        ("HTTP/1.1 204 X\r\n\r\n", Framing::Length(0), true),
        (
            "HTTP/1.1 304 X\r\ncontent-length: 9\r\n\r\n",
            Framing::Length(0),
            true,
        ),
        (
            "HTTP/1.1 200 OK\nContent-Length: 2\n\n",
            Framing::Length(2),
            true,
        ),
        (
            "HTTP/1.1 200 X\r\nConnection: x, Close\r\ncontent-length: 0\r\n\r\n",
            Framing::Length(0),
            false,
        ),
        (
            "HTTP/1.0 200 X\r\ncontent-length: 0\r\n\r\n",
            Framing::Length(0),
            false,
        ),
        (
            "HTTP/1.0 200 X\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
            Framing::Length(0),
            true,
        ),
    ] {
        let found = head(text);
        assert_eq!(
            (found.framing, found.keeps_open),
            (framing, keeps_open),
            "{text}"
        );
    }
    assert!(head("HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\n\r\n").encoded);
    assert!(!head("HTTP/1.1 200 X\r\nContent-Encoding: Identity\r\n\r\n").encoded);
    assert!(head("HTTP/1.1 103 X\r\n\r\n").is_interim());
    assert!(!head("HTTP/1.1 101 X\r\n\r\n").is_interim());
    assert_eq!(head("HTTP/1.1 200 X\r\n\r\n{}").bytes, 18);
}

#[test]
fn a_head_that_cannot_be_trusted_is_a_fault() {
    for text in [
        "220 mail.example.com ESMTP",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 X\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 X\r\n: x\r\n\r\n",
        "\r\nHTTP/1.1 200 X\r\n\r\n",
    ] {
        assert_eq!(parse_head(text.as_bytes()), Err(Fault::NotHttp), "{text}");
    }
    for lines in [
        "content-length: 1\r\ncontent-length: 2",
        "content-length: 1, 1",
        "content-length: +1",
        "content-length: ",
        "content-length: 99999999999999999999",
        "content-length: 1\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    ] {
        let text = format!("HTTP/1.1 200 X\r\n{lines}\r\n\r\n");
        let found = parse_head(text.as_bytes());
        assert!(
            matches!(found, Err(Fault::Framing(_))),
            "{lines}: {found:?}"
        );
    }
    let long = format!(
        "HTTP/1.1 200 X\r\nx: {}",
        "y".repeat(limits::ANSWER_HEAD_BYTES_MAX)
    );
    assert_eq!(parse_head(long.as_bytes()), Err(Fault::HeadTooLong));
    assert_eq!(
        parse_head(format!("{long}\r\n\r\n").as_bytes()),
        Err(Fault::HeadTooLong)
    );
    let many = format!("HTTP/1.1 200 X\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert_eq!(parse_head(many.as_bytes()), Err(Fault::HeadTooLong));
}

#[test]
fn a_head_may_come_in_any_pieces() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    for end in 0..text.len() {
        assert_eq!(parse_head(&text.as_bytes()[..end]), Ok(None), "{end}");
    }
    assert_eq!(head(text).bytes, text.len());
}

/// Reads a body in pieces of one size.
fn body(framing: Framing, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, usize), Fault> {
    let mut body = Body::new(framing)?;
    let mut rest = 0_usize;
    for piece in bytes.chunks(piece) {
        rest = rest.saturating_add(body.take(piece)?.len());
    }
    Ok((body.end()?, rest))
}

#[test]
fn a_body_may_come_in_any_pieces() {
    for (framing, bytes, expected, rest) in [
        (Framing::Length(2), "{}", "{}", 0),
        (Framing::Length(2), "{}HTTP", "{}", 4),
        (Framing::Length(0), "x", "", 1),
        (Framing::UntilClose, "{} ", "{} ", 0),
        (Framing::Chunked, "2\r\n{}\r\n0\r\n\r\n", "{}", 0),
        (
            Framing::Chunked,
            "1;a=b\r\n{\r\n 1 \n}\n0\nT: x\r\n\nrest",
            "{}",
            4,
        ),
        (
            Framing::Chunked,
            "A\r\n0123456789\r\n00\r\n\r\n",
            "0123456789",
            0,
        ),
        (Framing::Chunked, "0\r\n\r\n", "", 0),
    ] {
        for piece in 1..=bytes.len() {
            let found = body(framing, bytes.as_bytes(), piece);
            assert_eq!(found, Ok((expected.into(), rest)), "{bytes:?} by {piece}");
        }
    }
}

#[test]
fn a_body_that_is_not_what_was_said_is_a_fault() {
    for (framing, bytes) in [
        (Framing::Length(3), "{}"),
        (Framing::Chunked, ""),
        (Framing::Chunked, "2\r\n{}"),
        (Framing::Chunked, "2\r\n{}\r\n"),
        (Framing::Chunked, "2\r\n{}\r\n0\r\n"),
    ] {
        assert_eq!(
            body(framing, bytes.as_bytes(), 4),
            Err(Fault::Cut),
            "{bytes:?}"
        );
    }
    for bytes in [
        "\r\n",
        "x\r\n",
        "+1\r\n{",
        "-1\r\n",
        "1\r\n{}\r\n",
        "11111111111111111\r\n",
    ] {
        let found = body(Framing::Chunked, bytes.as_bytes(), 2);
        assert!(
            matches!(found, Err(Fault::Framing(_))),
            "{bytes:?}: {found:?}"
        );
    }
    let line = format!("1;{}", "x".repeat(limits::CHUNK_LINE_BYTES_MAX));
    assert!(body(Framing::Chunked, line.as_bytes(), 7).is_err());
    let trailer = format!("0\r\n{}", "x: y\r\n".repeat(limits::ANSWER_HEAD_BYTES_MAX));
    assert_eq!(
        body(Framing::Chunked, trailer.as_bytes(), 999),
        Err(Fault::HeadTooLong)
    );
}

#[test]
fn a_body_is_bounded_whatever_it_says() {
    let most = limits::ANSWER_BYTES_MAX;
    assert!(Body::new(Framing::Length(most as u64)).is_ok());
    let too_long = Body::new(Framing::Length(most as u64 + 1)).unwrap_err();
    assert_eq!(too_long, Fault::BodyTooLong);
    let long = vec![b' '; most + 1];
    assert_eq!(
        body(Framing::UntilClose, &long, 65_536),
        Err(Fault::BodyTooLong)
    );
    let mut body = Body::new(Framing::Chunked).unwrap();
    body.take(b"ffffffff\r\n").unwrap();
    assert!(body.take(&long[..most]).is_ok());
    assert_eq!(body.take(b" ").unwrap_err(), Fault::BodyTooLong);
}

/// Reads an answer as the client does; says what is left over.
fn whole(bytes: &[u8], piece: usize) -> Result<(u16, Vec<u8>, usize), Fault> {
    let mut seen = Vec::new();
    let mut pieces = bytes.chunks(piece);
    let head = loop {
        if let Some(head) = parse_head(&seen)? {
            break head;
        }
        seen.extend_from_slice(pieces.next().ok_or(Fault::Cut)?);
    };
    let mut body = Body::new(head.framing)?;
    let mut left = body.take(&seen[head.bytes..])?.len();
    for piece in pieces {
        left = left.saturating_add(body.take(piece)?.len());
    }
    Ok((head.status, body.end()?, left))
}

/// Words of HTTP in any order, with noise between them.
fn any_answer() -> impl Strategy<Value = Vec<u8>> {
    let words = proptest::sample::select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\n",
        "HTTP/1.1 ",
        "content-length: 3\r\n",
        "content-length: 99\r\n",
        "transfer-encoding: chunked\r\n",
        "connection: close\r\n",
        "x: y\r\n",
        "\r\n",
        "\n",
        "3\r\nabc\r\n",
        "0\r\n\r\n",
        "fffffffffffffff\r\n",
        "{}",
    ]);
    let part = prop_oneof![
        8 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    let head = Just(b"HTTP/1.1 200 OK\r\n".to_vec());
    (
        prop_oneof![3 => head, 1 => Just(Vec::new())],
        prop::collection::vec(part, 0..10),
    )
        .prop_map(|(head, parts)| [head, parts.concat()].concat())
}

proptest! {
    #[test]
    fn how_an_answer_is_cut_into_pieces_changes_nothing(bytes in any_answer(), piece in 1_usize..9) {
        let (at_once, in_pieces) = (whole(&bytes, usize::MAX), whole(&bytes, piece));
        prop_assert_eq!(at_once, in_pieces);
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let head = parse_head(&bytes);
        prop_assert!(!matches!(head, Ok(Some(head)) if head.bytes > bytes.len()));
        for framing in [Framing::Length(100), Framing::Chunked, Framing::UntilClose] {
            drop(body(framing, &bytes, 3));
        }
    }
}
