//! `tidegate tap`: what passes on topics of Kafka, one JSON object on a line for each message.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::ValueEnum;
use serde_json::{Value as Json, json};
use tidegate_ports::{Broker, BrokerEvent, Message, Received, Start, TopicName};
use tidegate_protocol::{SqlAnswer, SqlCall, SqlRequest, SqlResponse, decode_query, write_query};
use tidegate_rpc::REPLY_PREFIX;

use crate::cli::SettingFlags;
use crate::commands::say;
use crate::commands::topics::{topic, with_broker};
use crate::config::{Key, Settings};
use crate::exit::{Exit, Failure};
use crate::seams::port_failure;

/// What is looked at: decides the topics, and how their messages are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Answers of workers, of all processes that ask now
    Replies,
    /// Calls to workers
    Calls,
    /// Page diffs of a foreign stream processor
    Diffs,
    /// Its row events
    Events,
    /// Queries that gateways publish to it
    Control,
    /// Pages that gateways give it
    Seeds,
}

/// Prints what passes on topics of Kafka, read
#[derive(Debug, clap::Args)]
pub(crate) struct TapArgs {
    #[arg(value_enum, default_value = "replies")]
    what: What,
    /// Another topic than the configured one; may be said several times
    #[arg(long, value_name = "NAME")]
    topic: Vec<String>,
    /// Begins with the oldest message that is kept
    #[arg(long)]
    from_start: bool,
    /// Ends after so many messages
    #[arg(long, value_name = "COUNT")]
    count: Option<usize>,
    #[command(flatten)]
    flags: SettingFlags,
}

pub(crate) fn run(args: TapArgs) -> Result<(), Failure> {
    let (what, named) = (args.what, args.topic);
    let start = match args.from_start {
        true => Start::Earliest,
        false => Start::Latest,
    };
    let mut left = args.count.unwrap_or(usize::MAX);
    with_broker(args.flags, async move |settings, _, broker| {
        let failed = |error| port_failure(&error);
        let topics = topics(what, &named, &settings, &*broker).await?;
        let mut reader = broker.follow(&topics, start).await.map_err(failed)?;
        while left > 0 {
            match reader.poll().await {
                Ok(BrokerEvent::Messages(messages)) => {
                    for received in messages.iter().take(left) {
                        say(&format!("{}\n", line(what, received)));
                    }
                    left = left.saturating_sub(messages.len());
                }
                Ok(BrokerEvent::Gained(_) | BrokerEvent::Lost(_)) => {}
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "the broker is away");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    })
}

async fn topics(
    what: What,
    named: &[String],
    settings: &Settings,
    broker: &dyn Broker,
) -> Result<Vec<TopicName>, Failure> {
    if !named.is_empty() {
        return named.iter().map(|name| topic(name)).collect();
    }
    let text = |key| settings.shown(key).value;
    let key = |key| Ok(vec![topic(&text(key))?]);
    let pages = text(Key::PageTopics);
    let (diffs, events) = pages.split_once(',').unwrap_or((&pages, &pages));
    match what {
        What::Calls => key(Key::RpcRequestTopic),
        What::Control => key(Key::QueryControlTopic),
        What::Seeds => key(Key::PageSeedTopic),
        What::Diffs => Ok(vec![topic(diffs)?]),
        What::Events => Ok(vec![topic(events)?]),
        What::Replies => {
            let topics = broker
                .topics()
                .await
                .map_err(|error| port_failure(&error))?;
            let given = text(Key::RpcReplyTopic);
            let is_reply = |topic: &TopicName| {
                topic.as_str().starts_with(REPLY_PREFIX) || topic.as_str() == given
            };
            let found: Vec<TopicName> = topics.into_iter().filter(is_reply).collect();
            match found.is_empty() {
                true => Err(Failure::new(
                    Exit::Failed,
                    "no process asks workers now: there is no reply topic",
                )),
                false => Ok(found),
            }
        }
    }
}

/// A message as one line.
fn line(what: What, received: &Received) -> Json {
    let Received {
        topic,
        partition,
        offset,
        message,
        ..
    } = received;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: serde_json::Map<String, Json> = message
        .headers
        .iter()
        .map(|header| {
            (
                header.name.clone(),
                json!(header.value.as_deref().map(text)),
            )
        })
        .collect();
    let said = match message.value.as_deref() {
        None => Json::Null,
        Some(value) => read(what, value).unwrap_or_else(|why| unread(message, &why)),
    };
    json!({
        "topic": topic.as_str(),
        "partition": partition,
        "offset": offset.0,
        "key": message.key.as_deref().map(text),
        "headers": headers,
        "value": said,
    })
}

/// What could not be read, as it is.
fn unread(message: &Message, why: &str) -> Json {
    let bytes = message.value.as_deref().unwrap_or(&[]);
    json!({ "unreadable": why, "base64": BASE64_STANDARD.encode(bytes) })
}

fn read(what: What, value: &[u8]) -> Result<Json, String> {
    let parsed = |text: &str| serde_json::from_str::<Json>(text).map_err(|e| e.to_string());
    match what {
        What::Replies => {
            let response = SqlResponse::decode(value).map_err(|error| error.to_string())?;
            let mut said = match response.result {
                Ok(SqlAnswer::Data { json, lsn }) => {
                    let lsn = lsn.map(|lsn| lsn.to_string());
                    json!({ "ok": true, "data": parsed(&json)?, "lsn": lsn })
                }
                Ok(SqlAnswer::Schema(schema)) => {
                    let columns = schema.columns().iter();
                    let columns: Vec<_> = columns
                        .map(|column| json!({ "name": &*column.name, "type": column.kind.name() }))
                        .collect();
                    json!({ "ok": true, "schema": columns })
                }
                Err(error) => {
                    json!({ "ok": false, "code": error.code.as_str(), "error": error.message })
                }
            };
            said["correlationId"] = json!(response.correlation_id);
            Ok(said)
        }
        What::Calls => {
            let request = SqlRequest::decode(value).map_err(|error| error.to_string())?;
            let (method, call) = match &request.call {
                SqlCall::Run(command) => {
                    let method = tidegate_protocol::Method::of(command);
                    (method.as_str(), format!("{command:?}"))
                }
                SqlCall::Describe(table) => ("DESCRIBE", table.to_string()),
            };
            Ok(json!({
                "correlationId": request.correlation_id,
                "replyTopic": request.reply_topic,
                "companyId": request.company_id,
                "method": method,
                "call": call,
            }))
        }
        What::Control => {
            let query = decode_query(value).map_err(|error| error.to_string())?;
            parsed(&write_query(&query))
        }
        What::Events | What::Seeds => {
            parsed(std::str::from_utf8(value).map_err(|error| error.to_string())?)
        }
        What::Diffs => Ok(json!({
            "bytes": value.len(),
            "base64": BASE64_STANDARD.encode(value),
        })),
    }
}
