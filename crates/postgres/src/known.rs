//! A relation of the stream, and what its rows are to whom.
//!
//! Where tenants share a table, a change concerns whoever's the row was and whoever's it is now. A
//! row that goes from one tenant to another is removed for the one and added for the other; neither
//! learns of the other's.

use std::sync::Arc;

use tidegate_core::{Column, CommandError, OwnChange, Owner, Row, RowChange, TenantId, Value};

use crate::pgoutput::{Cell, OldTuple, Relation, RelationColumn, Tuple};
use crate::table::{Storage, Table};
use crate::value::{read, read_row, unreadable};

/// See the module.
pub(crate) struct Known {
    pub(crate) relation: Relation,
    /// `None` when it is nobody's.
    pub(crate) table: Option<Arc<Table>>,
    /// Whether the stream and the catalog say the same of its columns.
    pub(crate) agrees: bool,
}

/// A change as it is told.
pub(crate) enum Told {
    Insert(Tuple),
    Update(Option<OldTuple>, Tuple),
    Delete(OldTuple),
}

impl Known {
    pub(crate) fn new(relation: Relation, table: Option<Arc<Table>>) -> Self {
        let agrees = table.as_ref().is_some_and(|table| agree(table, &relation));
        Self {
            relation,
            table,
            agrees,
        }
    }

    /// What a change is, to each tenant that it concerns.
    ///
    /// # Errors
    /// When the stream does not say whom it concerns.
    pub(crate) fn parts(&self, told: &Told) -> Result<Vec<OwnChange>, CommandError> {
        let removed = |tenant, old: &OldTuple| {
            part(tenant, |bytes| {
                let key = self.old_key(old, bytes)?;
                Ok(RowChange::Delete { key })
            })
        };
        let added = |tenant, new: &Tuple, old: Option<&OldTuple>| {
            part(tenant, |bytes| {
                let row = self.row(new, old, bytes)?;
                Ok(RowChange::Upsert { old_key: None, row })
            })
        };
        let parts = match told {
            Told::Insert(new) => vec![added(self.owner(new, None)?, new, None)],
            Told::Delete(old) => vec![removed(self.owner_before(old)?, old)],
            Told::Update(old, new) => {
                let now = self.owner(new, old.as_ref())?;
                match old {
                    None if self.tells_all_before() => return Err(self.ownerless("is not told")),
                    // What the identity holds was not changed, and so not whose the row is.
                    None => vec![part(now, |bytes| self.update(None, new, bytes))],
                    Some(old) => {
                        let before = self.owner_before(old)?;
                        match before == now {
                            true => vec![part(now, |bytes| self.update(Some(old), new, bytes))],
                            false => vec![removed(before, old), added(now, new, Some(old))],
                        }
                    }
                }
            }
        };
        Ok(parts.into_iter().flatten().collect())
    }

    fn table(&self) -> &Table {
        self.table
            .as_deref()
            .expect("changes of nobody's tables are passed over")
    }

    /// Whether whose a row is is only known from a row that is told whole.
    fn tells_all_before(&self) -> bool {
        self.relation.identity == b'f' && self.table().owner == Owner::EachRow
    }

    /// Whose a row is. `None` when it is nobody's.
    fn owner(
        &self,
        new: &Tuple,
        before: Option<&OldTuple>,
    ) -> Result<Option<TenantId>, CommandError> {
        let table = self.table();
        match (&table.owner, table.columns.last()) {
            (Owner::Tenant(tenant), _) => Ok(Some(tenant.clone())),
            (Owner::EachRow, Some(column)) => self.tenant_in(cell(new, before, column.place)),
            (Owner::EachRow, None) => Err(self.ownerless("is not there")),
        }
    }

    /// Whose a row was.
    fn owner_before(&self, old: &OldTuple) -> Result<Option<TenantId>, CommandError> {
        let table = self.table();
        let place = table.columns.last().map_or(0, |column| column.place);
        match (&table.owner, old) {
            (Owner::Tenant(tenant), _) => Ok(Some(tenant.clone())),
            (Owner::EachRow, OldTuple::Full(cells)) => self.tenant_in(cells.get(place)),
            // An identity holds no NULL: this one does not hold the column, as that of a partition
            // need not.
            (Owner::EachRow, OldTuple::Key(cells)) => match cells.get(place) {
                Some(Cell::Null) => Err(self.ownerless("is not told of the row before")),
                cell => self.tenant_in(cell),
            },
        }
    }

    fn tenant_in(&self, cell: Option<&Cell>) -> Result<Option<TenantId>, CommandError> {
        let own = &self.table().sql.columns;
        let own = own.last().ok_or_else(|| self.ownerless("is not there"))?;
        let value = match text(cell).map_err(|why| self.ownerless(why))? {
            Some(text) => read(*own, text).map_err(|why| self.ownerless(why))?,
            None => Value::Null,
        };
        Ok(TenantId::of_value(&value))
    }

    fn ownerless(&self, why: &str) -> CommandError {
        let stored = &self.table().stored;
        match stored.columns().last() {
            Some(column) => unreadable(stored, column, why),
            None => CommandError::UnreadableValue(why.to_owned()),
        }
    }

    /// The whole row. A large value that was not changed is taken from the row before, where that
    /// is told.
    fn row(
        &self,
        new: &Tuple,
        before: Option<&OldTuple>,
        bytes: &mut usize,
    ) -> Result<Row, CommandError> {
        let table = self.table();
        let columns = table.schema.columns();
        let mut texts = Vec::with_capacity(columns.len());
        for (column, stored) in columns.iter().zip(&table.columns) {
            let missing = |why| unreadable(&table.schema, column, why);
            let text = text(cell(new, before, stored.place)).map_err(missing)?;
            *bytes += text.map_or(1, str::len);
            texts.push(text);
        }
        read_row(&table.schema, &table.sql.columns, |at| texts[at])
    }

    fn update(
        &self,
        old: Option<&OldTuple>,
        new: &Tuple,
        bytes: &mut usize,
    ) -> Result<RowChange, CommandError> {
        let row = self.row(new, old, bytes)?;
        let old_key = match old {
            Some(old) => Some(self.old_key(old, bytes)?),
            None => None,
        };
        let key = self.table().schema.key_of(&row);
        let old_key = old_key.filter(|old_key| *old_key != key);
        Ok(RowChange::Upsert { old_key, row })
    }

    fn old_key(&self, old: &OldTuple, bytes: &mut usize) -> Result<Box<[Value]>, CommandError> {
        let (OldTuple::Key(cells) | OldTuple::Full(cells)) = old;
        let table = self.table();
        let value = |at: &usize| {
            let column = &table.schema.columns()[*at];
            let missing = |why| unreadable(&table.schema, column, why);
            let text = text(cells.get(table.columns[*at].place));
            let text = text.map_err(missing)?;
            let text = text.ok_or_else(|| missing("is part of the key, and NULL"))?;
            *bytes += text.len();
            read(table.sql.columns[*at], text).map_err(missing)
        };
        table.schema.key().iter().map(value).collect()
    }
}

fn part(
    tenant: Option<TenantId>,
    change: impl FnOnce(&mut usize) -> Result<RowChange, CommandError>,
) -> Option<OwnChange> {
    let tenant = tenant?;
    let mut bytes = 0;
    let change = change(&mut bytes).map_err(|error| {
        tracing::debug!(error = %error, "a change cannot be read; pages are read again");
    });
    Some(OwnChange {
        tenant,
        change: change.ok(),
        bytes,
    })
}

/// Whether a relation of the stream has the columns and the key of the table. Columns that the
/// server computes are not streamed, so with one of these it never has. Nor has it when it does not
/// tell whose a row was.
fn agree(table: &Table, relation: &Relation) -> bool {
    // With other identities, other columns than the key may be marked, but the key always.
    let exact = relation.identity == b'd';
    let tenant_column = table.tenant_column();
    let same = |(at, (column, stored)): (usize, (&Column, &Storage))| {
        let told: Option<&RelationColumn> = relation.columns.get(stored.place);
        told.is_some_and(|told| {
            *column.name == *told.name
                && stored.oid == told.type_oid
                && stored.modifier == told.modifier
                && (told.in_key == stored.in_key || (told.in_key && !exact))
                && (told.in_key || Some(at) != tenant_column)
        })
    };
    let mut columns = table
        .stored
        .columns()
        .iter()
        .zip(&table.columns)
        .enumerate();
    table.columns.len() == relation.columns.len() && columns.all(same)
}

/// A cell of a row, or what it was before when it is large and was not changed. Of a row before of
/// which only the identity is told, other cells are NULL and say nothing.
fn cell<'a>(new: &'a Tuple, before: Option<&'a OldTuple>, place: usize) -> Option<&'a Cell> {
    match (new.get(place), before) {
        (Some(Cell::Unchanged), Some(OldTuple::Full(before))) => before.get(place),
        (Some(Cell::Unchanged), Some(OldTuple::Key(before))) => match before.get(place) {
            Some(told @ Cell::Text(_)) => Some(told),
            _ => new.get(place),
        },
        (cell, _) => cell,
    }
}

fn text(cell: Option<&Cell>) -> Result<Option<&str>, &'static str> {
    match cell {
        Some(Cell::Null) => Ok(None),
        Some(Cell::Text(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err("is not UTF-8"),
        },
        Some(Cell::Unchanged) => Err("was not changed, and is not told"),
        None => Err("is not in the stream"),
    }
}

#[cfg(test)]
mod tests;
