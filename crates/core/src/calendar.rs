//! Dates and timestamps as text, in UTC.
//!
//! The day arithmetic is Howard Hinnant's `days_from_civil` and `civil_from_days`
//! (<https://howardhinnant.github.io/date_algorithms.html>), proleptic Gregorian.

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Reads `YYYY-MM-DD` as days since 1970-01-01. Years 0001 to 9999.
#[must_use]
pub fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (year, month, day) = (
        digits(&bytes[..4])?,
        digits(&bytes[5..7])?,
        digits(&bytes[8..])?,
    );
    let valid =
        year >= 1 && (1..=12).contains(&month) && day >= 1 && day <= month_days(year, month);
    valid.then(|| days_from_civil(year, month, day))
}

/// Reads a timestamp as microseconds since 1970-01-01 UTC.
///
/// Accepts a date, `T` or a blank, `HH:MM`, optional seconds with an optional fraction (rounded to
/// microseconds), and an optional zone (`Z`, `+hh`, `+hhmm`, `+hh:mm`); without a zone it is UTC. A
/// date alone is its midnight.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let day = i64::from(parse_date(text.get(..10)?)?) * MICROS_PER_DAY;
    let rest = &text[10..];
    if rest.is_empty() {
        return Some(day);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(zone_at);
    Some(day + parse_clock(clock.trim_end())? - parse_zone(zone)?)
}

/// Reads a date as Postgres prints it, of whatever year: `12026-01-02`, `0044-03-15 BC`, and the
/// two infinities as the lowest and highest day there is.
pub(crate) fn parse_far_date(text: &str) -> Option<i32> {
    match text {
        "infinity" => return Some(i32::MAX),
        "-infinity" => return Some(i32::MIN),
        _ => {}
    }
    let (text, era) = split_era(text);
    let (year, rest) = text.split_at_checked(text.find('-')?)?;
    let bytes = rest.as_bytes();
    if bytes.len() != 6 || bytes[3] != b'-' || !(4..=7).contains(&year.len()) {
        return None;
    }
    let year = era.apply(digits(year.as_bytes())?);
    let (month, day) = (digits(&bytes[1..3])?, digits(&bytes[4..])?);
    let valid = (1..=12).contains(&month) && day >= 1 && day <= month_days(year, month);
    valid.then(|| days_from_civil(year, month, day))
}

/// Reads a timestamp as Postgres prints it in UTC, of whatever year, and the two infinities as the
/// lowest and highest moment there is.
pub(crate) fn parse_far_timestamp(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (text, era) = split_era(text);
    let (date, clock) = text.split_once(' ')?;
    let date = match era {
        Era::Common => date.to_owned(),
        Era::Before => format!("{date} BC"),
    };
    let clock = clock.strip_suffix("+00").unwrap_or(clock);
    // What Postgres counts from 2000 may be too far from 1970. No value of ours is out there.
    let day = i64::from(parse_far_date(&date)?).saturating_mul(MICROS_PER_DAY);
    Some(day.saturating_add(parse_clock(clock)?))
}

#[derive(Clone, Copy)]
enum Era {
    Common,
    Before,
}

impl Era {
    /// The year before year 1 is year 0.
    const fn apply(self, year: i64) -> i64 {
        match self {
            Self::Common => year,
            Self::Before => 1 - year,
        }
    }
}

fn split_era(text: &str) -> (&str, Era) {
    match text.strip_suffix(" BC") {
        Some(text) => (text, Era::Before),
        None => (text, Era::Common),
    }
}

fn parse_clock(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 5 || bytes[2] != b':' {
        return None;
    }
    let (hour, minute) = (digits(&bytes[..2])?, digits(&bytes[3..5])?);
    let (second, fraction) = match bytes.len() {
        5 => (0, 0),
        8 => (digits(&bytes[6..8])?, 0),
        10.. if bytes[8] == b'.' => (digits(&bytes[6..8])?, parse_fraction(&bytes[9..])?),
        _ => return None,
    };
    let separated = bytes.len() == 5 || bytes[5] == b':';
    if !separated || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction)
}

/// Microseconds of a fraction; digits past the sixth round half up.
fn parse_fraction(bytes: &[u8]) -> Option<i64> {
    if bytes.len() > 18 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |at: usize| bytes.get(at).map_or(0, |b| i64::from(b - b'0'));
    let micros = (0..6).fold(0, |sum, at| sum * 10 + digit(at));
    Some(micros + i64::from(digit(6) >= 5))
}

fn parse_zone(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first() {
        None => return Some(0),
        Some(b'Z' | b'z') if text.len() == 1 => return Some(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return None,
    };
    let bytes = &text.as_bytes()[1..];
    let (hours, minutes) = match bytes.len() {
        2 => (digits(bytes)?, 0),
        4 => (digits(&bytes[..2])?, digits(&bytes[2..])?),
        5 if bytes[2] == b':' => (digits(&bytes[..2])?, digits(&bytes[3..])?),
        _ => return None,
    };
    (hours <= 15 && minutes <= 59).then_some(sign * (hours * 60 + minutes) * 60_000_000)
}

/// Writes `YYYY-MM-DD`.
#[must_use]
pub fn format_date(days: i32) -> String {
    let (year, month, day) = civil_from_days(i64::from(days));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Writes ISO 8601 in UTC with milliseconds, or microseconds where there are any:
/// `2026-01-02T03:04:05.678Z`, `2026-01-02T03:04:05.678901Z`.
#[must_use]
pub fn format_timestamp(micros: i64) -> String {
    let (days, rest) = (
        micros.div_euclid(MICROS_PER_DAY),
        micros.rem_euclid(MICROS_PER_DAY),
    );
    let (year, month, day) = civil_from_days(days);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = match format!("{fraction:06}") {
        text if text.ends_with("000") => text[..3].to_owned(),
        text => text.trim_end_matches('0').to_owned(),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction}Z")
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0_i64, |sum, b| match b {
        b'0'..=b'9' => Some(sum * 10 + i64::from(b - b'0')),
        _ => None,
    })
}

const fn month_days(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).expect("years are at most seven digits")
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms that databases and clients write are all read, and mean the same instant.
    #[test]
    fn reads_common_forms() {
        let micros = Some(1_767_323_045_678_901);
        for text in [
            "2026-01-02T03:04:05.678901Z",
            "2026-01-02 03:04:05.678901",
            "2026-01-02 05:04:05.678901+02",
            "2026-01-01T22:34:05.678901-0430",
            "2026-01-02T03:04:05.6789012+00:00",
        ] {
            assert_eq!(parse_timestamp(text), micros, "{text}");
        }
        assert_eq!(parse_timestamp("1970-01-01"), Some(0));
        assert_eq!(parse_timestamp("1970-01-01 00:01"), Some(60_000_000));
        assert_eq!(parse_timestamp("1969-12-31T23:59:59.9999999Z"), Some(0));
    }

    /// What is no date is not guessed at.
    #[test]
    fn refuses_nonsense() {
        for bad in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-29",
            "2026-1-1",
            "2026-01-01T",
            "2026-01-01 25:00",
            "2026-01-01 00:00:00.",
            "2026-01-01 00:00+99",
            "2026-01-01x00:00",
            "é026-01-01",
            "2026-01-01 00:00 UTC",
        ] {
            assert_eq!(parse_timestamp(bad), None, "{bad:?}");
        }
    }

    /// In a range Postgres has years of any length, before and after ours.
    #[test]
    fn far_years() {
        assert_eq!(parse_far_date("1970-01-02"), Some(1));
        assert_eq!(parse_far_date("0001-01-01 BC"), Some(-719_528));
        assert_eq!(parse_far_date("10000-01-01"), Some(2_932_897));
        assert_eq!(parse_far_date("5874897-12-31"), Some(2_145_042_905));
        assert_eq!(parse_far_date("-infinity"), Some(i32::MIN));
        let check = |text: &str, micros| assert_eq!(parse_far_timestamp(text), micros, "{text}");
        check("1970-01-01 00:00:00.5", Some(500_000));
        check("1970-01-01 00:00:01+00", Some(1_000_000));
        check("0001-12-31 23:59:59+00 BC", Some(-62_135_596_801_000_000));
        check("294276-12-31 23:59:59.999999", Some(i64::MAX));
        check("infinity", Some(i64::MAX));
        check("tomorrow", None);
    }

    /// Every day over several leap cycles survives its text form, and neighbours differ by one.
    #[test]
    fn days_round_trip() {
        for days in -800_000..=800_000 {
            let text = format_date(days);
            if text.len() == 10 && !text.starts_with('-') && !text.starts_with("0000") {
                assert_eq!(parse_date(&text), Some(days), "{text}");
            }
        }
    }

    /// Timestamps print milliseconds always, microseconds only where there are any.
    #[test]
    fn prints_iso() {
        assert_eq!(format_timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_timestamp(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(
            format_timestamp(1_767_323_045_600_000),
            "2026-01-02T03:04:05.600Z"
        );
        assert_eq!(
            format_timestamp(1_767_323_045_678_900),
            "2026-01-02T03:04:05.6789Z"
        );
    }
}
