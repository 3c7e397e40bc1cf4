//! Change capture: triggers that write every change into one log table.
//!
//! The triggers belong to the file, so they see the writes of every process, and their log rows
//! commit or roll back with the writes themselves: savepoints, failed statements and crashes need
//! no care. They use nothing that a plain SQLite of version 3.40 does not know.
//!
//! A trigger never logs what a statement meant to do, but what is true about a key when it fires:
//! the row as it now stands in the table, or that no row has the key any more. Every key is looked
//! at after its last change, so the last log row about it is right, whatever other triggers do in
//! between and in whatever order they fire.
//!
//! Two things fire no trigger. Rows that REPLACE removes through a unique index: a BEFORE trigger
//! notes the keys that would be in conflict, and the AFTER trigger logs those that are gone. A note
//! that is never looked at again (`INSERT OR IGNORE`) is harmless, since its key still exists; the
//! writer sweeps it up. And `DROP TABLE`, which changes the schema and is found by that.
//!
//! A column that is dropped stands in the upsert only, as a quoted name; unless quoted strings are
//! switched off, SQLite then takes it for a string and lets the column go. Rows that are logged
//! like this, before the triggers are made anew, are never read as rows: see `relay`.
//!
//! Where tenants share a table, the column that says whose a row is counts as the last one of the
//! key: what is logged of a key is logged of one tenant's row with that key. So a row that goes
//! from one tenant to another is gone for the one and there for the other, and a row whose tenant
//! is NULL is never found there.
//!
//! Inside a trigger no `OR …` clause may be relied on: the clause of the statement that fired it
//! wins.

use tidegate_sql::quoted;

use crate::catalog::{OWN_PREFIX, Table};
use crate::unique::{Term, TermKind, UniqueIndex};

/// A row exists and looks like this.
pub(crate) const OP_UPSERT: i64 = 1;
/// No row has this key.
pub(crate) const OP_DELETE: i64 = 2;
/// Pages of the table must be read again.
pub(crate) const OP_RESET: i64 = 3;
/// A transaction of our own writer starts.
pub(crate) const OP_BEGIN: i64 = 4;
/// It ends; `c0` is the time, as a Julian day.
pub(crate) const OP_END: i64 = 5;

/// Version of the objects below; a file that another version prepared is not touched.
pub(crate) const FORMAT: i64 = 1;

/// The tables of ours, but for the two below.
pub(crate) const BASE_OBJECTS: &str = "
    CREATE TABLE IF NOT EXISTS _tidegate_meta(name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS _tidegate_source(
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, shape TEXT NOT NULL);
";

/// The log, with columns for so many values of a row. They have no type, so they hold any value
/// unchanged.
pub(crate) fn log_table(width: usize) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS _tidegate_log(id INTEGER PRIMARY KEY AUTOINCREMENT, \
         source INTEGER NOT NULL, op INTEGER NOT NULL, {})",
        numbered(width)
    )
}

/// The notes, with columns for so many values of a key. They have no unique index on purpose: a
/// note must never fail a write.
pub(crate) fn conflict_table(width: usize) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS _tidegate_conflict(source INTEGER, place INTEGER, tag, {}); \
         CREATE INDEX IF NOT EXISTS _tidegate_conflict_tag \
         ON _tidegate_conflict(source, place, tag)",
        numbered(width)
    )
}

fn numbered(count: usize) -> String {
    let names: Vec<String> = (0..count).map(|at| format!("c{at}")).collect();
    names.join(", ")
}

/// A trigger: its name and the text that makes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trigger {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// All that decides what the triggers of a table do and how their log rows are read.
pub(crate) fn shape(table: &Table) -> String {
    format!(
        "{:?} {:?} {:?} {:?}",
        table.stored, table.columns, table.uniques, table.free_rowid
    )
}

/// The triggers of a table, whose log rows carry the number `source`.
pub(crate) fn triggers(table: &Table, source: i64) -> Vec<Trigger> {
    let builder = Builder::new(table, source);
    let mut triggers = vec![
        builder.trigger("insert", "AFTER INSERT", "", builder.after_insert()),
        builder.trigger("update", "AFTER UPDATE", "", builder.after_update()),
        builder.trigger("delete", "AFTER DELETE", "", builder.after_delete()),
    ];
    if !builder.uniques.is_empty() {
        let insert = builder.notes("NEW");
        let update = builder.notes("OLD");
        let when = builder.when_terms_change();
        triggers.push(builder.trigger("before_insert", "BEFORE INSERT", "", insert));
        triggers.push(builder.trigger("before_update", "BEFORE UPDATE", &when, update));
    }
    triggers
}

struct Builder<'a> {
    table: &'a Table,
    source: i64,
    /// Quoted.
    name: String,
    columns: Vec<String>,
    /// Places of the key's columns.
    key: &'a [usize],
    uniques: Vec<UniqueIndex>,
}

impl<'a> Builder<'a> {
    fn new(table: &'a Table, source: i64) -> Self {
        let columns = table.stored.columns().iter();
        let mut uniques = table.uniques.clone();
        // A rowid that is not the key can be given too, and then replaces like a unique column.
        uniques.extend(table.free_rowid.map(|rowid| UniqueIndex {
            terms: vec![Term {
                what: TermKind::Column(rowid.to_owned()),
                collation: "BINARY".to_owned(),
            }],
            condition: None,
        }));
        Self {
            table,
            source,
            name: quoted(&table.physical),
            columns: columns.map(|column| column.name.to_string()).collect(),
            key: table.stored.key(),
            uniques,
        }
    }

    fn trigger(&self, suffix: &str, event: &str, when: &str, body: Vec<String>) -> Trigger {
        let name = format!("{OWN_PREFIX}{}_{suffix}", self.source);
        let text = format!(
            "CREATE TRIGGER {} {event} ON {} FOR EACH ROW {when} BEGIN {}; END",
            quoted(&name),
            self.name,
            body.join("; ")
        );
        Trigger { name, text }
    }

    fn after_insert(&self) -> Vec<String> {
        let mut body = self.gone();
        body.push(self.upsert());
        body.extend(self.reset_on_null());
        body
    }

    fn after_update(&self) -> Vec<String> {
        let mut body = self.gone();
        let changed = self.key.iter().map(|at| {
            let name = quoted(&self.columns[*at]);
            format!("OLD.{name} IS NOT NEW.{name} COLLATE BINARY")
        });
        let changed: Vec<String> = changed.collect();
        body.push(self.delete(&format!("({}) AND ", changed.join(" OR "))));
        body.push(self.upsert());
        body.extend(self.reset_on_null());
        body
    }

    fn after_delete(&self) -> Vec<String> {
        vec![self.delete("")]
    }

    /// Logs the row that now has the key of `NEW`, if there is one.
    fn upsert(&self) -> String {
        let (into, source) = (self.log_columns(self.columns.len()), self.source);
        let columns: Vec<String> = self.columns.iter().map(|name| quoted(name)).collect();
        format!(
            "INSERT INTO _tidegate_log({into}) SELECT {source}, {OP_UPSERT}, {} FROM {} WHERE {}",
            columns.join(", "),
            self.name,
            self.has_key(|at| format!("NEW.{}", quoted(&self.columns[self.key[at]])))
        )
    }

    /// Logs that no row has the key of `OLD`, if none has.
    fn delete(&self, condition: &str) -> String {
        let (into, source) = (self.log_columns(self.key.len()), self.source);
        let old = |at: usize| format!("OLD.{}", quoted(&self.columns[self.key[at]]));
        let key: Vec<String> = (0..self.key.len()).map(old).collect();
        format!(
            "INSERT INTO _tidegate_log({into}) SELECT {source}, {OP_DELETE}, {} \
             WHERE {condition}NOT EXISTS (SELECT 1 FROM {} WHERE {})",
            key.join(", "),
            self.name,
            self.has_key(old)
        )
    }

    /// A key with a NULL in it names no row: then pages are read again, and say what is wrong.
    /// (When such a row goes, the NULL in its logged key has the same effect.)
    fn reset_on_null(&self) -> Option<String> {
        let source = self.source;
        let nullable = self
            .key
            .iter()
            .filter(|at| self.table.columns[**at].may_be_null)
            // A row without a tenant is nobody's, and its key is as good as any.
            .filter(|at| self.table.tenant_column() != Some(**at));
        let nulls = nullable.map(|at| format!("NEW.{} IS NULL", quoted(&self.columns[*at])));
        let nulls: Vec<String> = nulls.collect();
        (!nulls.is_empty()).then(|| {
            format!(
                "INSERT INTO _tidegate_log(source, op) SELECT {source}, {OP_RESET} WHERE {}",
                nulls.join(" OR ")
            )
        })
    }

    /// The condition that a row of the table has a key, whose parts the caller writes. Compared by
    /// the key's own collation, so that its index serves, and by bytes, as keys are told apart.
    fn has_key(&self, part: impl Fn(usize) -> String) -> String {
        let conditions = self.key.iter().enumerate().map(|(place, at)| {
            let (name, value) = (quoted(&self.columns[*at]), part(place));
            match &self.table.columns[*at].key_collation {
                Some(collation) if !collation.eq_ignore_ascii_case("BINARY") => {
                    format!("{name} = {value} AND {name} = {value} COLLATE BINARY")
                }
                // Tenants differ by their bytes, whatever the column's own collation is.
                None if self.table.tenant_column() == Some(*at) => {
                    format!("{name} = {value} COLLATE BINARY")
                }
                Some(_) | None => format!("{name} = {value}"),
            }
        });
        conditions.collect::<Vec<_>>().join(" AND ")
    }

    /// BEFORE: notes the keys of the rows that a unique index would put in conflict with `NEW`.
    /// `same` is the image whose key is no conflict: the row that is itself written.
    fn notes(&self, same: &str) -> Vec<String> {
        let mut body = Vec::new();
        for (place, index) in self.uniques.iter().enumerate() {
            let (tag, source) = (self.tag(index), self.source);
            let into = numbered(self.key.len());
            let key: Vec<String> = self
                .key
                .iter()
                .map(|at| quoted(&self.columns[*at]))
                .collect();
            let mut conditions: Vec<String> = index
                .terms
                .iter()
                .map(|term| {
                    format!(
                        "{} = {}",
                        term.on_table(),
                        term.on_image("NEW", &self.columns)
                    )
                })
                .collect();
            conditions.extend(index.condition.iter().map(|text| format!("({text})")));
            let differs: Vec<String> = key
                .iter()
                .map(|name| format!("{name} IS NOT {same}.{name} COLLATE BINARY"))
                .collect();
            conditions.push(format!("({})", differs.join(" OR ")));
            body.push(self.forget(place, &tag));
            body.push(format!(
                "INSERT INTO _tidegate_conflict(source, place, tag, {into}) \
                 SELECT {source}, {place}, {tag}, {} FROM {} WHERE {}",
                key.join(", "),
                self.name,
                conditions.join(" AND ")
            ));
        }
        body
    }

    /// AFTER: logs the noted keys that are gone, and forgets the notes.
    fn gone(&self) -> Vec<String> {
        let mut body = Vec::new();
        for (place, index) in self.uniques.iter().enumerate() {
            let (tag, source) = (self.tag(index), self.source);
            let into = self.log_columns(self.key.len());
            body.push(format!(
                "INSERT INTO _tidegate_log({into}) SELECT {source}, {OP_DELETE}, {} \
                 FROM _tidegate_conflict AS note \
                 WHERE source = {source} AND place = {place} AND tag = {tag} \
                 AND NOT EXISTS (SELECT 1 FROM {} WHERE {})",
                numbered(self.key.len()),
                self.name,
                self.has_key(|at| format!("note.c{at}"))
            ));
            body.push(self.forget(place, &tag));
        }
        body
    }

    fn forget(&self, place: usize, tag: &str) -> String {
        let source = self.source;
        format!(
            "DELETE FROM _tidegate_conflict \
             WHERE source = {source} AND place = {place} AND tag = {tag}"
        )
    }

    /// The terms of `NEW` as one value: what ties a note to the row it was made for.
    fn tag(&self, index: &UniqueIndex) -> String {
        let terms = index
            .terms
            .iter()
            .map(|term| term.on_image("NEW", &self.columns));
        match index.terms.len() {
            1 => terms.collect(),
            _ => {
                let quotes: Vec<String> = terms.map(|term| format!("quote({term})")).collect();
                quotes.join(" || ',' || ")
            }
        }
    }

    /// Saves the lookups of an UPDATE that leaves all indexed columns alone.
    fn when_terms_change(&self) -> String {
        let mut columns: Vec<&String> = Vec::new();
        for index in &self.uniques {
            if index.condition.is_some() {
                return String::new();
            }
            for term in &index.terms {
                match &term.what {
                    TermKind::Column(name) => columns.push(name),
                    TermKind::Expression(_) => return String::new(),
                }
            }
        }
        let changed = columns.iter().map(|name| {
            let name = quoted(name);
            format!("OLD.{name} IS NOT NEW.{name} COLLATE BINARY")
        });
        format!("WHEN {}", changed.collect::<Vec<_>>().join(" OR "))
    }

    fn log_columns(&self, count: usize) -> String {
        format!("source, op, {}", numbered(count))
    }
}
