//! Those who watch: each notes every update it gets, in order.

use tidegate_client::{Client, Format, Subscribe, Update};
use tidegate_core::Lsn;
use tokio::sync::watch;

use super::queries::{Plan, RandomQuery};

/// All that one subscription was sent.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    pub(crate) query: RandomQuery,
    pub(crate) updates: Vec<Update>,
    /// The position that it is known to have passed at its end, if it stayed to the end.
    pub(crate) passed: Option<Lsn>,
}

impl Recording {
    pub(crate) fn resumed(&self) -> bool {
        self.updates
            .iter()
            .any(|update| matches!(update, Update::Resumed { .. }))
    }
}

/// Watches one query after the other; the last, or the one that the end finds, until all that was
/// written has been seen.
pub(crate) async fn subscriber(
    client: Client,
    plan: Plan,
    finished: watch::Receiver<Option<Lsn>>,
) -> Vec<Recording> {
    let mut recordings = Vec::new();
    let (last, others) = plan.queries.split_last().expect("a plan has a query");
    let format = if plan.is_binary {
        Format::Binary
    } else {
        Format::Json
    };
    for (query, updates_max) in others {
        let recording = watch(&client, query, format, finished.clone(), *updates_max).await;
        let is_end = recording.passed.is_some();
        recordings.push(recording);
        if is_end {
            return recordings;
        }
    }
    recordings.push(watch(&client, &last.0, format, finished, usize::MAX).await);
    recordings
}

async fn watch(
    client: &Client,
    query: &RandomQuery,
    format: Format,
    mut finished: watch::Receiver<Option<Lsn>>,
    updates_max: usize,
) -> Recording {
    let subscribe = Subscribe::from_json("things", &query.json).expect("the query is JSON");
    let subscription = client.subscribe(subscribe.format(format)).await;
    let mut subscription = subscription.expect("the client lives");
    let mut updates: Vec<Update> = Vec::new();
    while updates.len() < updates_max {
        let end = tokio::select! {
            end = finished.wait_for(Option::is_some) => {
                end.expect("the test lives").expect("waited for")
            }
            update = subscription.next() => {
                updates.push(update.expect("it goes on"));
                continue;
            }
        };
        let point = subscription
            .sync_point(end)
            .await
            .expect("it is passed in time");
        while !subscription.has_passed(point) {
            updates.push(subscription.next().await.expect("it goes on"));
        }
        return Recording {
            query: query.clone(),
            updates,
            passed: Some(end),
        };
    }
    Recording {
        query: query.clone(),
        updates,
        passed: None,
    }
}
