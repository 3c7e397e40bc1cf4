//! What one change costs, by the number of live queries: found by asking every query, or by the
//! index.
//!
//! Times are medians over batches in one run, and told as ratios too, so that they mean something
//! on any machine. Run with `cargo bench -p tidegate-view`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{
    Column, ColumnType, Commit, Fence, FilterSpec, Group, Heartbeat, LimitRule, Literal, Lsn,
    ModifierSpec, Operator, OrderSpec, Query, QuerySpec, Row, RowChange, Sort, TableChange,
    TableName, TableSchema, TenantId, Value, Xid,
};
use tidegate_view::{Effect, Limits, Pages, Seed, matches};

const BATCHES: usize = 11;

/// Live queries that one change matches, whatever their number.
const MATCHES: u64 = 20;

const LIMIT: u64 = 50;

fn schema() -> Arc<TableSchema> {
    let columns = [
        ("id", ColumnType::BigInt),
        ("owner", ColumnType::BigInt),
        ("status", ColumnType::Text),
        ("price", ColumnType::BigInt),
        ("updated", ColumnType::Timestamp),
    ];
    let columns = columns.map(|(name, kind)| Column {
        name: name.into(),
        kind,
        nullable: true,
    });
    let table = TableName::parse("tickets").expect("valid");
    Arc::new(TableSchema::new(table, columns.into(), vec![0]))
}

fn tenant() -> TenantId {
    TenantId::parse("acme").expect("valid")
}

fn test(column: &str, operator: Operator, value: &str) -> FilterSpec {
    FilterSpec::Test {
        column: column.to_owned(),
        operator,
        value: Some(Literal::Text(value.to_owned())),
        modifier: ModifierSpec::default(),
    }
}

/// A board of one owner's tickets: open and not free of charge, the latest first.
fn query(schema: &Arc<TableSchema>, owner: u64, price: u64) -> Arc<Query> {
    let filter = FilterSpec::Group(
        Group::And,
        vec![
            test("owner", Operator::Equals, &owner.to_string()),
            test("status", Operator::Equals, "open"),
            test("price", Operator::GreaterThanOrEquals, &price.to_string()),
        ],
    );
    let order = OrderSpec {
        column: "updated".to_owned(),
        sort: Sort::DescDefault,
        is_pk: false,
    };
    let spec = QuerySpec {
        filter: Some(filter),
        order: vec![order],
        limit: Some(LIMIT),
        ..QuerySpec::default()
    };
    Arc::new(Query::from_spec(&spec, schema, LimitRule::SUBSCRIPTION).expect("valid"))
}

fn row(id: u64, owner: u64, updated: i64) -> Row {
    Row::new(vec![
        Value::Int(id as i64),
        Value::Int(owner as i64),
        Value::text("open"),
        Value::Int(1_000),
        Value::Timestamp(updated),
    ])
}

type Record = (Commit, TableChange);

struct Bench {
    schema: Arc<TableSchema>,
    queries: Vec<Arc<Query>>,
    pages: Pages,
    owners: u64,
    lsn: u64,
    rng: SmallRng,
}

impl Bench {
    /// Opens this many pages. Each owner has `MATCHES` boards and some hundred tickets.
    fn new(query_count: u64) -> Self {
        let schema = schema();
        let owners = query_count / MATCHES;
        let queries = (0..query_count)
            .map(|at| query(&schema, at % owners, at / owners))
            .collect();
        let mut bench = Self {
            schema,
            queries,
            pages: Pages::new(Limits::default()),
            owners,
            lsn: 10,
            rng: SmallRng::seed_from_u64(1),
        };
        bench.open();
        bench
    }

    fn open(&mut self) {
        let mut effects = Vec::new();
        let heartbeat = Heartbeat {
            lsn: Lsn::new(self.lsn),
            at_micros: 0,
            visible: None,
        };
        self.pages.heartbeat(&heartbeat, &mut effects);
        for at in 0..self.queries.len() {
            let query = Arc::clone(&self.queries[at]);
            self.pages
                .register(&tenant(), query, &mut effects)
                .expect("room");
            let Some(Effect::NeedSeed(request)) = effects.pop() else {
                panic!("a page asks for rows first");
            };
            let owner = at as u64 % self.owners;
            // The latest tickets of the owner, each with a time of its own.
            let ids = (0..u64::from(request.rows_max)).map(|place| place * self.owners + owner);
            let rows = ids
                .map(|id| row(id, owner, 1_000_000 - id as i64))
                .collect();
            let seed = Seed {
                rows,
                complete: false,
                fence: Fence::Prefix(Lsn::new(self.lsn)),
            };
            self.pages.seed(request, seed, &mut effects);
            effects.clear();
        }
    }

    /// Records of these rows, made beforehand: decoding is not what is measured.
    fn records(&mut self, count: usize, mut row: impl FnMut(&mut SmallRng) -> Row) -> Vec<Record> {
        let record = |_| {
            self.lsn += 1;
            let row = row(&mut self.rng);
            let commit = Commit {
                lsn: Lsn::new(self.lsn),
                xid: Xid::new(self.lsn),
                committed_at_micros: 0,
            };
            let change = TableChange {
                tenant: tenant(),
                table: self.schema.table().clone(),
                schema: self.schema.fingerprint(),
                rows: Some(vec![RowChange::Upsert { old_key: None, row }]),
            };
            (commit, change)
        };
        (0..count * BATCHES).map(record).collect()
    }

    /// Applies records, with a heartbeat now and then, and gives the time that one takes.
    fn time(&mut self, records: Vec<Record>, check: impl Fn(&[Effect])) -> f64 {
        let mut effects = Vec::new();
        let count = records.len() / BATCHES;
        let mut records = records.into_iter();
        median(count, || {
            let (commit, change) = records.next().expect("one for each call");
            self.pages.apply(commit, change, &mut effects);
            check(&effects);
            effects.clear();
            if commit.lsn.get().is_multiple_of(256) {
                let heartbeat = Heartbeat {
                    lsn: commit.lsn,
                    at_micros: 0,
                    visible: None,
                };
                self.pages.heartbeat(&heartbeat, &mut effects);
            }
        })
    }

    /// A change that no query wants.
    fn miss(&mut self) -> f64 {
        let owner = self.owners + 7;
        let records = self.records(2_000, |rng| {
            row(1_000_000_000 + rng.random_range(0..1_000_000), owner, 5)
        });
        self.time(records, |effects| assert!(effects.is_empty()))
    }

    /// A change below the known part of the windows of those that want it: matched, and no more.
    fn match_only(&mut self) -> f64 {
        let owners = self.owners;
        let records = self.records(500, |rng| {
            let owner = rng.random_range(0..owners);
            row(1_000_000_000 + owner, owner, -5)
        });
        self.time(records, |effects| assert!(effects.is_empty()))
    }

    /// A row of some page moves to its top: as many edits as there are matches.
    fn edit(&mut self) -> f64 {
        let owners = self.owners;
        let mut updated = 2_000_000;
        let records = self.records(200, |rng| {
            let owner = rng.random_range(0..owners);
            let id = rng.random_range(0..LIMIT) * owners + owner;
            updated += 1;
            row(id, owner, updated)
        });
        self.time(records, |effects| {
            assert!(effects.len() >= MATCHES as usize)
        })
    }

    /// The same match by asking every query.
    fn naive(&mut self) -> f64 {
        let rounds = (200_000 / self.queries.len()).max(1);
        median(rounds, || {
            let owner = self.rng.random_range(0..self.owners);
            let row = row(1, owner, -5);
            let hits = self
                .queries
                .iter()
                .filter(|query| matches(query.filter(), &row));
            assert_eq!(black_box(hits.count() as u64), MATCHES);
        })
    }
}

/// Median over batches of the time that one call takes, in microseconds.
fn median(calls: usize, mut call: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                call();
            }
            start.elapsed().as_secs_f64() * 1e6 / calls as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[BATCHES / 2]
}

fn main() {
    println!("one change, {MATCHES} matching queries of {LIMIT} rows; microseconds");
    println!("queries    naive  indexed    ratio     miss   {MATCHES} edits");
    let mut lines = String::new();
    for query_count in [1_000, 10_000, 100_000] {
        let mut bench = Bench::new(query_count);
        let (naive, indexed) = (bench.naive(), bench.match_only());
        let (miss, edit) = (bench.miss(), bench.edit());
        let ratio = naive / indexed;
        println!(
            "{query_count:>7} {naive:>8.1} {indexed:>8.2} {ratio:>7.0}x {miss:>8.2} {edit:>10.1}"
        );
        lines += &format!(
            "{{\"queries\":{query_count},\"naive_us\":{naive:.3},\"indexed_us\":{indexed:.3},\
             \"miss_us\":{miss:.3},\"edit_us\":{edit:.3}}}\n"
        );
    }
    print!("{lines}");
}
