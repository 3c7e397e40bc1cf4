//! A call, from the bytes of a message to the bytes of its answer.

use std::time::Duration;

use bytes::Bytes;
use tidegate_core::TenantId;
use tidegate_ports::{DatabaseError, Header, Message, PortError, Received, TopicName};
use tidegate_protocol::{
    ErrorCode, Method, OLD_TIMEOUT, SqlCall, SqlRequest, SqlRequestError, SqlResult,
    TIMEOUT_HEADER, WireError, encode_response, read_millis,
};
use tokio::time::Instant;

use crate::config::WorkerConfig;

/// Where an answer goes.
#[derive(Debug, Clone)]
pub(crate) struct ReplyTo {
    pub(crate) topic: TopicName,
    pub(crate) correlation_id: String,
}

impl ReplyTo {
    /// The answer's message.
    pub(crate) fn message(&self, result: SqlResult<'_>) -> Message {
        let id = &self.correlation_id;
        let bytes = encode_response(id, result).unwrap_or_else(|error| {
            let failed = encode_response(id, SqlResult::Error(&error));
            failed.expect("a failure is only texts")
        });
        Message {
            key: Some(Bytes::copy_from_slice(id.as_bytes())),
            value: Some(bytes.into()),
            headers: Vec::new(),
        }
    }
}

/// A call to be carried out.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tenant: TenantId,
    pub(crate) what: SqlCall,
    pub(crate) reply_to: ReplyTo,
    /// When its caller gives up.
    pub(crate) deadline: Instant,
}

impl Call {
    /// What metrics and logs call it.
    pub(crate) const fn method(&self) -> &'static str {
        match &self.what {
            SqlCall::Run(command) => Method::of(command).as_str(),
            SqlCall::Describe(_) => "DESCRIBE",
        }
    }

    /// Whether it must not be carried out twice.
    pub(crate) const fn is_write(&self) -> bool {
        match &self.what {
            SqlCall::Run(command) => Method::of(command).is_write(),
            SqlCall::Describe(_) => false,
        }
    }
}

/// What a message turned out to be.
#[derive(Debug)]
pub(crate) enum Taken {
    Call(Box<Call>),
    /// A call that makes no sense, and where to say so.
    Refused(ReplyTo, WireError),
    /// Nobody waits for the answer any more.
    Expired,
    /// No call, or one that nobody can be told anything about.
    Junk(WireError),
}

/// Reads a message.
pub(crate) fn take(config: &WorkerConfig, received: &Received) -> Taken {
    let Some(remaining) = remaining(config, received) else {
        return Taken::Expired;
    };
    let bytes = received.message.value.as_deref().unwrap_or(&[]);
    let (request, reply_topic, correlation_id) = match SqlRequest::decode(bytes) {
        Ok(request) => {
            let names = (request.reply_topic.clone(), request.correlation_id.clone());
            (Ok((request.company_id, request.call)), names.0, names.1)
        }
        Err(SqlRequestError {
            correlation_id,
            reply_topic,
            error,
        }) => {
            let text = Option::unwrap_or_default;
            (Err(error), text(reply_topic), text(correlation_id))
        }
    };
    let topic = TopicName::parse(&reply_topic);
    let Some(topic) = topic.filter(|topic| config.may_answer_at(topic)) else {
        let why = "the call does not say where an answer may go";
        return Taken::Junk(WireError::new(ErrorCode::BadCommand, why));
    };
    let reply_to = ReplyTo {
        topic,
        correlation_id,
    };
    let call = request.and_then(|(company, what)| {
        let tenant = TenantId::parse(&company);
        let tenant =
            tenant.map_err(|error| WireError::new(ErrorCode::BadCommand, error.to_string()))?;
        Ok((tenant, what))
    });
    match call {
        Ok((tenant, what)) => Taken::Call(Box::new(Call {
            tenant,
            what,
            reply_to,
            deadline: Instant::now() + remaining,
        })),
        Err(error) => Taken::Refused(reply_to, error),
    }
}

/// How long its caller still waits; nothing when it does not. The clocks of others may be wrong, so
/// nobody waits for longer than it said.
fn remaining(config: &WorkerConfig, received: &Received) -> Option<Duration> {
    let is_timeout = |header: &&Header| header.name == TIMEOUT_HEADER;
    let header = received.message.headers.iter().find(is_timeout);
    let value = header.and_then(|header| header.value.as_deref());
    let timeout = value.and_then(read_millis).unwrap_or(OLD_TIMEOUT);
    let Some(sent) = received.sent_millis else {
        return Some(timeout);
    };
    let age = Duration::from_millis((config.clock_millis)().saturating_sub(sent));
    timeout.checked_sub(age).filter(|left| !left.is_zero())
}

/// What the caller is told of a failure. Drivers' words stay in the log.
pub(crate) fn wire_error(error: DatabaseError) -> WireError {
    let error = match error {
        DatabaseError::Command(error) => return error.into(),
        DatabaseError::Port(error) => error,
    };
    tracing::warn!(%error, "the database failed a call");
    let (code, message) = match error {
        PortError::Unavailable { .. } => (ErrorCode::Unavailable, "the database cannot be reached"),
        PortError::TooLarge { .. } => (ErrorCode::BadCommand, "the answer is too large"),
        PortError::Rejected { .. }
        | PortError::Taken { .. }
        | PortError::Gone { .. }
        | PortError::Corrupt { .. } => (ErrorCode::Internal, "the database refused"),
    };
    WireError::new(code, message)
}
