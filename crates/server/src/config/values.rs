//! Reads the text of a setting as what its key allows.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::error::{ConfigError, Origin, masked, masked_properties};
use super::keys::{Allowed, Key};
use super::layers::{Setting, Settings};

impl Settings {
    pub(super) fn text(&self, key: Key) -> &str {
        self.get(key).value.trim()
    }

    /// The text, or nothing when it is empty.
    pub(super) fn optional_text(&self, key: Key) -> Option<String> {
        let text = self.text(key);
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub(super) fn required_text(&self, key: Key) -> Result<String, ConfigError> {
        self.optional_text(key).ok_or_else(|| self.refused(key))
    }

    pub(super) fn path(&self, key: Key) -> Result<PathBuf, ConfigError> {
        self.required_text(key).map(PathBuf::from)
    }

    pub(super) fn optional_path(&self, key: Key) -> Option<PathBuf> {
        self.optional_text(key).map(PathBuf::from)
    }

    pub(super) fn address(&self, key: Key) -> Result<SocketAddr, ConfigError> {
        self.text(key).parse().map_err(|_| self.refused(key))
    }

    pub(super) fn optional_address(&self, key: Key) -> Result<Option<SocketAddr>, ConfigError> {
        match self.text(key) {
            "" => Ok(None),
            _ => self.address(key).map(Some),
        }
    }

    /// A whole number, a size, or a count of cores, within the bounds of the key.
    pub(super) fn number(&self, key: Key) -> Result<u64, ConfigError> {
        let text = self.text(key);
        let number = match key.definition().allowed {
            Allowed::Whole { min, max } => within(text.parse().ok(), min, max),
            Allowed::Cores { max } if text == "cores" => Some(cores().min(max)),
            Allowed::Cores { max } => within(text.parse().ok(), 1, max),
            Allowed::Bytes { min, max } => within(size(text), min, max),
            Allowed::Address
            | Allowed::OptionalAddress
            | Allowed::Path
            | Allowed::OptionalPath
            | Allowed::OneOf(_)
            | Allowed::YesNo
            | Allowed::Text(_) => None,
        };
        number.ok_or_else(|| self.refused(key))
    }

    /// The same as a count of things in memory.
    pub(super) fn count(&self, key: Key) -> Result<usize, ConfigError> {
        let number = self.number(key)?;
        usize::try_from(number).map_err(|_| self.refused(key))
    }

    /// The word's choice.
    pub(super) fn choice<T: Clone>(
        &self,
        key: Key,
        choices: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let text = self.text(key);
        let found = choices.iter().find(|(word, _)| *word == text);
        found
            .map(|(_, choice)| choice.clone())
            .ok_or_else(|| self.refused(key))
    }

    /// What is said of a value that its key does not allow.
    pub(super) fn refused(&self, key: Key) -> ConfigError {
        let Setting { value, origin } = self.shown(key);
        ConfigError::Value {
            key,
            value,
            origin,
            allowed: key.definition().allowed.to_string(),
        }
    }

    /// What is said of a value that does not go with the rest.
    pub(super) fn conflict(&self, key: Key, why: impl Into<String>) -> ConfigError {
        let Setting { value, origin } = self.shown(key);
        ConfigError::Conflict {
            key,
            value,
            origin,
            why: why.into(),
        }
    }

    /// A setting as it may be shown: secrets masked.
    pub(crate) fn shown(&self, key: Key) -> Setting {
        let Setting { value, origin } = self.get(key);
        let origin: &Origin = origin;
        let value = match key {
            Key::KafkaProperties => masked_properties(value),
            _ => masked(value),
        };
        Setting {
            value,
            origin: origin.clone(),
        }
    }
}

fn within(number: Option<u64>, min: u64, max: u64) -> Option<u64> {
    number.filter(|number| (min..=max).contains(number))
}

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

/// Reads a size: a whole number, alone or with a unit.
fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let factor = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    //! Shows which sizes are read, and that none is misread.

    use super::size;

    #[test]
    fn sizes_are_read_exactly_or_not_at_all() {
        let check = |text, bytes| assert_eq!(size(text), bytes, "{text:?}");
        check("1048576", Some(1 << 20));
        check("1MiB", Some(1 << 20));
        check("64 KiB", Some(64 << 10));
        check("2GiB", Some(2 << 30));
        check("0", Some(0));
        check("1MB", None);
        check("-1", None);
        check("1.5MiB", None);
        check("MiB", None);
        check("", None);
        check("99999999999999999999", None);
        check("99999999999GiB", None);
    }
}
