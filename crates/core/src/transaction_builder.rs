//! Puts a transaction together from its changes, row by row, within bounds.

use std::collections::HashMap;

use crate::change::{Commit, RowChange, TableChange, TableReset, Transaction};
use crate::ids::{TableName, TenantId};
use crate::schema::TableSchema;
use crate::tenancy::Owner;

/// Changes of one table of one tenant in a transaction. Beyond it, reading the pages again costs
/// less than the changes, and their memory has a bound.
pub const TABLE_CHANGES_MAX: usize = 10_000;

/// Bytes of all changes in one transaction, roughly. Beyond it none of its changes is kept.
pub const TRANSACTION_BYTES_MAX: usize = 64 << 20;

/// Tables of tenants in one transaction. Beyond it a table that tenants share is read again by all.
pub const TENANT_TABLES_MAX: usize = 10_000;

/// What one change is to one tenant.
#[derive(Debug)]
pub struct OwnChange {
    /// Whose.
    pub tenant: TenantId,
    /// The change, or `None` when it cannot be read: then the tenant's pages of the table are read
    /// again.
    pub change: Option<RowChange>,
    /// How large it is, roughly.
    pub bytes: usize,
}

/// A transaction of which not all is known yet.
#[derive(Debug, Default)]
pub struct TransactionBuilder {
    tables: Vec<TableChange>,
    /// Where in `tables` a tenant's table is.
    places: HashMap<(TenantId, TableName), usize>,
    resets: Vec<TableReset>,
    rows: usize,
    bytes: usize,
}

impl TransactionBuilder {
    /// Adds a change of a table.
    pub fn push(&mut self, owner: &Owner, schema: &TableSchema, own: OwnChange) {
        let (table, fingerprint) = (schema.table(), schema.fingerprint());
        if self.is_reset(owner, table) {
            return;
        }
        let is_new = !self
            .places
            .contains_key(&(own.tenant.clone(), table.clone()));
        if is_new && self.tables.len() >= TENANT_TABLES_MAX && *owner == Owner::EachRow {
            return self.reset(owner, table, fingerprint);
        }
        self.bytes += own.bytes;
        let within = self.bytes <= TRANSACTION_BYTES_MAX;
        let entry = self.entry(&own.tenant, table, fingerprint);
        match (&mut entry.rows, own.change) {
            (Some(rows), Some(change)) if within && rows.len() < TABLE_CHANGES_MAX => {
                rows.push(change);
                self.rows += 1;
            }
            (rows, _) => *rows = None,
        }
        if !within {
            self.tables.iter_mut().for_each(|table| table.rows = None);
            self.rows = 0;
        }
    }

    /// Has all pages of a table read again, whose ever they are where tenants share it. The
    /// fingerprint is of the schema it has now, or zero.
    pub fn reset(&mut self, owner: &Owner, table: &TableName, fingerprint: u64) {
        match owner {
            Owner::Tenant(tenant) => self.entry(tenant, table, fingerprint).rows = None,
            Owner::EachRow => {
                self.tables.retain(|other| other.table != *table);
                let places = self.tables.iter().enumerate();
                let places = places.map(|(at, entry)| {
                    let key = (entry.tenant.clone(), entry.table.clone());
                    (key, at)
                });
                self.places = places.collect();
                self.resets.retain(|other| other.table != *table);
                self.resets.push(TableReset {
                    table: table.clone(),
                    schema: fingerprint,
                });
            }
        }
    }

    /// Whether nothing of a table is kept any more, whose ever it is.
    #[must_use]
    pub fn is_reset(&self, owner: &Owner, table: &TableName) -> bool {
        match owner {
            Owner::Tenant(tenant) => {
                let place = self.places.get(&(tenant.clone(), table.clone()));
                place.is_some_and(|at| self.tables[*at].rows.is_none())
            }
            Owner::EachRow => self.resets.iter().any(|reset| reset.table == *table),
        }
    }

    /// How much it holds, for batching.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.rows + self.resets.len()
    }

    /// The transaction, if it did anything.
    #[must_use]
    pub fn finish(self, commit: Commit) -> Option<Transaction> {
        let is_empty = self.tables.is_empty() && self.resets.is_empty();
        (!is_empty).then_some(Transaction {
            commit,
            tables: self.tables,
            resets: self.resets,
        })
    }

    /// The entry of a tenant's table, whose rows all follow one schema: after a change of it within
    /// the transaction, none is kept.
    fn entry(
        &mut self,
        tenant: &TenantId,
        table: &TableName,
        fingerprint: u64,
    ) -> &mut TableChange {
        let end = self.tables.len();
        let key = (tenant.clone(), table.clone());
        let at = *self.places.entry(key).or_insert(end);
        if at == end {
            self.tables.push(TableChange {
                tenant: tenant.clone(),
                table: table.clone(),
                schema: fingerprint,
                rows: Some(Vec::new()),
            });
        }
        let entry = &mut self.tables[at];
        if entry.schema != fingerprint {
            entry.schema = fingerprint;
            entry.rows = None;
        }
        entry
    }
}
