//! Names of tenants, tables and users.
//!
//! Each is a newtype that can only be made by a parsing constructor, so a name that is in a value
//! is known to be well formed. They are cheap to clone.

use std::fmt;
use std::sync::Arc;

/// Longest name accepted, in bytes. Postgres cuts identifiers at 63; the rest is the tenant's
/// prefix.
const NAME_BYTES_MAX: usize = 128;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name:?} {why}")]
pub struct IdError {
    kind: &'static str,
    name: String,
    why: &'static str,
}

impl IdError {
    pub(crate) fn tenant(name: &str, why: &'static str) -> Self {
        Self {
            kind: "tenant",
            name: name.chars().take(40).collect(),
            why,
        }
    }
}

fn check(kind: &'static str, name: &str) -> Result<Arc<str>, IdError> {
    let why = if name.is_empty() {
        "must not be empty"
    } else if name.len() > NAME_BYTES_MAX {
        "is longer than 128 bytes"
    } else if name.chars().any(char::is_control) {
        "must not hold control characters"
    } else {
        return Ok(name.into());
    };
    let shown = name.chars().take(40).collect();
    Err(IdError {
        kind,
        name: shown,
        why,
    })
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name_type!(
    /// A tenant (the old name on the wire is company).
    ///
    /// It comes from an authenticated principal or from a record key, never from a client frame.
    TenantId
);
name_type!(
    /// A table as clients name it, before any tenant prefix.
    TableName
);
name_type!(
    /// The user of a session, as the authentication names them.
    UserId
);

impl TenantId {
    /// Reads a tenant id.
    ///
    /// # Errors
    /// When it is empty, longer than 128 bytes, or holds anything but ASCII letters, digits, `-`,
    /// `.` and `_`. (Tenancy by prefix further forbids `_`: see [`crate::Tenancy`].)
    pub fn parse(name: &str) -> Result<Self, IdError> {
        let checked = check("tenant", name)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if !name.bytes().all(plain) {
            let why = "may only hold letters, digits, '-', '.' and '_'";
            return Err(IdError::tenant(name, why));
        }
        Ok(Self(checked))
    }
}

impl TableName {
    /// Reads a table name.
    ///
    /// # Errors
    /// When it is empty, longer than 128 bytes, or holds control characters.
    pub fn parse(name: &str) -> Result<Self, IdError> {
        check("table", name).map(Self)
    }
}

impl UserId {
    /// Reads a user id.
    ///
    /// # Errors
    /// When it is empty, longer than 128 bytes, or holds control characters.
    pub fn parse(name: &str) -> Result<Self, IdError> {
        check("user", name).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that could end up in keys, logs or SQL are bounded and free of control characters.
    #[test]
    fn refuses_bad_names() {
        for bad in ["", "a\0b", "a\nb", &"x".repeat(129)] {
            assert!(TableName::parse(bad).is_err(), "{bad:?}");
            assert!(TenantId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(TenantId::parse("a b").is_err());
        assert!(TenantId::parse("acme-1.eu").is_ok());
        assert_eq!(
            TableName::parse("Ünïcode table").expect("valid").as_str(),
            "Ünïcode table"
        );
    }
}
