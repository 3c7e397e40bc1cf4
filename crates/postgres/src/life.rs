//! The counter of lives, in a schema of our own.

use tidegate_core::Life;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::error::{Failure, rejected};
use crate::session::{run, text_of};

/// Where our own tables are.
pub(crate) const OWN_SCHEMA: &str = "tidegate";

/// Times that two processes may be in each other's way when the table is made.
const TRIES_MAX: usize = 5;

/// A number higher than any before. It is on the disk before it is given out, also where commits in
/// general are not.
pub(crate) async fn next_life(client: &Client) -> Result<Life, Failure> {
    const NEXT: &str = "WITH durable AS (\
         SELECT pg_catalog.set_config('synchronous_commit', \
         CASE s WHEN 'off' THEN 'local' ELSE s END, true) FROM pg_catalog.current_setting('synchronous_commit') AS s) \
         INSERT INTO tidegate.meta AS m (name, value) SELECT 'life', 1 FROM durable \
         ON CONFLICT (name) DO UPDATE SET value = m.value + 1 RETURNING value::text";
    const MAKE: &str = "CREATE SCHEMA IF NOT EXISTS tidegate; \
         CREATE TABLE IF NOT EXISTS tidegate.meta (name text PRIMARY KEY, value bigint NOT NULL)";
    for _ in 0..TRIES_MAX {
        match run(client, NEXT, &[]).await {
            Ok(rows) => {
                let text = rows.first().and_then(|row| text_of(row, 0));
                let life = text.and_then(|text| text.parse().ok());
                let life = life.ok_or_else(|| rejected("the counter of lives is at its end"))?;
                return Ok(Life::new(life));
            }
            Err(Failure::Postgres(error)) if is_missing(&error) => {}
            Err(failure) => return Err(failure),
        }
        match client.batch_execute(MAKE).await {
            Ok(()) => {}
            // Two that make it at once: the other one's is as good.
            Err(error) if is_race(&error) => {}
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                let why = "the role may not make the schema tidegate, where lives are counted: \
                           GRANT CREATE ON DATABASE, or CREATE SCHEMA tidegate \
                           AUTHORIZATION its name";
                return Err(rejected(why).into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Stale)
}

fn is_missing(error: &tokio_postgres::Error) -> bool {
    let missing = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
    error.code().is_some_and(|code| missing.contains(code))
}

fn is_race(error: &tokio_postgres::Error) -> bool {
    let races = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_SCHEMA,
    ];
    error.code().is_some_and(|code| races.contains(code))
}
