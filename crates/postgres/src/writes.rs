//! The commands that write. Each is one statement, and so one transaction; making a table is
//! several in one.

use std::cmp::Ordering;
use std::sync::Arc;

use deadpool_postgres::Object;
use tidegate_core::{
    CommandError, KeyPromise, Literal, Lsn, Outcome, QueryError, Reply, Row, TableDefinition,
    TableName, TenantId, Value,
};
use tidegate_sql::{
    Dialect, POSTGRES_NAME_BYTES_MAX, PostgresRows, PostgresTable, Scope, Statement, create_table,
    delete, insert, quoted, select_by_key, update,
};

use crate::catalog::{Catalog, Place};
use crate::error::{Failure, rejected, stale_if_redefined};
use crate::publication::ensure_publication;
use crate::reads::WriteCommand;
use crate::session::{Texts, execute, row_of, run, text_of};
use crate::table::{Share, TableKind};

/// Why no client creates a shared table: its columns and defaults would be everybody's.
const NOT_ONES_OWN: &str = "tables are shared by all tenants here, so no tenant creates one";

/// A connection, and what is known of the tables. To be driven to its end once begun, or the
/// connection would go back in the middle of a transaction.
pub(crate) struct Writing {
    pub(crate) client: Object,
    pub(crate) catalog: Arc<Catalog>,
}

impl Writing {
    /// Carries out a command.
    pub(crate) async fn execute(
        &self,
        tenant: &TenantId,
        command: &WriteCommand,
    ) -> Result<Reply, Failure> {
        let name = match command {
            WriteCommand::Create(name, definition) => {
                return self.create(tenant, name, definition).await;
            }
            WriteCommand::Add(name, _)
            | WriteCommand::Update(name, ..)
            | WriteCommand::Delete(name, _) => name,
        };
        let table = self.catalog.table(&self.client, tenant, name).await?;
        // Which columns are unique may change without a trace in what is remembered.
        let is_sure = command.key_column().is_none_or(|column| {
            let key = table.schema.key();
            matches!(key, [only] if *table.schema.columns()[*only].name == *column)
        });
        if is_sure {
            match self.write(&table, command).await {
                // With what was remembered the command may be refused that now makes sense. Nothing
                // of it was done.
                Err(Failure::Stale)
                | Err(Failure::Command(
                    CommandError::Query(_)
                    | CommandError::BadCommand(_)
                    | CommandError::UnsupportedTable(_),
                )) => {}
                other => return other,
            }
        }
        let fresh = self.catalog.fresh(&self.client, tenant, name).await?;
        self.write(&fresh, command).await
    }

    async fn write(&self, table: &Share, command: &WriteCommand) -> Result<Reply, Failure> {
        writable(table)?;
        let target = table.target();
        match command {
            WriteCommand::Add(_, values) => {
                let values = typed(table, values)?;
                ownable(table)?;
                let statement = insert(target, &values)?;
                self.rows_written(table, &statement, &values).await
            }
            WriteCommand::Update(_, key, values) => {
                let key = table.resolve_key(key, KeyPromise::OneRow(&table.uniques))?;
                if values.is_empty() {
                    let text = "an update needs at least one column to change";
                    return Err(CommandError::BadCommand(text.to_owned()).into());
                }
                let values = typed(table, values)?;
                let statement = update(target, &key, &values)?;
                self.rows_written(table, &statement, &values).await
            }
            WriteCommand::Delete(_, key) => {
                let key = table.resolve_key(key, KeyPromise::OneRow(&table.uniques))?;
                let statement = delete(target, &key)?;
                let deleted = execute(&self.client, &statement).await;
                let deleted = deleted.map_err(stale_if_redefined)? > 0;
                self.reply(Outcome::Bool(deleted), deleted).await
            }
            WriteCommand::Create(..) => Err(Failure::Stale),
        }
    }

    /// The outcome, and how far the log was after the commit. That is at or behind the end of the
    /// commit record, so a stream that has passed it has the commit; the exact position is told by
    /// nobody but the stream. It is asked for on the same connection, so after the commit.
    async fn reply(&self, outcome: Outcome, changed: bool) -> Result<Reply, Failure> {
        let lsn = match changed {
            true => Some(self.log_end().await?),
            false => None,
        };
        Ok(Reply { outcome, lsn })
    }

    async fn log_end(&self) -> Result<Lsn, Failure> {
        let sql = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text";
        let rows = run(&self.client, sql, &[]).await?;
        let text = rows.first().and_then(|row| text_of(row, 0));
        let lsn = text.and_then(|text| text.parse().ok());
        Ok(lsn.ok_or_else(|| rejected("it says where its log ends in words that are not known"))?)
    }

    /// Runs a statement that returns what it wrote.
    async fn rows_written(
        &self,
        table: &Share,
        statement: &Statement,
        values: &[(usize, Value)],
    ) -> Result<Reply, Failure> {
        // In a transaction of its own, so that what does not fit can be undone.
        let begin = async { Ok(self.client.batch_execute("BEGIN").await?) };
        // The statement ends in what it returns; the shape is one more of these.
        let text = format!("{}, {}", statement.text, table.shape_sql());
        let write = async {
            let written = run(&self.client, &text, &statement.parameters).await;
            written.map_err(stale_if_redefined)
        };
        let work = async {
            let ((), written) = tokio::try_join!(begin, write)?;
            let shape_at = table.columns.len();
            let is_stale = |row: &Texts| text_of(row, shape_at) != Some(&table.shape);
            if written.iter().any(is_stale) {
                return Err(Failure::Stale);
            }
            let rows = written.iter().map(|row| row_of(table, row, 0));
            let rows = rows.collect::<Result<Vec<_>, _>>();
            let rows = rows.map_err(|failure| given_away(table, failure))?;
            for row in &rows {
                for (column, value) in values {
                    kept(table, *column, value, &row[*column])?;
                }
            }
            self.read_back(table, rows).await
        };
        let rows = match work.await {
            Ok(rows) => rows,
            Err(failure) => {
                // The failure is what is reported; a connection that is broken is not used again.
                let _ = self.client.batch_execute("ROLLBACK").await;
                return Err(failure);
            }
        };
        self.client.batch_execute("COMMIT").await?;
        let changed = !rows.is_empty();
        let schema = Arc::clone(&table.schema);
        self.reply(Outcome::Rows { schema, rows }, changed).await
    }

    /// The rows as they are after triggers, which may have changed them once more.
    async fn read_back(&self, table: &Share, written: Vec<Row>) -> Result<Vec<Row>, Failure> {
        let schema = &table.schema;
        if !table.has_triggers || schema.key().is_empty() {
            return Ok(written);
        }
        let mut found = Vec::with_capacity(written.len());
        for row in &written {
            let columns = schema.key().iter().copied();
            let key: Vec<(usize, Value)> = columns.zip(schema.key_of(row)).collect();
            let statement = select_by_key(table.target(), &key, 1)?;
            for row in run(&self.client, &statement.text, &statement.parameters).await? {
                found.push(row_of(table, &row, 0)?);
            }
        }
        Ok(found)
    }

    async fn create(
        &self,
        tenant: &TenantId,
        name: &TableName,
        definition: &TableDefinition,
    ) -> Result<Reply, Failure> {
        let bad = CommandError::BadCommand;
        let catalog = &self.catalog;
        if catalog.tenancy.column().is_some() {
            return Err(bad(NOT_ONES_OWN.to_owned()).into());
        }
        let place = catalog.place(tenant, name);
        let place = place.map_err(|why| bad(why.to_string()))?;
        let physical = &place.name;
        if physical.len() > POSTGRES_NAME_BYTES_MAX {
            let text =
                format!("the table name {physical} is longer than {POSTGRES_NAME_BYTES_MAX} bytes");
            return Err(bad(text).into());
        }
        if catalog.look_up(&self.client, &place).await?.is_some() {
            return Err(CommandError::Constraint(format!("table {name} exists already")).into());
        }
        let to_be = PostgresTable {
            schema: place.schema.clone(),
            rows: PostgresRows::Own,
            columns: Vec::new(),
        };
        let mut all = create_table(Dialect::Postgres(&to_be), physical, definition).map_err(bad)?;
        let has_key = |column: &tidegate_core::ColumnDefinition| {
            column.constraints.iter().any(|name| name == "primaryKey")
        };
        // Nobody can have written to it before it is in the stream.
        if definition.columns.iter().any(has_key) {
            ensure_publication(&self.client, &catalog.publication).await?;
            let (publication, schema) = (quoted(&catalog.publication), quoted(&place.schema));
            let table = quoted(physical);
            all.push(format!(
                "ALTER PUBLICATION {publication} ADD TABLE {schema}.{table}"
            ));
        }
        // Sent as one, they are one transaction, which ends with them whatever happens.
        let created = self.client.batch_execute(&all.join("; ")).await;
        created.map_err(|error| not_created(name, &place, error))?;
        self.reply(Outcome::Bool(true), true).await
    }
}

fn not_created(name: &TableName, place: &Place, error: tokio_postgres::Error) -> Failure {
    use tokio_postgres::error::SqlState;
    match error.as_db_error() {
        Some(cause) if *cause.code() == SqlState::DUPLICATE_TABLE => {
            CommandError::Constraint(format!("table {name} exists already")).into()
        }
        Some(cause) if *cause.code() == SqlState::INVALID_SCHEMA_NAME => {
            let text = format!("the tenant has no schema {} yet", place.schema);
            CommandError::BadCommand(text).into()
        }
        Some(cause) if cause.code().code().starts_with("42") => {
            let text = cause.message().replace(&place.name, name.as_str());
            CommandError::BadCommand(format!("the table cannot be created: {text}")).into()
        }
        _ => error.into(),
    }
}

fn writable(table: &Share) -> Result<(), CommandError> {
    let what = match table.kind {
        TableKind::Table | TableKind::Partitioned => return Ok(()),
        TableKind::View => "view",
        TableKind::Materialized => "materialized view",
        TableKind::Foreign => "foreign table",
    };
    let name = table.schema.table();
    let text = format!("{name} is a {what}: it cannot be written to");
    Err(CommandError::UnsupportedTable(text))
}

/// Whether the tenant can have rows in the table.
fn ownable(table: &Share) -> Result<(), CommandError> {
    match table.scope() {
        Scope::Table | Scope::Rows(_) => Ok(()),
        Scope::Nothing => {
            let text = format!(
                "table {} holds no rows of this tenant",
                table.schema.table()
            );
            Err(CommandError::Constraint(text))
        }
    }
}

/// A row that was written and is another tenant's was made that by a trigger.
fn given_away(table: &Share, failure: Failure) -> Failure {
    match failure {
        Failure::Foreign => {
            let name = table.schema.table();
            let text = format!("a trigger of table {name} would make the row another tenant's");
            CommandError::Constraint(text).into()
        }
        other => other,
    }
}

/// Columns by index, values by the columns' types.
fn typed(table: &Share, values: &[(String, Literal)]) -> Result<Vec<(usize, Value)>, CommandError> {
    let mut typed: Vec<(usize, Value)> = Vec::with_capacity(values.len());
    for (name, literal) in values {
        let column = table.schema.named_column(name)?;
        if table.columns[column].generated {
            let text = format!("column {name} is computed by the database and cannot be given");
            return Err(CommandError::BadCommand(text));
        }
        if typed.iter().any(|(other, _)| *other == column) {
            let text = format!("column {name} is given twice");
            return Err(CommandError::BadCommand(text));
        }
        let value = literal
            .coerce(&table.schema.columns()[column].kind)
            .map_err(|why| QueryError::BadValue(format!("column {name} {why}")))?;
        typed.push((column, value));
    }
    Ok(typed)
}

/// A `numeric(10, 2)` rounds what it is given, silently. Then the write is refused rather than
/// changed. What a trigger made of a value is the trigger's affair.
fn kept(table: &Share, column: usize, given: &Value, stored: &Value) -> Result<(), CommandError> {
    let (Value::Numeric(_), Value::Numeric(_)) = (given, stored) else {
        return Ok(());
    };
    if table.has_triggers || given.compare(stored) == Some(Ordering::Equal) {
        return Ok(());
    }
    let name = &table.schema.columns()[column].name;
    let text = given.to_text().unwrap_or_default();
    let shown: String = text.chars().take(60).collect();
    let text = format!("column {name} cannot hold {shown} exactly");
    Err(QueryError::BadValue(text).into())
}
