//! Single cases of the front door; that pages are exact is shown by `tests/oracle`.

use tidegate_core::{
    Column, ColumnType, Fence, LimitRule, OrderSpec, PageChange, QuerySpec, RowChange, Sort,
    TableSchema, TransactionSnapshot, Value, Xid,
};

use super::*;
use crate::effect::Disagreement;

/// A table of numbers: its key, and what its rows are ordered by.
fn schema(columns: &[&str]) -> Arc<TableSchema> {
    let column = |name: &&str| Column {
        name: (*name).into(),
        kind: ColumnType::BigInt,
        nullable: false,
    };
    let table = TableName::parse("orders").expect("valid");
    Arc::new(TableSchema::new(
        table,
        columns.iter().map(column).collect(),
        vec![0],
    ))
}

fn tenant() -> TenantId {
    TenantId::parse("acme").expect("valid")
}

fn query_of(schema: &Arc<TableSchema>, limit: u64) -> Arc<Query> {
    let order = OrderSpec {
        column: "n".to_owned(),
        sort: Sort::AscDefault,
        is_pk: false,
    };
    let spec = QuerySpec {
        order: vec![order],
        limit: Some(limit),
        ..QuerySpec::default()
    };
    Arc::new(Query::from_spec(&spec, schema, LimitRule::SUBSCRIPTION).expect("valid"))
}

fn row(id: i64, n: i64) -> Row {
    Row::new(vec![Value::Int(id), Value::Int(n)])
}

fn upsert(id: i64, n: i64) -> RowChange {
    RowChange::Upsert {
        old_key: None,
        row: row(id, n),
    }
}

fn delete(id: i64) -> RowChange {
    RowChange::Delete {
        key: Box::new([Value::Int(id)]),
    }
}

/// Pages of one table, and the effects of the last call.
struct Fixture {
    pages: Pages,
    schema: Arc<TableSchema>,
    effects: Vec<Effect>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            pages: Pages::new(Limits::default()),
            schema: schema(&["id", "n"]),
            effects: Vec::new(),
        }
    }

    fn register(&mut self, limit: u64) -> SeedRequest {
        let query = query_of(&self.schema, limit);
        self.effects.clear();
        self.pages
            .register(&tenant(), query, &mut self.effects)
            .expect("few pages");
        self.request()
    }

    /// The request that the last call made.
    fn request(&self) -> SeedRequest {
        match &self.effects[..] {
            [.., Effect::NeedSeed(request)] => *request,
            other => panic!("no request in {other:?}"),
        }
    }

    /// Answers with rows `(id, n)`, read when everything up to `lsn` was visible.
    fn seed(&mut self, request: SeedRequest, lsn: u64, rows: &[(i64, i64)]) {
        let rows: Vec<Row> = rows.iter().map(|(id, n)| row(*id, *n)).collect();
        let complete = rows.len() < request.rows_max as usize;
        let fence = Fence::Prefix(Lsn::new(lsn));
        let seed = Seed {
            rows,
            complete,
            fence,
        };
        self.effects.clear();
        self.pages.seed(request, seed, &mut self.effects);
    }

    fn change(&mut self, lsn: u64, rows: Option<Vec<RowChange>>) {
        let change = TableChange {
            tenant: tenant(),
            table: self.schema.table().clone(),
            schema: self.schema.fingerprint(),
            rows,
        };
        let commit = Commit {
            lsn: Lsn::new(lsn),
            xid: Xid::new(lsn),
            committed_at_micros: 0,
        };
        self.effects.clear();
        self.pages.apply(commit, change, &mut self.effects);
    }

    fn heartbeat(&mut self, lsn: u64) {
        let heartbeat = Heartbeat {
            lsn: Lsn::new(lsn),
            at_micros: 0,
            visible: None,
        };
        self.effects.clear();
        self.pages.heartbeat(&heartbeat, &mut self.effects);
    }

    /// A page with these rows at position 10.
    fn open(&mut self, limit: u64, rows: &[(i64, i64)]) -> PageId {
        self.heartbeat(10);
        let request = self.register(limit);
        self.seed(request, 10, rows);
        assert!(matches!(self.effects[..], [Effect::Opened { .. }, ..]));
        request.page
    }

    fn ids(&self, page: PageId) -> Option<Vec<Value>> {
        let rows = self.pages.rows(page)?;
        Some(rows.iter().map(|row| row[0].clone()).collect())
    }
}

fn ids(ids: &[i64]) -> Option<Vec<Value>> {
    Some(ids.iter().copied().map(Value::Int).collect())
}

/// A page opens when the stream has come to its rows, with what was committed after them, at the
/// stream's position.
#[test]
fn opens_when_the_stream_has_come() {
    let mut fixture = Fixture::new();
    let request = fixture.register(3);
    assert!(request.rows_max > 3);
    fixture.seed(request, 20, &[(1, 10), (2, 20)]);
    assert!(fixture.effects.is_empty());
    assert_eq!(fixture.ids(request.page), None);
    fixture.change(15, Some(vec![delete(1)]));
    fixture.change(20, Some(vec![upsert(1, 10)]));
    let [Effect::Opened { lsn, rows, .. }] = &fixture.effects[..] else {
        panic!("{:?}", fixture.effects);
    };
    assert_eq!((*lsn, rows.len()), (Lsn::new(20), 2));
    fixture.change(30, Some(vec![upsert(3, 5)]));
    let [Effect::Publish { lsn, changes, .. }] = &fixture.effects[..] else {
        panic!("{:?}", fixture.effects);
    };
    assert_eq!(*lsn, Lsn::new(30));
    assert!(matches!(changes[..], [PageChange::Added { pos: 0, .. }]));
    assert_eq!(fixture.ids(request.page), ids(&[3, 1, 2]));
}

/// Of one transaction, tables hear in separate calls; a seed whose horizon it is waits for the
/// table's own part, or for a sign that there is none.
#[test]
fn waits_for_the_tables_own_part() {
    let mut fixture = Fixture::new();
    let request = fixture.register(3);
    fixture.seed(request, 20, &[(1, 10)]);
    let other = TableChange {
        tenant: tenant(),
        table: TableName::parse("other").expect("valid"),
        schema: 1,
        rows: Some(Vec::new()),
    };
    let commit = Commit {
        lsn: Lsn::new(20),
        xid: Xid::new(20),
        committed_at_micros: 0,
    };
    fixture.pages.apply(commit, other, &mut fixture.effects);
    assert!(fixture.effects.is_empty(), "its own part may still come");
    fixture.heartbeat(20);
    assert!(matches!(fixture.effects[..], [Effect::Opened { .. }]));
}

/// An answer to an earlier request, or for a page that is gone, does nothing; a slot's next page
/// is not taken for its last one.
#[test]
fn late_answers_do_nothing() {
    let mut fixture = Fixture::new();
    fixture.heartbeat(10);
    let first = fixture.register(3);
    fixture.pages.remove(first.page);
    let second = fixture.register(3);
    assert_ne!(first.page, second.page);
    fixture.seed(first, 10, &[(1, 10)]);
    assert!(fixture.effects.is_empty());
    fixture.seed(second, 10, &[(1, 10)]);
    assert_eq!(fixture.effects.len(), 1);
    fixture.seed(second, 10, &[(2, 10)]);
    assert!(fixture.effects.is_empty());
    assert_eq!(fixture.ids(second.page), ids(&[1]));
    fixture.pages.remove(second.page);
    assert_eq!(fixture.pages.counts(), Counts::default());
}

/// What concerns all tenants concerns a page of each: it is read again, also when it is opened only
/// after that but before the reset can be seen.
#[test]
fn a_reset_concerns_every_tenant() {
    let mut fixture = Fixture::new();
    let page = fixture.open(3, &[(1, 10)]);
    let commit = Commit {
        lsn: Lsn::new(20),
        xid: Xid::new(20),
        committed_at_micros: 0,
    };
    fixture.effects.clear();
    let table = fixture.schema.table().clone();
    fixture.pages.reset(commit, &table, &mut fixture.effects);
    let again = fixture.request();
    assert_eq!(again.page, page);
    fixture.seed(again, 20, &[]);
    fixture.heartbeat(20);
    assert_eq!(fixture.ids(page), ids(&[]));

    let mut late = Fixture::new();
    late.pages.reset(commit, &table, &mut late.effects);
    let first = late.register(3);
    late.seed(first, 19, &[(1, 10)]);
    late.heartbeat(20);
    let second = late.request();
    late.seed(second, 20, &[]);
    assert_eq!(late.ids(second.page), ids(&[]), "not the rows from before");
}

/// A page that runs low is refilled before it comes up short, and its slack grows when that happens
/// again soon.
#[test]
fn refills_early_and_wider() {
    let mut fixture = Fixture::new();
    let rows: Vec<(i64, i64)> = (0..200).map(|id| (id, id)).collect();
    let page = fixture.open(20, &rows[..30]);
    for (lsn, id) in (11..).zip(0..8) {
        assert_eq!(fixture.ids(page).map(|ids| ids.len()), Some(20));
        fixture.change(lsn, Some(vec![delete(id)]));
    }
    let request = fixture.request();
    assert_eq!(request.rows_max, 40, "the slack of 10 went in 8 edits");
    assert_eq!(fixture.ids(page).map(|ids| ids.len()), Some(20));
    fixture.change(30, Some((8..15).map(delete).collect()));
    assert!(
        fixture.effects.is_empty(),
        "a page that is short is not published"
    );
    assert_eq!(fixture.ids(page).map(|ids| ids.len()), Some(20));
    fixture.heartbeat(30);
    assert_eq!(
        fixture.pages.published(),
        Lsn::new(29),
        "the owner knows of it"
    );
    fixture.seed(request, 30, &rows[15..55]);
    let [Effect::Publish { changes, .. }] = &fixture.effects[..] else {
        panic!("{:?}", fixture.effects);
    };
    assert_eq!(
        changes.len(),
        14,
        "the rows that went, and those that came up"
    );
    fixture.heartbeat(31);
    assert_eq!(fixture.pages.published(), Lsn::new(31));
}

/// A refill that shows other rows than were published raises the alarm.
#[test]
fn a_wrong_page_is_reset() {
    let mut fixture = Fixture::new();
    let rows: Vec<(i64, i64)> = (0..30).map(|id| (id, id)).collect();
    let page = fixture.open(5, &rows[..15]);
    fixture.change(11, Some((0..9).map(delete).collect()));
    let request = fixture.request();
    // Row 10 was deleted, and the stream did not say so.
    let truth: Vec<(i64, i64)> = rows[9..]
        .iter()
        .copied()
        .filter(|(id, _)| *id != 10)
        .collect();
    fixture.seed(request, 11, &truth);
    let [Effect::Reset { rows, .. }] = &fixture.effects[..] else {
        panic!("{:?}", fixture.effects);
    };
    assert_eq!(rows.len(), 5);
    assert_eq!(fixture.ids(page), ids(&[9, 11, 12, 13, 14]));
    fixture.change(12, Some(vec![delete(11)]));
    assert_eq!(fixture.ids(page), ids(&[9, 12, 13, 14, 15]));
}

/// A table that was emptied is read again, and the difference is published.
#[test]
fn an_emptied_table_is_read_again() {
    let mut fixture = Fixture::new();
    let page = fixture.open(5, &[(1, 1), (2, 2)]);
    fixture.change(20, None);
    let request = fixture.request();
    assert_eq!(fixture.ids(page), ids(&[1, 2]), "what subscribers have");
    fixture.change(21, Some(vec![upsert(3, 3)]));
    // This answer was read before the table was emptied.
    fixture.seed(request, 19, &[(1, 1), (2, 2)]);
    let request = fixture.request();
    fixture.seed(request, 20, &[]);
    let [Effect::Publish { lsn, changes, .. }] = &fixture.effects[..] else {
        panic!("{:?}", fixture.effects);
    };
    assert_eq!((*lsn, changes.len()), (Lsn::new(21), 3));
    assert_eq!(fixture.ids(page), ids(&[3]));
}

/// A table's change under another schema makes its pages be read again, which is where the owner
/// learns of the schema; pages of the new schema are kept beside them meanwhile.
#[test]
fn a_redefined_table_is_read_again() {
    let mut fixture = Fixture::new();
    let old = fixture.open(5, &[(1, 1)]);
    fixture.schema = schema(&["id", "n", "m"]);
    fixture.change(20, Some(Vec::new()));
    assert_eq!(fixture.request().page, old);
    let new = fixture.register(5).page;
    assert_eq!(fixture.pages.counts().pages, 2);
    fixture.pages.remove(old);
    assert_eq!(fixture.pages.counts().pages, 1);
    assert_ne!(old, new);
}

/// What the database says must be possible; else the page is refused, and makes no further effects.
#[test]
fn impossible_rows_are_refused() {
    let wide = Row::new(vec![Value::Int(1)]);
    let cases = [
        (vec![row(1, 2), row(2, 1)], Disagreement::Order),
        (vec![row(1, 1), row(1, 1)], Disagreement::Order),
        (vec![wide], Disagreement::Shape),
    ];
    for (rows, expected) in cases {
        let mut fixture = Fixture::new();
        fixture.heartbeat(10);
        let request = fixture.register(5);
        let seed = Seed {
            rows,
            complete: true,
            fence: Fence::Prefix(Lsn::new(10)),
        };
        fixture.effects.clear();
        fixture.pages.seed(request, seed, &mut fixture.effects);
        let [Effect::Refused { why, page }] = fixture.effects[..] else {
            panic!("{:?}", fixture.effects);
        };
        assert_eq!((why, page), (expected, request.page));
        fixture.change(11, None);
        assert!(fixture.effects.is_empty());
    }
}

/// The number of pages is bounded.
#[test]
fn too_many_pages_are_refused() {
    let mut fixture = Fixture::new();
    fixture.pages = Pages::new(Limits {
        pages_per_table_max: 1,
        ..Limits::default()
    });
    let first = fixture.register(5);
    let query = query_of(&fixture.schema, 6);
    let second = fixture
        .pages
        .register(&tenant(), Arc::clone(&query), &mut fixture.effects);
    assert!(second.is_err());
    fixture.pages.remove(first.page);
    let third = fixture
        .pages
        .register(&tenant(), query, &mut fixture.effects);
    assert!(third.is_ok());
}

/// A transaction that was streamed before the page was registered, but is not in its rows, is
/// applied: its commit record came first, its visibility later.
#[test]
fn looks_back_at_what_was_not_visible() {
    let mut fixture = Fixture::new();
    fixture.open(1, &[]);
    fixture.change(20, Some(vec![upsert(7, 7)]));
    let request = fixture.register(5);
    let snapshot = TransactionSnapshot {
        xmin: Xid::new(20),
        xmax: Xid::new(21),
        in_progress: vec![Xid::new(20)],
    };
    let seed = Seed {
        rows: vec![row(1, 1)],
        complete: true,
        fence: Fence::Visible {
            snapshot,
            horizon: Lsn::new(20),
        },
    };
    fixture.effects.clear();
    fixture.pages.seed(request, seed, &mut fixture.effects);
    assert_eq!(fixture.ids(request.page), ids(&[1, 7]));
}

/// Records that were applied already change nothing.
#[test]
fn repeated_records_are_ignored() {
    let mut fixture = Fixture::new();
    let page = fixture.open(5, &[(1, 1)]);
    fixture.change(20, Some(vec![delete(1)]));
    fixture.change(21, Some(vec![upsert(1, 1)]));
    for lsn in [20, 21, 9] {
        fixture.change(lsn, Some(vec![delete(1)]));
        assert!(fixture.effects.is_empty());
    }
    assert_eq!(fixture.ids(page), ids(&[1]));
}
