//! librdkafka's errors as those of a seam.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tidegate_ports::PortError;

pub(crate) const WHAT: &str = "kafka";

pub(crate) fn rejected(why: impl Into<String>) -> PortError {
    PortError::Rejected {
        what: WHAT,
        why: why.into(),
    }
}

pub(crate) fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> PortError {
    PortError::unavailable(WHAT, source)
}

/// The error of a call, by what can be done about it.
pub(crate) fn from_kafka(error: KafkaError) -> PortError {
    match &error {
        // A value may be secret.
        KafkaError::ClientConfig(_, why, name, value) if !value.is_empty() => {
            rejected(format!("{name}: {}", why.replace(value, "…")))
        }
        KafkaError::ClientConfig(_, why, name, _) => rejected(format!("{name}: {why}")),
        KafkaError::ClientCreation(why) => rejected(why.clone()),
        _ => match error.rdkafka_error_code() {
            Some(code) if is_refusal(code) => rejected(code.to_string()),
            _ => unavailable(error),
        },
    }
}

/// Whether waiting will not mend it.
const fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::InvalidConfig
            | RDKafkaErrorCode::InvalidReplicationFactor
            | RDKafkaErrorCode::InvalidPartitions
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::UnsupportedVersion
    )
}

/// Whether librdkafka is already mending it: a broker, or the connection to all of them.
///
/// It says so with each try, and keeps what it says until it is polled. A reader that paused for
/// each of these would still be reading about an outage long after its end.
pub(crate) const fn is_passing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::PollExceeded
            | RDKafkaErrorCode::PartitionEOF
    )
}
