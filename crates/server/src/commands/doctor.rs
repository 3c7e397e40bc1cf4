//! `tidegate doctor`: whether bus, cache and database can be used, and what to do if not.

use std::fmt::Write;

use crate::cli::SettingFlags;
use crate::commands::say;
use crate::config::{Config, Inputs, Key, Settings};
use crate::exit::{Exit, Failure, causes};
use crate::seams::examine::{self, Finding, MissingTopics};
use crate::seams::port_failure;

/// Asks bus, cache and database whether they can be used
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    flags: SettingFlags,
    /// Makes the topics of the bus that are missing, instead of reporting them
    #[arg(long)]
    create_topics: bool,
}

/// Prints what was found at each, and fails with the first that cannot be used.
pub(crate) fn run(args: DoctorArgs) -> Result<(), Failure> {
    let settings = Settings::of(&Inputs::of_process(args.flags.0)?)?;
    let config = Config::of(&settings)?;
    let missing = match args.create_topics {
        true => MissingTopics::Make,
        false => MissingTopics::Report,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    let findings = runtime.block_on(async {
        tokio::join!(
            examine::bus(&config, missing),
            examine::cache(&config),
            examine::database(&config),
            examine::workers(&config, missing),
        )
    });
    // Drivers may still be trying to connect.
    runtime.shutdown_background();
    let address = |key| settings.shown(key).value;
    let mut rows = vec![
        ("bus", address(Key::Bus), findings.0),
        ("cache", address(Key::Cache), findings.1),
        ("database", config.database_shown.clone(), findings.2),
    ];
    if let Some(workers) = findings.3 {
        rows.push(("workers", config.rpc.topics.calls.to_string(), workers));
    }
    say(&table(&rows));
    let refused = rows.into_iter().find_map(|(_, _, finding)| finding.err());
    refused.map_or(Ok(()), |error| Err(port_failure(&error)))
}

fn table(rows: &[(&str, String, Finding)]) -> String {
    let mut table = String::new();
    for (name, address, finding) in rows {
        let (mark, text) = match finding {
            Ok(text) => ("ok ", text.clone()),
            Err(error) => ("NOT", causes(error)),
        };
        writeln!(table, "{mark}  {name:8}  {address}\n     {:8}  {text}", "")
            .expect("writing to a string cannot fail");
    }
    table
}
