//! Reading one page: the claim to it, word to the stream processor, the rows from a SQL worker, and
//! what the shared cache has.
//!
//! The order matters. The page is followed before anything here begins; the claim stands before the
//! processor hears of the query, so that nobody clears it again; and the processor hears of it
//! before the rows are read, so that it tells what comes after them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::{Command, Selection};
use tidegate_ports::{Claimed, DatabaseError, Message, PageClaim, PortError, TopicName};
use tidegate_protocol::{
    ErrorCode, ForeignPage, WireError, encode_named_query, read_stored_diff, reply_data,
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::{KeeperConfig, KeeperPorts};
use crate::metrics;
use crate::page::{PageRead, ReadFailure, Reading, StoredDiffs};
use crate::pages::NamedQuery;

/// How often a name that another gateway holds is tried again, once a second: it may just be
/// leaving.
const CLAIM_ATTEMPTS: u32 = 4;
/// Pause before the broker is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The limit of a query that names none: what the stream processor takes for it.
const LIMIT_DEFAULT: u64 = 50;

/// Reads a page within its time.
pub(crate) async fn read(
    query: &NamedQuery,
    reading: Reading,
    ports: &KeeperPorts,
    config: &KeeperConfig,
) -> Result<PageRead, ReadFailure> {
    let result = try_read(query, reading, ports, config).await;
    metrics::count_read(match &result {
        Ok(_) => "read",
        Err(failure) if failure.will_pass => "failed",
        Err(_) => "refused",
    });
    result
}

async fn try_read(
    query: &NamedQuery,
    reading: Reading,
    ports: &KeeperPorts,
    config: &KeeperConfig,
) -> Result<PageRead, ReadFailure> {
    claim(query, ports, config).await?;
    let deadline = Instant::now() + config.read_timeout;
    let announced = timeout_at(deadline, announce(query, ports, &config.topics.control));
    match announced.await {
        Ok(announced) => announced?,
        Err(_) => {
            return Err(passing(
                ErrorCode::Unavailable,
                "the broker cannot be reached",
            ));
        }
    }
    let rows = timeout_at(deadline, rows(query, ports)).await;
    let page = rows.unwrap_or_else(|_| Err(passing(ErrorCode::Timeout, "rpc timeout")))?;
    let stored = match reading.stored {
        StoredDiffs::Wanted => stored(query, ports).await,
        StoredDiffs::Unwanted => Vec::new(),
    };
    Ok(PageRead {
        page,
        range: range(query, ports).await,
        stored,
    })
}

/// What is done with a page that was read, once it is on its way to the clients: the processor gets
/// its rows, and the cache keeps it.
pub(crate) async fn share(
    query: &NamedQuery,
    page: &ForeignPage,
    ports: &KeeperPorts,
    config: &KeeperConfig,
) {
    let route = &query.route;
    let seed = page.seed(&route.tenant, &route.table, &query.name.label);
    let topic = &config.topics.seed;
    if let Err(error) = send(ports, topic, query, Some(seed)).await {
        tracing::warn!(%error, "the rows of a page could not be sent to its processor");
    }
    let Some(lsn) = page.lsn else {
        return;
    };
    let kept = page.stored((config.clock_micros)() / 1_000);
    if let Err(error) = ports.shared.store(query.key.as_str(), lsn, kept).await {
        metrics::count_cache_failure("store");
        tracing::debug!(%error, "a page could not be kept in the cache");
    }
}

fn passing(code: ErrorCode, message: &str) -> ReadFailure {
    ReadFailure {
        error: WireError::new(code, message),
        will_pass: true,
    }
}

/// A digest of what decides whether two queries are the same.
pub(crate) fn claim_of(query: &NamedQuery) -> PageClaim {
    PageClaim {
        key: query.key.as_str().to_owned(),
        query: query.route.query.to_string(),
    }
}

/// Claims the page. Without a cache nobody can tell who else is interested, and pages go on.
async fn claim(
    query: &NamedQuery,
    ports: &KeeperPorts,
    config: &KeeperConfig,
) -> Result<(), ReadFailure> {
    for attempt in 1..=CLAIM_ATTEMPTS {
        let claims = vec![claim_of(query)];
        match ports.shared.claim(config.gateway_id, claims).await {
            Ok(claimed) if claimed.contains(&Claimed::Conflict) => {}
            Ok(_) => return Ok(()),
            Err(error) => {
                metrics::count_cache_failure("claim");
                tracing::debug!(%error, "a page could not be claimed");
                return Ok(());
            }
        }
        if attempt < CLAIM_ATTEMPTS {
            sleep(Duration::from_secs(1)).await;
        }
    }
    let why = "this hashId stands for another query on another server at the moment";
    Err(ReadFailure {
        error: WireError::new(ErrorCode::HashConflict, why),
        will_pass: false,
    })
}

/// Tells the stream processor of the query.
pub(crate) async fn announce(
    query: &NamedQuery,
    ports: &KeeperPorts,
    control: &TopicName,
) -> Result<(), ReadFailure> {
    let refused = |error| ReadFailure {
        error,
        will_pass: false,
    };
    let filter = encode_named_query(&query.query, &query.name.words).map_err(refused)?;
    let filter = Bytes::from(filter);
    loop {
        match send(ports, control, query, Some(filter.clone())).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, "a query could not be announced yet");
                sleep(RETRY_PAUSE).await;
            }
            Err(error) => {
                tracing::error!(%error, "a query cannot be announced");
                let why = "the query could not be announced to its processor";
                return Err(refused(WireError::new(ErrorCode::Internal, why)));
            }
        }
    }
}

/// Tells the stream processor that nobody wants a page any more.
pub(crate) async fn clear(
    key: &str,
    ports: &KeeperPorts,
    control: &TopicName,
) -> Result<(), PortError> {
    let message = Message {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: None,
        headers: Vec::new(),
    };
    ports.broker.send(control, vec![message]).await
}

async fn send(
    ports: &KeeperPorts,
    topic: &TopicName,
    query: &NamedQuery,
    value: Option<Bytes>,
) -> Result<(), PortError> {
    let message = Message {
        key: Some(Bytes::copy_from_slice(query.key.as_str().as_bytes())),
        value,
        headers: Vec::new(),
    };
    ports.broker.send(topic, vec![message]).await
}

/// The rows, from a worker.
async fn rows(query: &NamedQuery, ports: &KeeperPorts) -> Result<ForeignPage, ReadFailure> {
    let route = &query.route;
    let mut selection = Selection {
        query: query.query.clone(),
        offset: 0,
    };
    selection.query.limit.get_or_insert(LIMIT_DEFAULT);
    let command = Command::GetData(route.table.clone(), selection);
    let reply = ports.database.execute(&route.tenant, command).await;
    let reply = reply.map_err(|error| match error {
        DatabaseError::Command(error) => ReadFailure {
            error: error.into(),
            will_pass: false,
        },
        DatabaseError::Port(error) => {
            tracing::debug!(%error, "a page could not be read");
            let will_pass = error.is_retryable();
            let why = "the SQL workers cannot be reached";
            ReadFailure {
                error: WireError::new(ErrorCode::Unavailable, why),
                will_pass,
            }
        }
    })?;
    ForeignPage::decode(&reply_data(&reply)).map_err(|error| ReadFailure {
        error,
        will_pass: false,
    })
}

/// The diffs that the cache has. What is no diff there is skipped.
async fn stored(query: &NamedQuery, ports: &KeeperPorts) -> Vec<(tidegate_core::Lsn, Bytes)> {
    match ports.shared.diffs(query.key.as_str()).await {
        Ok(entries) => {
            let read = entries.iter().filter_map(|entry| read_stored_diff(entry));
            read.collect()
        }
        Err(error) => {
            metrics::count_cache_failure("diffs");
            tracing::debug!(%error, "the diffs of a page could not be read from the cache");
            Vec::new()
        }
    }
}

/// The primary keys of the page as a JSON array, or nothing where they are not known.
async fn range(query: &NamedQuery, ports: &KeeperPorts) -> Bytes {
    match ports.shared.range(query.key.as_str()).await {
        Ok(pks) if pks.is_empty() => Bytes::new(),
        Ok(pks) => serde_json::to_vec(&pks).map_or_else(|_| Bytes::new(), Bytes::from),
        Err(error) => {
            metrics::count_cache_failure("range");
            tracing::debug!(%error, "the range of a page could not be read from the cache");
            Bytes::new()
        }
    }
}

/// What a reading gave, for the keeper.
pub(crate) struct Outcome {
    pub(crate) query: Arc<NamedQuery>,
    pub(crate) number: u64,
    pub(crate) result: Result<PageRead, ReadFailure>,
}
