//! Letting go of clients where it may block.
//!
//! Destroying a client of librdkafka joins its threads, and a member of a group says goodbye first.
//! That takes milliseconds, or seconds when brokers are away: nothing for a thread of a runtime. So
//! each client is dropped by a thread of its own, and whoever ends the process may wait for them.

use std::ops::Deref;
use std::sync::Arc;
use std::thread;

use tokio::sync::watch;

/// Counts the clients that are being let go of.
#[derive(Debug, Clone)]
pub(crate) struct Closer(Arc<watch::Sender<usize>>);

impl Closer {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Waits until none is left.
    pub(crate) async fn idle(&self) {
        let mut closing = self.0.subscribe();
        closing
            .wait_for(|count| *count == 0)
            .await
            .expect("we hold the sender");
    }

    fn close<T: Send + 'static>(&self, client: T) {
        self.0.send_modify(|count| *count += 1);
        let counter = Counter(self.clone());
        let work = move || {
            // Counted down after the client is gone, also when its end panics.
            let _counter = counter;
            drop(client);
        };
        let thread = thread::Builder::new().name("kafka-close".to_owned());
        if let Err(error) = thread.spawn(work) {
            // The closure was dropped here, and the client with it.
            tracing::warn!(%error, "no thread to close a client in");
        }
    }
}

struct Counter(Closer);

impl Drop for Counter {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

/// A client that is dropped in a thread of its own.
#[derive(Debug)]
pub(crate) struct Closing<T: Send + 'static> {
    /// `None` only while this is dropped.
    client: Option<T>,
    closer: Closer,
}

impl<T: Send + 'static> Closing<T> {
    pub(crate) fn new(client: T, closer: &Closer) -> Self {
        Self {
            client: Some(client),
            closer: closer.clone(),
        }
    }
}

impl<T: Send + 'static> Deref for Closing<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.client.as_ref().expect("taken only by drop")
    }
}

impl<T: Send + 'static> Drop for Closing<T> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            self.closer.close(client);
        }
    }
}
