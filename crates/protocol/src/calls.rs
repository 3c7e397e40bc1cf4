//! What stands beside the calls to workers: a header, and who owns a reply topic.

use std::time::Duration;

/// The header of a call that says for how many milliseconds somebody waits for its answer, counted
/// from when it was sent. Old gateways send none, and wait for ten seconds.
pub const TIMEOUT_HEADER: &str = "timeout-ms";

/// How long an old gateway waits for an answer.
pub const OLD_TIMEOUT: Duration = Duration::from_secs(10);

/// The value of a time-out header.
#[must_use]
pub fn write_millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// Reads a time-out header, or how often the owner of a reply topic says that it lives. Nothing
/// when it is no number of milliseconds, zero or more than an hour.
#[must_use]
pub fn read_millis(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    let millis: u64 = text.parse().ok()?;
    (1..=3_600_000)
        .contains(&millis)
        .then(|| Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever somebody put there, it is a time that one can wait for, or nothing.
    #[test]
    fn times_are_bounded() {
        let wait = Duration::from_millis(9_876);
        assert_eq!(read_millis(write_millis(wait).as_bytes()), Some(wait));
        for bad in [
            "",
            "0",
            "-1",
            "1.5",
            "3600001",
            "99999999999999999999",
            "10s",
        ] {
            assert_eq!(read_millis(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(read_millis(&[0xff]), None);
    }
}
