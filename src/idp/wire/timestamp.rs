//! Times as RFC 3339 writes them.

use std::time::{Duration, SystemTime};

/// Parses a time such as `2026-12-31T00:00:00Z` or `2026-12-31T01:00:00.5+01:00`, from 1970 on.
#[must_use]
pub fn parse(text: &str) -> Option<SystemTime> {
    let mut text = Digits(text);
    let year = text.number(4)?;
    text.one_of("-")?;
    let month = text.number(2)?;
    text.one_of("-")?;
    let day = text.number(2)?;
    text.one_of("Tt ")?;
    let hour = text.number(2)?;
    text.one_of(":")?;
    let minute = text.number(2)?;
    text.one_of(":")?;
    let second = text.number(2)?;
    text.skip_fraction()?;
    let offset = text.offset()?;
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    // 60 is a leap second.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    let seconds = days
        .checked_mul(86_400)?
        .checked_add(hour.checked_mul(3_600)?)?
        .checked_add(minute.checked_mul(60)?)?
        .checked_add(second)?
        .checked_sub(offset)?;
    let since = Duration::from_secs(u64::try_from(seconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// What is left of the text.
struct Digits<'a>(&'a str);

impl Digits<'_> {
    fn number(&mut self, length: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
        all_digits.then(|| digits.parse().ok())?
    }

    fn one_of(&mut self, choices: &str) -> Option<char> {
        let mut chars = self.0.chars();
        let found = chars.next().filter(|c| choices.contains(*c))?;
        self.0 = chars.as_str();
        Some(found)
    }

    /// A part of a second changes no login.
    fn skip_fraction(&mut self) -> Option<()> {
        if let Some(fraction) = self.0.strip_prefix('.') {
            let rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if rest.len() == fraction.len() {
                return None;
            }
            self.0 = rest;
        }
        Some(())
    }

    /// Returns the seconds east of Greenwich; nothing may follow.
    fn offset(&mut self) -> Option<i64> {
        let sign = self.one_of("Zz+-")?;
        let east = if matches!(sign, 'Z' | 'z') {
            0
        } else {
            let hours = self.number(2).filter(|hours| *hours < 24)?;
            self.one_of(":")?;
            let minutes = self.number(2).filter(|minutes| *minutes < 60)?;
            hours
                .checked_mul(3_600)?
                .checked_add(minutes.checked_mul(60)?)?
        };
        let seconds = if sign == '-' {
            east.checked_neg()?
        } else {
            east
        };
        self.0.is_empty().then_some(seconds)
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    // Years begin in March here, so that the leap day is the last one (a year has 153 days in
    // every five months from then on).
    let (year, month) = if month > 2 {
        (year, month.checked_sub(3)?)
    } else {
        (year.checked_sub(1)?, month.checked_add(9)?)
    };
    let leap_days = (year / 4)
        .checked_sub(year / 100)?
        .checked_add(year / 400)?;
    let of_year = month.checked_mul(153)?.checked_add(2)? / 5;
    year.checked_mul(365)?
        .checked_add(leap_days)?
        .checked_add(of_year)?
        .checked_add(day)?
        // 1 January 1970 counted this way, from 1 March of year 0.
        .checked_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let seconds = |text| {
            let time = parse(text)?;
            Some(
                time.duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap()
                    .as_secs(),
            )
        };
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2026-12-31T00:00:00Z", 1_798_675_200),
            ("2026-12-31T01:00:00.123+01:00", 1_798_675_200),
            ("2026-12-30T18:30:00-05:30", 1_798_675_200),
            ("9999-12-31T23:59:59z", 253_402_300_799),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for bad in [
            "",
            "2026-12-31",
            "2026-12-31T00:00:00",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-12-31T24:00:00Z",
            "2026-12-31T00:00:00.Z",
            "2026-12-31T00:00:00+1:00",
            "2026-12-31T00:00:00Zx",
            "1969-12-31T23:59:59Z",
            "+026-12-31T00:00:00Z",
            "２０２６-12-31T00:00:00Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
