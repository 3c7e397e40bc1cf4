//! The one place that reads the wall clock. It only dates what people see; it decides nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since the start of 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub(crate) fn since_epoch() -> Duration {
    // A clock before 1970 is wrong anyway; zero says so as well as anything.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
