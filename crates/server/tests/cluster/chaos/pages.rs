//! Live pages that are looked at again and again.
//!
//! Each watcher holds every update against the contract as it comes: positions are dense within an
//! epoch, a page that comes says why, and no row is another tenant's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tidegate_client::{Client, PagePosition, Subscribe, Subscription, Update};
use tidegate_core::{Lsn, Position};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::load::ENTRIES;
use crate::queries::RandomQuery;

/// A live page of a tenant.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) tenant: &'static str,
    pub(crate) table: &'static str,
    pub(crate) query: RandomQuery,
}

impl Watched {
    /// The newest entries of a tenant's ledger, those of one writer or of all.
    pub(crate) fn ledger(tenant: &'static str, writer: Option<i64>) -> Self {
        let order = json!([{ "field": "id", "sort": "DESC_DEFAULT" }]);
        let mut json = json!({ "limit": 20, "order": order });
        let mut condition = "TRUE".to_owned();
        if let Some(writer) = writer {
            let (first, end) = (writer * ENTRIES, (writer + 1) * ENTRIES);
            let bound = |kind: &str, value: i64| {
                let value = json!({ "Int64Value": { "value": value.to_string() } });
                json!({ "field_name": "id", "filter_type": kind, "value": value })
            };
            let filters = [bound("greaterThanOrEquals", first), bound("lessThan", end)];
            json["wrapper"] = json!({ "filter_wrapper_type": "and", "filters": filters });
            condition = format!("id >= {first} AND id < {end}");
        }
        let sql = format!(
            "(SELECT coalesce(json_agg(json_build_object('id', id::text, 'n', n::text,
             'owner', owner) ORDER BY id DESC), '[]')::text FROM (SELECT * FROM {tenant}_ledger
             WHERE {condition} ORDER BY id DESC LIMIT 20) page)"
        );
        let json = json.to_string();
        Self {
            tenant,
            table: "ledger",
            query: RandomQuery { json, sql },
        }
    }
}

/// How pages came to be what they are.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) diffs: usize,
    pub(crate) resumes: usize,
    /// Pages that came, by reason.
    pub(crate) reasons: BTreeMap<String, usize>,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.diffs += other.diffs;
        self.resumes += other.resumes;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
    }
}

/// Where all are to get to: a number that rises, and a commit.
type Goal = Option<(u64, Lsn)>;

struct Report {
    goal: u64,
    watcher: usize,
    page: String,
    tally: Tally,
}

/// All pages that are watched.
pub(crate) struct Pages {
    goal: watch::Sender<Goal>,
    reports: mpsc::Receiver<Report>,
    watchers: JoinSet<()>,
    watched: Vec<Watched>,
    goals: u64,
}

impl Pages {
    /// Watches each over one of its tenant's clients.
    pub(crate) fn start(watched: &[(Watched, Client)]) -> Self {
        let (goal, goals) = watch::channel(None);
        let (reporting, reports) = mpsc::channel(watched.len());
        let mut watchers = JoinSet::new();
        for (number, (one, client)) in watched.iter().enumerate() {
            let (client, goals, reporting) = (client.clone(), goals.clone(), reporting.clone());
            let subscribe = Subscribe::from_json(one.table, &one.query.json).expect("it is JSON");
            let mark = format!("\"owner\":\"{}\"", one.tenant);
            watchers.spawn(async move {
                let page = client.subscribe(subscribe).await.expect("the client lives");
                let mut watcher = Watcher {
                    number,
                    page,
                    mark,
                    at: None,
                    tally: Tally::default(),
                };
                watcher.watch(goals, &reporting).await;
            });
        }
        Self {
            goal,
            reports,
            watchers,
            watched: watched.iter().map(|(one, _)| one.clone()).collect(),
            goals: 0,
        }
    }

    /// Waits until every page has passed a commit; gives the pages as they are then, in order.
    pub(crate) async fn reach(&mut self, lsn: Lsn, patience: Duration) -> (Vec<String>, Tally) {
        self.goals += 1;
        self.goal.send_replace(Some((self.goals, lsn)));
        let mut pages = vec![None; self.watched.len()];
        let mut total = Tally::default();
        let all = async {
            while pages.iter().any(Option::is_none) {
                tokio::select! {
                    report = self.reports.recv() => {
                        let report = report.expect("watchers live");
                        if report.goal == self.goals {
                            total.add(&report.tally);
                            pages[report.watcher] = Some(report.page);
                        }
                    }
                    Some(ended) = self.watchers.join_next() => ended.expect("a watcher goes on"),
                }
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            let late = pages.iter().zip(&self.watched);
            let late = late.filter(|(page, _)| page.is_none());
            let late: Vec<String> = late
                .map(|(_, one)| format!("{} {} {}", one.tenant, one.table, one.query.json))
                .collect();
            let (count, late) = (late.len(), late.join("\n"));
            panic!("{count} pages have not passed {lsn} within {patience:?}:\n{late}");
        }
        (pages.into_iter().flatten().collect(), total)
    }

    pub(crate) fn watched(&self) -> &[Watched] {
        &self.watched
    }
}

struct Watcher {
    number: usize,
    page: Subscription,
    /// What stands in each row of the tenant.
    mark: String,
    at: Option<Position>,
    tally: Tally,
}

impl Watcher {
    async fn watch(&mut self, mut goals: watch::Receiver<Goal>, reporting: &mpsc::Sender<Report>) {
        let mut reached = 0;
        loop {
            let is_new = |goal: &Goal| goal.is_some_and(|(number, _)| number > reached);
            let (goal, lsn) = tokio::select! {
                goal = goals.wait_for(is_new) => match goal {
                    Ok(goal) => goal.expect("waited for"),
                    Err(_) => return,
                },
                update = self.page.next() => {
                    self.note(update.expect("it goes on"));
                    continue;
                }
            };
            self.reach(lsn).await;
            reached = goal;
            let report = Report {
                goal,
                watcher: self.number,
                page: format!("[{}]", self.page.rows().collect::<Vec<_>>().join(",")),
                tally: std::mem::take(&mut self.tally),
            };
            if reporting.send(report).await.is_err() {
                return;
            }
        }
    }

    async fn reach(&mut self, lsn: Lsn) {
        let point = loop {
            match self.page.sync_point(lsn).await {
                Ok(point) => break point,
                Err(fault) => assert!(fault.retry, "{fault}"),
            }
        };
        while !self.page.has_passed(point) {
            let update = self.page.next().await.expect("it goes on");
            self.note(update);
        }
    }

    fn note(&mut self, update: Update) {
        let place = |position: &PagePosition| -> Position {
            position.as_str().parse().expect("a position is a place")
        };
        match update {
            Update::Snapshot(snapshot) => {
                let reason = snapshot.reason.name();
                let is_first = self.at.is_none();
                // A page that was thrown away because a diff did not fit would come so again.
                assert_eq!(is_first, reason == "subscribe", "{reason}");
                *self.tally.reasons.entry(reason.to_owned()).or_default() += 1;
                self.at = Some(place(&snapshot.position));
            }
            Update::Resumed { position, .. } => {
                assert_eq!(self.at, Some(place(&position)), "resumed elsewhere");
                self.tally.resumes += 1;
            }
            Update::Diff(diff) => {
                let (before, now) = (self.at.expect("a page comes first"), place(&diff.position));
                assert!(now.follows(before), "{now} came after {before}");
                self.tally.diffs += 1;
                self.at = Some(now);
            }
            Update::Error(fault) => panic!("a subscription ended: {fault}"),
        }
        for row in self.page.rows() {
            assert!(row.contains(&self.mark), "{row} is of another tenant");
        }
    }
}
