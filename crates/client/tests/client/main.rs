//! The client against a gateway that speaks the contract, and against one that breaks it.

mod calls;
mod fake_server;
mod reconnect;
mod subscriptions;

use tidegate_client::{PagePosition, Subscription, Update};

/// The keys of the page, in order.
fn pks(subscription: &Subscription) -> Vec<&str> {
    let rows = subscription.page().rows().iter();
    rows.map(|row| &*row.pk).collect()
}

fn position(subscription: &Subscription) -> Option<&str> {
    subscription.page().position().map(PagePosition::as_str)
}

/// The kind of an update, for comparing.
fn kind(update: Option<Update>) -> String {
    match update {
        Some(Update::Snapshot(snapshot)) => format!("snapshot {}", snapshot.reason.name()),
        Some(Update::Resumed { position, .. }) => format!("resumed {position}"),
        Some(Update::Diff(diff)) => format!("diff {}", diff.position),
        Some(Update::Error(fault)) => format!("error {}", fault.code),
        None => "end".to_owned(),
    }
}
