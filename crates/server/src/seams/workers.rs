//! The workers: how they are asked, and how one of them works.

use std::sync::Arc;

use rand::Rng;
use tidegate_ports::Broker;
use tidegate_rpc::{ClientConfig, ReplyTopic, WorkerConfig, WorkerDatabase};

use super::until_available;
use crate::clock;
use crate::config::{Config, DatabaseAddress};
use crate::exit::Failure;

/// Calls of this process that wait for workers. A gateway bounds those of its sessions far below.
const WAITING_MAX: usize = 10_000;

/// The database of the workers, once there are topics to ask them over.
pub(super) async fn open(
    config: &Config,
    broker: &Arc<dyn Broker>,
) -> Result<Arc<WorkerDatabase>, Failure> {
    let rpc = &config.rpc;
    let client = ClientConfig {
        topics: rpc.topics.clone(),
        replies: match &rpc.reply_topic {
            Some(given) => ReplyTopic::Given(given.clone()),
            None => {
                let random = rand::rng().random();
                ReplyTopic::own(&host(), std::process::id(), random, rpc.heartbeat)
            }
        },
        timeout: rpc.timeout,
        waiting_max: WAITING_MAX,
    };
    let connect = || WorkerDatabase::connect(client.clone(), Arc::clone(broker));
    let workers = until_available("the topic of the workers", connect).await?;
    Ok(Arc::new(workers))
}

/// The machine's name, which only people look at.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "host".to_owned(), |name| name.trim().to_owned())
}

/// How a worker of this process works.
pub(crate) fn worker_config(config: &Config) -> WorkerConfig {
    let prefix = &config.engines.kafka_topic_prefix;
    let own = ["changes", "control", "diffs"].map(|topic| format!("{prefix}{topic}"));
    // What a foreign stream processor and its gateways write, and what is the broker's own.
    let others = ["server.", "__"].map(str::to_owned);
    WorkerConfig {
        topics: config.rpc.topics.clone(),
        group: format!("{prefix}workers"),
        running_max: match config.database {
            DatabaseAddress::Sqlite(_) => config.sqlite_readers + 1,
            DatabaseAddress::Postgres(_) | DatabaseAddress::Workers => {
                config.engines.postgres_connections
            }
        },
        reserved_prefixes: own.into_iter().chain(others).collect(),
        clock_millis: || u64::try_from(clock::micros_now() / 1_000).unwrap_or(0),
    }
}
