//! The partition, driven by hand: what it asks for and what it publishes.

use bytes::Bytes;
use tidegate_core::{
    Column, ColumnType, Fence, Heartbeat, Literal, ModifierSpec, Operator, QueryHash, QuerySpec,
    RowChange, TableReset, Value, Xid,
};
use tidegate_protocol::Part;

use super::*;
use crate::lease::LEASE_TTL;

const GATEWAY: u64 = 1;

fn schema(extra: &[&str]) -> Arc<TableSchema> {
    let column = |name: &str, kind| Column {
        name: name.into(),
        kind,
        nullable: true,
    };
    let mut columns = vec![
        column("id", ColumnType::WideInteger),
        column("n", ColumnType::Integer),
    ];
    columns.extend(extra.iter().map(|name| column(name, ColumnType::Text)));
    Arc::new(TableSchema::new(table(), columns, vec![0]))
}

fn tenant() -> TenantId {
    TenantId::parse("demo").expect("valid")
}

fn table() -> TableName {
    TableName::parse("orders").expect("valid")
}

fn spec() -> QuerySpec {
    QuerySpec {
        limit: Some(2),
        ..QuerySpec::default()
    }
}

fn hash(spec: &QuerySpec) -> QueryHash {
    Query::from_spec(spec, &schema(&[]), PAGE_LIMIT)
        .expect("valid")
        .hash()
}

fn row(id: i64, n: i64) -> Row {
    Row::new(vec![Value::Int(id), Value::Int(n)])
}

/// A partition with its inputs at hand.
struct Bench {
    owner: PartitionOwner,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let limits = tidegate_view::Limits::default();
        let owner = PartitionOwner::new(Partition::new(0), Life::new(7), limits);
        Self {
            owner,
            now: Instant::now(),
        }
    }

    fn lease(&mut self, query: QuerySpec, want: Want) -> Effects {
        let key = RoutingKey {
            tenant: tenant(),
            table: table(),
            query: hash(&query),
        };
        let mut effects = Effects::default();
        let lease = ControlRecord::Lease {
            gateway: GATEWAY,
            key,
            query,
            name: None,
            want,
        };
        self.owner.control(lease, self.now, &mut effects);
        effects
    }

    fn describe(&mut self, schema: Arc<TableSchema>) -> Effects {
        let mut effects = Effects::default();
        self.owner
            .described(tenant(), table(), Ok(schema), &mut effects);
        effects
    }

    fn seed(&mut self, request: SeedRequest, rows: Vec<Row>, lsn: u64) -> Effects {
        let mut effects = Effects::default();
        let fence = Fence::Prefix(Lsn::new(lsn));
        let snapshot = Snapshot {
            fence,
            rows,
            complete: true,
        };
        self.owner.seeded(request, Ok(snapshot), &mut effects);
        effects
    }

    fn heartbeat(&mut self, lsn: u64) -> Effects {
        self.heartbeat_of(History::ONLY, lsn)
    }

    fn heartbeat_of(&mut self, history: History, lsn: u64) -> Effects {
        let heartbeat = Heartbeat {
            lsn: Lsn::new(lsn),
            at_micros: 0,
            visible: None,
        };
        let mut effects = Effects::default();
        self.owner
            .change(ChangeRecord::Heartbeat(heartbeat, history), &mut effects);
        effects
    }

    fn change(&mut self, lsn: u64, rows: Option<Vec<RowChange>>, part: Part) -> Effects {
        self.change_of(&schema(&[]), lsn, rows, part)
    }

    fn change_of(
        &mut self,
        schema: &TableSchema,
        lsn: u64,
        rows: Option<Vec<RowChange>>,
        part: Part,
    ) -> Effects {
        let commit = Commit {
            lsn: Lsn::new(lsn),
            xid: Xid::default(),
            committed_at_micros: 5,
        };
        let (tenant, table, schema) = (tenant(), table(), schema.fingerprint());
        let change = TableChange {
            tenant,
            table,
            schema,
            rows,
        };
        let mut effects = Effects::default();
        self.owner.change(
            ChangeRecord::Changes {
                commit,
                change,
                part,
            },
            &mut effects,
        );
        effects
    }

    /// A page of rows 1 and 2, open at commit 10.
    fn open() -> Self {
        let mut bench = Self::new();
        bench.heartbeat(10);
        let asked = bench.lease(spec(), Want::Page);
        assert!(matches!(asked.asks[..], [(_, Ask::Describe { .. })]));
        let request = seed_request(&bench.describe(schema(&[])));
        let opened = bench.seed(request, vec![row(1, 1), row(2, 2)], 10);
        let [PageRecord::Page(page)] = &published(&opened)[..] else {
            panic!("a page: {opened:?}")
        };
        assert_eq!(page.cause, PageCause::Opened);
        assert_eq!(page.position, at(1, 0));
        assert_eq!(page.rows, r#"[{"id":1,"n":1},{"id":2,"n":2}]"#);
        assert_eq!(page.pks, r#"["1","2"]"#);
        assert_eq!(page.cursor, r#""id":"2""#);
        assert_eq!(
            opened.tails[0].value,
            Bytes::new(),
            "the tail begins with the epoch"
        );
        bench
    }
}

fn upsert(id: i64, n: i64) -> RowChange {
    RowChange::Upsert {
        old_key: None,
        row: row(id, n),
    }
}

fn at(epoch: u32, offset: u64) -> Position {
    let start = Position::start(Epoch::new(Life::new(7), epoch));
    (0..offset).fold(start, |position, _| position.next())
}

fn published(effects: &Effects) -> Vec<PageRecord> {
    let decode = |record: &tidegate_ports::Record| {
        PageRecord::decode(record.value.clone()).expect("just encoded")
    };
    effects.records.iter().map(decode).collect()
}

fn seed_request(effects: &Effects) -> SeedRequest {
    match &effects.asks[..] {
        [(_, Ask::Seed { request, .. })] => *request,
        other => panic!("one seed, not {other:?}"),
    }
}

/// A page's diffs are dense from offset 0 of its epoch, and the tail holds what was published.
#[test]
fn diffs_are_dense() {
    let mut bench = Bench::open();
    for offset in 1..=3 {
        let lsn = 10 + offset;
        let effects = bench.change(lsn, Some(vec![upsert(1, lsn as i64)]), Part::Last);
        let [PageRecord::Diff(diff)] = &published(&effects)[..] else {
            panic!("a diff")
        };
        assert_eq!((diff.position, diff.lsn.get()), (at(1, offset), lsn));
        let changes = format!(
            r#"[{{"kind":"modified","pk":"1","from":0,"pos":0,"row":{{"id":1,"n":{lsn}}}}}]"#
        );
        assert_eq!(diff.body, changes);
        assert_eq!(effects.tails[0].value, effects.records[0].value);
    }
    let quiet = bench.change(20, Some(vec![upsert(9, 9)]), Part::Last);
    assert!(
        published(&quiet).is_empty(),
        "a row below the page changes nothing"
    );
}

/// A second gateway gets the page where it is, without SQL and without a new epoch.
#[test]
fn a_wanted_page_is_repeated() {
    let mut bench = Bench::open();
    bench.change(11, Some(vec![upsert(1, 11)]), Part::Last);
    assert!(published(&bench.lease(spec(), Want::Renew)).is_empty());
    let repeated = bench.lease(spec(), Want::Page);
    let [PageRecord::Page(page)] = &published(&repeated)[..] else {
        panic!("a page")
    };
    assert_eq!((page.cause, page.position), (PageCause::Repeated, at(1, 1)));
    assert_eq!(page.rows, r#"[{"id":1,"n":11},{"id":2,"n":2}]"#);
    assert!(repeated.asks.is_empty() && repeated.tails.is_empty());
}

/// Changes between the registration of a page and its rows are neither lost nor applied twice.
#[test]
fn changes_meet_the_seed() {
    let mut bench = Bench::new();
    bench.heartbeat(10);
    bench.lease(spec(), Want::Page);
    let request = seed_request(&bench.describe(schema(&[])));
    bench.change(11, Some(vec![upsert(1, 11)]), Part::Last);
    bench.change(
        12,
        Some(vec![RowChange::Delete {
            key: Box::new([Value::Int(2)]),
        }]),
        Part::Last,
    );
    bench.heartbeat(12);
    let opened = bench.seed(request, vec![row(1, 11), row(2, 2)], 11);
    let [PageRecord::Page(page)] = &published(&opened)[..] else {
        panic!("a page")
    };
    assert_eq!(page.rows, r#"[{"id":1,"n":11}]"#);
}

/// The parts of a large transaction become one diff; a part that was sent twice does no harm.
#[test]
fn parts_are_applied_whole() {
    let mut bench = Bench::open();
    assert!(published(&bench.change(11, Some(vec![upsert(1, 5)]), Part::More)).is_empty());
    // The publish broke off here and is done again from the start.
    assert!(published(&bench.change(12, Some(vec![upsert(1, 6)]), Part::More)).is_empty());
    let whole = bench.change(12, Some(vec![upsert(2, 7)]), Part::Last);
    let [PageRecord::Diff(diff)] = &published(&whole)[..] else {
        panic!("one diff")
    };
    assert!(diff.body.starts_with(br#"[{"kind":"modified","pk":"1""#));
    assert_eq!(diff.position, at(1, 1));
}

/// A redefined table is described anew, and its pages begin a new epoch. Until then nothing counts
/// as published that was committed since: subscribers do not have it.
#[test]
fn redefinition_resets() {
    let mut bench = Bench::open();
    let wide = schema(&["note"]);
    let effects = bench.change_of(&wide, 11, None, Part::Last);
    assert!(
        matches!(effects.asks[..], [(_, Ask::Describe { .. })]),
        "{effects:?}"
    );
    let request = seed_request(&bench.describe(Arc::clone(&wide)));
    let row = Row::new(vec![Value::Int(1), Value::Int(1), Value::text("x")]);
    let progress = |lsn| PageRecord::Progress {
        life: Life::new(7),
        lsn: Lsn::new(lsn),
    };
    assert_eq!(published(&bench.heartbeat(11)), [progress(10)]);
    let reset = bench.seed(request, vec![row], 11);
    let [PageRecord::Page(page)] = &published(&reset)[..] else {
        panic!("a page: {reset:?}")
    };
    assert_eq!((page.cause, page.position), (PageCause::Reset, at(2, 0)));
    assert_eq!(page.rows, r#"[{"id":1,"n":1,"note":"x"}]"#);
    assert_eq!(published(&bench.heartbeat(12)), [progress(12)]);
}

/// What cannot be opened is refused with its code, and forgotten.
#[test]
fn refusals() {
    let mut bench = Bench::new();
    bench.lease(spec(), Want::Page);
    let mut effects = Effects::default();
    let missing = CommandError::UnknownTable("no table orders".to_owned());
    bench
        .owner
        .described(tenant(), table(), Err(missing), &mut effects);
    let [PageRecord::Refused { code, .. }] = &published(&effects)[..] else {
        panic!("refused")
    };
    assert_eq!(*code, ErrorCode::UnknownTable);
    assert_eq!(bench.owner.page_count(), 0);

    let mut bench = Bench::open();
    let filter = tidegate_core::FilterSpec::Test {
        column: "n".to_owned(),
        operator: Operator::Equals,
        value: Some(Literal::Number("1".to_owned())),
        modifier: ModifierSpec::default(),
    };
    let filtered = QuerySpec {
        filter: Some(filter),
        ..spec()
    };
    let key = RoutingKey {
        tenant: tenant(),
        table: table(),
        query: hash(&spec()),
    };
    let mut effects = Effects::default();
    bench.owner.control(
        ControlRecord::Release {
            gateway: GATEWAY,
            key: key.clone(),
        },
        bench.now,
        &mut effects,
    );
    bench.owner.sweep(bench.now);
    let lease = ControlRecord::Lease {
        gateway: GATEWAY,
        key,
        query: filtered,
        name: None,
        want: Want::Page,
    };
    bench.owner.control(lease, bench.now, &mut effects);
    bench.describe(schema(&[]));
    assert_eq!(
        bench.owner.page_count(),
        0,
        "a query that is not the key's is not opened"
    );
}

/// A page dies with its last lease; the same query then starts over with a new epoch.
#[test]
fn a_page_dies_with_its_last_lease() {
    let mut bench = Bench::open();
    bench.now += LEASE_TTL;
    bench.owner.sweep(bench.now);
    assert_eq!(bench.owner.page_count(), 0);
    assert!(
        bench
            .change(11, Some(vec![upsert(1, 5)]), Part::Last)
            .records
            .is_empty()
    );
    let asked = bench.lease(spec(), Want::Page);
    assert!(matches!(asked.asks[..], [(_, Ask::Describe { .. })]));
    let request = seed_request(&bench.describe(schema(&[])));
    bench.heartbeat(11);
    let opened = bench.seed(request, vec![row(1, 5)], 11);
    let [PageRecord::Page(page)] = &published(&opened)[..] else {
        panic!("a page")
    };
    assert_eq!(page.position, at(2, 0), "higher than any before");
}

/// After a gap every page is read again; what differs is one diff, what does not is nothing.
#[test]
fn a_gap_is_read_over() {
    let mut bench = Bench::open();
    let mut effects = Effects::default();
    bench.owner.change(ChangeRecord::Gap, &mut effects);
    let request = seed_request(&effects);
    bench.heartbeat(30);
    let after = bench.seed(request, vec![row(1, 1), row(2, 99)], 30);
    let [PageRecord::Diff(diff)] = &published(&after)[..] else {
        panic!("a diff: {after:?}")
    };
    assert_eq!(diff.position, at(1, 1));
}

/// When the database has become another one, or an earlier state of itself, all is begun anew: who
/// counts, what the table looks like, and the page, which nobody can take for the old one.
#[test]
fn another_history_is_another_life() {
    // Another server, or the same one at an earlier moment.
    for (history, lsn) in [(History::new(1), 12), (History::ONLY, 9)] {
        let mut bench = Bench::open();
        let mut effects = Effects::default();
        bench.owner.change(ChangeRecord::Gap, &mut effects);
        assert!(effects.reborn.is_empty());
        let effects = bench.heartbeat_of(history, lsn);
        assert_eq!(effects.reborn, [Partition::new(0)]);
        let mut effects = Effects::default();
        bench.owner.reborn(Life::new(9), &mut effects);
        let [PageRecord::Progress { life, lsn: at }] = &published(&effects)[..] else {
            panic!("a new owner's word: {effects:?}")
        };
        assert_eq!((*life, *at), (Life::new(9), Lsn::ZERO));
        assert!(matches!(effects.asks[..], [(_, Ask::Describe { .. })]));
        // What was read of the old one is of no use.
        let stale = seed_request(&bench.describe(schema(&[])));
        let opened = bench.seed(stale, vec![row(1, 1)], lsn);
        let [PageRecord::Page(page)] = &published(&opened)[..] else {
            panic!("a page: {opened:?}")
        };
        assert_eq!(page.cause, PageCause::Reset);
        assert_eq!(page.position.epoch, Epoch::new(Life::new(9), 1));
        assert_eq!(page.rows, r#"[{"id":1,"n":1}]"#);
        // Once is enough, and a repetition is no news.
        assert!(bench.heartbeat_of(history, lsn).reborn.is_empty());
    }
}

/// A stream that goes on after a gap where it was, or further on, is the same history.
#[test]
fn a_gap_alone_is_no_new_life() {
    for lsn in [10, 11] {
        let mut bench = Bench::open();
        bench
            .owner
            .change(ChangeRecord::Gap, &mut Effects::default());
        assert!(bench.heartbeat(lsn).reborn.is_empty());
    }
}

/// A reset of a table of all tenants has its pages read again; with another schema they are opened
/// anew. Other tables' pages stay.
#[test]
fn a_reset_for_all_is_read_over() {
    let reset = |bench: &mut Bench, lsn, name: &str, schema| {
        let commit = Commit {
            lsn: Lsn::new(lsn),
            xid: Xid::default(),
            committed_at_micros: 0,
        };
        let table = TableName::parse(name).expect("valid");
        let reset = TableReset { table, schema };
        let mut effects = Effects::default();
        let record = ChangeRecord::Reset { commit, reset };
        bench.owner.change(record, &mut effects);
        effects
    };
    let mut bench = Bench::open();
    let same = schema(&[]).fingerprint();
    assert!(reset(&mut bench, 11, "other", same).asks.is_empty());
    let request = seed_request(&reset(&mut bench, 12, table().as_str(), same));
    bench.heartbeat(12);
    let after = bench.seed(request, vec![row(1, 1)], 12);
    let [PageRecord::Diff(diff)] = &published(&after)[..] else {
        panic!("a diff: {after:?}")
    };
    assert_eq!(diff.position, at(1, 1));
    let asked = reset(&mut bench, 13, table().as_str(), 0);
    assert!(matches!(asked.asks[..], [(_, Ask::Describe { .. })]));
}

/// A page that waits for rows is repeated as it was published, at the commit it was right at: a
/// position that its rows have not reached would let `sync` answer too early.
#[test]
fn a_held_page_is_repeated_where_it_is_right() {
    let mut bench = Bench::new();
    bench.heartbeat(10);
    bench.lease(spec(), Want::Page);
    let request = seed_request(&bench.describe(schema(&[])));
    let rows = (0..i64::from(request.rows_max))
        .map(|id| row(id, 0))
        .collect();
    let mut effects = Effects::default();
    let fence = Fence::Prefix(Lsn::new(10));
    let (complete, count) = (false, i64::from(request.rows_max));
    let snapshot = Snapshot {
        fence,
        rows,
        complete,
    };
    bench.owner.seeded(request, Ok(snapshot), &mut effects);
    let delete = |id| RowChange::Delete {
        key: Box::new([Value::Int(id)]),
    };
    let held = bench.change(11, Some((0..count).map(delete).collect()), Part::Last);
    assert!(published(&held).is_empty(), "{held:?}");
    let beat = published(&bench.heartbeat(20));
    let [PageRecord::Progress { lsn, .. }] = beat[..] else {
        panic!("{beat:?}")
    };
    assert_eq!(lsn, Lsn::new(10), "progress waits for the page");
    let repeated = published(&bench.lease(spec(), Want::Page));
    let [PageRecord::Page(page)] = &repeated[..] else {
        panic!("{repeated:?}")
    };
    assert_eq!((page.lsn, page.position), (Lsn::new(10), at(1, 0)));
    assert_eq!(page.pks, r#"["0","1"]"#);
}
