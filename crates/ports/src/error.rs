//! What can go wrong at a seam, as far as a caller can act on it.

use std::sync::Arc;

/// A failure of a bus, cache or database. Adapters turn their driver's errors into these.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PortError {
    /// The other side cannot be reached or is too busy; the same call may succeed later.
    #[error("{what} is unavailable")]
    Unavailable {
        /// Which seam.
        what: &'static str,
        /// The driver's error.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },
    /// Another process has what only one may have at a time; the same call succeeds when that one
    /// is gone.
    #[error("another process has {what}")]
    Taken {
        /// What it is.
        what: &'static str,
    },
    /// The other side refused; the same call will be refused again.
    #[error("{what} refused: {why}")]
    Rejected {
        /// Which seam.
        what: &'static str,
        /// Why, in words.
        why: String,
    },
    /// A record or answer is larger than a bound allows.
    #[error("{what}: {bytes} bytes are more than the {bytes_max} allowed")]
    TooLarge {
        /// Which bound.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
    /// What was asked for is no longer kept: the reader fell behind retention, or the owner closed.
    #[error("{what} no longer has what was asked for")]
    Gone {
        /// Which seam.
        what: &'static str,
    },
    /// Stored bytes do not make sense.
    #[error("{what} holds bytes that do not make sense: {why}")]
    Corrupt {
        /// Which seam.
        what: &'static str,
        /// Why, in words.
        why: String,
    },
}

impl PortError {
    /// [`PortError::Unavailable`] with the driver's error.
    pub fn unavailable(
        what: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Unavailable {
            what,
            source: Some(Arc::new(source)),
        }
    }

    /// The error and what led to it in one line, for a log.
    #[must_use]
    pub fn with_causes(&self) -> impl std::fmt::Display {
        std::fmt::from_fn(move |f| {
            write!(f, "{self}")?;
            let mut cause = std::error::Error::source(self);
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
            Ok(())
        })
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Taken { .. })
    }
}
