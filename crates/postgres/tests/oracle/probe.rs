//! The other leg: rows that Postgres itself gives, at any moment, are the plain evaluation over
//! exactly the transactions that the snapshot sees.
//!
//! Half of the probes are SQL written by hand, half go through the adapter. Rules that look as good
//! are tried on each, and must fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{Fence, LimitRule, QueryError};
use tidegate_ports::{Database, DatabaseError, SnapshotRequest};
use tidegate_protocol::RowWriter;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::history::{History, Rows};
use crate::load::TABLES;
use crate::query::{Query, row_of};
use crate::rows::{COLUMNS, column_name, hash};
use crate::site::logical;

/// Probes of which it is watched that nothing that comes later was seen by them.
const WATCHED: usize = 16;

/// How probes went. All but the first count how often a rule that is wrong gave wrong rows.
#[derive(Debug, Default)]
pub(crate) struct Probed {
    pub(crate) compared: AtomicU64,
    pub(crate) no_prefix: AtomicU64,
    pub(crate) by_position: AtomicU64,
    pub(crate) no_list: AtomicU64,
    pub(crate) one_too_far: AtomicU64,
}

/// What a probe got: rows, and what they contain.
struct Answer {
    xmin: u64,
    xmax: u64,
    xip: Vec<u64>,
    horizon: u64,
    hashes: Vec<u64>,
    columns: usize,
}

impl Answer {
    fn sees(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && !self.xip.contains(&xid))
    }
}

pub(crate) struct Prober {
    pub(crate) client: Client,
    pub(crate) database: Arc<dyn Database>,
    pub(crate) history: Arc<History>,
    pub(crate) probed: Arc<Probed>,
}

impl Prober {
    /// Probes until it is told to stop.
    ///
    /// # Errors
    /// The first probe whose rows are wrong.
    pub(crate) async fn run(self, seed: u64, stop: CancellationToken) -> Result<(), String> {
        let mut dice = SmallRng::seed_from_u64(seed);
        let mut watched = Vec::new();
        while !stop.is_cancelled() {
            let table = match dice.random_ratio(1, 6) {
                true => dice.random_range(2..4),
                false => dice.random_range(0..2),
            };
            let query = Query::new(&mut dice);
            let answer = match dice.random() {
                true => Some(self.ask_by_hand(table, &query).await),
                false => self.ask_adapter(table, &query).await?,
            };
            let Some(answer) = answer else { continue };
            self.history.wait(answer.horizon).await;
            self.judge(table, &query, &answer)?;
            watched.push((table, answer));
            if watched.len() == WATCHED {
                for (table, answer) in watched.drain(..) {
                    let sees = |xid| answer.sees(xid);
                    if self.history.sees_beyond(table, answer.horizon, &sees) {
                        return Err(format!("{} saw beyond its horizon", TABLES[table]));
                    }
                }
            }
            let time = std::time::Duration::from_millis(dice.random_range(0..40));
            tokio::time::sleep(time).await;
        }
        Ok(())
    }

    async fn ask_by_hand(&self, table: usize, query: &Query) -> Answer {
        let columns: Vec<String> = (0..COLUMNS.len()).map(column_name).collect();
        let texts: Vec<String> = columns.iter().map(|name| format!("{name}::text")).collect();
        let sql = format!(
            "SELECT pg_current_snapshot()::text, (pg_current_wal_insert_lsn() - '0/0')::bigint, page.*
             FROM (SELECT) one LEFT JOIN LATERAL
             (SELECT true AS is_row, {} FROM (SELECT * FROM {} {}) page) page ON true",
            texts.join(", "),
            TABLES[table],
            query.sql
        );
        let found = self.client.query(&sql, &[]).await;
        let found = found.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let snapshot: &str = found[0].get(0);
        let mut parts = snapshot.split(':');
        let mut number = || parts.next().expect("three parts").parse().expect("an id");
        let (xmin, xmax) = (number(), number());
        let xip = parts.next().expect("three parts").split(',');
        let xip = xip.filter(|xid| !xid.is_empty());
        let horizon: i64 = found[0].get(1);
        let rows = found
            .iter()
            .filter(|row| row.get::<_, Option<bool>>(2).is_some());
        let hashes = rows.map(|row| {
            let texts: Vec<Option<&str>> = (0..COLUMNS.len()).map(|at| row.get(3 + at)).collect();
            row_of(&texts).hash(COLUMNS.len())
        });
        Answer {
            xmin,
            xmax,
            xip: xip.map(|xid| xid.parse().expect("an id")).collect(),
            horizon: horizon as u64,
            hashes: hashes.collect(),
            columns: COLUMNS.len(),
        }
    }

    /// Nothing when the table was redefined in between.
    async fn ask_adapter(&self, table: usize, query: &Query) -> Result<Option<Answer>, String> {
        let (tenant, name) = logical(table);
        let schema = match self.database.describe(&tenant, &name).await {
            Ok(schema) => schema,
            Err(DatabaseError::Port(error)) if error.is_retryable() => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let canonical =
            tidegate_core::Query::from_spec(&query.spec, &schema, LimitRule::SUBSCRIPTION);
        let canonical = canonical.map_err(|error: QueryError| error.to_string())?;
        let request = SnapshotRequest {
            tenant,
            rows_max: canonical.limit(),
            query: Arc::new(canonical),
        };
        let snapshot = match self.database.snapshot(request).await {
            Ok(snapshot) => snapshot,
            Err(DatabaseError::Command(tidegate_core::CommandError::TableChanged(_))) => {
                return Ok(None);
            }
            Err(DatabaseError::Port(error)) if error.is_retryable() => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let Fence::Visible {
            snapshot: visible,
            horizon,
        } = snapshot.fence
        else {
            return Err("Postgres says who is visible".to_owned());
        };
        let writer = RowWriter::new(Arc::clone(&schema));
        let hashes = snapshot.rows.iter().map(|row| {
            let mut json = Vec::new();
            writer.write_row(&mut json, row);
            hash(&json)
        });
        Ok(Some(Answer {
            xmin: visible.xmin.get(),
            xmax: visible.xmax.get(),
            xip: visible.in_progress.iter().map(|xid| xid.get()).collect(),
            horizon: horizon.get(),
            hashes: hashes.collect(),
            columns: schema.columns().len(),
        }))
    }

    fn judge(&self, table: usize, query: &Query, answer: &Answer) -> Result<(), String> {
        let seen = |sees: &dyn Fn(u64, u64) -> bool| self.history.seen(table, answer.horizon, sees);
        let is = |rows: &Rows| query.hashes(rows, answer.columns) == answer.hashes;
        let visible = seen(&|xid, _| answer.sees(xid));
        self.probed.compared.fetch_add(1, Ordering::Relaxed);
        if !is(&visible) {
            return Err(format!(
                "{} {}: Postgres gives {} other rows than those it sees are, as of {}",
                TABLES[table],
                query.sql,
                answer.hashes.len(),
                answer.horizon
            ));
        }
        let all = seen(&|_, _| true);
        let count = |counter: &AtomicU64, rows: &Rows| {
            counter.fetch_add(u64::from(!is(rows)), Ordering::Relaxed);
        };
        self.probed
            .no_prefix
            .fetch_add(u64::from(all != visible), Ordering::Relaxed);
        count(&self.probed.by_position, &all);
        count(&self.probed.no_list, &seen(&|xid, _| xid < answer.xmax));
        let too_far = |xid| answer.sees(xid) || xid == answer.xmax;
        count(&self.probed.one_too_far, &seen(&|xid, _| too_far(xid)));
        Ok(())
    }
}
