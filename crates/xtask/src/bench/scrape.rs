//! Histograms of `/metrics`, read as an operator's tools read them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Observations of one histogram, over all its labels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Observed {
    count: f64,
    sum: f64,
}

impl Observed {
    /// The mean of what was observed since then.
    pub(super) fn mean_since(self, before: Self) -> Option<f64> {
        let count = self.count - before.count;
        (count > 0.0).then(|| (self.sum - before.sum) / count)
    }
}

/// The text of `/metrics` at an address of the form `ws://host:port` or `http://host:port`.
pub(super) fn metrics(url: &str) -> Result<String> {
    let (_, address) = url.split_once("://").context("the address has no scheme")?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => bail!("{address} does not tell its metrics"),
    }
}

/// One histogram in such a text.
pub(super) fn observed(metrics: &str, name: &str) -> Observed {
    let mut observed = Observed::default();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix(name) else {
            continue;
        };
        let Some(value) = rest.rsplit(' ').next().and_then(|text| text.parse().ok()) else {
            continue;
        };
        let value: f64 = value;
        if rest.starts_with("_count") {
            observed.count += value;
        } else if rest.starts_with("_sum") {
            observed.sum += value;
        }
    }
    observed
}

#[cfg(test)]
mod tests {
    //! Shows that a histogram is added up over its labels, and told from others whose names begin
    //! alike.

    use super::{Observed, observed};

    #[test]
    fn sums_and_counts_are_found() {
        let text = "# TYPE a_seconds histogram\n\
                    a_seconds_bucket{le=\"0.5\"} 7\n\
                    a_seconds_sum{shard=\"0\"} 1.5\na_seconds_count{shard=\"0\"} 3\n\
                    a_seconds_sum{shard=\"1\"} 0.5\na_seconds_count{shard=\"1\"} 1\n\
                    a_seconds_more_sum 9\n";
        let found = observed(text, "a_seconds");
        assert_eq!(
            found,
            Observed {
                count: 4.0,
                sum: 2.0
            }
        );
        let before = Observed {
            count: 2.0,
            sum: 1.0,
        };
        assert_eq!(found.mean_since(before), Some(0.5));
        assert_eq!(found.mean_since(found), None);
    }
}
