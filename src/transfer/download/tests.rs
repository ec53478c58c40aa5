use proptest::prelude::*;

use super::*;
use crate::budget::Budget;
use crate::limits::Limits;

fn opened(size: u64, end: u64, window: u64, checksum: Option<Checksum>) -> Download {
    let permit = Budget::new(&Limits::default()).try_read_ahead(end);
    let mut download = Download::new(size, window, checksum);
    download.begin_opening(end, permit.unwrap());
    download
}

fn content(size: u64) -> Vec<u8> {
    (0..size)
        .map(|at| u8::try_from(at * 7 % 251).unwrap())
        .collect()
}

fn checksum(bytes: &[u8]) -> Checksum {
    Checksum(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes))
}

fn slice(object: &[u8], range: ByteRange) -> Bytes {
    let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
    Bytes::copy_from_slice(&object[range])
}

#[test]
fn a_small_file_needs_no_second_get() {
    let object = content(1_000);
    let mut download = opened(1_000, 1_000, 1 << 20, Some(checksum(&object)));
    download.arrive(0, Bytes::from(object.clone()));
    download.read(RequestId(1), 0, 600);
    download.read(RequestId(2), 600, 600);
    download.read(RequestId(3), 1_000, 600);
    assert_eq!(download.next_fetch(false), None);
    let ReadStep::Bytes { length: 600, .. } = download.step() else {
        panic!()
    };
    let ReadStep::Bytes {
        length: 400,
        slices,
        ..
    } = download.step()
    else {
        panic!()
    };
    assert_eq!(slices.concat(), object[600..]);
    assert_eq!(download.step(), ReadStep::EndOfFile { id: RequestId(3) });
}

#[test]
fn a_changed_byte_is_found_before_the_last_read_is_answered() {
    let mut object = content(1_000);
    let mut download = opened(1_000, 1_000, 1 << 20, Some(checksum(&object)));
    object[10] ^= 1;
    download.arrive(0, Bytes::from(object));
    download.read(RequestId(1), 0, 999);
    download.read(RequestId(2), 999, 1);
    assert!(matches!(download.step(), ReadStep::Bytes { .. }));
    assert_eq!(download.step(), ReadStep::Corrupt { id: RequestId(2) });
}

#[test]
fn a_random_reader_fetches_what_it_asks_for() {
    let mut download = opened(1 << 30, 1 << 18, 1 << 24, None);
    download.read(RequestId(1), 500 << 20, 4_096);
    let fetch = download.next_fetch(false).unwrap();
    assert_eq!(
        fetch.range,
        ByteRange {
            start: 500 << 20,
            end: (500 << 20) + 4_096
        }
    );
    download.begin(fetch, None);
    assert_eq!(download.next_fetch(false), None);
}

#[test]
fn a_sequential_reader_gets_a_growing_window() {
    let mut download = opened(1 << 30, 1 << 18, 1 << 24, None);
    for at in 0..64 {
        download.read(RequestId(at), u64::from(at) * 32_768, 32_768);
    }
    let mut ahead = 0;
    while let Some(fetch) = download.next_fetch(false) {
        ahead = fetch.range.end;
        download.begin(fetch, None);
    }
    assert!(ahead >= 8 << 20, "{ahead}");
    assert!(download.segments.len() <= FETCHES_MAX);
}

proptest! {
    #[test]
    fn any_reads_return_what_the_object_holds(
        size in 1_u64..3_000_000,
        reads in prop::collection::vec((0_u64..3_100_000, 1_u32..200_000), 1..30),
        sequential in any::<bool>(),
        frame in 1_000_usize..300_000,
    ) {
        let object = content(size);
        let mut download = opened(size, 1 << 18, 1 << 21, Some(checksum(&object)));
        let mut sources = vec![(0, slice(&object, ByteRange { start: 0, end: size.min(1 << 18) }))];
        let mut at = 0;
        for (number, (offset, length)) in reads.iter().enumerate() {
            let offset = if sequential { at } else { *offset };
            at = offset + u64::from(*length);
            download.read(RequestId(u32::try_from(number).unwrap()), offset, *length);
            let mut answered = false;
            for _ in 0..10_000 {
                match download.step() {
                    ReadStep::Bytes { length: got, slices, .. } => {
                        let end = (offset + u64::from(*length)).min(size);
                        prop_assert_eq!(u64::from(got), end - offset);
                        let expected = slice(&object, ByteRange { start: offset, end });
                        prop_assert!(slices.concat() == expected);
                        answered = true;
                        break;
                    }
                    ReadStep::EndOfFile { .. } => {
                        prop_assert!(offset >= size);
                        answered = true;
                        break;
                    }
                    ReadStep::Corrupt { .. } => return Err(TestCaseError::fail("corrupt")),
                    ReadStep::Wait => {}
                }
                while let Some(fetch) = download.next_fetch(false) {
                    sources.push((fetch.id, slice(&object, fetch.range)));
                    download.begin(fetch, None);
                }
                for (id, source) in &mut sources {
                    let piece = source.split_to(frame.min(source.len()));
                    if !piece.is_empty() {
                        download.arrive(*id, piece);
                    }
                }
            }
            prop_assert!(answered);
            let held: usize = download.segments.iter().flat_map(|s| &s.frames).map(|f| f.1.len()).sum();
            prop_assert!(held < 20 << 20);
        }
    }
}
