//! What the bus has at one moment, taken in one go.
//!
//! A shard is woken for each hand-over, so handing it one batch of each partition in turn would
//! wake it as often for one change. And what a socket is due from one round goes in one call.

use std::sync::Arc;

use tidegate_ports::{Batch, BusEvent, BusReader, PortError};

/// Batches of one round. A batch is bounded by the bus.
const BATCHES_MAX: usize = 16;

/// Takes rounds of a reader outside of any group.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// What was found behind the end of a round.
    failed: Option<PortError>,
}

impl Rounds {
    /// Waits for a batch, and adds what is there besides. Cancellation-safe: it waits only while it
    /// has nothing.
    pub(crate) async fn next(
        &mut self,
        reader: &mut dyn BusReader,
    ) -> Result<Arc<[Batch]>, PortError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut batches = Vec::new();
        while batches.len() < BATCHES_MAX {
            // Dropping a poll loses nothing.
            let event = tokio::select! {
                biased;
                event = reader.poll() => event,
                () = std::future::ready(()), if !batches.is_empty() => break,
            };
            match event {
                Ok(BusEvent::Records(batch)) => batches.push(batch),
                Ok(BusEvent::Gained(_) | BusEvent::Lost(_)) => {}
                Err(error) if batches.is_empty() => return Err(error),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(batches.into())
    }
}

#[cfg(test)]
mod tests {
    //! Shows that a round is all there is, in order, and that a failure comes after what was read
    //! before it.

    use std::collections::VecDeque;

    use async_trait::async_trait;
    use tidegate_core::Partition;
    use tidegate_ports::{BusOffset, Topic};

    use super::*;

    /// Says these in turn, then nothing.
    struct Scripted(VecDeque<Result<BusEvent, PortError>>);

    #[async_trait]
    impl BusReader for Scripted {
        async fn poll(&mut self) -> Result<BusEvent, PortError> {
            match self.0.pop_front() {
                Some(event) => event,
                None => std::future::pending().await,
            }
        }
    }

    fn batch(next: u64) -> Result<BusEvent, PortError> {
        Ok(BusEvent::Records(Batch {
            topic: Topic::Diffs,
            partition: Partition::new(0),
            next: BusOffset(next),
            records: Arc::new([]),
        }))
    }

    /// The ends of the batches of a round; none is a failure.
    async fn round(rounds: &mut Rounds, reader: &mut Scripted) -> Vec<u64> {
        let batches = rounds.next(reader).await.unwrap_or_default();
        batches.iter().map(|batch| batch.next.0).collect()
    }

    #[tokio::test]
    async fn a_round_is_what_there_is() {
        let gone = || Err(PortError::Gone { what: "bus" });
        let script = [
            batch(1),
            batch(2),
            gone(),
            batch(3),
            gone(),
            gone(),
            batch(4),
        ];
        let (mut rounds, mut reader) = (Rounds::default(), Scripted(script.into()));
        let mut found = Vec::new();
        for _ in 0..6 {
            found.push(round(&mut rounds, &mut reader).await);
        }
        let expect = [&[1, 2][..], &[], &[3], &[], &[], &[4]];
        assert_eq!(found, expect);
    }

    #[tokio::test]
    async fn a_round_is_bounded() {
        let script = (0..BATCHES_MAX as u64 + 1).map(batch).collect();
        let (mut rounds, mut reader) = (Rounds::default(), Scripted(script));
        assert_eq!(round(&mut rounds, &mut reader).await.len(), BATCHES_MAX);
        assert_eq!(round(&mut rounds, &mut reader).await.len(), 1);
    }
}
