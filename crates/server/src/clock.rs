//! The one place that reads the wall clock. It dates what people see and ends tokens; it orders
//! nothing.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the start of 1970, in UTC.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub(crate) fn micros_now() -> i64 {
    // A clock before 1970 is wrong anyway, and the last microsecond that fits is in the year
    // 294,247.
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
}
