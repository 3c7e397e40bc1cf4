//! Transactions are put together whole or not at all: what cannot be read, or is too much, makes
//! the pages be read again, and messages in an order that makes no sense are errors.

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidegate_core::{
    Owner, TABLE_CHANGES_MAX, TENANT_TABLES_MAX, TRANSACTION_BYTES_MAX, TableChange, Tenancy,
};

use super::*;
use crate::pgoutput::{Cell, OldTuple, RelationColumn};
use crate::table::{Named, RawTable};

fn owned(name: &str) -> (Owner, TableName) {
    let owned = Tenancy::Single.logical("public", name);
    owned.expect("everything is ours")
}

fn named(owner: Owner, name: TableName, tenant_column: Option<&'static str>) -> Named<'static> {
    Named {
        schema: "public",
        owner,
        name,
        tenant_column,
    }
}

fn table(name: &str) -> Arc<Table> {
    let column = |number: u32, name: &str, oid: u32| {
        format!(
            r#"{{"number": {number}, "name": "{name}", "oid": {oid}, "base": {oid}, "modifier": -1,
                "type_name": "", "not_null": false, "generated": false}}"#
        )
    };
    let (id, text) = (column(1, "id", 23), column(2, "a", 25));
    let json = format!(
        r#"{{"oid": 1, "name": "{name}", "kind": "r", "persistence": "p", "identity": "d",
            "identity_key": null, "partition_of": null, "has_children": false, "has_triggers": false,
            "row_security": false, "shape": "", "columns": [{id}, {text}], "key": [1],
            "key_is_immediate": true, "uniques": [], "published": true, "published_in_part": false,
            "via_root": true}}"#
    );
    let raw: RawTable = serde_json::from_str(&json).expect("as the catalog gives it");
    let (owner, table) = owned(name);
    Arc::new(Table::from_raw(raw, named(owner, table, None)).expect("somebody's"))
}

fn relation(oid: u32, name: &str) -> Relation {
    let column = |in_key, name: &str, type_oid| RelationColumn {
        in_key,
        name: name.to_owned(),
        type_oid,
        modifier: -1,
    };
    Relation {
        oid,
        schema: "public".to_owned(),
        name: name.to_owned(),
        identity: b'd',
        columns: vec![column(true, "id", 23), column(false, "a", 25)],
    }
}

/// One that knows relations 1, 2 (tables `one` and `two`) and 3 (nobody's).
fn assembler() -> Assembler {
    let mut assembler = Assembler::new(Xid::new(1_000));
    assembler.relation(relation(1, "one"), Some(table("one")));
    assembler.relation(relation(2, "two"), Some(table("two")));
    assembler.relation(relation(3, "three"), None);
    assembler
}

const BEGIN: Message = Message::Begin {
    xid: 900,
    committed_at: 0,
};

fn commit(end_lsn: u64) -> Message {
    Message::Commit {
        end_lsn,
        committed_at: 0,
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(Bytes::copy_from_slice(text.as_bytes()))
}

fn insert(relation: u32, id: &str) -> Message {
    Message::Insert {
        relation,
        new: vec![text(id), Cell::Null],
    }
}

/// Feeds messages, the last of which ends a transaction.
fn committed(assembler: &mut Assembler, messages: Vec<Message>) -> Committed {
    let mut last = Step::Nothing;
    for message in messages {
        last = assembler
            .take(message)
            .expect("in an order that makes sense");
    }
    match last {
        Step::Committed(committed) => committed,
        other => panic!("{other:?}"),
    }
}

/// How many rows each table's change holds.
fn rows(committed: &Committed) -> Vec<(&str, Option<usize>)> {
    let tables = committed.transaction.iter().flat_map(|done| &done.tables);
    let count = |table: &'_ TableChange| table.rows.as_ref().map(Vec::len);
    tables
        .map(|table| (table.table.as_str(), count(table)))
        .collect()
}

/// Nobody's tables are nothing; each other table has its own entry, in the order of first change.
#[test]
fn tables_are_sorted_out() {
    let mut assembler = assembler();
    let messages = vec![
        BEGIN,
        insert(2, "1"),
        insert(3, "1"),
        insert(1, "1"),
        insert(2, "2"),
        commit(9),
    ];
    let done = committed(&mut assembler, messages);
    assert_eq!(rows(&done), [("two", Some(2)), ("one", Some(1))]);
    assert_eq!((done.lsn, done.rows), (Lsn::new(9), 3));
    let done = committed(&mut assembler, vec![BEGIN, insert(3, "1"), commit(10)]);
    assert!(done.transaction.is_none());
}

/// What one value does to its table, it does to no other.
#[test]
fn what_cannot_be_read_is_read_again() {
    let unchanged = Message::Update {
        relation: 1,
        old: None,
        new: vec![text("1"), Cell::Unchanged],
    };
    let no_number = insert(1, "x");
    let short = Message::Insert {
        relation: 1,
        new: vec![text("1")],
    };
    let no_key = Message::Delete {
        relation: 1,
        old: OldTuple::Key(vec![Cell::Null, Cell::Null]),
    };
    let no_text = Message::Insert {
        relation: 1,
        new: vec![text("1"), Cell::Text(Bytes::from_static(&[0xff]))],
    };
    let emptied = Message::Truncate {
        relations: vec![1, 3, 77],
    };
    for odd in [unchanged, no_number, short, no_key, no_text, emptied] {
        let mut assembler = assembler();
        let messages = vec![
            BEGIN,
            insert(1, "1"),
            insert(2, "1"),
            odd.clone(),
            insert(1, "2"),
            commit(9),
        ];
        let done = committed(&mut assembler, messages);
        assert_eq!(rows(&done), [("one", None), ("two", Some(1))], "{odd:?}");
    }
}

/// A relation that is not as the catalog has it: its rows are not read. One that changes between
/// two rows takes the earlier with it.
#[test]
fn shapes_must_agree() {
    let odd = |change: &dyn Fn(&mut Relation)| {
        let mut odd = relation(1, "one");
        change(&mut odd);
        odd
    };
    let odd = [
        odd(&|odd| odd.columns[1].name = "b".to_owned()),
        odd(&|odd| odd.columns[1].type_oid = 23),
        odd(&|odd| odd.columns[1].modifier = 9),
        odd(&|odd| odd.columns[1].in_key = true),
        odd(&|odd| odd.columns[0].in_key = false),
        odd(&|odd| odd.columns.swap(0, 1)),
        odd(&|odd| drop(odd.columns.pop())),
    ];
    for odd in odd {
        let mut assembler = assembler();
        assembler.relation(odd.clone(), Some(table("one")));
        let done = committed(&mut assembler, vec![BEGIN, insert(1, "1"), commit(9)]);
        assert_eq!(rows(&done), [("one", None)], "{odd:?}");
        assembler.take(BEGIN).expect("in order");
        assembler.take(insert(1, "1")).expect("in order");
        assembler.relation(relation(1, "one"), Some(table("one")));
        let done = committed(&mut assembler, vec![insert(1, "2"), commit(10)]);
        assert_eq!(rows(&done), [("one", None)]);
        let done = committed(&mut assembler, vec![BEGIN, insert(1, "1"), commit(11)]);
        assert_eq!(rows(&done), [("one", Some(1))]);
    }
}

/// What was found changed is read again with the next transaction, once.
#[test]
fn resets_ride_on_the_next_transaction() {
    let mut assembler = assembler();
    for name in ["two", "four"] {
        let (owner, table) = owned(name);
        assembler.reset_next(owner, table);
    }
    let done = committed(&mut assembler, vec![BEGIN, insert(2, "1"), commit(9)]);
    assert_eq!(rows(&done), [("two", None), ("four", None)]);
    let done = committed(&mut assembler, vec![BEGIN, commit(10)]);
    assert!(done.transaction.is_none());
}

/// Past the bounds, of rows for one table and of bytes for all, nothing is kept.
#[test]
fn too_much_is_not_kept() {
    let mut messages = vec![BEGIN, insert(2, "1")];
    messages.extend((0..=TABLE_CHANGES_MAX).map(|at| insert(1, &at.to_string())));
    messages.push(commit(9));
    let done = committed(&mut assembler(), messages);
    assert_eq!(rows(&done), [("two", Some(1)), ("one", None)]);

    let large = Cell::Text(Bytes::from(vec![b'x'; TRANSACTION_BYTES_MAX / 2]));
    let new = |id: &str| Message::Insert {
        relation: 1,
        new: vec![text(id), large.clone()],
    };
    let messages = vec![
        BEGIN,
        insert(2, "1"),
        new("1"),
        new("2"),
        insert(2, "2"),
        commit(9),
    ];
    let done = committed(&mut assembler(), messages);
    assert_eq!(rows(&done), [("two", None), ("one", None)]);
}

/// Heartbeats are our own messages, in a transaction; others mean nothing.
#[test]
fn heartbeats() {
    let said = |in_transaction, prefix: &str, content: &'static [u8]| Message::Said {
        in_transaction,
        prefix: prefix.to_owned(),
        content: Bytes::from_static(content),
    };
    for (message, is_heartbeat) in [
        (said(true, PREFIX, b"5:9:5,7"), true),
        (said(false, PREFIX, b"5:9:5,7"), false),
        (said(true, "other", b"5:9:5,7"), false),
        (said(true, PREFIX, b"what"), false),
        (said(true, PREFIX, b"\xff"), false),
    ] {
        let done = committed(&mut assembler(), vec![BEGIN, message.clone(), commit(9)]);
        assert_eq!(done.visible.is_some(), is_heartbeat, "{message:?}");
    }
}

/// Any messages in any order are an answer or an error, and never a panic.
#[test]
fn any_order_is_answered() {
    let all = |dice: &mut SmallRng| match dice.random_range(0..8) {
        0 => BEGIN,
        1 => commit(dice.random_range(0..100)),
        2 => Message::Relation(relation(dice.random_range(0..5), "one")),
        3 => Message::Truncate {
            relations: vec![dice.random_range(0..5)],
        },
        4 => Message::Delete {
            relation: dice.random_range(0..5),
            old: OldTuple::Full(vec![text("1")]),
        },
        5 => Message::Said {
            in_transaction: true,
            prefix: PREFIX.to_owned(),
            content: Bytes::from_static(b"1:2:"),
        },
        _ => insert(dice.random_range(0..5), "1"),
    };
    let mut dice = SmallRng::seed_from_u64(3);
    for _ in 0..2_000 {
        let mut assembler = assembler();
        for _ in 0..12 {
            match assembler.take(all(&mut dice)) {
                Ok(Step::LookUp(relation)) => assembler.relation(relation, Some(table("one"))),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
}

/// One that knows relation 1, a table `shared` with the columns `id` and `a`, of which `a` says
/// whose a row is.
fn sharing() -> Assembler {
    let column = |number: u32, name: &str, oid: u32| {
        serde_json::json!({
            "number": number, "name": name, "oid": oid, "base": oid, "modifier": -1,
            "type_name": "", "not_null": false, "generated": false,
        })
    };
    let json = serde_json::json!({
        "oid": 1, "name": "shared", "kind": "r", "persistence": "p", "identity": "f",
        "identity_key": null, "partition_of": null, "has_children": false, "has_triggers": false,
        "row_security": false, "shape": "", "key": [1], "key_is_immediate": true, "uniques": [],
        "published": true, "published_in_part": false, "via_root": true,
        "columns": [column(1, "id", 23), column(2, "a", 25)],
    });
    let raw: RawTable = serde_json::from_value(json).expect("as the catalog gives it");
    let table = Table::from_raw(raw, named(Owner::EachRow, owned("shared").1, Some("a")));
    let mut told = relation(1, "shared");
    told.identity = b'f';
    told.columns
        .iter_mut()
        .for_each(|column| column.in_key = true);
    let mut assembler = Assembler::new(Xid::new(1_000));
    assembler.relation(told, table.map(Arc::new));
    assembler
}

fn insert_of(tenant: &str, id: &str) -> Message {
    Message::Insert {
        relation: 1,
        new: vec![text(id), text(tenant)],
    }
}

/// Whose changes there are, with how many rows each, and how many tables are read again by all.
fn by_tenant(committed: &Committed) -> (Vec<(&str, Option<usize>)>, usize) {
    let tables = committed.transaction.iter().flat_map(|done| &done.tables);
    let count = |table: &'_ TableChange| table.rows.as_ref().map(Vec::len);
    let resets = committed.transaction.iter().flat_map(|done| &done.resets);
    let tables = tables.map(|table| (table.tenant.as_str(), count(table)));
    (tables.collect(), resets.count())
}

/// Each tenant's part of a transaction is its own, also when one part is too much.
#[test]
fn a_shared_table_is_split_by_tenant() {
    let mut messages = vec![
        BEGIN,
        insert_of("b", "1"),
        insert_of("a", "1"),
        insert_of("b", "2"),
    ];
    messages.push(commit(9));
    let done = committed(&mut sharing(), messages);
    assert_eq!(by_tenant(&done), (vec![("b", Some(2)), ("a", Some(1))], 0));

    let mut messages = vec![BEGIN, insert_of("b", "1")];
    messages.extend((0..=TABLE_CHANGES_MAX).map(|at| insert_of("a", &at.to_string())));
    messages.push(commit(9));
    let done = committed(&mut sharing(), messages);
    assert_eq!(by_tenant(&done), (vec![("b", Some(1)), ("a", None)], 0));
}

/// What happens to a whole shared table, and what concerns nobody knows whom, concerns all: nothing
/// else of it is kept.
#[test]
fn a_shared_table_is_reset_for_all() {
    let truncate = Message::Truncate { relations: vec![1] };
    let untold = Message::Update {
        relation: 1,
        old: None,
        new: vec![text("1"), text("a")],
    };
    for what in [truncate, untold] {
        let messages = vec![
            BEGIN,
            insert_of("a", "1"),
            what,
            insert_of("b", "2"),
            commit(9),
        ];
        let done = committed(&mut sharing(), messages);
        assert_eq!(by_tenant(&done), (Vec::new(), 1));
    }
    let mut assembler = sharing();
    assembler.reset_next(Owner::EachRow, owned("shared").1);
    let done = committed(&mut assembler, vec![BEGIN, insert_of("a", "1"), commit(9)]);
    assert_eq!(by_tenant(&done), (Vec::new(), 1));

    let mut messages = vec![BEGIN];
    messages.extend((0..=TENANT_TABLES_MAX).map(|at| insert_of(&format!("t{at}"), "1")));
    messages.push(commit(9));
    let done = committed(&mut sharing(), messages);
    assert_eq!(
        by_tenant(&done),
        (Vec::new(), 1),
        "too many tenants to name each"
    );
}
