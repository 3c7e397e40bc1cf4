//! Compares what subscribers were sent with what SQL says.

use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::Value as Json;
use tidegate_client::{PageChange, PageDiff, Update};
use tidegate_core::Lsn;

use super::subscribers::Recording;
use super::things::{COLUMNS, CREATE, History, Thing, json};

/// How a check went.
#[derive(Default)]
pub(crate) struct Report {
    /// Pages that were compared.
    pub(crate) checks: usize,
    /// Pages that are not what SQL says at their position.
    pub(crate) wrong: Vec<String>,
    /// Pages that did not change at a commit that changed the answer, but later: the engine had to
    /// read rows first, and published several commits as one diff. Right, but not the rule: how
    /// often depends on how busy the machine is.
    pub(crate) late: usize,
}

/// A subscriber's rows, as JSON, at a position.
#[derive(Debug, Clone)]
struct Shown {
    lsn: Lsn,
    rows: Vec<Json>,
}

/// What a recording claims: that the page was this at that state of the table.
struct Claim<'a> {
    state: usize,
    recording: usize,
    rows: &'a [Json],
    kind: Kind,
}

/// Why a page should be the answer at a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It was sent with that position.
    Sent,
    /// It was shown still, when a commit that stands apart was made.
    Standing,
}

/// Checks every page of every recording at every position that it was shown at, and at every commit
/// of a procedure in between, where nothing may have been missed.
pub(crate) fn check(history: &History, recordings: &[Recording]) -> Report {
    let mut report = Report::default();
    let mut all = Vec::new();
    for (at, recording) in recordings.iter().enumerate() {
        match replay(&recording.updates) {
            Ok(shown) => all.push((at, shown)),
            Err(why) => report
                .wrong
                .push(format!("{}: {why}", recording.query.json)),
        }
    }
    let mut claims = Vec::new();
    for (at, shown) in &all {
        claim(history, *at, &recordings[*at], shown, &mut claims);
    }
    claims.sort_by_key(|claim| claim.state);
    let mut table = Table::new();
    for Claim {
        state,
        recording,
        rows,
        kind,
    } in claims
    {
        table.hold(history, state);
        let query = &recordings[recording].query;
        let expected = table.rows(&query.sql);
        report.checks += 1;
        if rows != expected && kind == Kind::Standing {
            report.late += 1;
        } else if rows != expected {
            let lsn = history.states()[state].lsn;
            report.wrong.push(format!(
                "at {lsn}: {}\n{}\nshown    {}\nexpected {}",
                query.json,
                query.sql,
                Json::from(rows.to_vec()),
                Json::from(expected)
            ));
        }
    }
    report
}

fn claim<'a>(
    history: &History,
    recording: usize,
    record: &Recording,
    shown: &'a [(Shown, Follows)],
    claims: &mut Vec<Claim<'a>>,
) {
    for (at, (one, _)) in shown.iter().enumerate() {
        let first = history.index_at(one.lsn);
        claims.push(Claim {
            state: first,
            recording,
            rows: &one.rows,
            kind: Kind::Sent,
        });
        // Until the next page is shown, this one holds; a snapshot may leave commits out before it.
        let until = match shown.get(at + 1) {
            Some((next, Follows::Diff)) => history.index_at(next.lsn),
            Some((_, Follows::Snapshot)) => first,
            None => record.passed.map_or(first, |lsn| history.index_at(lsn) + 1),
        };
        let between = (first + 1..until).filter(|state| history.states()[*state].is_apart);
        let standing = |state| Claim {
            state,
            recording,
            rows: &one.rows,
            kind: Kind::Standing,
        };
        claims.extend(between.map(standing));
        // At the end nothing may be missing any more.
        if let (true, Some(lsn)) = (at + 1 == shown.len(), record.passed) {
            let state = history.index_at(lsn);
            claims.push(Claim {
                state,
                recording,
                rows: &one.rows,
                kind: Kind::Sent,
            });
        }
    }
}

/// How a page came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follows {
    Diff,
    Snapshot,
}

/// Replays updates literally, as the contract tells any client to.
fn replay(updates: &[Update]) -> Result<Vec<(Shown, Follows)>, String> {
    let mut rows: Vec<(String, Json)> = Vec::new();
    let mut shown: Vec<(Shown, Follows)> = Vec::new();
    for update in updates {
        let (lsn, follows) = match update {
            Update::Resumed { .. } => continue,
            Update::Error(fault) => return Err(format!("ended: {fault}")),
            Update::Snapshot(snapshot) => {
                let parsed = snapshot
                    .rows
                    .iter()
                    .map(|row| (row.pk.to_string(), parse(&row.json)));
                rows = parsed.collect();
                (snapshot.lsn, Follows::Snapshot)
            }
            Update::Diff(diff) => {
                apply(&mut rows, diff)?;
                (diff.lsn, Follows::Diff)
            }
        };
        let lsn = lsn.ok_or("an update without a position of the database")?;
        let rows = rows.iter().map(|(_, row)| row.clone()).collect();
        shown.push((Shown { lsn, rows }, follows));
    }
    Ok(shown)
}

fn apply(rows: &mut Vec<(String, Json)>, diff: &PageDiff) -> Result<(), String> {
    let misfit = |change: &PageChange| format!("{change:?} does not fit");
    for change in &diff.changes {
        match change {
            PageChange::Removed { pk, from } => {
                let fits = rows.get(*from).is_some_and(|(found, _)| **found == **pk);
                fits.then(|| rows.remove(*from))
                    .ok_or_else(|| misfit(change))?;
            }
            PageChange::Added { pos, row } => {
                let fits = *pos <= rows.len();
                fits.then_some(()).ok_or_else(|| misfit(change))?;
                rows.insert(*pos, (row.pk.to_string(), parse(&row.json)));
            }
            PageChange::Modified { from, pos, row } => {
                let fits = *from < rows.len() && *pos < rows.len() && *rows[*from].0 == *row.pk;
                fits.then(|| rows.remove(*from))
                    .ok_or_else(|| misfit(change))?;
                rows.insert(*pos, (row.pk.to_string(), parse(&row.json)));
            }
        }
    }
    Ok(())
}

fn parse(text: &str) -> Json {
    serde_json::from_str(text).expect("a row is JSON")
}

/// A table of its own in memory, which holds one state after the other.
struct Table {
    database: Connection,
    held: Option<usize>,
}

impl Table {
    fn new() -> Self {
        let database = Connection::open_in_memory().expect("memory is there");
        database.execute_batch(CREATE).expect("it is empty");
        database.set_prepared_statement_cache_capacity(1_024);
        Self {
            database,
            held: None,
        }
    }

    /// Brings the table to a state: only rows that differ are touched.
    fn hold(&mut self, history: &History, state: usize) {
        if self.held == Some(state) {
            return;
        }
        let empty = Default::default();
        let before = self
            .held
            .map_or(&empty, |held| &history.states()[held].things);
        let after = &history.states()[state].things;
        for key in before.keys().filter(|key| !after.contains_key(key)) {
            let delete = self
                .database
                .prepare_cached("DELETE FROM demo_things WHERE id = ?1");
            delete.expect("it is SQL").execute([key]).expect("it works");
        }
        for (key, thing) in after {
            if before.get(key) != Some(thing) {
                let put = "REPLACE INTO demo_things VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
                let put = self.database.prepare_cached(put);
                let values = rusqlite::params_from_iter(thing);
                put.expect("it is SQL").execute(values).expect("it works");
            }
        }
        self.held = Some(state);
    }

    fn rows(&self, sql: &str) -> Vec<Json> {
        let mut statement = self
            .database
            .prepare_cached(sql)
            .expect("the oracle's SQL is right");
        let columns = 0..COLUMNS.len();
        let rows = statement.query_map([], |row| {
            columns
                .clone()
                .map(|at| row.get::<_, Value>(at))
                .collect::<Result<Thing, _>>()
        });
        let object = |thing: Thing| {
            let members = COLUMNS.iter().zip(&thing);
            members
                .map(|(column, value)| ((*column).to_owned(), json(column, value)))
                .collect()
        };
        let rows = rows
            .expect("it runs")
            .map(|row| object(row.expect("it can be read")));
        rows.map(Json::Object).collect()
    }
}

/// The same recordings, each time with one thing wrong: the check must notice every one.
pub(crate) fn tampered(recordings: &[Recording]) -> Vec<(&'static str, Vec<Recording>)> {
    // A row that comes or goes: to apply that twice, or not at all, cannot go unseen. To apply a
    // change in place twice is harmless.
    let comes_or_goes = |update: &Update| match update {
        Update::Diff(diff) => diff
            .changes
            .iter()
            .any(|change| !matches!(change, PageChange::Modified { .. })),
        Update::Snapshot(_) | Update::Resumed { .. } | Update::Error(_) => false,
    };
    let busiest = |recording: &&Recording| {
        recording
            .updates
            .iter()
            .filter(|update| comes_or_goes(update))
            .count()
    };
    let busy = recordings
        .iter()
        .max_by_key(busiest)
        .expect("there are recordings");
    let diff = busy
        .updates
        .iter()
        .position(comes_or_goes)
        .expect("the busiest has a diff");
    let mut dropped = busy.clone();
    dropped.updates.remove(diff);
    let mut doubled = busy.clone();
    doubled.updates.insert(diff, busy.updates[diff].clone());
    vec![
        ("a diff that was dropped", vec![dropped]),
        ("a diff that was doubled", vec![doubled]),
        (
            "a snapshot that misses its last commit",
            vec![early_snapshot(recordings)],
        ),
        ("a page that is one row short", vec![short_page(recordings)]),
    ]
}

/// As if the fence were off by one: rows that lack the commit which the position says they hold.
fn early_snapshot(recordings: &[Recording]) -> Recording {
    let early = recordings
        .iter()
        .find_map(|recording| match &recording.updates[..] {
            [Update::Snapshot(first), Update::Diff(diff), ..] if diff.lsn > first.lsn => {
                let late = tidegate_client::PageSnapshot {
                    lsn: diff.lsn,
                    ..(**first).clone()
                };
                let updates = vec![Update::Snapshot(late.into())];
                Some(Recording {
                    updates,
                    passed: None,
                    ..recording.clone()
                })
            }
            _ => None,
        });
    early.expect("some snapshot is followed by a diff")
}

/// As if the bound of the window were wrong: a full page without its last row.
fn short_page(recordings: &[Recording]) -> Recording {
    let full = |recording: &&Recording| match recording.updates.first() {
        Some(Update::Snapshot(snapshot)) => snapshot.rows.len() == recording.query.limit,
        _ => false,
    };
    let mut short = recordings
        .iter()
        .find(full)
        .expect("some page is full")
        .clone();
    let Some(Update::Snapshot(snapshot)) = short.updates.first() else {
        unreachable!("just seen");
    };
    let mut cut = (**snapshot).clone();
    cut.rows.pop();
    short.updates = vec![Update::Snapshot(cut.into())];
    short.passed = None;
    short
}
