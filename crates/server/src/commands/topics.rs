//! What the commands that look at topics of Kafka have in common.

use std::sync::Arc;

use tidegate_ports::{Broker, TopicName};

use crate::cli::SettingFlags;
use crate::config::{Config, Inputs, Settings};
use crate::exit::{Exit, Failure};
use crate::seams;

/// Reads the configuration, and does the work with the broker it names, until that ends or Ctrl-C.
pub(super) fn with_broker<Work>(
    flags: SettingFlags,
    work: impl FnOnce(Settings, Config, Arc<dyn Broker>) -> Work,
) -> Result<(), Failure>
where
    Work: Future<Output = Result<(), Failure>>,
{
    let settings = Settings::of(&Inputs::of_process(flags.0)?)?;
    let config = Config::of(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    let done = runtime.block_on(async {
        let broker = seams::open_broker(&config).await?;
        tokio::select! {
            done = work(settings, config, broker) => done,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    });
    // Clients of the broker may still be saying goodbye.
    runtime.shutdown_background();
    done
}

/// Reads a topic's name.
pub(super) fn topic(text: &str) -> Result<TopicName, Failure> {
    let sentence = || format!("{text:?} is not the name of a topic");
    TopicName::parse(text.trim()).ok_or_else(|| Failure::new(Exit::Config, sentence()))
}
