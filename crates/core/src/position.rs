//! Where things stand: commit positions of the database, and positions in a page's history.

use std::fmt;
use std::str::FromStr;

/// Why a position could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a position")]
pub struct ParsePositionError(String);

impl ParsePositionError {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.chars().take(40).collect())
    }
}

/// A commit position of the database: its log sequence number.
///
/// It orders transactions and measures lag. It is not dense, so it can never prove that nothing is
/// missing; that is what [`Offset`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// Before every commit.
    pub const ZERO: Self = Self(0);

    /// Wraps a raw number.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Lsn {
    type Err = ParsePositionError;

    /// Reads decimal text, or the `16/B374D848` form that Postgres prints.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePositionError::new(text);
        if let Some((high, low)) = text.split_once('/') {
            let part = |hex: &str| match hex.len() {
                1..=8 if hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
                    u64::from_str_radix(hex, 16).map_err(|_| error())
                }
                _ => Err(error()),
            };
            return Ok(Self((part(high)? << 32) | part(low)?));
        }
        parse_decimal(text).map(Self).ok_or_else(error)
    }
}

/// Digits only: `u64::from_str` would take a leading plus as well.
fn parse_decimal(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Identity of one history of a database: a server, and what has become of it. Positions and
/// transaction ids of two histories have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct History(u64);

impl History {
    /// Of a database that cannot be exchanged for another one while it is open.
    pub const ONLY: Self = Self(0);

    /// Wraps what tells it from others.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// What tells it from others.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// One term of ownership of a partition. The database hands out each number once, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Life(u32);

impl Life {
    /// Wraps the number that the database gave.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Identity of one history of a page. A higher epoch wins.
///
/// It is the owner's [`Life`] and a count within that life, so epochs rise over owners and over
/// restarts without any clock, and a position from an earlier life is recognized as old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epoch {
    /// The `count`th epoch of a life.
    #[must_use]
    pub const fn new(life: Life, count: u32) -> Self {
        Self(((life.0 as u64) << 32) | count as u64)
    }

    /// Wraps a raw number.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The life it belongs to.
    #[must_use]
    pub const fn life(self) -> Life {
        Life((self.0 >> 32) as u32)
    }
}

/// Dense count of the diffs within an epoch. The page an epoch starts with is offset 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(u64);

impl Offset {
    /// The offset of the page that starts an epoch.
    pub const ZERO: Self = Self(0);

    /// Wraps a raw number.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A place in a page's history. Text form: `epoch-offset`, the id form of a Redis stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Which history.
    pub epoch: Epoch,
    /// Where in it.
    pub offset: Offset,
}

impl Position {
    /// The start of an epoch.
    #[must_use]
    pub const fn start(epoch: Epoch) -> Self {
        Self {
            epoch,
            offset: Offset::ZERO,
        }
    }

    /// The position of the next diff of the same epoch.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            epoch: self.epoch,
            offset: Offset(self.offset.0 + 1),
        }
    }

    /// Whether `self` is the diff that directly follows `earlier`.
    #[must_use]
    pub fn follows(self, earlier: Self) -> bool {
        self.epoch == earlier.epoch && Some(self.offset.0) == earlier.offset.0.checked_add(1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch.0, self.offset.0)
    }
}

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePositionError::new(text);
        let (epoch, offset) = text.split_once('-').ok_or_else(error)?;
        let epoch = parse_decimal(epoch).map(Epoch).ok_or_else(error)?;
        let offset = parse_decimal(offset).map(Offset).ok_or_else(error)?;
        Ok(Self { epoch, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both text forms of an LSN are read, and nothing else.
    #[test]
    fn reads_both_lsn_forms() {
        assert_eq!("97500059720".parse(), Ok(Lsn::new(97_500_059_720)));
        assert_eq!("16/B374D848".parse(), Ok(Lsn::new(0x16_B374_D848)));
        assert_eq!(u64::MAX.to_string().parse(), Ok(Lsn::new(u64::MAX)));
        for bad in [
            "",
            "+1",
            "-1",
            "1.0",
            "16/",
            "/1",
            "1/2/3",
            "G/1",
            "18446744073709551616",
        ] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }

    /// An epoch of a later life is above every epoch of an earlier one.
    #[test]
    fn epochs_rise_over_lives() {
        let old = Epoch::new(Life::new(1), u32::MAX);
        let new = Epoch::new(Life::new(2), 0);
        assert!(new > old);
        assert_eq!(new.life(), Life::new(2));
    }

    /// Positions survive their text form, and "+1" is the only successor.
    #[test]
    fn positions_round_trip() {
        let position = Position {
            epoch: Epoch::new(Life::new(3), 7),
            offset: Offset::new(41),
        };
        assert_eq!(position.to_string().parse(), Ok(position));
        assert!(position.next().follows(position));
        assert!(!position.follows(position));
        assert!("1".parse::<Position>().is_err());
        assert!("1-2-3".parse::<Position>().is_err());
    }
}
