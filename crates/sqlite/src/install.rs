//! Brings the triggers in line with the tables, and reads the catalog while at it.
//!
//! Runs inside a write transaction of the writer, so that nobody writes in between. A table whose shape or
//! triggers are not as they should be gets a new source number, new triggers, and a mark in the log by
//! which its pages are read again: changes may have been missed, and rows look different from here on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, params};
use tidegate_core::Tenancy;
use tidegate_sql::quoted;

use crate::capture::{BASE_OBJECTS, FORMAT, OP_RESET, Trigger, shape, triggers};
use crate::catalog::{Catalog, OWN_PREFIX, Source, Table, read_tables, schema_version};
use crate::error::Failure;

/// What [`install`] found.
pub(crate) struct Installed {
    pub(crate) catalog: Catalog,
    /// Whether the file was changed.
    pub(crate) changed: bool,
}

/// Makes our tables, unless they are there; refuses the file of another format.
pub(crate) fn prepare(connection: &Connection) -> Result<(), Failure> {
    connection.execute_batch(BASE_OBJECTS)?;
    connection.execute(
        "INSERT INTO _tidegate_meta(name, value) VALUES ('format', ?1) ON CONFLICT DO NOTHING",
        [FORMAT],
    )?;
    let format: i64 = connection.query_row(
        "SELECT value FROM _tidegate_meta WHERE name = 'format'",
        [],
        |row| row.get(0),
    )?;
    if format == FORMAT {
        return Ok(());
    }
    let text = format!("it was prepared by another version (format {format}, here {FORMAT})");
    Err(Failure::Command(tidegate_core::CommandError::BadCommand(
        text,
    )))
}

/// Compares tables with triggers, repairs what differs, and gives the catalog. `before` is the catalog
/// until now, whose sources stay readable.
pub(crate) fn install(
    connection: &Connection,
    tenancy: Tenancy,
    before: &Catalog,
) -> Result<Installed, Failure> {
    let tables = read_tables(connection, tenancy)?;
    let captured: Vec<&Arc<Table>> = tables
        .values()
        .filter(|table| table.refusal.is_none())
        .collect();
    let mut file = File {
        connection,
        triggers: existing_triggers(connection)?,
        registry: registry(connection)?,
        sources: before.sources.clone(),
        changed: false,
    };
    file.widen(&captured)?;
    let mut live = BTreeSet::new();
    for table in &captured {
        live.insert(file.keep_or_install(table)?);
    }
    file.retire(&live)?;
    let (sources, changed) = (file.sources, file.changed);
    Ok(Installed {
        catalog: Catalog {
            version: schema_version(connection)?,
            tables,
            sources,
        },
        changed,
    })
}

/// What the file holds of ours.
struct File<'a> {
    connection: &'a Connection,
    triggers: BTreeMap<String, String>,
    registry: Vec<Registered>,
    sources: HashMap<i64, Arc<Source>>,
    changed: bool,
}

struct Registered {
    id: i64,
    name: String,
    shape: String,
}

impl File<'_> {
    /// Gives the log and the notes the columns that the widest table needs.
    fn widen(&mut self, captured: &[&Arc<Table>]) -> Result<(), Failure> {
        let columns = captured.iter().map(|table| table.schema.columns().len());
        let keys = captured.iter().map(|table| table.schema.key().len());
        self.widen_one("_tidegate_log", columns.max().unwrap_or(0))?;
        self.widen_one("_tidegate_conflict", keys.max().unwrap_or(0))
    }

    fn widen_one(&mut self, table: &str, needed: usize) -> Result<(), Failure> {
        let have: usize = self.connection.query_row(
            "SELECT count(*) FROM pragma_table_info(?1) WHERE name GLOB 'c[0-9]*'",
            [table],
            |row| row.get(0),
        )?;
        for at in have..needed {
            let text = format!("ALTER TABLE {table} ADD COLUMN c{at}");
            self.connection.execute_batch(&text)?;
            self.changed = true;
        }
        Ok(())
    }

    /// The source of a table, after making sure that its triggers are there and right.
    fn keep_or_install(&mut self, table: &Arc<Table>) -> Result<i64, Failure> {
        let shape = shape(table);
        let known = self
            .registry
            .iter()
            .find(|known| known.name == table.physical);
        if let Some(known) = known {
            let expected = triggers(table, known.id);
            if known.shape == shape && self.all_there(&expected) {
                let id = known.id;
                self.read_as(id, table);
                return Ok(id);
            }
        }
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO _tidegate_source(name, shape) VALUES (?1, ?2)")?;
        let id = insert.insert(params![table.physical, shape])?;
        for trigger in triggers(table, id) {
            self.connection.execute_batch(&trigger.text)?;
        }
        self.changed = true;
        self.read_as(id, table);
        mark_reset(self.connection, id)?;
        Ok(id)
    }

    fn all_there(&self, expected: &[Trigger]) -> bool {
        let there = |trigger: &Trigger| self.triggers.get(&trigger.name) == Some(&trigger.text);
        expected.iter().all(there)
    }

    fn read_as(&mut self, id: i64, table: &Table) {
        let (tenant, schema) = (table.tenant.clone(), Arc::clone(&table.schema));
        self.sources.insert(id, Arc::new(Source { tenant, schema }));
    }

    /// Drops the triggers and entries of all sources that are not live.
    fn retire(&mut self, live: &BTreeSet<i64>) -> Result<(), Failure> {
        for name in self.triggers.keys() {
            let number = name[OWN_PREFIX.len()..].split('_').next();
            let id = number.and_then(|number| number.parse().ok());
            if id.is_none_or(|id| !live.contains(&id)) {
                let text = format!("DROP TRIGGER IF EXISTS {}", quoted(name));
                self.connection.execute_batch(&text)?;
                self.changed = true;
            }
        }
        for known in self
            .registry
            .iter()
            .filter(|known| !live.contains(&known.id))
        {
            self.connection
                .execute("DELETE FROM _tidegate_source WHERE id = ?1", [known.id])?;
            mark_reset(self.connection, known.id)?;
            self.changed = true;
        }
        Ok(())
    }
}

fn mark_reset(connection: &Connection, source: i64) -> Result<(), Failure> {
    let mut mark =
        connection.prepare_cached("INSERT INTO _tidegate_log(source, op) VALUES (?1, ?2)")?;
    mark.execute([source, OP_RESET])?;
    Ok(())
}

fn existing_triggers(connection: &Connection) -> Result<BTreeMap<String, String>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, ?1) = ?2",
    )?;
    let rows = statement.query_map(params![OWN_PREFIX.len(), OWN_PREFIX], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn registry(connection: &Connection) -> Result<Vec<Registered>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT id, name, shape FROM _tidegate_source ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        Ok(Registered {
            id: row.get(0)?,
            name: row.get(1)?,
            shape: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The last log position that is committed, as seen from the current transaction.
pub(crate) fn log_end(connection: &Connection) -> rusqlite::Result<u64> {
    // Not `max(id)`: the log is trimmed, and its end must not move back.
    let mut statement = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = '_tidegate_log'")?;
    let mut rows = statement.query([])?;
    match rows.next()? {
        Some(row) => row.get(0),
        None => Ok(0),
    }
}
