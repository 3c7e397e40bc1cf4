//! From the messages of the stream to whole transactions.
//!
//! Pure, but for one thing it asks for: when a relation's shape comes, the caller looks the table
//! up in the catalog and gives it in. What the catalog says may be newer than the stream; a row is
//! read only when both say the same of its columns, and else the table's pages are read again.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_core::{
    CommandError, Commit, Lsn, Row, RowChange, TableChange, TableName, TenantId, Transaction,
    TransactionSnapshot, Value, Xid,
};

use crate::catalog::Table;
use crate::pgoutput::{Cell, Message, OldTuple, Relation, RelationColumn, Tuple};
use crate::value::{read, read_row, unreadable};
use crate::visible::{full_xid, parse_snapshot};

/// Changes of one table in one transaction. Beyond it, reading the pages again costs less than the
/// changes, and their memory has a bound.
pub(crate) const CHANGES_MAX: usize = 10_000;

/// Bytes of all changes in one transaction, roughly. Beyond it none of its changes is kept.
pub(crate) const BYTES_MAX: usize = 64 << 20;

/// What our own messages in the log start with.
pub(crate) const PREFIX: &str = "tidegate";

/// Microseconds between the epoch of Unix and that of Postgres.
const EPOCH_2000_MICROS: i64 = 946_684_800_000_000;

/// The fingerprint of a change that has no rows, and so follows no schema.
const NO_SCHEMA: u64 = 0;

/// What a message was good for.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing to do.
    Nothing,
    /// Look this table up and pass it to [`Assembler::relation`].
    LookUp(Relation),
    /// A transaction ended.
    Committed(Committed),
}

/// A transaction that ended.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) lsn: Lsn,
    pub(crate) at_micros: i64,
    /// What it did, if that was anything to us.
    pub(crate) transaction: Option<Transaction>,
    /// Who was visible, when it was a heartbeat.
    pub(crate) visible: Option<TransactionSnapshot>,
    /// How much it holds, for batching.
    pub(crate) rows: usize,
}

/// A relation of the stream.
struct Known {
    relation: Relation,
    /// `None` when it is nobody's.
    table: Option<Arc<Table>>,
    /// Whether the stream and the catalog say the same of its columns.
    agrees: bool,
}

/// A transaction that has begun.
#[derive(Default)]
struct Open {
    xid: Xid,
    at_micros: i64,
    tables: Vec<TableChange>,
    rows: usize,
    bytes: usize,
    visible: Option<TransactionSnapshot>,
}

/// See the module.
pub(crate) struct Assembler {
    relations: HashMap<u32, Known>,
    open: Option<Open>,
    /// Tables that changed in some way that no row tells of.
    resets: Vec<(TenantId, TableName)>,
    /// A full transaction id of about now.
    near: Xid,
}

impl Assembler {
    /// `near` is a transaction id that was given out lately.
    pub(crate) fn new(near: Xid) -> Self {
        Self {
            relations: HashMap::new(),
            open: None,
            resets: Vec::new(),
            near,
        }
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// A phrase when the messages make no sense in this order.
    pub(crate) fn take(&mut self, message: Message) -> Result<Step, String> {
        match message {
            Message::Begin { xid, committed_at } => {
                self.open = Some(Open {
                    xid: full_xid(xid, self.near),
                    at_micros: committed_at.saturating_add(EPOCH_2000_MICROS),
                    ..Open::default()
                });
            }
            Message::Commit {
                end_lsn,
                committed_at: _,
            } => return self.commit(Lsn::new(end_lsn)).map(Step::Committed),
            Message::Relation(relation) => return Ok(Step::LookUp(relation)),
            Message::Insert { relation, new } => self.change(relation, |known, bytes| {
                let row = known.row(&new, None, bytes)?;
                Ok(Some(RowChange::Upsert { old_key: None, row }))
            })?,
            Message::Update { relation, old, new } => self.change(relation, |known, bytes| {
                known.update(old.as_ref(), &new, bytes)
            })?,
            Message::Delete { relation, old } => self.change(relation, |known, bytes| {
                let key = known.old_key(&old, bytes)?;
                Ok(Some(RowChange::Delete { key }))
            })?,
            Message::Truncate { relations } => {
                for relation in relations {
                    self.reset(relation)?;
                }
            }
            Message::Said {
                in_transaction: true,
                prefix,
                content,
            } if prefix == PREFIX => self.said(&content),
            Message::Said { .. } | Message::Ignored => {}
        }
        Ok(Step::Nothing)
    }

    /// Takes the table that a relation is, as the catalog has it.
    pub(crate) fn relation(&mut self, relation: Relation, table: Option<Arc<Table>>) {
        let agrees = table.as_ref().is_some_and(|table| agree(table, &relation));
        if let (Some(table), false) = (&table, agrees) {
            let table = table.schema.table();
            tracing::debug!(%table, "stream and catalog differ; pages are read again");
        }
        let oid = relation.oid;
        let known = Known {
            relation,
            table,
            agrees,
        };
        let before = self.relations.insert(oid, known);
        // Another shape than that of the rows before: values may have been changed with it, by a
        // rewrite that is no change of any row.
        let known = &self.relations[&oid];
        if before.is_some_and(|before| before.relation != known.relation)
            && let (Some(open), Some(table)) = (&mut self.open, &known.table)
        {
            open.table(table).rows = None;
        }
    }

    /// Relations whose tables were not as the stream has them when they were looked up. The stream
    /// may run ahead of what is visible, so a later look may find them to be.
    pub(crate) fn disagreeing(&self) -> Vec<Relation> {
        let disagrees = |known: &&Known| known.table.is_some() && !known.agrees;
        let relations = self.relations.values().filter(disagrees);
        relations.map(|known| known.relation.clone()).collect()
    }

    /// Has the pages of a table read again with the next transaction.
    pub(crate) fn reset_next(&mut self, tenant: TenantId, table: TableName) {
        self.resets.push((tenant, table));
    }

    fn open(&mut self) -> Result<(&mut Open, &HashMap<u32, Known>), String> {
        let open = self.open.as_mut();
        let open = open.ok_or("a change stands outside of any transaction")?;
        Ok((open, &self.relations))
    }

    fn change(
        &mut self,
        relation: u32,
        change: impl FnOnce(&Known, &mut usize) -> Result<Option<RowChange>, CommandError>,
    ) -> Result<(), String> {
        let (open, relations) = self.open()?;
        let known = relations.get(&relation);
        let known = known.ok_or("a row's relation was never told")?;
        let Some(table) = &known.table else {
            return Ok(());
        };
        if open.table(table).rows.is_none() {
            return Ok(());
        }
        let mut bytes = 0;
        let change = match known.agrees {
            true => change(known, &mut bytes).unwrap_or_else(|error| {
                tracing::debug!(error = %error, "a change cannot be read; pages are read again");
                None
            }),
            false => None,
        };
        open.push(table, change, bytes);
        Ok(())
    }

    fn reset(&mut self, relation: u32) -> Result<(), String> {
        let (open, relations) = self.open()?;
        if let Some(table) = relations
            .get(&relation)
            .and_then(|known| known.table.as_ref())
        {
            open.table(table).rows = None;
        }
        Ok(())
    }

    fn said(&mut self, content: &[u8]) {
        let visible = std::str::from_utf8(content).ok().and_then(parse_snapshot);
        let (Some(open), Some(visible)) = (&mut self.open, visible) else {
            tracing::debug!("a heartbeat cannot be read");
            return;
        };
        self.near = visible.xmax;
        open.visible = Some(visible);
    }

    fn commit(&mut self, lsn: Lsn) -> Result<Committed, String> {
        let mut open = self.open.take().ok_or("a commit without a beginning")?;
        for (tenant, table) in self.resets.drain(..) {
            let at = open.place(&tenant, &table, NO_SCHEMA);
            open.tables[at].rows = None;
        }
        let commit = Commit {
            lsn,
            xid: open.xid,
            committed_at_micros: open.at_micros,
        };
        Ok(Committed {
            lsn,
            at_micros: open.at_micros,
            rows: open.rows,
            visible: open.visible,
            transaction: (!open.tables.is_empty()).then_some(Transaction {
                commit,
                tables: open.tables,
                resets: Vec::new(),
            }),
        })
    }
}

impl Open {
    fn push(&mut self, table: &Table, change: Option<RowChange>, bytes: usize) {
        self.bytes += bytes;
        if self.bytes > BYTES_MAX {
            self.tables.iter_mut().for_each(|table| table.rows = None);
            self.rows = 0;
            return;
        }
        let entry = self.table(table);
        match (&mut entry.rows, change) {
            (Some(rows), Some(change)) if rows.len() < CHANGES_MAX => {
                rows.push(change);
                self.rows += 1;
            }
            (rows, _) => *rows = None,
        }
    }

    /// The entry of a table, whose rows all follow one schema: after a change of it within the
    /// transaction, none is kept.
    fn table(&mut self, table: &Table) -> &mut TableChange {
        let fingerprint = table.schema.fingerprint();
        let at = self.place(&table.tenant, table.schema.table(), fingerprint);
        let entry = &mut self.tables[at];
        if entry.schema != fingerprint {
            entry.schema = fingerprint;
            entry.rows = None;
        }
        entry
    }

    fn place(&mut self, tenant: &TenantId, table: &TableName, schema: u64) -> usize {
        let is_it = |other: &TableChange| other.tenant == *tenant && other.table == *table;
        self.tables.iter().position(is_it).unwrap_or_else(|| {
            self.tables.push(TableChange {
                tenant: tenant.clone(),
                table: table.clone(),
                schema,
                rows: Some(Vec::new()),
            });
            self.tables.len() - 1
        })
    }
}

/// Whether a relation of the stream has the columns and the key of the table. Columns that the
/// server computes are not streamed, so with one of these it never has.
fn agree(table: &Table, relation: &Relation) -> bool {
    let columns = table.schema.columns();
    let key = table.schema.key();
    // With other identities, other columns than the key may be marked, but the key always.
    let exact = relation.identity == b'd';
    let same = |(at, told): (usize, &RelationColumn)| {
        let (column, stored) = (&columns[at], &table.columns[at]);
        let in_key = key.contains(&at);
        *column.name == *told.name
            && stored.oid == told.type_oid
            && stored.modifier == told.modifier
            && (told.in_key == in_key || (told.in_key && !exact))
    };
    columns.len() == relation.columns.len() && relation.columns.iter().enumerate().all(same)
}

impl Known {
    fn table(&self) -> &Table {
        self.table
            .as_deref()
            .expect("changes of nobody's tables are passed over")
    }

    /// The whole row. A large value that was not changed is taken from the row before, where that
    /// is told.
    fn row(
        &self,
        new: &Tuple,
        before: Option<&Tuple>,
        bytes: &mut usize,
    ) -> Result<Row, CommandError> {
        let table = self.table();
        let columns = table.schema.columns();
        let mut texts = Vec::with_capacity(columns.len());
        for (at, column) in columns.iter().enumerate() {
            let missing = |why| unreadable(&table.schema, column, why);
            let cell = match (new.get(at), before) {
                (Some(Cell::Unchanged), Some(before)) => before.get(at),
                (cell, _) => cell,
            };
            let text = text(cell).map_err(missing)?;
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
    ) -> Result<Option<RowChange>, CommandError> {
        let before = match old {
            Some(OldTuple::Full(before)) => Some(before),
            Some(OldTuple::Key(_)) | None => None,
        };
        let row = self.row(new, before, bytes)?;
        let old_key = match old {
            Some(old) => Some(self.old_key(old, bytes)?),
            None => None,
        };
        let key = self.table().schema.key_of(&row);
        let old_key = old_key.filter(|old_key| *old_key != key);
        Ok(Some(RowChange::Upsert { old_key, row }))
    }

    fn old_key(&self, old: &OldTuple, bytes: &mut usize) -> Result<Box<[Value]>, CommandError> {
        let (OldTuple::Key(cells) | OldTuple::Full(cells)) = old;
        let table = self.table();
        let value = |at: &usize| {
            let column = &table.schema.columns()[*at];
            let missing = |why| unreadable(&table.schema, column, why);
            let text = text(cells.get(*at));
            let text = text.map_err(missing)?;
            let text = text.ok_or_else(|| missing("is part of the key, and NULL"))?;
            *bytes += text.len();
            read(table.sql.columns[*at], text).map_err(missing)
        };
        table.schema.key().iter().map(value).collect()
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
