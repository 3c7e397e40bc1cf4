//! The table of the measurements in Postgres, and connections that write to it.

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, Statement};

use crate::Failure;

/// Makes the table if it is not there, and gives the highest key in it. It is the table that tenant
/// `demo` knows by this name.
pub(crate) async fn prepare_table(
    postgres: &str,
    table: &str,
    driving: &mut JoinSet<()>,
) -> Result<u64, Failure> {
    let client = connect(postgres, driving).await?;
    client
        .batch_execute(&format!(
            "CREATE TABLE IF NOT EXISTS demo_{table} (id bigint PRIMARY KEY, \
             bucket integer NOT NULL, text text NOT NULL); \
             CREATE INDEX IF NOT EXISTS demo_{table}_newest ON demo_{table} (bucket, id DESC)"
        ))
        .await?;
    let highest = format!("SELECT coalesce(max(id), 0) FROM demo_{table}");
    let highest: i64 = client.query_one(&highest, &[]).await?.get(0);
    Ok(u64::try_from(highest)?)
}

/// A connection that writes.
pub(crate) struct Writer {
    client: Client,
    insert: Statement,
}

impl Writer {
    pub(crate) async fn connect(
        postgres: &str,
        table: &str,
        driving: &mut JoinSet<()>,
    ) -> Result<Self, Failure> {
        let client = connect(postgres, driving).await?;
        let insert = format!(
            "INSERT INTO demo_{table} SELECT id, bucket, repeat('x', 100) \
             FROM unnest($1::bigint[], $2::integer[]) AS row (id, bucket)"
        );
        let insert = client.prepare(&insert).await?;
        Ok(Self { client, insert })
    }

    /// Commits some rows, each with its bucket, in one transaction.
    pub(crate) async fn insert(&self, rows: &[(u64, usize)]) -> Result<(), Failure> {
        let mut ids = Vec::with_capacity(rows.len());
        let mut buckets = Vec::with_capacity(rows.len());
        for (id, bucket) in rows {
            ids.push(i64::try_from(*id)?);
            buckets.push(i32::try_from(*bucket)?);
        }
        self.client.execute(&self.insert, &[&ids, &buckets]).await?;
        Ok(())
    }
}

pub(crate) async fn connect(postgres: &str, driving: &mut JoinSet<()>) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(postgres, NoTls).await?;
    driving.spawn(async move {
        // Ends with the client, which says what is wrong.
        let _ = connection.await;
    });
    Ok(client)
}
