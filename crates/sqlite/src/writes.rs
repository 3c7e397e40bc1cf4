//! The commands that write. They run inside a transaction of the writer.

use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, ffi, params_from_iter};
use tidegate_core::{
    Command, CommandError, Literal, Numeric, Outcome, QueryError, Row, TableDefinition, TableName,
    TenantId, Value,
};
use tidegate_sql::{
    Dialect, Scope, Statement, create_table, delete, insert, select_by_key, update,
};

use crate::catalog::{Catalog, OWN_PREFIX, Share, TableKind};
use crate::cell::{Stored, is_json};
use crate::error::Failure;
use crate::reads::rows;

/// What a writing command did.
pub(crate) enum Written {
    /// It changed something.
    Changed(Outcome),
    /// Nothing matched, so nothing changed.
    Nothing(Outcome),
    /// It changed what tables there are.
    Tables(Outcome),
}

/// A connection in a write transaction, and the tables as they are in it.
pub(crate) struct Writing<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) catalog: &'a Catalog,
}

impl Writing<'_> {
    /// Carries out a command.
    pub(crate) fn execute(&self, tenant: &TenantId, command: &Command) -> Result<Written, Failure> {
        match command {
            Command::AddSingle(table, values) => self.add(&self.writable(tenant, table)?, values),
            Command::UpdateSingle(table, key, values) => {
                let table = self.writable(tenant, table)?;
                let key = table.key_of_one(key)?;
                self.update(&table, &key, values)
            }
            Command::DeleteRow(table, key) => {
                let table = self.writable(tenant, table)?;
                let key = table.key_of_one(key)?;
                let statement = delete(table.target(), &key)?;
                let mut prepared = self.connection.prepare_cached(&statement.text)?;
                let parameters = params_from_iter(statement.parameters.iter().map(Stored));
                let deleted = prepared
                    .execute(parameters)
                    .map_err(|e| explained(&table, e))?;
                Ok(match deleted {
                    0 => Written::Nothing(Outcome::Bool(false)),
                    _ => Written::Changed(Outcome::Bool(true)),
                })
            }
            Command::CreateTable(table, definition) => self.create(tenant, table, definition),
            Command::GetData(..)
            | Command::GetSingle(..)
            | Command::TableExists(..)
            | Command::RunAggregation(..)
            | Command::ListTables => Err(CommandError::BadCommand(
                "a reading command reached the writer".to_owned(),
            )
            .into()),
        }
    }

    fn writable(&self, tenant: &TenantId, name: &TableName) -> Result<Share<'_>, CommandError> {
        let table = self.catalog.table(tenant, name)?;
        let what = match table.kind {
            TableKind::Table => return Ok(table),
            TableKind::View => "view",
            TableKind::Virtual => "virtual table",
        };
        let text = format!("{name} is a {what}: it cannot be written to");
        Err(CommandError::UnsupportedTable(text))
    }

    fn add(&self, table: &Share<'_>, values: &[(String, Literal)]) -> Result<Written, Failure> {
        let values = typed(table, values)?;
        if *table.scope() == Scope::Nothing {
            let text = format!(
                "table {} holds no rows of this tenant",
                table.schema.table()
            );
            return Err(CommandError::Constraint(text).into());
        }
        let statement = insert(table.target(), &values)?;
        self.write_and_read_back(table, &statement, &values)
    }

    fn update(
        &self,
        table: &Share<'_>,
        key: &[(usize, Value)],
        values: &[(String, Literal)],
    ) -> Result<Written, Failure> {
        if values.is_empty() {
            let text = "an update needs at least one column to change";
            return Err(CommandError::BadCommand(text.to_owned()).into());
        }
        let values = typed(table, values)?;
        let statement = update(table.target(), key, &values)?;
        self.write_and_read_back(table, &statement, &values)
    }

    /// Runs a statement that returns what it wrote, makes sure that this is what was asked for, and
    /// reads the rows again: triggers may have changed them since.
    fn write_and_read_back(
        &self,
        table: &Share<'_>,
        statement: &Statement,
        values: &[(usize, Value)],
    ) -> Result<Written, Failure> {
        let written = rows(self.connection, table, statement).map_err(|failure| match failure {
            Failure::Sqlite(error) => explained(table, error),
            Failure::Foreign => {
                let name = table.schema.table();
                let text = format!("a trigger of table {name} makes the row another tenant's");
                CommandError::Constraint(text).into()
            }
            other => other,
        })?;
        for row in &written {
            for (column, value) in values {
                kept(table, *column, value, &row[*column])?;
            }
        }
        let schema = Arc::clone(&table.schema);
        if written.is_empty() {
            let rows = written;
            return Ok(Written::Nothing(Outcome::Rows { schema, rows }));
        }
        let rows = match schema.key().is_empty() {
            true => written,
            false => self.read_back(table, &written)?,
        };
        Ok(Written::Changed(Outcome::Rows { schema, rows }))
    }

    fn read_back(&self, table: &Share<'_>, written: &[Row]) -> Result<Vec<Row>, Failure> {
        let mut found = Vec::with_capacity(written.len());
        for row in written {
            let columns = table.schema.key().iter().copied();
            let key: Vec<(usize, Value)> = columns.zip(table.schema.key_of(row)).collect();
            let statement = select_by_key(table.target(), &key, 1)?;
            found.extend(rows(self.connection, table, &statement)?);
        }
        Ok(found)
    }

    fn create(
        &self,
        tenant: &TenantId,
        name: &TableName,
        definition: &TableDefinition,
    ) -> Result<Written, Failure> {
        let bad = |why: String| CommandError::BadCommand(why);
        if self.catalog.tenancy.column().is_some() {
            let text = "tables are shared by all tenants here, so no tenant creates one";
            return Err(bad(text.to_owned()).into());
        }
        let physical = self
            .catalog
            .tenancy
            .physical(tenant, name)
            .map_err(|why| bad(why.to_string()))?;
        let reserved = ["sqlite_", OWN_PREFIX];
        let lower = physical.to_ascii_lowercase();
        if reserved.iter().any(|prefix| lower.starts_with(prefix)) {
            return Err(bad(format!("the table name {name} is reserved")).into());
        }
        // SQLite ignores case in names, so a table of another case is in the way too.
        let taken = |other: &String| other.eq_ignore_ascii_case(&physical);
        if self.catalog.tables.keys().any(taken) {
            return Err(CommandError::Constraint(format!("table {name} exists already")).into());
        }
        for text in create_table(Dialect::Sqlite, &physical, definition).map_err(bad)? {
            self.connection.execute_batch(&text).map_err(|error| {
                let text = error.to_string().replace(&physical, name.as_str());
                Failure::Command(bad(format!("the table cannot be created: {text}")))
            })?;
        }
        Ok(Written::Tables(Outcome::Bool(true)))
    }
}

/// Columns by index, values by the columns' types.
fn typed(
    table: &Share<'_>,
    values: &[(String, Literal)],
) -> Result<Vec<(usize, Value)>, CommandError> {
    let schema = &table.schema;
    let mut typed: Vec<(usize, Value)> = Vec::with_capacity(values.len());
    for (name, literal) in values {
        let column = schema.named_column(name)?;
        if table.columns[column].generated {
            let text = format!("column {name} is computed by the database and cannot be given");
            return Err(CommandError::BadCommand(text));
        }
        if typed.iter().any(|(other, _)| *other == column) {
            return Err(CommandError::BadCommand(format!(
                "column {name} is given twice"
            )));
        }
        let value = literal
            .coerce(&schema.columns()[column].kind)
            .map_err(|why| QueryError::BadValue(format!("column {name} {why}")))?;
        if matches!(&value, Value::Json(text) if !is_json(text)) {
            let text = format!("column {name} takes JSON only");
            return Err(QueryError::BadValue(text).into());
        }
        typed.push((column, value));
    }
    Ok(typed)
}

/// SQLite may store something else than it was given (a decimal of many digits becomes a float, a
/// NaN becomes NULL). Then the write is refused rather than changed.
fn kept(
    table: &Share<'_>,
    column: usize,
    given: &Value,
    stored: &Value,
) -> Result<(), CommandError> {
    let same = match (given, stored) {
        (Value::Json(a), Value::Json(b)) => a == b || numbers_equal(a, b),
        (Value::Null, Value::Null) => true,
        // An INTEGER PRIMARY KEY that is given as NULL is numbered.
        (Value::Null, _) => table.schema.key() == [column],
        (given, stored) => given.compare(stored) == Some(std::cmp::Ordering::Equal),
    };
    if same {
        return Ok(());
    }
    let name = &table.schema.columns()[column].name;
    let shown: String = given
        .to_text()
        .unwrap_or_default()
        .chars()
        .take(60)
        .collect();
    let text = match given {
        Value::Numeric(_) => format!(
            "column {name} cannot hold {shown} exactly: SQLite keeps 64-bit integers and 15 digits"
        ),
        _ => format!("column {name} cannot hold {shown}"),
    };
    Err(QueryError::BadValue(text).into())
}

fn numbers_equal(a: &str, b: &str) -> bool {
    matches!((Numeric::parse(a), Numeric::parse(b)), (Some(a), Some(b)) if a == b)
}

/// A constraint's failure in words, with the table as the client names it.
fn explained(table: &Share<'_>, error: rusqlite::Error) -> Failure {
    let rusqlite::Error::SqliteFailure(cause, Some(message)) = &error else {
        return Failure::Sqlite(error);
    };
    if !matches!(
        cause.code,
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch
    ) {
        return Failure::Sqlite(error);
    }
    let name = table.schema.table();
    let detail = message.split_once(": ").map_or("", |(_, detail)| detail);
    let columns = detail.replace(&format!("{}.", table.physical), "");
    let text = match cause.extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_ROWID => {
            format!("table {name} has a row with the same {columns} already")
        }
        ffi::SQLITE_CONSTRAINT_NOTNULL => {
            format!("column {columns} of table {name} must not be NULL")
        }
        ffi::SQLITE_CONSTRAINT_CHECK => format!("a check of table {name} failed: {columns}"),
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => {
            format!("a row of table {name} would refer to a row that is not there")
        }
        ffi::SQLITE_MISMATCH => format!("the key of table {name} must be an integer"),
        // RAISE in a trigger: the author's own words.
        _ => message.clone(),
    };
    CommandError::Constraint(text).into()
}
