//! Whether the cluster can be reached, asked again and again.
//!
//! A connection that is lost is noticed at once, since librdkafka says so; one that hangs is
//! noticed by the next question.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use rdkafka::ClientContext;
use rdkafka::admin::AdminClient;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tidegate_ports::{Link, PortError, Topic};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{log, log_error};
use crate::close::{Closer, Closing};
use crate::config::{KafkaConfig, Names};
use crate::error;
use crate::metrics::UP;

/// Pause between questions while all is well.
const CALM_PAUSE: Duration = Duration::from_secs(2);
/// Pause between questions while the cluster is away: who waits for it goes on at once.
const AWAY_PAUSE: Duration = Duration::from_millis(100);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Hears of lost connections.
#[derive(Clone)]
pub(crate) struct LinkContext(Arc<Notify>);

impl ClientContext for LinkContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.0.notify_one();
        }
    }
}

pub(crate) type Admin = Arc<Closing<AdminClient<LinkContext>>>;

/// Watches the link for as long as it lives, with the client that is also for questions of others.
pub(crate) struct LinkWatch {
    pub(crate) admin: Admin,
    link: watch::Sender<Link>,
    /// Ends with this.
    _watching: JoinSet<()>,
}

impl LinkWatch {
    /// Starts watching a cluster that is believed to be there. Within a runtime only.
    pub(crate) fn start(config: &KafkaConfig, closer: &Closer) -> Result<Self, PortError> {
        let lost = Arc::new(Notify::new());
        let admin = config
            .client()
            .create_with_context(LinkContext(Arc::clone(&lost)))
            .map_err(error::from_kafka)?;
        let admin = Arc::new(Closing::new(admin, closer));
        let link = watch::Sender::new(Link::Up);
        gauge!(UP).set(1.0);
        let mut watching = JoinSet::new();
        // Any topic will do; all of them would be many.
        let topic = Names::new(&config.topic_prefix)
            .of(Topic::Changes)
            .to_owned();
        watching.spawn(watch_link(Arc::clone(&admin), topic, lost, link.clone()));
        Ok(Self {
            admin,
            link,
            _watching: watching,
        })
    }

    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }
}

async fn watch_link(admin: Admin, topic: String, lost: Arc<Notify>, link: watch::Sender<Link>) {
    loop {
        let (admin, topic) = (Arc::clone(&admin), topic.clone());
        let ask = move || {
            admin
                .inner()
                .fetch_metadata(Some(&topic), PATIENCE)
                .map(|_| ())
        };
        let answer = tokio::task::spawn_blocking(ask).await;
        let now = match answer {
            Ok(Ok(())) => Link::Up,
            Ok(Err(_)) | Err(_) => Link::Down,
        };
        let has_changed = link.send_if_modified(|link| std::mem::replace(link, now) != now);
        match (now, has_changed) {
            (Link::Up, true) => tracing::info!("the broker is back"),
            (Link::Down, true) => tracing::warn!("the broker cannot be reached"),
            (Link::Up | Link::Down, false) => {}
        }
        match now {
            Link::Up => {
                gauge!(UP).set(1.0);
                tokio::select! {
                    () = sleep(CALM_PAUSE) => {}
                    () = lost.notified() => {}
                }
            }
            Link::Down => {
                gauge!(UP).set(0.0);
                sleep(AWAY_PAUSE).await;
            }
        }
    }
}
