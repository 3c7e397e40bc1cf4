//! Exact sums of decimals, and their division by a count.
//!
//! A sum is kept as one signed counter for each decimal place, without carrying: a place grows by
//! at most nine per number, so it cannot overflow, and carries are settled once, at the end.

use tidegate_core::Numeric;

/// Digits after the point of an average that does not come out even.
const AVERAGE_SCALE: usize = 16;

/// A running sum.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    /// Before the point, units first.
    whole: Vec<i64>,
    /// After the point, tenths first.
    fraction: Vec<i64>,
    /// What was added that is no finite number.
    special: Special,
    count: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Special {
    #[default]
    None,
    Infinity,
    NegativeInfinity,
    NotANumber,
}

impl Special {
    /// As Postgres adds: opposite infinities make no number.
    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, other) => other,
            (this, Self::None) => this,
            (this, other) if this == other => this,
            _ => Self::NotANumber,
        }
    }
}

/// Digits of a finished sum, highest first, all of one sign.
struct Digits {
    negative: bool,
    digits: Vec<u8>,
    /// How many of them stand after the point.
    scale: usize,
}

impl Sum {
    pub(crate) fn add(&mut self, number: &Numeric) {
        self.count += 1;
        let special = match number.as_str() {
            "NaN" => Special::NotANumber,
            "Infinity" => Special::Infinity,
            "-Infinity" => Special::NegativeInfinity,
            text => return self.add_plain(text),
        };
        self.special = self.special.plus(special);
    }

    fn add_plain(&mut self, text: &str) {
        let (sign, magnitude) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text),
        };
        let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
        add_digits(&mut self.whole, whole.bytes().rev(), sign);
        add_digits(&mut self.fraction, fraction.bytes(), sign);
    }

    /// The sum; `None` of nothing.
    pub(crate) fn total(&self) -> Option<Numeric> {
        (self.count > 0).then(|| {
            self.special_value()
                .unwrap_or_else(|| self.digits().numeric())
        })
    }

    /// The sum by the count of numbers added; `None` of nothing.
    pub(crate) fn average(&self) -> Option<Numeric> {
        let special = self.special_value();
        (self.count > 0)
            .then(|| special.unwrap_or_else(|| self.digits().divided(self.count).numeric()))
    }

    fn special_value(&self) -> Option<Numeric> {
        let text = match self.special {
            Special::None => return None,
            Special::Infinity => "Infinity",
            Special::NegativeInfinity => "-Infinity",
            Special::NotANumber => "NaN",
        };
        Numeric::parse(text)
    }

    fn digits(&self) -> Digits {
        let places = || self.fraction.iter().rev().chain(&self.whole);
        let (digits, carry) = settle(places().copied());
        let (negative, mut digits) = match carry < 0 {
            // A negative total: settle its opposite.
            true => (true, finished(settle(places().map(|place| -place)))),
            false => (false, finished((digits, carry))),
        };
        digits.reverse();
        Digits {
            negative,
            digits,
            scale: self.fraction.len(),
        }
    }
}

fn add_digits(places: &mut Vec<i64>, digits: impl Iterator<Item = u8>, sign: i64) {
    for (at, digit) in digits.enumerate() {
        if at == places.len() {
            places.push(0);
        }
        places[at] += sign * i64::from(digit.wrapping_sub(b'0'));
    }
}

/// Carries from the lowest place up. Gives the digits, lowest first, and what is carried out at the
/// top.
fn settle(places: impl Iterator<Item = i64>) -> (Vec<u8>, i64) {
    let mut carry = 0_i64;
    let digits = places.map(|place| {
        let value = place + carry;
        carry = value.div_euclid(10);
        value.rem_euclid(10) as u8
    });
    let digits: Vec<u8> = digits.collect();
    (digits, carry)
}

fn finished((mut digits, mut carry): (Vec<u8>, i64)) -> Vec<u8> {
    while carry > 0 {
        digits.push((carry % 10) as u8);
        carry /= 10;
    }
    digits
}

impl Digits {
    /// Long division, rounded half away from zero at [`AVERAGE_SCALE`] or the sum's own scale.
    fn divided(mut self, count: u64) -> Self {
        let count = u128::from(count);
        let scale = self.scale.max(AVERAGE_SCALE);
        self.digits
            .resize(self.digits.len() + scale - self.scale, 0);
        let mut rest = 0_u128;
        let mut quotient: Vec<u8> = Vec::with_capacity(self.digits.len() + 1);
        for digit in &self.digits {
            rest = rest * 10 + u128::from(*digit);
            quotient.push((rest / count) as u8);
            rest %= count;
        }
        if rest * 2 >= count {
            round_up(&mut quotient);
        }
        Self {
            negative: self.negative,
            digits: quotient,
            scale,
        }
    }

    fn numeric(&self) -> Numeric {
        let point = self.digits.len().saturating_sub(self.scale);
        let text = |digits: &[u8]| -> String {
            digits
                .iter()
                .map(|digit| char::from(b'0' + digit))
                .collect()
        };
        let fraction = text(&self.digits[point..]);
        let sign = if self.negative { "-" } else { "" };
        let plain = format!(
            "{sign}{}.{}",
            text(&self.digits[..point]),
            fraction.trim_end_matches('0')
        );
        // Parsing settles leading zeros, a bare point and the sign of zero.
        Numeric::parse(plain.trim_end_matches('.')).unwrap_or_else(|| Numeric::from_int(0))
    }
}

fn round_up(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit < 9 {
            *digit += 1;
            return;
        }
        *digit = 0;
    }
    digits.insert(0, 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(numbers: &[&str]) -> Sum {
        let mut sum = Sum::default();
        for number in numbers {
            sum.add(&Numeric::parse(number).unwrap());
        }
        sum
    }

    fn check(numbers: &[&str], total: &str, average: &str) {
        let sum = sum(numbers);
        assert_eq!(sum.total().unwrap().as_str(), total, "sum of {numbers:?}");
        assert_eq!(
            sum.average().unwrap().as_str(),
            average,
            "average of {numbers:?}"
        );
    }

    /// Sums are exact where floats and 64-bit integers are not, whatever the signs and scales.
    #[test]
    fn sums_are_exact() {
        check(&["0.1", "0.2"], "0.3", "0.15");
        check(
            &["9223372036854775807", "9223372036854775807"],
            "18446744073709551614",
            "9223372036854775807",
        );
        check(&["1", "-1"], "0", "0");
        check(&["-0.5", "0.25"], "-0.25", "-0.125");
        check(&["99.99", "0.01"], "100", "50");
        check(&["1", "1", "0"], "2", "0.6666666666666667");
        check(&["-1", "-1", "0"], "-2", "-0.6666666666666667");
        check(
            &["1e30", "1e-5"],
            "1000000000000000000000000000000.00001",
            "500000000000000000000000000000.000005",
        );
    }

    /// Nothing has no sum, and what is not finite behaves as in Postgres.
    #[test]
    fn edges() {
        assert!(Sum::default().total().is_none());
        check(&["1", "NaN"], "NaN", "NaN");
        check(&["Infinity", "1"], "Infinity", "Infinity");
        check(&["Infinity", "-Infinity"], "NaN", "NaN");
    }
}
