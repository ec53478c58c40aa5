//! `longname`: the line that `ls -l` would print (draft-02 §7).

use std::fmt::Write as _;

use bytes::{BufMut as _, BytesMut};

use super::attributes::Attributes;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// `ls` shows the year instead of the hour of what is older than half a year, or in the future.
const RECENT_SECONDS: u32 = 365 * 86_400 / 2;

/// Appends one line; `now` is in seconds since 1970. Times are UTC.
pub fn longname(line: &mut BytesMut, name: &[u8], attrs: &Attributes, now: u32) {
    let bits = attrs.permissions.unwrap_or(0);
    let (user, group) = attrs.owner.unwrap_or((0, 0));
    line.put_u8(if attrs.names_directory() { b'd' } else { b'-' });
    for shift in [6_u32, 3, 0] {
        let triple = bits.wrapping_shr(shift);
        for (bit, letter) in [(4, b'r'), (2, b'w'), (1, b'x')] {
            line.put_u8(if triple & bit == 0 { b'-' } else { letter });
        }
    }
    let size = attrs.size.unwrap_or(0);
    let time = attrs.times.map_or(0, |(_, modified)| modified);
    // Writing to memory cannot fail.
    let _ = write!(line, "    1 {user:<8} {group:<8} {size:>12} ");
    put_time(line, time, now);
    line.put_u8(b' ');
    line.extend_from_slice(name);
}

fn put_time(line: &mut BytesMut, time: u32, now: u32) {
    let days = time.checked_div(86_400).unwrap_or(0);
    let (year, month, day) = civil(days);
    let month = usize::try_from(month)
        .ok()
        .and_then(|at| MONTHS.get(at))
        .unwrap_or(&"Jan");
    let recent = time <= now && now.saturating_sub(time) < RECENT_SECONDS;
    if recent {
        let second_of_day = time.checked_rem(86_400).unwrap_or(0);
        let (hour, minute) = (
            second_of_day.div_euclid(3_600),
            second_of_day.rem_euclid(3_600).div_euclid(60),
        );
        let _ = write!(line, "{month} {day:>2} {hour:02}:{minute:02}");
    } else {
        let _ = write!(line, "{month} {day:>2}  {year}");
    }
}

/// Turns days since 1970 into year, month (from 0) and day (from 1), proleptic Gregorian.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "days fit u32 / 86400: nothing can overflow"
)]
const fn civil(days: u32) -> (u32, u32, u32) {
    // Years begin in March here, so that the leap day is the last of its year.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = era * 400 + year_of_era + (march_month >= 10) as u32;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sftp::FileType;

    const NOW: u32 = 1_795_478_400; // 2026-11-24 00:00 UTC

    #[test]
    fn dates_are_right() {
        for (days, expected) in [
            (0, (1970, 0, 1)),
            (59, (1970, 2, 1)),
            (11_016, (2000, 1, 29)),
            (11_017, (2000, 2, 1)),
            (20_781, (2026, 10, 24)),
        ] {
            assert_eq!(civil(days), expected, "{days}");
        }
    }

    #[test]
    fn lines_look_like_ls() {
        let line = |attrs: &Attributes| {
            let mut line = BytesMut::new();
            longname(&mut line, b"a b", attrs, NOW);
            String::from_utf8(line.to_vec()).unwrap()
        };
        let file = Attributes::of(FileType::Regular, 1234, 0o644, NOW - 3_600);
        assert_eq!(
            line(&file),
            "-rw-r--r--    1 0        0                1234 Nov 23 23:00 a b"
        );
        let old = Attributes::of(FileType::Directory, 0, 0o755, 0);
        assert_eq!(
            line(&old),
            "drwxr-xr-x    1 0        0                   0 Jan  1  1970 a b"
        );
        let future = Attributes::of(FileType::Directory, 0, 0o555, NOW + 86_400);
        assert!(line(&future).contains("Nov 25  2026"));
    }
}
