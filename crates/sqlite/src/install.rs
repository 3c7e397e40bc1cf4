//! Brings the triggers in line with the tables, and reads the catalog while at it.
//!
//! Runs inside a write transaction of the writer, so that nobody writes in between. A table whose
//! shape or triggers are not as they should be gets a new source number, new triggers, and a mark
//! in the log by which its pages are read again: changes may have been missed, and rows look
//! different from here on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, params};
use tidegate_sql::quoted;

use crate::capture::{
    BASE_OBJECTS, FORMAT, OP_RESET, Trigger, conflict_table, log_table, shape, triggers,
};
use crate::catalog::{
    COLUMNS_MAX, Catalog, OWN_PREFIX, Source, Table, read_tables, schema_version,
};
use crate::error::Failure;
use crate::unique::UniqueIndex;

/// Values of a row, and of a key, that there is room for from the start.
const LOG_WIDTH: usize = 32;
const CONFLICT_WIDTH: usize = 4;

/// What [`install`] found.
pub(crate) struct Installed {
    pub(crate) catalog: Catalog,
    /// Whether the file was changed.
    pub(crate) changed: bool,
}

/// Makes our tables, unless they are there; refuses the file of another format.
pub(crate) fn prepare(connection: &Connection) -> Result<(), Failure> {
    connection.execute_batch(BASE_OBJECTS)?;
    connection.execute_batch(&log_table(LOG_WIDTH))?;
    connection.execute_batch(&conflict_table(CONFLICT_WIDTH))?;
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

/// Compares tables with triggers, repairs what differs, and gives the catalog. `before` is the
/// catalog until now, whose tenancy goes on and whose sources stay readable.
pub(crate) fn install(connection: &Connection, before: &Catalog) -> Result<Installed, Failure> {
    let mut tables = read_tables(connection, &before.tenancy)?;
    let captured: Vec<Arc<Table>> = tables
        .values()
        .filter(|table| table.refusal.is_none())
        .cloned()
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
        match file.keep_or_install(table)? {
            Ok(source) => {
                live.insert(source);
            }
            Err(why) => {
                let mut refused = Table::clone(table);
                let name = table.schema.table();
                refused.refusal =
                    Some(format!("changes of table {name} cannot be captured: {why}"));
                tables.insert(table.physical.clone(), Arc::new(refused));
            }
        }
    }
    file.retire(&live, &captured)?;
    let (sources, changed) = (file.sources, file.changed);
    Ok(Installed {
        catalog: Catalog {
            tenancy: before.tenancy.clone(),
            version: schema_version(connection)?,
            tables,
            live,
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
    /// Gives the log and the notes the columns that the widest table needs. Made anew rather than
    /// altered: adding a column costs SQLite a pass over the whole schema each time.
    fn widen(&mut self, captured: &[Arc<Table>]) -> Result<(), Failure> {
        let columns = captured.iter().map(|table| table.stored.columns().len());
        let columns = columns.max().unwrap_or(0);
        if columns > self.width("_tidegate_log")? {
            let end = log_end(self.connection)?;
            self.connection.execute_batch(&format!(
                "CREATE TEMP TABLE kept AS SELECT * FROM _tidegate_log; \
                 DROP TABLE _tidegate_log; {}",
                log_table(columns.next_power_of_two().min(COLUMNS_MAX))
            ))?;
            self.refill_log(end)?;
            self.changed = true;
        }
        let keys = captured.iter().map(|table| table.stored.key().len());
        let keys = keys.max().unwrap_or(0);
        if keys > self.width("_tidegate_conflict")? {
            // Nobody is writing, so no note is waited for.
            let text = format!("DROP TABLE _tidegate_conflict; {}", conflict_table(keys));
            self.connection.execute_batch(&text)?;
            self.changed = true;
        }
        Ok(())
    }

    fn width(&self, table: &str) -> Result<usize, Failure> {
        let text = "SELECT count(*) FROM pragma_table_info(?1) WHERE name GLOB 'c[0-9]*'";
        Ok(self.connection.query_row(text, [table], |row| row.get(0))?)
    }

    /// Puts the rows back, and the counter where it was: positions never come twice.
    fn refill_log(&self, end: u64) -> Result<(), Failure> {
        let columns = {
            let statement = self.connection.prepare("SELECT * FROM kept")?;
            statement.column_names().collect::<Vec<_>>().join(", ")
        };
        self.connection.execute_batch(&format!(
            "INSERT INTO _tidegate_log({columns}) SELECT * FROM kept; DROP TABLE kept; \
             DELETE FROM sqlite_sequence WHERE name = '_tidegate_log'"
        ))?;
        self.connection.execute(
            "INSERT INTO sqlite_sequence(name, seq) VALUES ('_tidegate_log', ?1)",
            [end],
        )?;
        Ok(())
    }

    /// The source of a table, after making sure that its triggers are there and right; or why they
    /// cannot be made.
    fn keep_or_install(&mut self, table: &Arc<Table>) -> Result<Result<i64, String>, Failure> {
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
                return Ok(Ok(id));
            }
        }
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO _tidegate_source(name, shape) VALUES (?1, ?2)")?;
        let id = insert.insert(params![table.physical, shape])?;
        self.connection.execute_batch("SAVEPOINT triggers")?;
        if let Err(error) = self.create_triggers(table, id) {
            self.connection
                .execute_batch("ROLLBACK TO triggers; RELEASE triggers")?;
            self.connection
                .execute("DELETE FROM _tidegate_source WHERE id = ?1", [id])?;
            return Ok(Err(error.to_string()));
        }
        self.connection.execute_batch("RELEASE triggers")?;
        self.changed = true;
        self.read_as(id, table);
        mark_reset(self.connection, id)?;
        Ok(Ok(id))
    }

    fn create_triggers(&self, table: &Table, source: i64) -> rusqlite::Result<()> {
        for trigger in triggers(table, source) {
            self.connection.execute_batch(&trigger.text)?;
        }
        // Expressions were cut out of somebody's text. A trigger that does not compile would fail
        // every write to the table, so the writes are compiled here once.
        if !table.uniques.iter().any(UniqueIndex::holds_text) {
            return Ok(());
        }
        let name = quoted(&table.physical);
        self.connection
            .prepare(&format!("INSERT INTO {name} DEFAULT VALUES"))?;
        let columns = table.stored.columns().iter().zip(&table.columns);
        for (column, _) in columns.filter(|(_, storage)| !storage.generated) {
            let column = quoted(&column.name);
            self.connection
                .prepare(&format!("UPDATE {name} SET {column} = {column}"))?;
        }
        Ok(())
    }

    fn all_there(&self, expected: &[Trigger]) -> bool {
        let there = |trigger: &Trigger| self.triggers.get(&trigger.name) == Some(&trigger.text);
        expected.iter().all(there)
    }

    fn read_as(&mut self, id: i64, table: &Table) {
        let source = Source {
            owner: table.owner.clone(),
            schema: Arc::clone(&table.schema),
            stored: Arc::clone(&table.stored),
        };
        self.sources.insert(id, Arc::new(source));
    }

    /// Drops the triggers and entries of all sources that are not live.
    fn retire(&mut self, live: &BTreeSet<i64>, captured: &[Arc<Table>]) -> Result<(), Failure> {
        for name in self.triggers.keys() {
            let number = name[OWN_PREFIX.len()..].split('_').next();
            let id = number.and_then(|number| number.parse().ok());
            if id.is_none_or(|id| !live.contains(&id)) {
                let text = format!("DROP TRIGGER IF EXISTS {}", quoted(name));
                self.connection.execute_batch(&text)?;
                self.changed = true;
            }
        }
        let lives_on = |name: &str| captured.iter().any(|table| table.physical == name);
        for known in &self.registry {
            if live.contains(&known.id) {
                continue;
            }
            self.connection
                .execute("DELETE FROM _tidegate_source WHERE id = ?1", [known.id])?;
            // A table that lives on in another shape has a mark with that shape already.
            if !lives_on(&known.name) {
                mark_reset(self.connection, known.id)?;
            }
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

/// Drops all that is ours.
pub(crate) fn remove(connection: &Connection) -> Result<(), Failure> {
    for name in existing_triggers(connection)?.keys() {
        connection.execute_batch(&format!("DROP TRIGGER {}", quoted(name)))?;
    }
    for table in ["log", "conflict", "source", "meta"] {
        connection.execute_batch(&format!("DROP TABLE IF EXISTS {OWN_PREFIX}{table}"))?;
    }
    Ok(())
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
