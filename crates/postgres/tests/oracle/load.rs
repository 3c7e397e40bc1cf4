//! Those who write: all that transactions can be, at the same time, and worse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::site::Site;

/// Rows live under these keys: few, so that writers meet.
pub(crate) const IDS: i64 = 150;
pub(crate) const GROUPS: i64 = 6;
pub(crate) const VALUES: i64 = 40;
pub(crate) const NAMES: [&str; 10] = [
    "",
    "a",
    "ab",
    "aB",
    "b",
    "_",
    "%",
    "zürich",
    "東京",
    "it's \"\\",
];

/// Writers of whole transactions; there are more, of other kinds.
const WRITERS: u64 = 8;

/// The tables, each with its tenant in front of its name. Rows move between the two tenants' things
/// all the time. Documents are large, emptied and redefined.
pub(crate) const TABLES: [&str; 4] = ["a_things", "b_things", "a_docs", "b_docs"];

/// Whether pages of the table are never read again for another reason than that their slack is
/// used up.
pub(crate) const fn is_steady(table: usize) -> bool {
    table < 2
}

/// Columns that are added in a run, at most: rows get wider by each.
const ADDED_MAX: u64 = 12;

/// What has been done, to show that it was.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) committed: AtomicU64,
    pub(crate) rolled_back: AtomicU64,
    pub(crate) prepared: AtomicU64,
    pub(crate) long: AtomicU64,
    pub(crate) held: AtomicU64,
    pub(crate) truncated: AtomicU64,
    pub(crate) columns: AtomicU64,
}

/// Writers at work.
pub(crate) struct Load {
    pub(crate) done: Arc<Done>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

/// What all writers have in common.
#[derive(Clone)]
struct Shared {
    done: Arc<Done>,
    stop: Arc<AtomicBool>,
    /// Whether those who judge are too far behind.
    is_behind: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until writing makes sense. Says whether it ever will again.
    async fn may_go_on(&self) -> bool {
        while (self.is_behind)() && !self.is_over() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        !self.is_over()
    }

    async fn pause(&self, time: Duration) {
        let ended = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < ended && !self.is_over() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Load {
    pub(crate) async fn start(
        site: &Arc<Site>,
        seed: u64,
        is_behind: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Self {
        let shared = Shared {
            done: Arc::default(),
            stop: Arc::default(),
            is_behind,
        };
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let client = site.connect().await;
            tasks.spawn(write(client, seed * 100 + writer, shared.clone()));
        }
        let client = site.connect().await;
        tasks.spawn(write_for_long(client, seed * 100 + 90, shared.clone()));
        let clients = [site.connect().await, site.connect().await];
        tasks.spawn(disturb(clients, seed * 100 + 91, shared.clone()));
        Self {
            done: shared.done,
            stop: shared.stop,
            tasks,
        }
    }

    /// Lets every writer come to its end.
    pub(crate) async fn stop(mut self) -> Arc<Done> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("writers do not panic");
        }
        self.done
    }
}

/// Values for all columns but the key.
fn values(table: usize, dice: &mut SmallRng) -> String {
    let or_null = |text: String, dice: &mut SmallRng| match dice.random_ratio(1, 6) {
        true => "NULL".to_owned(),
        false => text,
    };
    let grp = dice.random_range(0..GROUPS);
    let val = or_null(dice.random_range(0..VALUES).to_string(), dice);
    let price = or_null(
        format!(
            "{}.{}0",
            dice.random_range(0..5),
            5 * dice.random_range(0..2)
        ),
        dice,
    );
    let flag = or_null(dice.random::<bool>().to_string(), dice);
    let name = NAMES.choose(dice).expect("there are some");
    let name = or_null(format!("'{}'", name.replace('\'', "''")), dice);
    // Large enough to be stored apart, in tables that have such.
    let body = match is_steady(table) || dice.random() {
        true => "'short'".to_owned(),
        false => format!(
            "repeat('{}', 400)",
            ["zürich ", "12345678"][dice.random_range(0..2)]
        ),
    };
    format!("{grp}, {val}, {price}, {flag}, {name}, {body}")
}

fn statement(table: usize, dice: &mut SmallRng) -> String {
    const COLUMNS: &str = "(id, grp, val, price, flag, name, body)";
    let name = TABLES[table];
    let id = dice.random_range(0..IDS);
    match dice.random_range(0..20) {
        0..8 => format!(
            "INSERT INTO {name} {COLUMNS} VALUES ({id}, {}) ON CONFLICT (id) DO UPDATE SET \
             val = excluded.val, grp = excluded.grp, price = excluded.price, name = excluded.name",
            values(table, dice)
        ),
        8..11 => format!(
            "UPDATE {name} SET val = (val + 1) % {VALUES} WHERE id BETWEEN {id} AND {id} + 4"
        ),
        11 => format!("UPDATE {name} SET val = NULL, flag = NOT flag WHERE id = {id}"),
        12 | 13 => {
            let to = dice.random_range(0..IDS);
            format!(
                "UPDATE {name} SET id = {to} WHERE id = {id} \
                 AND NOT EXISTS (SELECT FROM {name} WHERE id = {to})"
            )
        }
        14 if is_steady(table) => {
            let other = TABLES[1 - table];
            format!(
                "WITH gone AS (DELETE FROM {name} WHERE id BETWEEN {id} AND {id} + 2 RETURNING *) \
                 INSERT INTO {other} SELECT * FROM gone ON CONFLICT (id) DO UPDATE SET grp = excluded.grp"
            )
        }
        15 if dice.random_ratio(1, 3) => format!(
            "DELETE FROM {name} WHERE grp = {} AND id % 3 = {}",
            dice.random_range(0..GROUPS),
            dice.random_range(0..3)
        ),
        16 => format!(
            "INSERT INTO {name} {COLUMNS} SELECT id, {} FROM generate_series({id}, {id} + 20) AS id \
             ON CONFLICT DO NOTHING",
            values(table, dice)
        ),
        _ => format!("DELETE FROM {name} WHERE id = {id}"),
    }
}

fn any_table(dice: &mut SmallRng) -> usize {
    match dice.random_ratio(1, 12) {
        true => dice.random_range(2..4),
        false => dice.random_range(0..2),
    }
}

/// The statements of a transaction, without its end.
fn body(dice: &mut SmallRng) -> String {
    let table = any_table(dice);
    let mut sql = String::from("BEGIN;");
    // Off: visible before it is flushed. On: invisible for as long as a standby is missing.
    let commit = *["off", "local", "on"].choose(dice).expect("there are some");
    sql.push_str(&format!("SET LOCAL synchronous_commit = {commit};"));
    for _ in 0..dice.random_range(1..4) {
        let table = if dice.random_ratio(1, 5) {
            any_table(dice)
        } else {
            table
        };
        sql.push_str(&statement(table, dice));
        sql.push(';');
    }
    for end in ["ROLLBACK TO inner_part", "RELEASE inner_part"] {
        if dice.random_ratio(1, 5) {
            let nested = statement(table, dice);
            sql.push_str(&format!("SAVEPOINT inner_part; {nested}; {end};"));
        }
    }
    if dice.random_ratio(1, 40) {
        sql.push_str("SELECT pg_sleep(0.02);");
    }
    sql
}

async fn write(client: Client, seed: u64, shared: Shared) {
    let mut dice = SmallRng::seed_from_u64(seed);
    settle_locks(&client).await;
    let mut number = 0;
    while shared.may_go_on().await {
        number += 1;
        let mut sql = body(&mut dice);
        let name = format!("oracle_{seed}_{number}");
        let is_prepared = dice.random_ratio(1, 15);
        let is_committed = dice.random_ratio(7, 8);
        sql.push_str(&match (is_prepared, is_committed) {
            (true, _) => format!("PREPARE TRANSACTION '{name}'"),
            (false, true) => "COMMIT".to_owned(),
            (false, false) => "ROLLBACK".to_owned(),
        });
        // Deadlocks, locks and keys that are taken end a transaction: one more kind of rollback.
        if client.batch_execute(&sql).await.is_err() {
            client
                .batch_execute("ROLLBACK")
                .await
                .expect("the server is up");
            shared.done.rolled_back.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if is_prepared {
            let time = Duration::from_millis(dice.random_range(0..40));
            tokio::time::sleep(time).await;
            let verb = if is_committed { "COMMIT" } else { "ROLLBACK" };
            let end = format!("{verb} PREPARED '{name}'");
            client.batch_execute(&end).await.expect("it was prepared");
            shared.done.prepared.fetch_add(1, Ordering::Relaxed);
        }
        let ended = match is_committed {
            true => &shared.done.committed,
            false => &shared.done.rolled_back,
        };
        ended.fetch_add(1, Ordering::Relaxed);
    }
}

async fn settle_locks(client: &Client) {
    let settings = "SET lock_timeout = '300ms'; SET deadlock_timeout = '50ms'";
    client
        .batch_execute(settings)
        .await
        .expect("the server is up");
}

/// Transactions that stay open for long, on rows that others hardly touch.
async fn write_for_long(client: Client, seed: u64, shared: Shared) {
    let mut dice = SmallRng::seed_from_u64(seed);
    settle_locks(&client).await;
    while shared.may_go_on().await {
        let mut is_open = client.batch_execute("BEGIN").await.is_ok();
        for _ in 0..dice.random_range(1..6) {
            let table = dice.random_range(0..2);
            let id = IDS + dice.random_range(0..5);
            let sql = format!(
                "INSERT INTO {} VALUES ({id}, {}) \
                 ON CONFLICT (id) DO UPDATE SET val = excluded.val",
                TABLES[table],
                values(table, &mut dice)
            );
            is_open &= client.batch_execute(&sql).await.is_ok();
            let time = Duration::from_millis(dice.random_range(0..500));
            shared.pause(time).await;
        }
        let end = if dice.random_ratio(4, 5) {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        client.batch_execute(end).await.expect("the server is up");
        shared
            .done
            .long
            .fetch_add(u64::from(is_open), Ordering::Relaxed);
    }
}

/// A standby that is missing, tables that are emptied, and columns that come.
async fn disturb([client, other]: [Client; 2], seed: u64, shared: Shared) {
    let mut dice = SmallRng::seed_from_u64(seed);
    settle_locks(&other).await;
    let mut round = 0_u64;
    while !shared.is_over() {
        round += 1;
        let time = Duration::from_millis(dice.random_range(500..2_000));
        shared.pause(time).await;
        set_standby(&client, "= 'nobody'").await;
        let time = Duration::from_millis(dice.random_range(200..1_200));
        shared.pause(time).await;
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        let waiting: i64 = client
            .query_one(waiting, &[])
            .await
            .expect("it is SQL")
            .get(0);
        shared
            .done
            .held
            .fetch_add(waiting as u64, Ordering::Relaxed);
        set_standby(&client, "TO DEFAULT").await;
        let table = TABLES[dice.random_range(2..4)];
        let truncate = format!("TRUNCATE {table}");
        let emptied = dice.random_ratio(1, 2) && other.batch_execute(&truncate).await.is_ok();
        shared
            .done
            .truncated
            .fetch_add(u64::from(emptied), Ordering::Relaxed);
        let columns = shared.done.columns.load(Ordering::Relaxed);
        if round.is_multiple_of(4) && columns < ADDED_MAX {
            let table = (columns as usize) % 2;
            let at = 7 + columns / 2;
            let table = TABLES[2 + table];
            let add = format!(
                "BEGIN; ALTER TABLE {table} ADD COLUMN extra{at} integer NOT NULL DEFAULT {at};
                 SELECT pg_logical_emit_message(true, 'oracle', 'add {table} {at}'); COMMIT"
            );
            let added = other.batch_execute(&add).await.is_ok();
            if !added {
                other
                    .batch_execute("ROLLBACK")
                    .await
                    .expect("the server is up");
            }
            shared
                .done
                .columns
                .fetch_add(u64::from(added), Ordering::Relaxed);
        }
    }
    set_standby(&client, "TO DEFAULT").await;
}

async fn set_standby(client: &Client, to: &str) {
    for sql in [
        &*format!("ALTER SYSTEM SET synchronous_standby_names {to}"),
        "SELECT pg_reload_conf()",
    ] {
        client.batch_execute(sql).await.expect("the server is up");
    }
}
