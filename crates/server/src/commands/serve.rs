//! `tidegate serve`: runs the parts of this process until a signal or a failure ends it.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::commands::say;
use crate::config::{Config, Flags, Inputs, Settings};
use crate::exit::{Exit, Failure};
use crate::system::System;
use crate::telemetry;

/// Runs the server to its end.
pub(crate) fn run(flags: Flags) -> Result<(), Failure> {
    let settings = Settings::of(&Inputs::of_process(flags)?)?;
    let config = Config::of(&settings)?;
    telemetry::start_logging(&config.log);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = config.warning() {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("tidegate")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    let served = runtime.block_on(serve(config));
    // Nobody waits for what a second signal left running.
    runtime.shutdown_background();
    served
}

async fn serve(config: Config) -> Result<(), Failure> {
    // From here on a signal is ours, also while the first rows of the demo are made.
    let mut signals = Signals::listen()?;
    let mut system = tokio::select! {
        started = System::start(config) => started?,
        () = signals.next() => return Ok(()),
    };
    tokio::select! {
        ready = system.ready() => ready?,
        () = signals.next() => return stop(system, signals).await,
    }
    say(&system.greeting);
    tokio::select! {
        failure = system.failure() => Err(failure),
        () = signals.next() => stop(system, signals).await,
    }
}

async fn stop(system: System, mut signals: Signals) -> Result<(), Failure> {
    tracing::info!("stopping, a second signal ends it at once");
    tokio::select! {
        stopped = system.stop() => stopped,
        () = signals.next() => {
            Err(Failure::new(Exit::Failed, "stopped before the clients were sent away"))
        }
    }
}

/// The signals that end the server: from a service manager and from a terminal.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Exit::Failed, format!("cannot listen to signals: {error}"))
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one. Cancellation-safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
