//! Where log lines and measurements go: lines to standard error, measurements to `/metrics`.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Starts logging. Called once, before the first part is built.
///
/// Standard output stays free for what a person or script asked for.
pub(crate) fn start_logging(settings: &LogSettings) {
    // The configuration has parsed the same text already.
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_default();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// Upper bounds of every duration's buckets, in seconds: from the delivery of one diff to a slow
/// page.
const SECONDS_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Starts measuring, and gives what `/metrics` is rendered from.
///
/// Durations are histograms with fixed buckets: only those can be added up over processes.
pub(crate) fn start_measuring() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)?
        .install_recorder()
}

/// Keeps the recorder's memory bounded between scrapes: it folds samples into their histograms.
pub(crate) async fn keep_up(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_secs(5));
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}
