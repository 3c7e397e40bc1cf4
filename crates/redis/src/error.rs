//! From the driver's errors to those of the seam.
//!
//! A server's own words may quote our command, and so rows; of its errors only the code is kept.

use redis::{ErrorKind, RedisError, ServerError};
use tidegate_ports::PortError;

/// What the seam calls this side.
pub(crate) const WHAT: &str = "the hot cache";

/// Longest code of an error that is repeated; those of Redis are shorter.
const CODE_LENGTH_MAX: usize = 24;

/// Why the server did not do its part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// It did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// Nobody listens there.
    #[error("the connection was refused")]
    Refused,
    /// The connection ended, or could not be made for a reason of the network.
    #[error("the connection is lost")]
    Lost,
    /// It is not the server that it should be, or does not encrypt.
    #[error("no encrypted connection can be made: {0}")]
    Untrusted(String),
    /// It does not speak Redis's protocol.
    #[error("the answer is not Redis's")]
    Garbage,
    /// It failed a moment ago, and is left alone for a while.
    #[error("the last attempt failed a moment ago")]
    Waiting,
    /// It answered with this error.
    #[error("the answer was {0}")]
    Answer(String),
}

impl Trouble {
    /// What a server's error code says.
    pub(crate) fn answer(code: &str) -> Self {
        let is_code = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        match !code.is_empty() && code.len() <= CODE_LENGTH_MAX && code.bytes().all(is_code) {
            true => Self::Answer(code.to_owned()),
            false => Self::Answer("an error".to_owned()),
        }
    }

    /// Whether the same call may succeed later.
    fn will_pass(&self) -> bool {
        match self {
            Self::Timeout | Self::Refused | Self::Lost | Self::Garbage | Self::Waiting => true,
            Self::Untrusted(_) => false,
            Self::Answer(code) => matches!(
                code.as_str(),
                "LOADING"
                    | "BUSY"
                    | "OOM"
                    | "MISCONF"
                    | "READONLY"
                    | "MASTERDOWN"
                    | "CLUSTERDOWN"
                    | "TRYAGAIN"
                    | "NOREPLICAS"
            ),
        }
    }
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        if error.is_connection_refusal() {
            return Self::Refused;
        }
        if let Some(why) = untrusted(&error) {
            return Self::Untrusted(why);
        }
        match error.kind() {
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::Garbage,
            ErrorKind::AuthenticationFailed => Self::answer(error.code().unwrap_or("WRONGPASS")),
            ErrorKind::Server(_) | ErrorKind::Extension => {
                Self::answer(error.code().unwrap_or_default())
            }
            _ => Self::Lost,
        }
    }
}

/// What a handshake ended with that another try would not change: a certificate that is not
/// trusted, or an answer that is not TLS. The driver gives no sign of it but the words of our own
/// side of the handshake.
fn untrusted(error: &RedisError) -> Option<String> {
    let why = std::error::Error::source(error)?.to_string();
    let words = ["invalid peer certificate", "corrupt message"];
    words.iter().any(|word| why.contains(word)).then_some(why)
}

impl From<&ServerError> for Trouble {
    fn from(error: &ServerError) -> Self {
        Self::answer(error.code())
    }
}

impl From<Trouble> for PortError {
    fn from(trouble: Trouble) -> Self {
        match trouble.will_pass() {
            true => Self::unavailable(WHAT, trouble),
            false => Self::Rejected {
                what: WHAT,
                why: trouble.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    //! Shows which answers are worth another try, and that only codes are repeated.

    use tidegate_ports::PortError;

    use super::Trouble;

    #[test]
    fn answers_that_pass_are_told_from_those_that_do_not() {
        for code in ["LOADING", "READONLY", "OOM"] {
            assert!(
                PortError::from(Trouble::answer(code)).is_retryable(),
                "{code}"
            );
        }
        for code in ["WRONGPASS", "NOAUTH", "WRONGTYPE", "MOVED", "ERR"] {
            assert!(
                !PortError::from(Trouble::answer(code)).is_retryable(),
                "{code}"
            );
        }
        assert!(PortError::from(Trouble::Waiting).is_retryable());
    }

    #[test]
    fn only_a_code_is_repeated() {
        for code in ["", "secret", "ROWS ARE HERE", &"A".repeat(25)] {
            assert_eq!(
                Trouble::answer(code),
                Trouble::Answer("an error".to_owned())
            );
        }
    }
}
