use proptest::prelude::*;

use super::*;

/// A header of version 2: command, family, and what follows, with its true length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&V2_START[..], &[command, family], &length, rest].concat()
}

/// Addresses and ports of version 2 for IPv4: 192.0.2.7 to 10.0.0.1.
const FOUR: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 0, 22];

fn six() -> Vec<u8> {
    let source = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap();
    [&source.octets()[..], &[0; 16], &[0x9c, 0x40, 0, 22]].concat()
}

/// Frames and reads what starts with a header.
fn read(received: &[u8]) -> Option<(Named, usize)> {
    match frame(received) {
        Frame::EndsAt(end, version) => Some((named(&received[..end], version)?, end)),
        Frame::Unfinished | Frame::Missing | Frame::TooLong => None,
    }
}

fn client(text: &str) -> Named {
    Named::Client(text.parse().unwrap())
}

#[test]
fn both_versions_name_the_client() {
    let tlv = |bytes: usize| [&FOUR[..], &[0x04, 0, 9], &vec![7; bytes]].concat();
    for (header, expected) in [
        (
            b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 22\r\n".to_vec(),
            client("192.0.2.7"),
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 40000 22\r\n".to_vec(),
            client("2001:db8::7"),
        ),
        (
            b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 22\r\n".to_vec(),
            client("192.0.2.7"),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), Named::Nobody),
        (
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
            Named::Nobody,
        ),
        (v2(0x21, 0x11, &FOUR), client("192.0.2.7")),
        (v2(0x21, 0x11, &tlv(9)), client("192.0.2.7")),
        // What no field can be is passed over as well.
        (v2(0x21, 0x11, &tlv(2)), client("192.0.2.7")),
        (v2(0x21, 0x21, &six()), client("2001:db8::7")),
        (v2(0x20, 0x00, b""), Named::Local),
        (v2(0x20, 0x11, &FOUR), Named::Local),
        (v2(0x21, 0x00, b""), Named::Nobody),
        (v2(0x21, 0x31, &[0; 216]), Named::Nobody),
    ] {
        let shown = String::from_utf8_lossy(&header).into_owned();
        let followed = [&header[..], b"SSH-2.0-x\r\n"].concat();
        assert_eq!(read(&followed), Some((expected, header.len())), "{shown}");
        for cut in 0..header.len() {
            assert_eq!(
                frame(&header[..cut]),
                Frame::Unfinished,
                "{shown} cut at {cut}"
            );
        }
    }
}

#[test]
fn what_lies_is_refused() {
    for header in [
        &b"PROXY TCP4 192.0.2.7\r\n"[..],
        b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 99999\r\n",
        b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
        b"PROXY \r\n",
        b"PROXY \xff\xff\xff\xff\xff\xff\xff\xff\xff\r\n",
        // No room for the addresses of the family, an unknown one, and datagrams.
        &v2(0x21, 0x11, &FOUR[..11]),
        &v2(0x21, 0x21, &FOUR),
        &v2(0x21, 0x31, &FOUR),
        &v2(0x21, 0x41, &FOUR),
        &v2(0x21, 0x12, &FOUR),
        // Another version, another command.
        &v2(0x11, 0x11, &FOUR),
        &v2(0x22, 0x11, &FOUR),
    ] {
        let shown = String::from_utf8_lossy(header);
        assert!(matches!(frame(header), Frame::EndsAt(..)), "{shown}");
        assert_eq!(read(header), None, "{shown}");
    }
}

#[test]
fn what_is_long_is_not_waited_for() {
    let line = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
    assert_eq!(frame(&line[..106]), Frame::Unfinished);
    assert_eq!(frame(&line[..107]), Frame::TooLong);
    let ended = [&line[..105], b"\r\n"].concat();
    assert_eq!(read(&ended), Some((Named::Nobody, 107)));
    let longest = v2(0x21, 0x11, &[&FOUR[..], &vec![0; 4_096 - 28]].concat());
    assert_eq!(read(&longest), Some((client("192.0.2.7"), 4_096)));
    let longer = v2(0x21, 0x11, &[&FOUR[..], &vec![0; 4_096 - 27]].concat());
    assert_eq!(frame(&longer[..15]), Frame::Unfinished);
    assert_eq!(frame(&longer[..16]), Frame::TooLong);
}

#[test]
fn what_is_no_header_is_seen_at_once() {
    for other in [
        &b"SSH-2.0-x\r\n"[..],
        b"S",
        b"PROXX",
        b"\r\n\r\n\0\r\nQUIX",
        b"\n",
        b"GET /",
    ] {
        assert_eq!(frame(other), Frame::Missing);
    }
    assert_eq!(frame(b""), Frame::Unfinished);
    assert_eq!(frame_v2(b"PROXY TCP4"), Frame::Missing);
    // A second header is none: it is the client that would have sent it.
    let twice = [v2(0x21, 0x11, &FOUR), v2(0x21, 0x11, &FOUR)].concat();
    assert_eq!(read(&twice), Some((client("192.0.2.7"), twice.len() / 2)));
}

proptest! {
    #[test]
    fn no_bytes_break_the_parser(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        start in prop::sample::select(vec![&b""[..], V1_START, V2_START, b"PROXY TCP4 ", b"PROXY TCP6 "]),
        command in 0x1f_u8..0x23,
        family in any::<u8>(),
    ) {
        for received in [[start, &bytes].concat(), v2(command, family, &bytes)] {
            if let Frame::EndsAt(end, version) = frame(&received) {
                prop_assert!(end <= received.len() && end <= V2_BYTES_MAX);
                let _: Option<Named> = named(&received[..end], version);
            }
        }
    }
}
