//! Where things of one query go.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::ids::{TableName, TenantId};
use crate::position::ParsePositionError;

/// Hash of a canonical query, computed by the server: 128 bits of a SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryHash([u8; 16]);

impl QueryHash {
    /// Hashes the canonical bytes of a query.
    #[must_use]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        Self(digest[..16].try_into().expect("a SHA-256 has 32 bytes"))
    }

    /// Stands for a query under a client's label, where a foreign processor keeps the page and
    /// knows it by that label only. Two queries under one label differ in it, and so do two labels
    /// of one query.
    #[must_use]
    pub fn of_labelled(label: &str, query: &str) -> Self {
        let mut bytes = Vec::with_capacity(8 + label.len() + query.len());
        bytes.extend_from_slice(&(label.len() as u64).to_be_bytes());
        bytes.extend_from_slice(label.as_bytes());
        bytes.extend_from_slice(query.as_bytes());
        Self::of(&bytes)
    }
}

impl fmt::Display for QueryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for QueryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for QueryHash {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePositionError::new(text);
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        let raw = u128::from_str_radix(text, 16).map_err(|_| error())?;
        Ok(Self(raw.to_be_bytes()))
    }
}

/// The key under which a query's page and diffs travel: whose, which table, which query.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoutingKey {
    /// The tenant, from a principal or a record key.
    pub tenant: TenantId,
    /// The table.
    pub table: TableName,
    /// The query.
    pub query: QueryHash,
}

impl RoutingKey {
    /// The one encoding of the key: `HASH:LENGTH:TENANT:TABLE`, LENGTH the tenant's bytes.
    /// Unambiguous whatever characters the names hold, as the hash is of fixed length and the
    /// tenant's is given.
    #[must_use]
    pub fn encode(&self) -> String {
        format!(
            "{}:{}:{}:{}",
            self.query,
            self.tenant.as_str().len(),
            self.tenant,
            self.table
        )
    }

    /// Reads what [`RoutingKey::encode`] wrote. `None` when it is anything else.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let (query, rest) = text.split_once(':')?;
        let (length, rest) = rest.split_once(':')?;
        let length: usize = length.parse().ok()?;
        let tenant = rest.get(..length)?;
        let table = rest.get(length..)?.strip_prefix(':')?;
        Some(Self {
            tenant: TenantId::parse(tenant).ok()?,
            table: TableName::parse(table).ok()?,
            query: query.parse().ok()?,
        })
    }

    /// The partition that owns the key.
    #[must_use]
    pub fn partition(&self, count: u32) -> Partition {
        Partition::of(&self.tenant, &self.table, count)
    }
}

impl fmt::Debug for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode())
    }
}

/// A partition of the bus topics. All topics have the same count, so that a table's changes, leases
/// and diffs meet in one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(u32);

impl Partition {
    /// Wraps a number.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The partition of a tenant's table: the one partitioner of the system.
    ///
    /// # Panics
    /// When `count` is zero, which configuration refuses.
    #[must_use]
    pub fn of(tenant: &TenantId, table: &TableName, count: u32) -> Self {
        assert!(count > 0, "there is at least one partition");
        let mut hasher = Sha256::new();
        hasher.update((tenant.as_str().len() as u32).to_be_bytes());
        hasher.update(tenant.as_str());
        hasher.update(table.as_str());
        let digest = hasher.finalize();
        let word = u64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 has 32 bytes"));
        Self((word % u64::from(count)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant: &str, table: &str) -> RoutingKey {
        RoutingKey {
            tenant: TenantId::parse(tenant).expect("valid"),
            table: TableName::parse(table).expect("valid"),
            query: QueryHash::of(b"q"),
        }
    }

    /// Keys survive their encoding, whatever the table is called, and different keys differ in it.
    #[test]
    fn encoding_is_unambiguous() {
        for (tenant, table) in [("a", "b:c"), ("a.b", "c"), ("a", "1:b:c"), ("ab", "ü|x")] {
            let key = key(tenant, table);
            assert_eq!(RoutingKey::decode(&key.encode()), Some(key));
        }
        assert_ne!(key("a", "b_c").encode(), key("a_b", "c").encode());
        for bad in [
            "",
            "x",
            "00:1:a:b",
            "zz:1:a:b",
            "99999999999999999999:1:a:b",
        ] {
            assert_eq!(RoutingKey::decode(bad), None);
        }
    }

    /// The partition is a published fact: clusters of different versions must agree on it.
    #[test]
    fn partitioning_is_stable() {
        let of = |tenant, table| key(tenant, table).partition(16).get();
        assert_eq!([of("demo", "orders"), of("demo", "tickets")], [5, 2]);
    }
}
