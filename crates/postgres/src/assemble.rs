//! From the messages of the stream to whole transactions.
//!
//! Pure, but for one thing it asks for: when a relation's shape comes, the caller looks the table
//! up in the catalog and gives it in. What the catalog says may be newer than the stream; a row is
//! read only when both say the same of its columns, and else the table's pages are read again.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_core::{
    Commit, Lsn, Owner, TableName, Transaction, TransactionBuilder, TransactionSnapshot, Xid,
};

use crate::known::{Known, Told};
use crate::pgoutput::{Message, Relation};
use crate::table::Table;
use crate::visible::{full_xid, parse_snapshot};

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

/// A transaction that has begun.
#[derive(Default)]
struct Open {
    xid: Xid,
    at_micros: i64,
    changes: TransactionBuilder,
    visible: Option<TransactionSnapshot>,
}

/// See the module.
pub(crate) struct Assembler {
    relations: HashMap<u32, Known>,
    open: Option<Open>,
    /// Tables that changed in some way that no row tells of.
    resets: Vec<(Owner, TableName)>,
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
            Message::Insert { relation, new } => self.change(relation, &Told::Insert(new))?,
            Message::Update { relation, old, new } => {
                self.change(relation, &Told::Update(old, new))?;
            }
            Message::Delete { relation, old } => self.change(relation, &Told::Delete(old))?,
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
        let oid = relation.oid;
        let known = Known::new(relation, table);
        if let (Some(table), false) = (&known.table, known.agrees) {
            let table = table.schema.table();
            tracing::debug!(%table, "stream and catalog differ; pages are read again");
        }
        let before = self.relations.insert(oid, known);
        // Another shape than that of the rows before: values may have been changed with it, by a
        // rewrite that is no change of any row.
        let known = &self.relations[&oid];
        if before.is_some_and(|before| before.relation != known.relation)
            && let (Some(open), Some(table)) = (&mut self.open, &known.table)
        {
            open.reset(table);
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
    pub(crate) fn reset_next(&mut self, owner: Owner, table: TableName) {
        self.resets.push((owner, table));
    }

    fn open(&mut self) -> Result<(&mut Open, &HashMap<u32, Known>), String> {
        let open = self.open.as_mut();
        let open = open.ok_or("a change stands outside of any transaction")?;
        Ok((open, &self.relations))
    }

    fn change(&mut self, relation: u32, told: &Told) -> Result<(), String> {
        let (open, relations) = self.open()?;
        let known = relations.get(&relation);
        let known = known.ok_or("a row's relation was never told")?;
        let Some(table) = &known.table else {
            return Ok(());
        };
        let changes = &mut open.changes;
        if changes.is_reset(&table.owner, table.schema.table()) {
            return Ok(());
        }
        if !known.agrees {
            open.reset(table);
            return Ok(());
        }
        match known.parts(told) {
            Ok(parts) => {
                for part in parts {
                    changes.push(&table.owner, &table.schema, part);
                }
            }
            Err(error) => {
                tracing::debug!(error = %error, "a change is nobody's; all pages are read again");
                open.reset(table);
            }
        }
        Ok(())
    }

    fn reset(&mut self, relation: u32) -> Result<(), String> {
        let (open, relations) = self.open()?;
        if let Some(table) = relations
            .get(&relation)
            .and_then(|known| known.table.as_ref())
        {
            open.reset(table);
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
        for (owner, table) in self.resets.drain(..) {
            open.changes.reset(&owner, &table, NO_SCHEMA);
        }
        let commit = Commit {
            lsn,
            xid: open.xid,
            committed_at_micros: open.at_micros,
        };
        Ok(Committed {
            lsn,
            at_micros: open.at_micros,
            rows: open.changes.weight(),
            visible: open.visible,
            transaction: open.changes.finish(commit),
        })
    }
}

impl Open {
    fn reset(&mut self, table: &Table) {
        let (name, schema) = (table.schema.table(), table.schema.fingerprint());
        self.changes.reset(&table.owner, name, schema);
    }
}

#[cfg(test)]
mod tests;
