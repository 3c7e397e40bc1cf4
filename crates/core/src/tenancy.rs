//! How tenants share a database.

use std::sync::Arc;

use crate::ids::{IdError, TableName, TenantId};
use crate::literal::Literal;
use crate::schema::ColumnType;
use crate::value::Value;

/// Longest name of a schema, in bytes; Postgres cuts longer ones, and two would be one.
const SCHEMA_BYTES_MAX: usize = 63;

/// How a tenant's tables, or its rows in tables of all, are found in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenancy {
    /// Each tenant's tables carry its name: `{tenant}_{table}`. A tenant id then has no underscore,
    /// so that the split is unambiguous.
    Prefix,
    /// Each tenant's tables are in a schema of its name.
    Schema,
    /// Tables are shared: a column of this name says whose a row is. A table without it is
    /// nobody's.
    Column(Arc<str>),
    /// One tenant only; tables go by their own names.
    Single,
}

/// Whose a table of the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// One tenant's.
    Tenant(TenantId),
    /// Every row says it for itself.
    EachRow,
}

impl Tenancy {
    /// The table's name in the database.
    ///
    /// # Errors
    /// When the tenant cannot have tables under this tenancy: see [`Tenancy::admit`].
    pub fn physical(&self, tenant: &TenantId, table: &TableName) -> Result<String, IdError> {
        self.admit(tenant)?;
        Ok(match self {
            Self::Single | Self::Schema | Self::Column(_) => table.to_string(),
            Self::Prefix => format!("{tenant}_{table}"),
        })
    }

    /// The schema that a tenant's tables are in, where that is one of its own.
    #[must_use]
    pub fn schema_of<'a>(&self, tenant: &'a TenantId) -> Option<&'a str> {
        match self {
            Self::Schema => Some(tenant.as_str()),
            Self::Prefix | Self::Column(_) | Self::Single => None,
        }
    }

    /// The column that says whose a row is, where tables are shared.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Column(name) => Some(name),
            Self::Prefix | Self::Schema | Self::Single => None,
        }
    }

    /// Whose a table of the database is and what clients call it, or `None` when it is nobody's.
    /// The schema counts only where each tenant has one.
    #[must_use]
    pub fn logical(&self, schema: &str, physical: &str) -> Option<(Owner, TableName)> {
        let (owner, table) = match self {
            Self::Single => (Owner::Tenant(Self::single_tenant()), physical),
            Self::Column(_) => (Owner::EachRow, physical),
            Self::Schema => {
                let tenant = TenantId::parse(schema).ok()?;
                (Owner::Tenant(self.admit(&tenant).ok()?), physical)
            }
            Self::Prefix => {
                let (tenant, table) = physical.split_once('_')?;
                (Owner::Tenant(TenantId::parse(tenant).ok()?), table)
            }
        };
        Some((owner, TableName::parse(table).ok()?))
    }

    /// The tenant that a principal's claim means here: itself, or the only one there is.
    ///
    /// # Errors
    /// When the tenant cannot exist under this tenancy: with `Prefix` when its id has an
    /// underscore; with `Schema` when it names a schema that holds other things.
    pub fn admit(&self, tenant: &TenantId) -> Result<TenantId, IdError> {
        let name = tenant.as_str();
        match self {
            Self::Single => Ok(Self::single_tenant()),
            Self::Prefix if name.contains('_') => {
                let why = "must not hold an underscore when tables are named {tenant}_{table}";
                Err(IdError::tenant(name, why))
            }
            Self::Schema if is_reserved_schema(name) => {
                Err(IdError::tenant(name, "names a schema that is no tenant's"))
            }
            Self::Schema if name.len() > SCHEMA_BYTES_MAX => Err(IdError::tenant(
                name,
                "is too long for the name of a schema",
            )),
            Self::Prefix | Self::Schema | Self::Column(_) => Ok(tenant.clone()),
        }
    }

    fn single_tenant() -> TenantId {
        TenantId::parse("single").expect("letters only")
    }
}

/// Postgres's own schemas, the one that everybody has, and ours.
fn is_reserved_schema(name: &str) -> bool {
    name.starts_with("pg_") || matches!(name, "information_schema" | "public" | "tidegate")
}

impl ColumnType {
    /// Whether a column of this type can say whose a row is.
    #[must_use]
    pub fn names_tenants(&self) -> bool {
        *self == Self::Text || self.integer_range().is_some()
    }
}

impl TenantId {
    /// What a column of this type holds in the tenant's rows. `None` when no row can be the
    /// tenant's: its id is not just what such a value is printed as. (`07` is no tenant of an
    /// integer column, or it would be the same one as `7`.)
    #[must_use]
    pub fn to_value(&self, kind: &ColumnType) -> Option<Value> {
        if !kind.names_tenants() {
            return None;
        }
        let value = Literal::Text(self.to_string()).coerce(kind).ok()?;
        (Self::of_value(&value).as_ref() == Some(self)).then_some(value)
    }

    /// Whose a row is that holds this value. `None` when it is nobody's.
    #[must_use]
    pub fn of_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Self::parse(text).ok(),
            Value::Int(number) => Self::parse(&number.to_string()).ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).expect("valid")
    }

    fn table(name: &str) -> TableName {
        TableName::parse(name).expect("valid")
    }

    /// Two tenants can never mean one table: `a_b` + `c` and `a` + `b_c` would, so the first is
    /// refused.
    #[test]
    fn prefix_is_unambiguous() {
        let prefix = Tenancy::Prefix;
        assert!(prefix.physical(&tenant("a_b"), &table("c")).is_err());
        let physical = prefix.physical(&tenant("a"), &table("b_c")).expect("valid");
        assert_eq!(physical, "a_b_c");
        assert_eq!(
            prefix.logical("public", &physical),
            Some((Owner::Tenant(tenant("a")), table("b_c")))
        );
        assert_eq!(prefix.logical("public", "orders"), None);
    }

    /// With a single tenant, whoever asks means the same tables.
    #[test]
    fn single_keeps_names() {
        let (single, asking) = (Tenancy::Single, tenant("x"));
        assert_eq!(
            single.physical(&asking, &table("shop_orders")).as_deref(),
            Ok("shop_orders")
        );
        let (owner, back) = single
            .logical("public", "shop_orders")
            .expect("everything is ours");
        assert_eq!(back, table("shop_orders"));
        assert_eq!(single.admit(&asking).map(Owner::Tenant), Ok(owner));
    }

    /// A schema is its tenant's, but for those that hold other things.
    #[test]
    fn schemas_are_tenants() {
        let by_schema = Tenancy::Schema;
        assert_eq!(by_schema.schema_of(&tenant("a_b")), Some("a_b"));
        assert_eq!(
            by_schema.logical("a_b", "c_d"),
            Some((Owner::Tenant(tenant("a_b")), table("c_d")))
        );
        let long = "x".repeat(SCHEMA_BYTES_MAX + 1);
        for bad in [
            "public",
            "pg_catalog",
            "information_schema",
            "tidegate",
            &long,
        ] {
            assert!(by_schema.admit(&tenant(bad)).is_err(), "{bad}");
            assert_eq!(by_schema.logical(bad, "orders"), None, "{bad}");
        }
        assert_eq!(by_schema.logical("two words", "orders"), None);
    }

    /// A tenant id and a value mean each other, or neither means anything.
    #[test]
    fn values_name_tenants() {
        let check = |kind: ColumnType, name: &str, expect: Option<Value>| {
            assert_eq!(tenant(name).to_value(&kind), expect, "{name} as {kind}");
            if let Some(value) = expect {
                assert_eq!(TenantId::of_value(&value), Some(tenant(name)));
            }
        };
        check(ColumnType::Text, "acme", Some(Value::text("acme")));
        check(ColumnType::Integer, "7", Some(Value::Int(7)));
        check(ColumnType::BigInt, "-7", Some(Value::Int(-7)));
        for name in ["07", "7.0", "-0", "acme", "70000"] {
            check(ColumnType::SmallInt, name, None);
        }
        check(ColumnType::Numeric, "7", None);
        check(ColumnType::Json, "7", None);
        for nobody in [Value::Null, Value::text("two words"), Value::text("")] {
            assert_eq!(TenantId::of_value(&nobody), None, "{nobody:?}");
        }
    }
}
