//! Giving pages up, and keeping the claims to the others.
//!
//! A query is cleared by the last of all gateways that were interested. Between its leaving and its
//! word to the processor another one may come and announce the query again; so after the word it
//! looks once more, and if somebody is there, announces the query for them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tidegate_ports::{Claimed, Left, PortError};
use tidegate_protocol::ForeignKey;
use tokio::time::sleep;

use crate::config::{KeeperConfig, KeeperPorts};
use crate::metrics;
use crate::pages::NamedQuery;
use crate::reading::{announce, claim_of, clear};

/// Attempts to give a page up, one a second. After that its claim lapses, and whichever gateway
/// sees that clears the query.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// Claims renewed in one call.
const CLAIMS_MAX: usize = 512;
/// Lapsed claims looked after in one go; the next comes soon.
const LAPSED_MAX: usize = 512;

/// Gives a page up.
pub(crate) async fn close(query: &NamedQuery, ports: &KeeperPorts, config: &KeeperConfig) {
    let mut attempt = 1;
    while let Err(error) = try_close(query, ports, config).await {
        metrics::count_cache_failure("leave");
        if attempt == ATTEMPTS || !error.is_retryable() {
            tracing::warn!(%error, "a page could not be given up; its claim will lapse");
            return;
        }
        attempt += 1;
        sleep(PAUSE).await;
    }
}

async fn try_close(
    query: &NamedQuery,
    ports: &KeeperPorts,
    config: &KeeperConfig,
) -> Result<(), PortError> {
    let (key, control) = (query.key.as_str(), &config.topics.control);
    let leave = || ports.shared.leave(config.gateway_id, key);
    if leave().await? == Left::Others {
        return Ok(());
    }
    clear(key, ports, control).await?;
    if leave().await? == Left::Others {
        // Whatever goes wrong here, that gateway announces it again when it reads the page.
        let _ = announce(query, ports, control).await;
    }
    Ok(())
}

/// Renews the claims to all pages, and clears queries whose every claim has lapsed. Gives the pages
/// that another gateway has taken meanwhile for another query.
pub(crate) async fn maintain(
    queries: &[Arc<NamedQuery>],
    ports: &KeeperPorts,
    config: &KeeperConfig,
) -> Vec<ForeignKey> {
    let mut taken = Vec::new();
    for part in queries.chunks(CLAIMS_MAX) {
        let claims = part.iter().map(|query| claim_of(query)).collect();
        let claimed = match ports.shared.claim(config.gateway_id, claims).await {
            Ok(claimed) => claimed,
            Err(error) => {
                metrics::count_cache_failure("renew");
                tracing::debug!(%error, "claims could not be renewed");
                return taken;
            }
        };
        for (query, claimed) in part.iter().zip(claimed) {
            match claimed {
                Claimed::Renewed => {}
                // It had lapsed: somebody may have cleared the query.
                Claimed::Granted => {
                    let _ = announce(query, ports, &config.topics.control).await;
                }
                Claimed::Conflict => taken.push(query.key.clone()),
            }
        }
    }
    clear_lapsed(queries, ports, config).await;
    taken
}

/// Clears queries of gateways that are gone without a word.
async fn clear_lapsed(queries: &[Arc<NamedQuery>], ports: &KeeperPorts, config: &KeeperConfig) {
    let lapsed = match ports.shared.take_lapsed(LAPSED_MAX).await {
        Ok(lapsed) => lapsed,
        Err(error) => {
            metrics::count_cache_failure("lapsed");
            tracing::debug!(%error, "lapsed claims could not be looked after");
            return;
        }
    };
    let ours: HashSet<&str> = queries.iter().map(|query| query.key.as_str()).collect();
    for key in lapsed.iter().filter(|key| !ours.contains(key.as_str())) {
        if let Err(error) = clear(key, ports, &config.topics.control).await {
            // Nobody is left who would say it: the processor keeps the page for nobody.
            tracing::warn!(%error, "a query could not be cleared");
        }
    }
}
