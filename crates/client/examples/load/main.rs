//! Load on a running gateway, from outside: what `cargo xtask bench` measures the program with.
//!
//! `load latency URL TABLE CLIENTS RATE SECONDS [QUERIES]`: how long a change takes from the call
//! that writes it to the client that shows it. `load sessions URL TABLE SESSIONS EACH QUERIES`: how
//! fast subscriptions open, and sessions to hold idle. `load commits URL POSTGRES TABLE CLIENTS
//! TOUCHED RATE EACH SECONDS`: how long a commit of another program takes to the client that shows
//! it. All make the table if it is not there, and print JSON, one object a line.
//!
//! `load rerun POSTGRES TABLE` is no load: it is a plain server that asks the database again
//! whenever a query was touched, for the same clients, to compare with.

mod commits;
mod latency;
mod rerun;
mod sessions;
mod table;

use std::error::Error;

use serde_json::json;
use tidegate_client::{Client, Payload};
use tokio::runtime::Builder;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_default();
    let mut runtime = match kind.as_str() {
        "rerun" => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(run(&kind, arguments))
}

async fn run(kind: &str, mut arguments: impl Iterator<Item = String>) -> Result<(), Failure> {
    match kind {
        "latency" => latency::run(&mut arguments).await,
        "sessions" => sessions::run(&mut arguments).await,
        "commits" => commits::run(&mut arguments).await,
        "rerun" => rerun::run(&mut arguments).await,
        _ => Err("usage: load latency|sessions|commits|rerun ...".into()),
    }
}

/// The next argument, as what it should be.
fn argument<T: std::str::FromStr>(
    arguments: &mut impl Iterator<Item = String>,
    name: &str,
) -> Result<T, Failure> {
    let text = arguments
        .next()
        .ok_or_else(|| format!("{name} is missing"))?;
    let refused = |_| format!("{text:?} is no {name}");
    Ok(text.parse().map_err(refused)?)
}

async fn make_table(writer: &Client, table: &str) -> Result<(), Failure> {
    let column = |name: &str, kind: &str, constraints: &[&str]| {
        json!({
            "name": name,
            "dataType": kind,
            "isNullable": false,
            "constraints": constraints
        })
    };
    let columns = [
        column("id", "bigInt", &["primaryKey"]),
        column("bucket", "integer", &[]),
        column("text", "text", &[]),
    ];
    let definition = json!({ "definition": { "name": table, "columns": columns } });
    let payload = Payload::parse(&definition.to_string())?;
    let exists = writer
        .rpc("TABLE_EXISTS", Some(table), Payload::none())
        .await?;
    if exists.data != "true" {
        writer.rpc("CREATE_TABLE", Some(table), payload).await?;
    }
    Ok(())
}
