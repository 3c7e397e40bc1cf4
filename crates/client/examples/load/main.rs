//! Load on a running gateway, from outside: what `cargo xtask bench` measures the program with.
//!
//! `load latency URL TABLE CLIENTS RATE SECONDS [QUERIES]`: how long a change takes from the call
//! that writes it to the client that shows it. `load sessions URL TABLE SESSIONS EACH QUERIES`: how
//! fast subscriptions open, and sessions to hold idle. Either makes the table if it is not there,
//! and prints JSON, one object a line.

mod latency;
mod sessions;

use std::error::Error;

use serde_json::json;
use tidegate_client::{Client, Payload};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_default();
    match kind.as_str() {
        "latency" => latency::run(&mut arguments).await,
        "sessions" => sessions::run(&mut arguments).await,
        _ => Err("usage: load latency|sessions URL TABLE ...".into()),
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
