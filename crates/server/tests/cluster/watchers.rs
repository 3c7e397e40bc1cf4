//! Those who watch: each keeps a page, and notes what it showed and how it came.

use serde_json::Value as Json;
use tidegate_client::{Client, Subscribe, Subscription, Update};
use tidegate_core::Lsn;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::queries::RandomQuery;

/// What one subscription showed.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// Which query of the test it was.
    pub(crate) query: usize,
    /// The page after each diff, by the diff's commit.
    pub(crate) diffs: Vec<(Lsn, String)>,
    /// Why each page came.
    pub(crate) reasons: Vec<String>,
    pub(crate) resumes: usize,
    /// The page when all that was written has been seen.
    pub(crate) last: String,
}

/// The watchers of a test; they end when they have seen the commit that is sent here.
pub(crate) struct Watchers {
    finish: watch::Sender<Option<Lsn>>,
    tasks: JoinSet<Recording>,
}

impl Watchers {
    /// Watches each query over the clients in turn.
    pub(crate) fn start(clients: &[Client], queries: &[RandomQuery]) -> Self {
        let (finish, finished) = watch::channel(None);
        let mut tasks = JoinSet::new();
        for (query, one) in queries.iter().enumerate() {
            let client = clients[query % clients.len()].clone();
            let subscribe = Subscribe::from_json("things", &one.json).expect("it is JSON");
            let finished = finished.clone();
            tasks.spawn(async move {
                let subscription = client.subscribe(subscribe).await;
                watch_page(query, subscription.expect("the client lives"), finished).await
            });
        }
        Self { finish, tasks }
    }

    /// Waits until all of them have seen the last commit.
    pub(crate) async fn finish(self, last: Lsn) -> Vec<Recording> {
        self.finish.send_replace(Some(last));
        self.tasks.join_all().await
    }
}

async fn watch_page(
    query: usize,
    mut page: Subscription,
    mut finished: watch::Receiver<Option<Lsn>>,
) -> Recording {
    let mut recording = Recording {
        query,
        ..Recording::default()
    };
    let last = loop {
        tokio::select! {
            last = finished.wait_for(Option::is_some) => {
                break last.expect("the test lives").expect("waited for");
            }
            update = page.next() => recording.note(update.expect("it goes on"), &page),
        }
    };
    let point = loop {
        match page.sync_point(last).await {
            Ok(point) => break point,
            Err(fault) => assert!(fault.retry, "{fault}"),
        }
    };
    while !page.has_passed(point) {
        let update = page.next().await.expect("it goes on");
        recording.note(update, &page);
    }
    recording.last = shown(&page);
    recording
}

fn shown(page: &Subscription) -> String {
    let rows: Vec<&str> = page.rows().collect();
    format!("[{}]", rows.join(","))
}

impl Recording {
    fn note(&mut self, update: Update, page: &Subscription) {
        match update {
            Update::Snapshot(snapshot) => self.reasons.push(snapshot.reason.name().to_owned()),
            Update::Resumed { .. } => self.resumes += 1,
            Update::Diff(diff) => {
                let lsn = diff.lsn.expect("a diff has a commit");
                self.diffs.push((lsn, shown(page)));
            }
            Update::Error(fault) => panic!("a subscription ended: {fault}"),
        }
    }
}

/// What SQL answers to each query, now.
pub(crate) async fn answers(
    database: &tokio_postgres::Client,
    queries: &[RandomQuery],
) -> Vec<String> {
    let all: Vec<&str> = queries.iter().map(|query| &*query.sql).collect();
    let sql = format!("SELECT ARRAY[{}]", all.join(", "));
    let row = database.query_one(&sql, &[]).await.expect("it is SQL");
    row.get(0)
}

/// Whether a page is an answer, as JSON.
pub(crate) fn is_same(page: &str, answer: &str) -> bool {
    let parse = |text| serde_json::from_str::<Json>(text).expect("rows are JSON");
    parse(page) == parse(answer)
}

/// Every watcher must have ended with SQL's answer.
pub(crate) fn check_ends(recordings: &[Recording], queries: &[RandomQuery], answers: &[String]) {
    for recording in recordings {
        let (query, answer) = (&queries[recording.query], &answers[recording.query]);
        assert!(
            is_same(&recording.last, answer),
            "{}\n{}\nshown    {}\nexpected {answer}",
            query.json,
            query.sql,
            recording.last
        );
    }
}
