//! Decimal numbers of any precision, for comparison and passing on. No arithmetic.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Digits kept before and after the point. Postgres allows 131,072 and 16,383; this bounds what one
/// hostile exponent (`1e999999999`) can make us write.
const EXPONENT_MAX: i64 = 20_000;

/// A decimal number, NaN or an infinity, kept as it was written.
///
/// `1.5` and `1.50` are equal and print as they came. Order is Postgres's: NaN equals itself and is
/// above everything.
#[derive(Debug, Clone)]
pub struct Numeric(Arc<str>);

/// A number taken apart: `0.DIGITS × 10^exponent`, digits without leading or trailing zeros.
///
/// Two finite numbers are equal exactly when these are.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    negative: bool,
    /// Digits in two runs: those before and those after the point.
    digits: [&'a [u8]; 2],
    exponent: i64,
}

impl Numeric {
    /// Reads `-12.50`, `.5`, `5.`, `1e-3`, `NaN`, `Infinity` and `-Infinity` (any case).
    ///
    /// A number with an exponent is kept in plain notation. `None` when it is not a number, or has
    /// more than 20,000 digits on either side.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(special) = special(text) {
            return Some(Self(special.into()));
        }
        let (sign, magnitude) = match text.as_bytes().first()? {
            b'-' => ("-", &text[1..]),
            b'+' => ("", &text[1..]),
            _ => ("", text),
        };
        let (mantissa, exponent) = match magnitude.find(['e', 'E']) {
            Some(at) => (&magnitude[..at], parse_exponent(&magnitude[at + 1..])?),
            None => (magnitude, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits_only = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !digits_only(whole) || !digits_only(fraction) {
            return None;
        }
        let bound = EXPONENT_MAX as usize;
        if whole.len() > bound || fraction.len() > bound {
            return None;
        }
        Some(Self(plain(sign, whole, fraction, exponent).into()))
    }

    /// The exact decimal value of an integer.
    #[must_use]
    pub fn from_int(value: i64) -> Self {
        Self(value.to_string().into())
    }

    /// The shortest decimal that reads back as this float: what SQL prints for it.
    #[must_use]
    pub fn from_float(value: f64) -> Self {
        if value.is_nan() {
            return Self("NaN".into());
        }
        if value.is_infinite() {
            return Self(if value > 0.0 { "Infinity" } else { "-Infinity" }.into());
        }
        let value = if value == 0.0 { 0.0 } else { value };
        Self(value.to_string().into())
    }

    /// The number as text: digits with an optional sign and point, or `NaN`, `Infinity`,
    /// `-Infinity`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value as an integer, when it is one and fits.
    #[must_use]
    pub fn to_int(&self) -> Option<i64> {
        let (whole, fraction) = self.0.split_once('.').unwrap_or((&self.0, ""));
        if !fraction.bytes().all(|b| b == b'0') {
            return None;
        }
        whole.parse().ok()
    }

    /// Bytes whose order is the order of the numbers, and which are equal for equal numbers only.
    ///
    /// Layout: a class byte (negative infinity, negative, zero, positive, infinity, NaN); then, for
    /// finite ones, a biased exponent of eight bytes, the digits and a terminator, all inverted
    /// when the number is negative.
    pub fn write_sort_key(&self, out: &mut Vec<u8>) {
        let Some(parts) = self.parts() else {
            out.push(match &*self.0 {
                "NaN" => 5,
                "Infinity" => 4,
                _ => 0,
            });
            return;
        };
        if parts.is_zero() {
            out.push(2);
            return;
        }
        out.push(if parts.negative { 1 } else { 3 });
        let start = out.len();
        out.extend_from_slice(&(parts.exponent as u64 ^ (1 << 63)).to_be_bytes());
        for digit in parts.all_digits() {
            out.push(digit - b'0' + 1);
        }
        out.push(0);
        if parts.negative {
            for byte in &mut out[start..] {
                *byte = !*byte;
            }
        }
    }

    fn parts(&self) -> Option<Parts<'_>> {
        let (negative, magnitude) = match self.0.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, &*self.0),
        };
        if magnitude.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        if whole.is_empty() {
            let digits = fraction.trim_start_matches('0');
            let exponent = digits.len() as i64 - fraction.len() as i64;
            let exponent = if digits.is_empty() { 0 } else { exponent };
            return Some(Parts {
                negative,
                digits: [digits.as_bytes(), b""],
                exponent,
            });
        }
        let exponent = whole.len() as i64;
        let whole = if fraction.is_empty() {
            whole.trim_end_matches('0')
        } else {
            whole
        };
        Some(Parts {
            negative,
            digits: [whole.as_bytes(), fraction.as_bytes()],
            exponent,
        })
    }
}

impl Parts<'_> {
    fn is_zero(&self) -> bool {
        self.digits[0].is_empty() && self.digits[1].is_empty()
    }

    fn all_digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.digits[0].iter().chain(self.digits[1]).copied()
    }

    fn compare_magnitude(&self, other: &Self) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        self.exponent
            .cmp(&other.exponent)
            .then_with(|| self.all_digits().cmp(other.all_digits()))
    }
}

fn special(text: &str) -> Option<&'static str> {
    let is = |name: &str| text.eq_ignore_ascii_case(name);
    if is("nan") {
        Some("NaN")
    } else if is("infinity") || is("inf") || is("+infinity") {
        Some("Infinity")
    } else if is("-infinity") || is("-inf") {
        Some("-Infinity")
    } else {
        None
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse()
        .ok()
        .filter(|exponent: &i64| exponent.abs() <= EXPONENT_MAX)
}

/// Writes the number without an exponent, by moving the point.
fn plain(sign: &str, whole: &str, fraction: &str, exponent: i64) -> String {
    let digits = format!("{whole}{fraction}");
    let point = whole.len() as i64 + exponent;
    let (whole, fraction) = if point <= 0 {
        (
            String::new(),
            "0".repeat(point.unsigned_abs() as usize) + &digits,
        )
    } else if point as usize >= digits.len() {
        (
            format!("{digits}{}", "0".repeat(point as usize - digits.len())),
            String::new(),
        )
    } else {
        (
            digits[..point as usize].to_owned(),
            digits[point as usize..].to_owned(),
        )
    };
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    let nonzero = digits.bytes().any(|b| b != b'0');
    let sign = if nonzero { sign } else { "" };
    if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |number: &Self| match &*number.0 {
            "-Infinity" => 0,
            "Infinity" => 2,
            "NaN" => 3,
            _ => 1,
        };
        let (Some(a), Some(b)) = (self.parts(), other.parts()) else {
            return rank(self).cmp(&rank(other));
        };
        let sign = |parts: &Parts<'_>| match (parts.is_zero(), parts.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        sign(&a).cmp(&sign(&b)).then_with(|| match a.negative {
            true => b.compare_magnitude(&a),
            false => a.compare_magnitude(&b),
        })
    }
}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Numeric {}

impl Hash for Numeric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut key = Vec::with_capacity(24);
        self.write_sort_key(&mut key);
        key.hash(state);
    }
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(text: &str) -> Numeric {
        Numeric::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    /// Numbers in rising order: comparison and sort keys must both agree with it, pair by pair.
    #[test]
    fn order_and_keys_agree() {
        let rising = [
            "-Infinity",
            "-1e30",
            "-100.5",
            "-100",
            "-99.999",
            "-1",
            "-0.5",
            "-0.05",
            "0",
            "0.0001",
            "0.05",
            "0.5",
            "0.51",
            "1",
            "1.0000000000000000000001",
            "9",
            "10",
            "10.5",
            "100",
            "12345678901234567890",
            "Infinity",
            "NaN",
        ];
        let key = |text: &str| {
            let mut key = Vec::new();
            n(text).write_sort_key(&mut key);
            key
        };
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(n(a).cmp(&n(b)), i.cmp(&j), "{a} {b}");
                assert_eq!(key(a).cmp(&key(b)), i.cmp(&j), "keys of {a} {b}");
            }
        }
    }

    /// Equal numbers are equal however they are written, and print as written.
    #[test]
    fn equal_whatever_the_scale() {
        assert_eq!(n("1.50"), n("1.5"));
        assert_eq!(n("-0.0"), n("0"));
        assert_eq!(n("1e3"), n("1000"));
        assert_eq!(n("1.50").as_str(), "1.50");
        assert_eq!(n("1.5e-3").as_str(), "0.0015");
        assert_eq!(n("12e2").as_str(), "1200");
        assert_eq!(n("007").as_str(), "7");
        assert_eq!(n(".5").as_str(), "0.5");
        assert_eq!(n("5.").as_str(), "5");
    }

    /// What is not a number, or would take absurd room, is refused.
    #[test]
    fn refuses_garbage() {
        for bad in [
            "",
            "-",
            ".",
            "1e",
            "1e999999999",
            "1.2.3",
            "0x10",
            "1 2",
            "١",
        ] {
            assert!(Numeric::parse(bad).is_none(), "{bad}");
        }
    }
}
