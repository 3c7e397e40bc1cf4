//! Reading: snapshots, and the commands that do not write. Each is one statement.

use std::sync::Arc;

use deadpool_postgres::Object;
use tidegate_core::{
    Command, CommandError, Fence, Filter, FilterSpec, KeyPromise, KeySpec, LimitRule, Lsn, Outcome,
    Query, QuerySpec, Row, Selection, TableName, TableSchema, TenantId, TransactionSnapshot,
};
use tidegate_ports::{Snapshot, SnapshotRequest};
use tidegate_sql::{Statement, Window, select, select_by_key};

use crate::aggregate::aggregate;
use crate::catalog::Catalog;
use crate::error::{Failure, rejected, stale_if_redefined, standby, unsupported_or_stale};
use crate::prepared::Prepared;
use crate::session::{row_of, text_of};
use crate::table::{Published, Share};
use crate::visible::parse_snapshot;

/// Times that a read is tried while the table keeps changing under it.
const TRIES_MAX: usize = 5;

/// A connection, and what is known of the tables.
pub(crate) struct Reading<'a> {
    pub(crate) client: &'a Object,
    pub(crate) prepared: &'a Prepared,
    pub(crate) catalog: &'a Catalog,
}

/// Rows with all that they contain.
struct Seen {
    rows: Vec<Row>,
    snapshot: TransactionSnapshot,
    horizon: Lsn,
}

impl Reading<'_> {
    /// The first rows of a query, with what they contain.
    pub(crate) async fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot, Failure> {
        let query = &request.query;
        let name = query.schema().table();
        // One more row tells whether there are more.
        let rows_max = u64::from(request.rows_max);
        let window = Window {
            limit: rows_max + 1,
            offset: 0,
        };
        let table = self.watched(&request.tenant, name).await?;
        let read = async |table: &Share| {
            if table.schema.fingerprint() != query.schema().fingerprint() {
                return Err(Failure::Stale);
            }
            let statement = select(table.target(), query, window)?;
            let seen = self.seen(table, &statement).await;
            seen.map_err(stale_if_redefined)
        };
        let seen = match read(&table).await {
            // What was remembered is old; what is there now decides.
            Err(Failure::Stale) => {
                let fresh = self.catalog.fresh(self.client, &request.tenant, name);
                read(&watchable(fresh.await?)?).await
            }
            other => other,
        };
        let Seen {
            mut rows,
            snapshot,
            horizon,
        } = seen.map_err(|failure| match failure {
            Failure::Stale => {
                let text = format!("table {name} was redefined: subscribe again");
                CommandError::TableChanged(text).into()
            }
            other => other,
        })?;
        let complete = rows.len() as u64 <= rows_max;
        rows.truncate(request.rows_max as usize);
        Ok(Snapshot {
            fence: Fence::Visible { snapshot, horizon },
            rows,
            complete,
        })
    }

    /// A table whose changes are in the stream.
    async fn watched(&self, tenant: &TenantId, name: &TableName) -> Result<Share, Failure> {
        let known = self.catalog.table(self.client, tenant, name).await?;
        match watchable(known) {
            Ok(table) => Ok(table),
            Err(_) => Ok(watchable(
                self.catalog.fresh(self.client, tenant, name).await?,
            )?),
        }
    }

    /// Runs a statement together with what makes its rows a snapshot: who was visible, and the end
    /// of the log after that. One statement has one snapshot, and at least one row comes back, so
    /// that an empty page says it too.
    async fn seen(&self, table: &Share, statement: &Statement) -> Result<Seen, Failure> {
        // Columns before those of the table: `page.*` begins with the mark.
        const META: usize = 5;
        let text = format!(
            "SELECT pg_catalog.pg_current_snapshot()::text, \
             CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL \
             ELSE pg_catalog.pg_current_wal_insert_lsn()::text END, {}, page.is_row::text, page.* \
             FROM (SELECT) AS one LEFT JOIN LATERAL \
             (SELECT true AS is_row, rows.* FROM ({}) AS rows) AS page ON true",
            table.shape_sql(),
            statement.text
        );
        let run = self.prepared.run(self.client, &text, &statement.parameters);
        let found = run.await?;
        let first = found.first().ok_or(Failure::Stale)?;
        // The type of a column cannot have changed between the two: the statement holds its lock.
        if text_of(first, 2) != Some(&table.shape) {
            return Err(Failure::Stale);
        }
        // On a standby the list of transactions in progress is not to be trusted.
        let horizon = text_of(first, 1).ok_or_else(standby)?.parse().ok();
        let snapshot = text_of(first, 0).and_then(parse_snapshot);
        let (Some(horizon), Some(snapshot)) = (horizon, snapshot) else {
            return Err(rejected("it says where it stands in words that are not known").into());
        };
        let is_row = |row: &&tokio_postgres::Row| text_of(row, 3).is_some();
        let rows = found.iter().filter(is_row);
        let rows = rows.map(|row| row_of(table, row, META));
        Ok(Seen {
            rows: rows.collect::<Result<_, _>>()?,
            snapshot,
            horizon,
        })
    }

    /// Carries out a command that only reads.
    pub(crate) async fn execute(
        &self,
        tenant: &TenantId,
        command: &ReadCommand,
    ) -> Result<Outcome, Failure> {
        let name = match command {
            ReadCommand::TableExists(name) => {
                let found = self.catalog.fresh(self.client, tenant, name).await;
                return match found {
                    Ok(_) => Ok(Outcome::Bool(true)),
                    Err(Failure::Command(CommandError::UnknownTable(_))) => {
                        Ok(Outcome::Bool(false))
                    }
                    Err(failure) => Err(failure),
                };
            }
            ReadCommand::ListTables => {
                let tables = self.catalog.tables_of(self.client, tenant).await?;
                return Ok(Outcome::Tables(tables));
            }
            ReadCommand::GetData(name, _)
            | ReadCommand::GetSingle(name, _)
            | ReadCommand::RunAggregation(name, _) => name,
        };
        let mut table = self.catalog.table(self.client, tenant, name).await?;
        for _ in 0..TRIES_MAX {
            match self.read(&table, command).await {
                // With what was remembered the command may be refused that now makes sense.
                Err(Failure::Stale | Failure::Command(CommandError::Query(_))) => {
                    let fresh = self.catalog.fresh(self.client, tenant, name).await?;
                    if fresh.shape == table.shape && fresh.oid == table.oid {
                        return self.read(&fresh, command).await;
                    }
                    table = fresh;
                }
                other => return other,
            }
        }
        Err(Failure::Stale)
    }

    async fn read(&self, table: &Share, command: &ReadCommand) -> Result<Outcome, Failure> {
        match command {
            ReadCommand::GetData(_, selection) => self.get_data(table, selection).await,
            ReadCommand::GetSingle(_, key) => self.get_single(table, key).await,
            ReadCommand::RunAggregation(_, aggregation) => {
                let filter = filter_of(table, aggregation.filter.as_ref())?;
                let found = aggregate(self.client, table, aggregation, &filter).await;
                Ok(Outcome::Aggregates(found.map_err(unsupported_or_stale)?))
            }
            ReadCommand::TableExists(_) | ReadCommand::ListTables => Err(Failure::Stale),
        }
    }

    async fn get_data(&self, table: &Share, selection: &Selection) -> Result<Outcome, Failure> {
        let schema = orderable(&table.schema);
        let query = Query::from_spec(&selection.query, &schema, LimitRule::READ)?;
        let window = Window {
            limit: u64::from(query.limit()),
            offset: selection.offset,
        };
        let statement = select(table.target(), &query, window)?;
        let seen = self.seen(table, &statement).await;
        let seen = seen.map_err(unsupported_or_stale)?;
        Ok(Outcome::Page {
            schema: Arc::clone(&table.schema),
            rows: seen.rows,
            order: query.order().iter().map(|key| key.column).collect(),
            lsn: seen.horizon,
        })
    }

    async fn get_single(&self, table: &Share, key: &KeySpec) -> Result<Outcome, Failure> {
        let key = table.resolve_key(key, KeyPromise::AnyColumn)?;
        let statement = select_by_key(table.target(), &key, 1)?;
        let seen = self.seen(table, &statement).await;
        let mut seen = seen.map_err(unsupported_or_stale)?;
        Ok(Outcome::Row {
            schema: Arc::clone(&table.schema),
            row: seen.rows.pop(),
        })
    }
}

/// The table, unless its changes are not in the stream.
fn watchable(table: Share) -> Result<Share, CommandError> {
    if let Some(why) = &table.refusal {
        return Err(CommandError::UnsupportedTable(why.clone()));
    }
    if table.published != Published::Yes {
        let name = table.schema.table();
        // To describe it again brings it there.
        let text = format!("the changes of table {name} are no longer told: subscribe again");
        return Err(CommandError::TableChanged(text));
    }
    Ok(table)
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

/// The commands that write.
#[derive(Debug)]
pub(crate) enum WriteCommand {
    Add(TableName, Vec<(String, tidegate_core::Literal)>),
    Update(TableName, KeySpec, Vec<(String, tidegate_core::Literal)>),
    Delete(TableName, KeySpec),
    Create(TableName, tidegate_core::TableDefinition),
}

impl WriteCommand {
    /// The column that a row is named by, when the client gave one.
    pub(crate) fn key_column(&self) -> Option<&str> {
        match self {
            Self::Update(_, key, _) | Self::Delete(_, key) => key.column.as_deref(),
            Self::Add(..) | Self::Create(..) => None,
        }
    }
}

/// A command by how it is carried out.
pub(crate) enum Sorted {
    Read(ReadCommand),
    Write(WriteCommand),
}

/// Tells reading from writing commands.
pub(crate) fn sorted(command: Command) -> Sorted {
    match command {
        Command::GetData(table, selection) => Sorted::Read(ReadCommand::GetData(table, selection)),
        Command::GetSingle(table, key) => Sorted::Read(ReadCommand::GetSingle(table, key)),
        Command::TableExists(table) => Sorted::Read(ReadCommand::TableExists(table)),
        Command::RunAggregation(table, wanted) => {
            Sorted::Read(ReadCommand::RunAggregation(table, wanted))
        }
        Command::ListTables => Sorted::Read(ReadCommand::ListTables),
        Command::AddSingle(table, values) => Sorted::Write(WriteCommand::Add(table, values)),
        Command::UpdateSingle(table, key, values) => {
            Sorted::Write(WriteCommand::Update(table, key, values))
        }
        Command::DeleteRow(table, key) => Sorted::Write(WriteCommand::Delete(table, key)),
        Command::CreateTable(table, definition) => {
            Sorted::Write(WriteCommand::Create(table, definition))
        }
    }
}

/// A view or a table without a key has no total order, but it can be read once all the same: by all
/// its columns that can be compared, which tells all rows apart that are not equal.
fn orderable(schema: &Arc<TableSchema>) -> Arc<TableSchema> {
    let columns = schema.columns();
    let key = schema.key();
    if !key.is_empty() && key.iter().all(|at| columns[*at].kind.is_comparable()) {
        return Arc::clone(schema);
    }
    let comparable = (0..columns.len()).filter(|at| columns[*at].kind.is_comparable());
    Arc::new(TableSchema::new(
        schema.table().clone(),
        columns.to_vec(),
        comparable.collect(),
    ))
}

fn filter_of(table: &Share, filter: Option<&FilterSpec>) -> Result<Filter, CommandError> {
    let Some(filter) = filter else {
        return Ok(Filter::everything());
    };
    let spec = QuerySpec {
        filter: Some(filter.clone()),
        ..QuerySpec::default()
    };
    // Aggregates need no order; a key is only there because a query has one.
    let query = Query::from_spec(&spec, &orderable(&table.schema), LimitRule::READ)?;
    Ok(query.filter().clone())
}
