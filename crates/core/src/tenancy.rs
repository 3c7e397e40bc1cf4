//! How tenants share a database.

use crate::ids::{IdError, TableName, TenantId};

/// How a tenant's table is found in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenancy {
    /// Each tenant's tables carry its name: `{tenant}_{table}`. A tenant id then has no underscore,
    /// so that the split is unambiguous.
    Prefix,
    /// One tenant only; tables go by their own names.
    Single,
}

impl Tenancy {
    /// The table's name in the database.
    ///
    /// # Errors
    /// When the tenant cannot have tables under this tenancy (an underscore in its id, with
    /// `Prefix`).
    pub fn physical(self, tenant: &TenantId, table: &TableName) -> Result<String, IdError> {
        match self {
            Self::Single => Ok(table.to_string()),
            Self::Prefix => {
                self.admit(tenant)?;
                Ok(format!("{tenant}_{table}"))
            }
        }
    }

    /// The tenant and table that a database table is, or `None` when it is nobody's.
    #[must_use]
    pub fn logical(self, physical: &str) -> Option<(TenantId, TableName)> {
        match self {
            Self::Single => Some((Self::single_tenant(), TableName::parse(physical).ok()?)),
            Self::Prefix => {
                let (tenant, table) = physical.split_once('_')?;
                Some((TenantId::parse(tenant).ok()?, TableName::parse(table).ok()?))
            }
        }
    }

    /// The tenant that a principal's claim means here: itself, or the only one there is.
    ///
    /// # Errors
    /// When the tenant cannot exist under this tenancy.
    pub fn admit(self, tenant: &TenantId) -> Result<TenantId, IdError> {
        match self {
            Self::Single => Ok(Self::single_tenant()),
            Self::Prefix if tenant.as_str().contains('_') => {
                Err(IdError::underscore(tenant.as_str()))
            }
            Self::Prefix => Ok(tenant.clone()),
        }
    }

    fn single_tenant() -> TenantId {
        TenantId::parse("single").expect("letters only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tenants can never mean one table: `a_b` + `c` and `a` + `b_c` would, so the first is
    /// refused.
    #[test]
    fn prefix_is_unambiguous() {
        let tenant = |name| TenantId::parse(name).expect("valid");
        let table = |name| TableName::parse(name).expect("valid");
        assert!(
            Tenancy::Prefix
                .physical(&tenant("a_b"), &table("c"))
                .is_err()
        );
        let physical = Tenancy::Prefix
            .physical(&tenant("a"), &table("b_c"))
            .expect("valid");
        assert_eq!(physical, "a_b_c");
        assert_eq!(
            Tenancy::Prefix.logical(&physical),
            Some((tenant("a"), table("b_c")))
        );
        assert_eq!(Tenancy::Prefix.logical("orders"), None);
    }

    /// With a single tenant, whoever asks means the same tables.
    #[test]
    fn single_keeps_names() {
        let tenant = TenantId::parse("x").expect("valid");
        let table = TableName::parse("shop_orders").expect("valid");
        assert_eq!(
            Tenancy::Single.physical(&tenant, &table).as_deref(),
            Ok("shop_orders")
        );
        let (owner, back) = Tenancy::Single
            .logical("shop_orders")
            .expect("everything is ours");
        assert_eq!(back, table);
        assert_eq!(Tenancy::Single.admit(&tenant), Ok(owner));
    }
}
