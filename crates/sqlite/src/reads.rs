//! Reading: snapshots, and the commands that do not write. Each is one read transaction.

use std::sync::Arc;

use rusqlite::{Connection, params_from_iter};
use tidegate_core::{
    Command, CommandError, Fence, Filter, KeyPromise, KeySpec, LimitRule, Lsn, Outcome, Query,
    QueryError, QuerySpec, Reply, Row, Selection, TableName, TableSchema, TenantId, Value,
};
use tidegate_ports::{Snapshot, SnapshotRequest};
use tidegate_sql::{Statement, Window, select, select_by_key};

use crate::aggregate::aggregate;
use crate::catalog::{Catalog, Share, schema_version};
use crate::cell::{Place, Stored, read, read_row, stored_bytes};
use crate::error::Failure;
use crate::install::log_end;
use crate::relay::in_transaction;

/// Bytes of all rows of one read. Larger replies could not be passed on, and many of them at once
/// would not fit in memory.
pub(crate) const ROWS_BYTES_MAX: usize = 64 << 20;

/// A connection in a read transaction, and the tables as they are in it.
pub(crate) struct Reading<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) catalog: &'a Catalog,
    pub(crate) lsn: Lsn,
}

/// Runs a piece of work in a read transaction, or says that the catalog is stale.
pub(crate) fn reading<T>(
    connection: &Connection,
    catalog: &Catalog,
    work: impl FnOnce(&Reading<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    in_transaction(connection, |connection| {
        if schema_version(connection)? != catalog.version {
            return Err(Failure::Stale);
        }
        let lsn = Lsn::new(log_end(connection)?);
        work(&Reading {
            connection,
            catalog,
            lsn,
        })
    })
}

impl Reading<'_> {
    pub(crate) fn table(
        &self,
        tenant: &TenantId,
        name: &TableName,
    ) -> Result<Share<'_>, CommandError> {
        self.catalog.table(tenant, name)
    }

    /// The first rows of a query, with what they contain.
    pub(crate) fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot, Failure> {
        let query = &request.query;
        let name = query.schema().table();
        let table = self.table(&request.tenant, name)?;
        table.watchable()?;
        if table.schema.fingerprint() != query.schema().fingerprint() {
            let text = format!("table {name} was redefined: subscribe again");
            return Err(CommandError::UnsupportedTable(text).into());
        }
        // One more row tells whether there are more.
        let rows_max = u64::from(request.rows_max);
        let window = Window {
            limit: rows_max + 1,
            offset: 0,
        };
        let statement = select(table.target(), query, window)?;
        let mut rows = rows(self.connection, &table, &statement)?;
        let complete = rows.len() as u64 <= rows_max;
        rows.truncate(request.rows_max as usize);
        Ok(Snapshot {
            fence: Fence::Prefix(self.lsn),
            rows,
            complete,
        })
    }

    /// Carries out a command that only reads.
    pub(crate) fn execute(
        &self,
        tenant: &TenantId,
        command: &ReadCommand,
    ) -> Result<Reply, Failure> {
        let outcome = match command {
            ReadCommand::GetData(table, selection) => self.get_data(tenant, table, selection)?,
            ReadCommand::GetSingle(table, key) => self.get_single(tenant, table, key)?,
            ReadCommand::TableExists(table) => Outcome::Bool(self.table(tenant, table).is_ok()),
            ReadCommand::RunAggregation(table, aggregation) => {
                let table = self.table(tenant, table)?;
                let filter = filter_of(&table, aggregation.filter.as_ref())?;
                Outcome::Aggregates(aggregate(self.connection, &table, aggregation, &filter)?)
            }
            ReadCommand::ListTables => Outcome::Tables(self.catalog.tables_of(tenant)),
        };
        Ok(Reply { outcome, lsn: None })
    }

    fn get_data(
        &self,
        tenant: &TenantId,
        table: &TableName,
        selection: &Selection,
    ) -> Result<Outcome, Failure> {
        let table = self.table(tenant, table)?;
        let schema = orderable(&table.schema);
        let query = exact_query(&selection.query, &schema)?;
        let window = Window {
            limit: u64::from(query.limit()),
            offset: selection.offset,
        };
        let statement = select(table.target(), &query, window)?;
        Ok(Outcome::Page {
            schema: Arc::clone(&table.schema),
            rows: rows(self.connection, &table, &statement)?,
            order: query.order().iter().map(|key| key.column).collect(),
            lsn: self.lsn,
        })
    }

    fn get_single(
        &self,
        tenant: &TenantId,
        table: &TableName,
        key: &KeySpec,
    ) -> Result<Outcome, Failure> {
        let table = self.table(tenant, table)?;
        let key = table.schema.resolve_key(key, KeyPromise::AnyColumn)?;
        let statement = select_by_key(table.target(), &key, 1)?;
        Ok(Outcome::Row {
            schema: Arc::clone(&table.schema),
            row: rows(self.connection, &table, &statement)?.pop(),
        })
    }
}

/// The commands that only read.
#[derive(Debug)]
pub(crate) enum ReadCommand {
    GetData(TableName, Selection),
    GetSingle(TableName, KeySpec),
    TableExists(TableName),
    RunAggregation(TableName, tidegate_core::Aggregation),
    ListTables,
}

/// A command by who carries it out.
pub(crate) enum Sorted {
    Read(ReadCommand),
    Write(Command),
}

/// Tells reading from writing commands.
pub(crate) fn sorted(command: Command) -> Sorted {
    Sorted::Read(match command {
        Command::GetData(table, selection) => ReadCommand::GetData(table, selection),
        Command::GetSingle(table, key) => ReadCommand::GetSingle(table, key),
        Command::TableExists(table) => ReadCommand::TableExists(table),
        Command::RunAggregation(table, wanted) => ReadCommand::RunAggregation(table, wanted),
        Command::ListTables => ReadCommand::ListTables,
        write @ (Command::AddSingle(..)
        | Command::UpdateSingle(..)
        | Command::DeleteRow(..)
        | Command::CreateTable(..)) => return Sorted::Write(write),
    })
}

/// A view or a table without a key has no total order, but it can be read once all the same: by all
/// its columns that can be compared, which tells all rows apart that are not equal.
fn orderable(schema: &Arc<TableSchema>) -> Arc<TableSchema> {
    if !schema.key().is_empty() {
        return Arc::clone(schema);
    }
    let columns = schema.columns();
    let comparable = (0..columns.len()).filter(|at| columns[*at].kind.is_comparable());
    Arc::new(TableSchema::new(
        schema.table().clone(),
        columns.to_vec(),
        comparable.collect(),
    ))
}

/// A query that the engine can decide: SQLite has no rules of its own to decide any other.
fn exact_query(spec: &QuerySpec, schema: &Arc<TableSchema>) -> Result<Query, QueryError> {
    Query::live_from_spec(spec, schema, LimitRule::READ).map_err(|error| match error {
        QueryError::NotLive(text) => QueryError::UnsupportedOperator(text),
        other => other,
    })
}

fn filter_of(
    table: &Share<'_>,
    filter: Option<&tidegate_core::FilterSpec>,
) -> Result<Filter, CommandError> {
    let Some(filter) = filter else {
        return Ok(Filter::everything());
    };
    let spec = QuerySpec {
        filter: Some(filter.clone()),
        ..QuerySpec::default()
    };
    // Aggregates need no order; a key is only there because a query has one.
    let any_key = TableSchema::new(
        table.schema.table().clone(),
        table.schema.columns().to_vec(),
        vec![0],
    );
    let query = exact_query(&spec, &Arc::new(any_key))?;
    Ok(query.filter().clone())
}

/// Runs a statement and reads its rows as the table's, and sees that each is the tenant's.
pub(crate) fn rows(
    connection: &Connection,
    table: &Share<'_>,
    statement: &Statement,
) -> Result<Vec<Row>, Failure> {
    let width = table.stored.columns().len();
    let mut prepared = connection.prepare_cached(&statement.text)?;
    let mut found = prepared.query(params_from_iter(statement.parameters.iter().map(Stored)))?;
    let mut rows = Vec::new();
    let mut bytes = 0;
    while let Some(row) = found.next()? {
        bytes += stored_bytes(row, 0..width)?;
        if bytes > ROWS_BYTES_MAX {
            return Err(Failure::TooLarge(bytes));
        }
        if let Some(at) = table.tenant_column() {
            let kind = &table.stored.columns()[at].kind;
            let owner = read(kind, Place::Plain, row.get_ref(at)?).unwrap_or(Value::Null);
            if !table.scope().admits(&owner) {
                return Err(Failure::Foreign);
            }
        }
        rows.push(read_row(&table.schema, row, 0)?);
    }
    Ok(rows)
}
