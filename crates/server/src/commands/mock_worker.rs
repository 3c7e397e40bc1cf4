//! `tidegate mock-worker`: a worker without a database, to try out gateways and programs that ask.
//!
//! It is the real worker over a database that always says the same: whatever the rows, what it
//! sends has the shapes of the real one's answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::value::RawValue;
use tidegate_core::{
    Aggregates, Column, ColumnType, Command, CommandError, Life, Lsn, Outcome, Reply, Row,
    TableName, TableSchema, TenantId, Value,
};
use tidegate_ports::{ChangeStream, Database, DatabaseError, PortError, Snapshot, SnapshotRequest};
use tidegate_protocol::Method;
use tidegate_rpc::Worker;
use tokio_util::sync::CancellationToken;

use crate::cli::SettingFlags;
use crate::commands::say;
use crate::commands::topics::with_broker;
use crate::exit::{Exit, Failure};
use crate::seams::{port_failure, worker_config};

/// Answers SQL calls over Kafka with rows that were said, without a database
#[derive(Debug, clap::Args)]
pub(crate) struct MockWorkerArgs {
    /// The row of every answer, as a JSON object
    #[arg(long, value_name = "JSON", default_value = "{\"mock\":true}")]
    row: String,
    /// Rows of a GET_DATA
    #[arg(long, value_name = "COUNT", default_value = "1")]
    rows: u32,
    /// How long each answer takes
    #[arg(long, value_name = "MILLISECONDS", default_value = "0")]
    delay_ms: u64,
    /// Fails every call, with this sentence
    #[arg(long, value_name = "SENTENCE")]
    fail: Option<String>,
    #[command(flatten)]
    flags: SettingFlags,
}

pub(crate) fn run(args: MockWorkerArgs) -> Result<(), Failure> {
    let database = Arc::new(MockDatabase::new(&args)?);
    with_broker(args.flags, async move |_, config, broker| {
        let failed = |error: PortError| port_failure(&error);
        let worker = worker_config(&config);
        let topic = worker.topics.calls.clone();
        let worker = Worker::join(worker, broker, database).await;
        say(&format!("answering the calls on {topic}\n"));
        let run = worker.map_err(failed)?.run(CancellationToken::new()).await;
        run.map_err(failed)
    })
}

/// A database that always says the same.
struct MockDatabase {
    columns: Vec<Column>,
    row: Row,
    rows: usize,
    delay: Duration,
    fail: Option<String>,
}

impl MockDatabase {
    fn new(args: &MockWorkerArgs) -> Result<Self, Failure> {
        let row: Result<BTreeMap<String, Box<RawValue>>, _> = serde_json::from_str(&args.row);
        let row = row.map_err(|error| {
            Failure::new(
                Exit::Config,
                format!("the row is not a JSON object: {error}"),
            )
        })?;
        // Documents are shown as they are.
        let column = |name: &String| Column {
            name: name.as_str().into(),
            kind: ColumnType::Json,
            nullable: true,
        };
        let value = |value: &RawValue| match value.get() {
            "null" => Value::Null,
            other => Value::Json(other.into()),
        };
        Ok(Self {
            columns: row.keys().map(column).collect(),
            row: Row::new(row.values().map(|one| value(one)).collect()),
            rows: usize::try_from(args.rows).unwrap_or(usize::MAX),
            delay: Duration::from_millis(args.delay_ms),
            fail: args.fail.clone(),
        })
    }

    fn schema(&self, table: &TableName) -> Arc<TableSchema> {
        let (table, columns) = (table.clone(), self.columns.clone());
        Arc::new(TableSchema::new(table, columns, Vec::new()))
    }

    async fn answer(&self, tenant: &TenantId, call: &str) -> Result<(), DatabaseError> {
        tokio::time::sleep(self.delay).await;
        say(&format!("{call} of {tenant}\n"));
        match &self.fail {
            Some(sentence) => Err(CommandError::BadCommand(sentence.clone()).into()),
            None => Ok(()),
        }
    }

    fn outcome(&self, command: &Command) -> Outcome {
        let rows = |table, count| Outcome::Rows {
            schema: self.schema(table),
            rows: vec![self.row.clone(); count],
        };
        match command {
            Command::GetData(table, _) => Outcome::Page {
                schema: self.schema(table),
                rows: vec![self.row.clone(); self.rows],
                order: Vec::new(),
                lsn: Lsn::new(1),
            },
            Command::GetSingle(table, _) => Outcome::Row {
                schema: self.schema(table),
                row: Some(self.row.clone()),
            },
            Command::AddSingle(table, _) | Command::UpdateSingle(table, ..) => rows(table, 1),
            Command::DeleteRow(..) | Command::CreateTable(..) | Command::TableExists(_) => {
                Outcome::Bool(true)
            }
            Command::RunAggregation(..) => Outcome::Aggregates(Aggregates {
                count: self.rows as u64,
                ..Aggregates::default()
            }),
            Command::ListTables => Outcome::Tables(Vec::new()),
        }
    }
}

fn not_here() -> PortError {
    PortError::Rejected {
        what: "the mock",
        why: "it keeps no pages".to_owned(),
    }
}

#[async_trait]
impl Database for MockDatabase {
    async fn describe(
        &self,
        tenant: &TenantId,
        table: &TableName,
    ) -> Result<Arc<TableSchema>, DatabaseError> {
        self.answer(tenant, "DESCRIBE").await?;
        Ok(self.schema(table))
    }

    async fn snapshot(&self, _request: SnapshotRequest) -> Result<Snapshot, DatabaseError> {
        Err(not_here().into())
    }

    async fn execute(&self, tenant: &TenantId, command: Command) -> Result<Reply, DatabaseError> {
        let method = Method::of(&command);
        self.answer(tenant, method.as_str()).await?;
        Ok(Reply {
            outcome: self.outcome(&command),
            lsn: method.is_write().then(|| Lsn::new(1)),
        })
    }

    async fn next_life(&self) -> Result<Life, PortError> {
        Err(not_here())
    }

    async fn changes(&self) -> Result<ChangeStream, PortError> {
        Err(not_here())
    }
}
