//! The demo: a shop and its support desk, and a writer that keeps their rows moving.
//!
//! Its rows live in the ordinary database under the tenant `demo`, and its writer sends ordinary commands,
//! so what the demo shows is what every client gets. Starting again goes on where it stopped.

mod resume;
mod script;
mod tables;
mod words;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{Command, TenantId};
use tidegate_ports::{Database, DatabaseError};

use self::script::Script;
use self::tables::{Table, first_rows};
use crate::clock;
use crate::config::DemoPace;

/// Every first start makes the same rows, but for the times in them.
const SEED: u64 = 7_000;

/// The tenant whose tables the demo's are.
pub(crate) fn tenant() -> TenantId {
    TenantId::parse("demo").expect("letters only")
}

/// Makes the tables and their first rows where they are missing.
///
/// A table that exists but is empty was cut off by a crash between the two steps, and is filled now.
pub(crate) async fn prepare(database: &dyn Database) -> Result<(), DatabaseError> {
    let now = micros_now();
    let mut random = StdRng::seed_from_u64(SEED);
    for table in Table::ALL {
        let rows = first_rows(table, &mut random, now);
        if !resume::exists(database, table).await? {
            database.execute(&tenant(), table.creation()).await?;
        }
        if resume::newest(database, table, 1).await?.is_empty() {
            let row_count = rows.len();
            let additions = rows.into_iter().map(|row| table.addition(row)).collect();
            fill(database, additions).await?;
            tracing::info!(table = %table.name(), row_count, "demo table filled");
        }
    }
    Ok(())
}

async fn fill(database: &dyn Database, additions: Vec<Command>) -> Result<(), DatabaseError> {
    for addition in additions {
        database.execute(&tenant(), addition).await?;
    }
    Ok(())
}

/// Writes until it is dropped. It never fails: what goes wrong is waited out or looked at anew.
pub(crate) async fn write(database: Arc<dyn Database>, pace: DemoPace) {
    loop {
        if let Err(error) = write_once(&*database, pace).await {
            // Somebody else may write to the same tables, or drop them: then the script's memory is wrong.
            tracing::debug!(error = %error, "demo writer starts over");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Goes on from what the tables hold, until a command fails.
async fn write_once(database: &dyn Database, pace: DemoPace) -> Result<(), DatabaseError> {
    let mut script = Script::new(resume::state(database).await?);
    let mut random = StdRng::seed_from_u64(SEED);
    for beat in 0_u64.. {
        let pause = match pace {
            DemoPace::Steady => random.random_range(350..650),
            // A burst of thirty acts, then a rest in which pages stand still.
            DemoPace::Bursty if beat % 30 == 29 => 6_000,
            DemoPace::Bursty => random.random_range(20..80),
            DemoPace::Still => return std::future::pending().await,
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        // Every second beat is a ticket's, so that a steady page moves about once a second.
        let commands = match beat % 2 {
            0 => script.next_ticket_act(micros_now()),
            _ => script.next_order_act(micros_now()),
        };
        for command in commands {
            database.execute(&tenant(), command).await?;
        }
    }
    Ok(())
}

fn micros_now() -> i64 {
    // Microseconds fit until the year 294,247.
    i64::try_from(clock::since_epoch().as_micros()).unwrap_or(i64::MAX)
}
