//! What librdkafka tells us beside its answers.

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::{ClientContext, Statistics};

use crate::metrics::{ProducerMeter, ReaderMeter};

/// What a client says by itself. The log has all of it at DEBUG: what matters comes back as the
/// error of a call or of a poll, and is logged where it is handled.
pub(crate) enum Context {
    /// Measures nothing.
    Plain,
    Producer(ProducerMeter),
    Reader(ReaderMeter),
}

pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    tracing::debug!(?level, facility, message, "librdkafka");
}

pub(crate) fn log_error(error: &KafkaError, reason: &str) {
    tracing::debug!(%error, reason, "librdkafka");
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        match self {
            Self::Plain => {}
            Self::Producer(meter) => meter.told(&statistics),
            Self::Reader(meter) => meter.told(&statistics),
        }
    }
}

impl ConsumerContext for Context {}
