//! The demo: a shop and its support desk, and a writer that keeps their rows moving.
//!
//! Its rows live in the ordinary database under the tenant `demo`, and its writer sends ordinary
//! commands, so what the demo shows is what every client gets. Starting again goes on where it
//! stopped.

mod resume;
mod script;
mod tables;
mod words;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{Command, TenantId};
use tidegate_ports::{Database, DatabaseError};

use self::script::Script;
use self::tables::{Table, first_rows};
use crate::clock::micros_now;
use crate::config::{DemoPace, DemoSettings};

/// Every first start makes the same rows, but for the times in them.
const SEED: u64 = 7_000;

/// The tenant whose tables the demo's are.
pub(crate) fn tenant() -> TenantId {
    TenantId::parse("demo").expect("letters only")
}

/// Makes the tables and their first rows where they are missing.
///
/// Rows are added in the order of their ids, so a start that was cut off is finished by the next
/// one.
pub(crate) async fn prepare(database: &dyn Database, orders: u32) -> Result<(), DatabaseError> {
    let now = micros_now();
    let mut random = StdRng::seed_from_u64(SEED);
    for table in Table::ALL {
        let rows = first_rows(table, orders.into(), &mut random, now);
        if !resume::exists(database, table).await? {
            database.execute(&tenant(), table.creation()).await?;
        }
        let filled = resume::highest_id(database, table).await?;
        let missing: Vec<Command> = rows
            .into_iter()
            .skip(usize::try_from(filled).unwrap_or(0))
            .map(|row| table.addition(row))
            .collect();
        if !missing.is_empty() {
            let row_count = missing.len();
            fill(database, missing).await?;
            tracing::info!(table = %table.name(), row_count, "demo table filled");
        }
    }
    Ok(())
}

/// Additions under way at a time. The database commits those that wait together at once, in their
/// order, so that one flush to the disk serves many; and some wait while others are committed.
const ADDITIONS_MAX: usize = 1_024;

async fn fill(database: &dyn Database, additions: Vec<Command>) -> Result<(), DatabaseError> {
    let tenant = tenant();
    let mut replies = stream::iter(additions)
        .map(|addition| database.execute(&tenant, addition))
        .buffered(ADDITIONS_MAX);
    while let Some(reply) = replies.next().await {
        reply?;
    }
    Ok(())
}

/// Writes until it is dropped. It never fails: what goes wrong is waited out or looked at anew.
pub(crate) async fn write(database: Arc<dyn Database>, demo: DemoSettings) {
    loop {
        if let Err(error) = write_once(&*database, demo).await {
            // Somebody else may write to the same tables, or drop them: then the script's memory is
            // wrong.
            tracing::debug!(error = %error, "demo writer starts over");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Goes on from what the tables hold, until a command fails.
async fn write_once(database: &dyn Database, demo: DemoSettings) -> Result<(), DatabaseError> {
    let mut script = Script::new(resume::state(database).await?, demo.orders.into());
    let mut random = StdRng::seed_from_u64(SEED);
    for beat in 0_u64.. {
        let pause = match demo.pace {
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
