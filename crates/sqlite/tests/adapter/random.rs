//! Capture is exact for whatever SQL other programs run: a snapshot and the stream after its fence
//! always add up to the table.
//!
//! Statements are drawn from small domains, so that conflicts, cascades and failures are frequent.
//! Half of the runs go through Python's sqlite3, which is another version of SQLite and another
//! process.

use std::path::Path;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{Command, KeySpec, Literal, Lsn, TableSchema, Transaction};
use tidegate_ports::{Database, Snapshot};
use tidegate_sqlite::SqliteDatabase;

use crate::harness::{
    Folder, Model, config, describe, foreign, log_end, python, run, snapshot, table, until,
};

const SCHEMA: &str = "
    CREATE TABLE plain(id INTEGER PRIMARY KEY, u TEXT UNIQUE, v INT, w INT, UNIQUE(v, w));
    CREATE TABLE named(k TEXT COLLATE NOCASE NOT NULL PRIMARY KEY, u TEXT COLLATE NOCASE, n REAL);
    CREATE UNIQUE INDEX named_u ON named(u);
    CREATE TABLE pair(a INT, b TEXT, c REAL UNIQUE, PRIMARY KEY(b, a)) WITHOUT ROWID;
    CREATE TABLE child(id INTEGER PRIMARY KEY,
        plain INT REFERENCES plain ON DELETE CASCADE ON UPDATE CASCADE,
        parent INT REFERENCES child ON DELETE SET NULL ON UPDATE CASCADE, u INT UNIQUE);
    CREATE TABLE odd(id INT NOT NULL PRIMARY KEY, \"e\"\"mail\" TEXT, live INT, x);
    CREATE UNIQUE INDEX odd_mail ON odd(lower(\"e\"\"mail\") /* ) */ COLLATE BINARY DESC);
    CREATE UNIQUE INDEX odd_live ON odd(x) WHERE live > 0 -- WHERE
    ;
    CREATE TABLE strict(id INTEGER PRIMARY KEY, n INT, twice INT AS (n * 2) STORED UNIQUE,
        t TEXT AS (n || '!') VIRTUAL) STRICT;
    CREATE TABLE busy(id INTEGER PRIMARY KEY, u INT UNIQUE, seen INT DEFAULT 0);
    CREATE TRIGGER busy_count AFTER INSERT ON busy BEGIN
        UPDATE busy SET seen = seen + 1 WHERE id = NEW.id; END;
    CREATE TRIGGER busy_back AFTER DELETE ON busy WHEN OLD.id % 3 = 0 AND OLD.seen < 5 BEGIN
        INSERT OR IGNORE INTO busy VALUES (OLD.id, OLD.u, OLD.seen + 1); END;
    CREATE TRIGGER busy_push BEFORE INSERT ON busy WHEN NEW.u % 4 = 0 BEGIN
        UPDATE busy SET u = u + 100 WHERE u = NEW.u; END;
    CREATE TRIGGER busy_chain AFTER UPDATE OF u ON busy WHEN NEW.u % 5 = 0 BEGIN
        REPLACE INTO busy(id, u) VALUES (NEW.id + 1, NEW.u + 1); END;
";

const TABLES: &[&str] = &["plain", "named", "pair", "child", "odd", "strict", "busy"];

/// Draws statements.
struct Dice(SmallRng);

impl Dice {
    fn below(&mut self, n: u32) -> u32 {
        self.0.random_range(0..n)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u32) as usize]
    }

    fn number(&mut self) -> String {
        if self.below(12) == 0 {
            return "NULL".to_owned();
        }
        self.below(7).to_string()
    }

    fn text(&mut self) -> String {
        self.pick(&[
            "'a'",
            "'A'",
            "'b'",
            "'B'",
            "'c'",
            "'é'",
            "''",
            "'a' || char(0) || 'z'",
            "NULL",
        ])
        .to_owned()
    }

    fn or(&mut self) -> &'static str {
        self.pick(&[
            "",
            "",
            "OR REPLACE",
            "OR REPLACE",
            "OR IGNORE",
            "OR FAIL",
            "OR ABORT",
        ])
    }

    fn row(&mut self, name: &str) -> (&'static str, String) {
        let (n, m, o, t, s) = (
            self.number(),
            self.number(),
            self.number(),
            self.text(),
            self.text(),
        );
        match name {
            "plain" => ("id, u, v, w", format!("{n}, {t}, {m}, {o}")),
            "named" => ("k, u, n", format!("coalesce({t}, 'k'), {s}, {n} / 2.0")),
            "pair" => (
                "a, b, c",
                format!("coalesce({n}, 1), coalesce({t}, 'k'), {m} / 3.0"),
            ),
            "child" => (
                "id, plain, parent, u",
                format!("{n}, {m}, {o}, {}", self.number()),
            ),
            "odd" => {
                let x = self.pick(&["1", "1.0", "x'01'", "'1'", "NULL", "1.5", "9e99", "-0.0"]);
                (
                    "id, \"e\"\"mail\", live, x",
                    format!("coalesce({n}, 1), {t}, {m} - 3, {x}"),
                )
            }
            "strict" => ("id, n", format!("{n}, {m}")),
            _ => ("id, u", format!("{n}, {m}")),
        }
    }

    fn columns(name: &str) -> &'static [&'static str] {
        match name {
            "plain" => &["id", "u", "v", "w"],
            "named" => &["k", "u", "n"],
            "pair" => &["a", "b", "c"],
            "child" => &["id", "plain", "parent", "u"],
            "odd" => &["id", "\"e\"\"mail\"", "live", "x"],
            "strict" => &["id", "n"],
            _ => &["id", "u"],
        }
    }

    fn statement(&mut self) -> String {
        let name = self.pick(TABLES);
        let key = Self::columns(name)[0];
        let column = self.pick(Self::columns(name));
        let or = self.or();
        match self.below(16) {
            0..=4 => {
                let (columns, values) = self.row(name);
                format!("INSERT {or} INTO {name}({columns}) VALUES ({values})")
            }
            5 => {
                let (columns, one) = self.row(name);
                let ((_, two), (_, three)) = (self.row(name), self.row(name));
                format!("INSERT {or} INTO {name}({columns}) VALUES ({one}), ({two}), ({three})")
            }
            6 => {
                let (columns, values) = self.row(name);
                format!(
                    "INSERT INTO {name}({columns}) VALUES ({values}) \
                     ON CONFLICT DO UPDATE SET {column} = excluded.{column}"
                )
            }
            7 => {
                let (columns, values) = self.row(name);
                format!("INSERT INTO {name}({columns}) VALUES ({values}) ON CONFLICT DO NOTHING")
            }
            8 => format!("UPDATE {or} {name} SET {key} = {key} + 1"),
            9 => format!("UPDATE {or} {name} SET {column} = {}", self.number()),
            10 | 11 => {
                let (columns, values) = self.row(name);
                let n = self.number();
                format!("UPDATE {or} {name} SET ({columns}) = (SELECT {values}) WHERE {key} = {n}")
            }
            12 if self.below(4) == 0 => format!("DELETE FROM {name}"),
            12 | 13 => format!("DELETE FROM {name} WHERE {column} = {}", self.number()),
            14 if name == "named" => {
                // The rowid can be given as well, and then it replaces too.
                let (columns, values) = self.row(name);
                format!(
                    "INSERT OR REPLACE INTO named(rowid, {columns}) VALUES ({}, {values})",
                    self.below(4) + 1
                )
            }
            14 => self.control(),
            _ => self.control(),
        }
    }

    fn control(&mut self) -> String {
        self.pick(&[
            "BEGIN",
            "BEGIN IMMEDIATE",
            "COMMIT",
            "COMMIT",
            "COMMIT",
            "ROLLBACK",
            "SAVEPOINT a",
            "ROLLBACK TO a",
            "RELEASE a",
            "RELEASE a",
            "PRAGMA recursive_triggers = ON",
            "PRAGMA recursive_triggers = OFF",
            "PRAGMA foreign_keys = ON",
            "PRAGMA foreign_keys = OFF",
        ])
        .to_owned()
    }
}

/// What is checked at the end: every snapshot, and all transactions since the start.
struct Watch {
    schemas: Vec<Arc<TableSchema>>,
    snapshots: Vec<(usize, Snapshot)>,
    transactions: Vec<Transaction>,
}

impl Watch {
    async fn take_snapshots(&mut self, db: &SqliteDatabase) {
        for (at, schema) in self.schemas.iter().enumerate() {
            self.snapshots
                .push((at, snapshot(db, schema).await.unwrap()));
        }
    }

    fn check(&self, seed: u64) {
        let finals = &self.snapshots[self.snapshots.len() - self.schemas.len()..];
        for (at, start) in &self.snapshots {
            let schema = &self.schemas[*at];
            let mut model = Model::of(schema, &start.rows);
            for transaction in &self.transactions {
                if !start.fence.contains(&transaction.commit) {
                    let applied = model.apply(schema, transaction);
                    assert!(
                        applied.is_some(),
                        "seed {seed}: {} is reset",
                        schema.table()
                    );
                }
            }
            let (_, end) = &finals[*at];
            let fence = &start.fence;
            assert_eq!(
                model,
                Model::of(schema, &end.rows),
                "seed {seed}: {} from {fence:?} on",
                schema.table()
            );
        }
    }
}

async fn start(path: &Path) -> (SqliteDatabase, Watch) {
    foreign(path).execute_batch(SCHEMA).unwrap();
    let db = SqliteDatabase::open(config(path)).unwrap();
    let mut schemas = Vec::new();
    for name in TABLES {
        schemas.push(describe(&db, name).await);
    }
    let watch = Watch {
        schemas,
        snapshots: Vec::new(),
        transactions: Vec::new(),
    };
    (db, watch)
}

/// One command of our own; its transaction must hold what it did and nothing else.
async fn own_write(db: &SqliteDatabase, dice: &mut Dice) -> Option<(Lsn, &'static str)> {
    let name = dice.pick(&["plain", "strict", "busy"]);
    let column = if name == "strict" { "n" } else { "u" };
    let literal = Literal::Text(dice.below(7).to_string());
    let key = KeySpec {
        column: None,
        text: dice.below(7).to_string(),
        parts: None,
    };
    let values = vec![(column.to_owned(), literal)];
    let command = match dice.below(3) {
        0 => Command::AddSingle(table(name), values),
        1 => Command::UpdateSingle(table(name), key, values),
        _ => Command::DeleteRow(table(name), key),
    };
    let lsn = run(db, command).await.ok()?.lsn?;
    Some((lsn, name))
}

async fn with_a_connection(seed: u64) {
    let folder = Folder::new();
    let path = folder.file();
    let (db, mut watch) = start(&path).await;
    let mut stream = db.changes().await.unwrap();
    let mut dice = Dice(SmallRng::seed_from_u64(seed));
    let other = foreign(&path);
    let mut own = Vec::new();
    watch.take_snapshots(&db).await;
    for step in 0..150 {
        let statement = dice.statement();
        // Most fail now and then, and that is part of it.
        let _ = other.execute_batch(&statement);
        if other.is_autocommit() && dice.below(4) == 0 {
            own.extend(own_write(&db, &mut dice).await);
        }
        if step % 50 == 25 {
            watch.take_snapshots(&db).await;
        }
    }
    if !other.is_autocommit() {
        other.execute_batch("ROLLBACK").unwrap();
    }
    watch.take_snapshots(&db).await;
    watch.transactions = until(&mut stream, log_end(&path)).await;
    watch.check(seed);
    for (lsn, name) in own {
        let mut at = watch
            .transactions
            .iter()
            .filter(|seen| seen.commit.lsn == lsn);
        let found = at
            .next()
            .unwrap_or_else(|| panic!("seed {seed}: {lsn} is in the stream"));
        // Deleting from `plain` cascades.
        let strays = found
            .tables
            .iter()
            .filter(|table| table.table.as_str() != name);
        let strays = strays.filter(|table| table.table.as_str() != "child");
        assert_eq!(
            strays.count(),
            0,
            "seed {seed}: {lsn} holds its own changes only"
        );
    }
}

async fn with_python(seed: u64) {
    let folder = Folder::new();
    let path = folder.file();
    let (db, mut watch) = start(&path).await;
    let mut stream = db.changes().await.unwrap();
    let mut dice = Dice(SmallRng::seed_from_u64(seed));
    watch.take_snapshots(&db).await;
    let statements: Vec<String> = (0..400).map(|_| dice.statement()).collect();
    python_each(&path, &statements);
    watch.take_snapshots(&db).await;
    watch.transactions = until(&mut stream, log_end(&path)).await;
    watch.check(seed);
}

/// Runs statements one by one in Python; those that fail, fail.
fn python_each(path: &Path, statements: &[String]) {
    let list = path.with_extension("list");
    std::fs::write(&list, statements.join("\u{1}")).unwrap();
    let script = "import sqlite3, sys\n\
        c = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)\n\
        c.execute('PRAGMA synchronous = OFF')\n\
        for s in open(sys.argv[2], encoding='utf-8').read().split(chr(1)):\n\
        \x20   try: c.execute(s)\n\
        \x20   except sqlite3.Error: pass\n";
    let status = std::process::Command::new("python3")
        .arg("-c")
        .arg(script)
        .arg(path)
        .arg(&list)
        .status()
        .unwrap();
    assert!(status.success());
}

/// A connection without our functions, with our own commands in between, and snapshots on the way.
#[tokio::test]
async fn exact_for_random_sql() {
    for seed in 0..30 {
        with_a_connection(seed).await;
    }
}

/// The same from another process with another SQLite.
#[tokio::test]
async fn exact_for_random_sql_of_another_process() {
    for seed in 1_000..1_010 {
        with_python(seed).await;
    }
}

/// What both of the above rest on: Python is there and writes.
#[test]
fn python_writes() {
    let folder = Folder::new();
    python(
        &folder.file(),
        "CREATE TABLE t(id); INSERT INTO t VALUES (1)",
    );
    let count: i64 = foreign(&folder.file())
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 1);
}
