//! Opens SESSIONS sockets with EACH subscriptions on each, and holds them until its input ends.
//!
//! The subscriptions take the QUERIES different queries in turn. A query that nobody has open is
//! read from the database (cold); one that is open is served from memory (warm). One line is
//! printed when all pages are there.

use std::io::Read;
use std::sync::Arc;

use serde_json::json;
use tidegate_client::{Client, Options, Subscribe, Subscription};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{Failure, argument, make_table};

/// Sessions that subscribe at a time.
const AT_ONCE_MAX: usize = 64;

pub(crate) async fn run(arguments: &mut impl Iterator<Item = String>) -> Result<(), Failure> {
    let url: String = argument(arguments, "URL")?;
    let table: String = argument(arguments, "TABLE")?;
    let session_count: usize = argument(arguments, "SESSIONS")?;
    let each: usize = argument(arguments, "EACH")?;
    let query_count: usize = argument(arguments, "QUERIES")?;
    let first = Client::connect(Options::new(&url)).await?;
    make_table(&first, &table).await?;
    let start = Instant::now();
    let mut clients = Vec::with_capacity(session_count);
    for _ in 0..session_count {
        clients.push(Client::connect(Options::new(&url)).await?);
    }
    let connected = Instant::now();
    let held = subscribe_all(&clients, &table, each, query_count).await?;
    let line = json!({
        "sessions": session_count,
        "subscriptions": held.len(),
        "connect_seconds": (connected - start).as_secs_f64(),
        "subscribe_seconds": connected.elapsed().as_secs_f64(),
    });
    println!("{line}");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

async fn subscribe_all(
    clients: &[Client],
    table: &str,
    each: usize,
    query_count: usize,
) -> Result<Vec<Subscription>, Failure> {
    let turns = Arc::new(Semaphore::new(AT_ONCE_MAX));
    let mut tasks: JoinSet<Result<Vec<Subscription>, Failure>> = JoinSet::new();
    for (number, client) in clients.iter().enumerate() {
        let (client, table, turns) = (client.clone(), table.to_owned(), Arc::clone(&turns));
        tasks.spawn(async move {
            let _turn = turns.acquire().await?;
            let mut held = Vec::with_capacity(each);
            for at in number * each..(number + 1) * each {
                let subscribe = twenty_from(&table, at % query_count)?;
                held.push(client.subscribe(subscribe).await?);
            }
            for subscription in &mut held {
                subscription.ready().await?;
            }
            Ok(held)
        });
    }
    let mut held = Vec::new();
    while let Some(done) = tasks.join_next().await {
        held.extend(done??);
    }
    Ok(held)
}

/// The twenty rows from a key on: a page that the database finds by its primary key.
fn twenty_from(table: &str, key: usize) -> Result<Subscribe, Failure> {
    let test = json!({ "field_name": "id", "filter_type": "greaterThanOrEquals",
        "value": { "Int64Value": { "value": key.to_string() } } });
    let query = json!({ "limit": 20, "order": [{ "field": "id", "sort": "ASC_DEFAULT" }],
        "wrapper": { "filter_wrapper_type": "and", "filters": [test] } });
    Ok(Subscribe::from_json(table, &query.to_string())?)
}
