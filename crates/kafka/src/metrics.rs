//! What is measured of the cluster, from what librdkafka tells of its clients now and then.
//!
//! Several clients measure the same thing, so each adds what has changed since it last looked, and
//! takes it back at its end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, counter, gauge};
use rdkafka::Statistics;

use crate::config::TopicNames;

/// Whether the cluster answers: 1 or 0.
pub(crate) const UP: &str = "tidegate_kafka_up";
const BROKERS_CONNECTED: &str = "tidegate_kafka_brokers_connected";
const QUEUE_RECORDS: &str = "tidegate_kafka_queue_records";
const QUEUE_BYTES: &str = "tidegate_kafka_queue_bytes";
const RETRIES_TOTAL: &str = "tidegate_kafka_publish_retries_total";
const LAG_RECORDS: &str = "tidegate_kafka_lag_records";

/// How often librdkafka tells, in milliseconds. Each time costs the text of every partition.
pub(crate) const INTERVAL_MILLIS: &str = "5000";

/// A gauge that others add to as well.
struct Share {
    gauge: Gauge,
    ours: f64,
}

impl Share {
    fn new(gauge: Gauge) -> Self {
        Self { gauge, ours: 0.0 }
    }

    fn set(&mut self, value: f64) {
        self.gauge.increment(value - self.ours);
        self.ours = value;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0.0);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a producer tells.
pub(crate) struct ProducerMeter(Mutex<Producing>);

struct Producing {
    brokers: Share,
    records: Share,
    bytes: Share,
    retries: Counter,
    retried: u64,
}

impl ProducerMeter {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Producing {
            brokers: Share::new(gauge!(BROKERS_CONNECTED)),
            records: Share::new(gauge!(QUEUE_RECORDS)),
            bytes: Share::new(gauge!(QUEUE_BYTES)),
            retries: counter!(RETRIES_TOTAL),
            retried: 0,
        }))
    }

    pub(crate) fn told(&self, statistics: &Statistics) {
        let mut producing = lock(&self.0);
        let brokers = statistics.brokers.values();
        let connected = brokers.clone().filter(|one| one.state == "UP").count();
        producing.brokers.set(connected as f64);
        producing.records.set(statistics.msg_cnt as f64);
        producing.bytes.set(statistics.msg_size as f64);
        let retried = brokers.map(|one| one.txretries).sum();
        let more = u64::saturating_sub(retried, producing.retried);
        producing.retries.increment(more);
        producing.retried = retried;
    }
}

/// What a reader tells: how many records of each topic it has not been handed yet.
pub(crate) struct ReaderMeter {
    names: TopicNames,
    /// By topic.
    lags: Mutex<Vec<Share>>,
}

impl ReaderMeter {
    /// Calls the topics by these words, which come from a closed set: a name may be unique to a
    /// process.
    pub(crate) fn new(names: TopicNames, words: &[&'static str]) -> Self {
        let lag = |word: &&'static str| Share::new(gauge!(LAG_RECORDS, "topic" => *word));
        let lags = Mutex::new(words.iter().map(lag).collect());
        Self { names, lags }
    }

    pub(crate) fn told(&self, statistics: &Statistics) {
        let mut lags = lock(&self.lags);
        for (name, lag) in self.names.iter().zip(lags.iter_mut()) {
            let partitions = statistics.topics.get(name).map(|topic| &topic.partitions);
            let partitions = partitions.into_iter().flat_map(|all| all.values());
            // The end is as of the last fetch, and negative while it is not known.
            let behind = partitions
                .filter(|one| one.app_offset >= 0 && one.hi_offset >= 0)
                .map(|one| (one.hi_offset - one.app_offset).max(0) as f64);
            lag.set(behind.sum());
        }
    }
}
