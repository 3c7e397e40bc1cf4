//! What a statement is about: a table, and whose rows in it.

use tidegate_core::{Comparison, Owner, TableSchema, TenantId, Value};

use crate::dialect::Dialect;
use crate::writer::Writer;

/// A table as a statement meets it. Every statement on rows is made for one, so none can forget
/// whose rows it may touch.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// How SQL is written for it.
    pub dialect: Dialect<'a>,
    /// Its name in the database.
    pub name: &'a str,
    /// Its columns. Where tenants share it, the column that says whose a row is stands last, behind
    /// all columns that queries know of.
    pub schema: &'a TableSchema,
    /// Which of its rows there are for this statement.
    pub scope: &'a Scope,
}

/// Whose rows a statement may touch.
#[derive(Debug, Clone, PartialEq)]
pub enum Scope {
    /// All: the table is one tenant's.
    Table,
    /// Those whose last column holds this value. A row that is added gets it.
    Rows(Value),
    /// None: the last column cannot hold what the tenant is called.
    Nothing,
}

impl Scope {
    /// What a tenant may touch of a table. `stored` has all the table's columns, as in
    /// [`Target::schema`].
    #[must_use]
    pub fn of(tenant: &TenantId, owner: &Owner, stored: &TableSchema) -> Self {
        match (owner, stored.columns().last()) {
            (Owner::Tenant(_), _) => Self::Table,
            (Owner::EachRow, Some(column)) => match tenant.to_value(&column.kind) {
                Some(value) => Self::Rows(value),
                None => Self::Nothing,
            },
            (Owner::EachRow, None) => Self::Nothing,
        }
    }

    /// Whether a row may be shown that holds this value in its last column. It is asked of every
    /// row that comes, though the statement has asked it before.
    #[must_use]
    pub fn admits(&self, last: &Value) -> bool {
        match self {
            Self::Table => true,
            Self::Rows(tenant) => tenant == last,
            Self::Nothing => false,
        }
    }
}

/// Values of a row to be written, without and with the tenant's.
pub(crate) type Values<'a> = Vec<(usize, &'a Value)>;

impl<'a> Writer<'a> {
    /// Opens the `WHERE` of a statement with whose rows it may touch, whatever else it asks for.
    pub(crate) fn scope(&mut self) {
        match self.scope {
            Scope::Table => {}
            Scope::Rows(tenant) => {
                self.condition();
                self.comparison(self.tenant_column(), Comparison::Equal, tenant);
            }
            Scope::Nothing => {
                self.condition();
                self.truth(false);
            }
        }
    }

    /// The values of a row to be added, with its tenant's.
    pub(crate) fn owned(&self, values: &'a [(usize, Value)]) -> Values<'a> {
        let mut owned: Values<'a> = values.iter().map(|(at, value)| (*at, value)).collect();
        if let Scope::Rows(tenant) = self.scope {
            owned.push((self.tenant_column(), tenant));
        }
        owned
    }

    fn tenant_column(&self) -> usize {
        self.schema.columns().len() - 1
    }
}
