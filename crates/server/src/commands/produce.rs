//! `tidegate produce`: one message to a topic, to see that a broker works and who reads it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use tidegate_ports::{Header, Message};

use crate::cli::SettingFlags;
use crate::commands::say;
use crate::commands::topics::{topic, with_broker};
use crate::exit::{Exit, Failure};
use crate::seams::port_failure;

/// Sends one message to a topic of Kafka
#[derive(Debug, clap::Args)]
pub(crate) struct ProduceArgs {
    /// Where to: server.page.diffs, say
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// Its key: demo_notes|q1, say
    #[arg(long)]
    key: Option<String>,
    /// What it says; nothing is a tombstone
    #[arg(long, value_name = "TEXT")]
    value: Option<String>,
    /// The same in base64, for bytes
    #[arg(long, value_name = "BASE64", conflicts_with = "value")]
    value_base64: Option<String>,
    /// A header beside it; may be said several times
    #[arg(long, value_name = "NAME=VALUE")]
    header: Vec<String>,
    /// The header `lsn` of page diffs and row events
    #[arg(long, value_name = "NUMBER")]
    lsn: Option<u64>,
    #[command(flatten)]
    flags: SettingFlags,
}

pub(crate) fn run(args: ProduceArgs) -> Result<(), Failure> {
    let topic = topic(&args.topic)?;
    let message = message(&args)?;
    with_broker(args.flags, async move |_, _, broker| {
        let sent = broker.send(&topic, vec![message]).await;
        sent.map_err(|error| port_failure(&error))?;
        say(&format!("sent to {topic}\n"));
        Ok(())
    })
}

fn message(args: &ProduceArgs) -> Result<Message, Failure> {
    let wrong = |sentence: String| Failure::new(Exit::Config, sentence);
    let value = match (&args.value, &args.value_base64) {
        (Some(text), _) => Some(Bytes::from(text.clone())),
        (None, Some(text)) => {
            let bytes = BASE64_STANDARD.decode(text);
            Some(
                bytes
                    .map_err(|error| wrong(format!("value-base64: {error}")))?
                    .into(),
            )
        }
        (None, None) => None,
    };
    let header = |text: &String| {
        let (name, value) = text.split_once('=')?;
        Some(Header {
            name: name.to_owned(),
            value: Some(Bytes::from(value.to_owned())),
        })
    };
    let headers: Option<Vec<Header>> = args.header.iter().map(header).collect();
    let mut headers = headers.ok_or_else(|| wrong("a header is NAME=VALUE".to_owned()))?;
    headers.extend(args.lsn.map(|lsn| Header {
        name: "lsn".to_owned(),
        value: Some(lsn.to_string().into()),
    }));
    Ok(Message {
        key: args.key.clone().map(Bytes::from),
        value,
        headers,
    })
}
