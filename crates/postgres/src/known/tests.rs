//! Whom a change of a shared table concerns, and what it is to each; when that is not told, it is
//! nobody's guess.

use bytes::Bytes;
use tidegate_core::TableName;

use super::*;
use crate::table::{Named, RawTable};

/// Columns `id`, `tenant` and `a`, in this order in the stream; `key` by number.
fn known(identity: char, key: &[u32]) -> Known {
    let columns = [("id", 23), ("tenant", 25), ("a", 25)];
    let column = |(at, (name, oid)): (usize, &(&str, u32))| {
        let number = at + 1;
        format!(
            r#"{{"number": {number}, "name": "{name}", "oid": {oid}, "base": {oid}, "modifier": -1,
                "type_name": "", "not_null": false, "generated": false}}"#
        )
    };
    let described: Vec<String> = columns.iter().enumerate().map(column).collect();
    let json = format!(
        r#"{{"oid": 1, "name": "t", "kind": "r", "persistence": "p", "identity": "{identity}",
            "identity_key": null, "partition_of": null, "has_children": false, "has_triggers": false,
            "row_security": false, "shape": "", "columns": [{}], "key": {key:?},
            "key_is_immediate": true, "uniques": [], "published": true, "published_in_part": false,
            "via_root": true}}"#,
        described.join(", ")
    );
    let raw: RawTable = serde_json::from_str(&json).expect("as the catalog gives it");
    let named = Named {
        schema: "public",
        owner: Owner::EachRow,
        name: TableName::parse("t").expect("valid"),
        tenant_column: Some("tenant"),
    };
    let table = Table::from_raw(raw, named).expect("it has the column");
    let told = columns
        .iter()
        .zip(1..)
        .map(|((name, oid), number)| RelationColumn {
            in_key: identity == 'f' || key.contains(&number),
            name: (*name).to_owned(),
            type_oid: *oid,
            modifier: -1,
        });
    let relation = Relation {
        oid: 1,
        schema: "public".to_owned(),
        name: "t".to_owned(),
        identity: u8::try_from(identity).expect("a letter"),
        columns: told.collect(),
    };
    Known::new(relation, Some(Arc::new(table)))
}

/// Cells by words: `-` is NULL, `~` is unchanged.
fn tuple(words: &str) -> Tuple {
    let cell = |word: &str| match word {
        "-" => Cell::Null,
        "~" => Cell::Unchanged,
        text => Cell::Text(Bytes::copy_from_slice(text.as_bytes())),
    };
    words.split(' ').map(cell).collect()
}

fn insert(new: &str) -> Told {
    Told::Insert(tuple(new))
}

fn update(old: Option<OldTuple>, new: &str) -> Told {
    Told::Update(old, tuple(new))
}

fn full(words: &str) -> OldTuple {
    OldTuple::Full(tuple(words))
}

fn key(words: &str) -> OldTuple {
    OldTuple::Key(tuple(words))
}

fn texts(values: &[Value]) -> String {
    let text = |value: &Value| {
        value
            .to_text()
            .map_or("-".to_owned(), |text| text.to_string())
    };
    values.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// What each tenant hears: `+` a row, after its key before if that was another, `-` a key, `?`
/// something that cannot be read. `None` when nobody knows who is concerned.
fn heard(known: &Known, told: &Told) -> Option<Vec<String>> {
    let parts = known.parts(told).ok()?;
    let words = |part: OwnChange| {
        let what = match part.change {
            Some(RowChange::Upsert { old_key, row }) => {
                let before = old_key.map_or(String::new(), |key| texts(&key));
                format!("{before}+ {}", texts(&row))
            }
            Some(RowChange::Delete { key }) => format!("- {}", texts(&key)),
            None => "?".to_owned(),
        };
        format!("{} {what}", part.tenant)
    };
    Some(parts.into_iter().map(words).collect())
}

fn check(known: &Known, told: &Told, expect: &[&str]) {
    let expect = expect.iter().map(|&text| text.to_owned()).collect();
    assert_eq!(heard(known, told), Some(expect));
}

/// Clients know neither the column nor that it is part of the key; and a relation that does not
/// tell whose a row was is not read at all.
#[test]
fn the_column_is_hidden() {
    for (identity, key) in [('f', &[1][..]), ('d', &[2, 1]), ('d', &[1, 2])] {
        let known = known(identity, key);
        let schema = &known.table().schema;
        let names: Vec<&str> = schema
            .columns()
            .iter()
            .map(|column| &*column.name)
            .collect();
        assert_eq!((names, schema.key()), (vec!["id", "a"], &[0][..]));
        assert!(known.agrees, "{identity} {key:?}");
        assert_eq!(known.table().uniques, [0]);
        assert_eq!(known.table().refusal, None);
    }
    let known = known('d', &[1]);
    assert!(!known.agrees);
    let why = known.table().refusal.as_deref().unwrap_or_default();
    assert!(why.contains("whose row of table t was changed"), "{why}");
}

/// A change concerns whoever's the row was and is; nobody's rows concern nobody.
#[test]
fn changes_are_their_tenants() {
    for (known, old) in [
        (known('f', &[1]), full as fn(&str) -> OldTuple),
        (known('d', &[2, 1]), key),
    ] {
        check(&known, &insert("1 acme x"), &["acme + 1 x"]);
        check(&known, &insert("1 - x"), &[]);
        check(&known, &insert("1 two\u{a0}words x"), &[]);
        check(&known, &Told::Delete(old("1 acme -")), &["acme - 1"]);
        let moved = update(Some(old("1 acme -")), "1 beta y");
        check(&known, &moved, &["acme - 1", "beta + 1 y"]);
        let moved = update(Some(old("1 acme -")), "2 beta y");
        check(&known, &moved, &["acme - 1", "beta + 2 y"]);
        let moved = update(Some(old("1 acme -")), "2 acme y");
        check(&known, &moved, &["acme 1+ 2 y"]);
        check(
            &known,
            &update(Some(old("1 acme -")), "1 - y"),
            &["acme - 1"],
        );
        check(
            &known,
            &update(Some(old("1 acme -")), "1 ~ y"),
            &["acme + 1 y"],
        );
        // What cannot be read is so for those it concerns.
        let unread = update(Some(old("1 acme -")), "one beta y");
        check(&known, &unread, &["acme - 1", "beta ?"]);
        check(&known, &insert("one acme x"), &["acme ?"]);
        assert_eq!(heard(&known, &insert("1 ~ x")), None);
    }
    let known = known('d', &[2, 1]);
    check(&known, &update(None, "1 acme y"), &["acme + 1 y"]);
    assert_eq!(heard(&known, &update(None, "1 ~ y")), None);
}

/// A row of nobody's that is told whole becomes somebody's.
#[test]
fn nobodys_rows_are_taken_in() {
    let known = known('f', &[1]);
    check(
        &known,
        &update(Some(full("1 - x")), "1 beta y"),
        &["beta + 1 y"],
    );
    check(&known, &update(Some(full("1 - x")), "1 - y"), &[]);
    check(&known, &Told::Delete(full("1 - x")), &[]);
}

/// A partition may tell less than its root says: then it is not known whose the row was.
#[test]
fn partitions_may_tell_too_little() {
    let known = known('f', &[1]);
    assert_eq!(heard(&known, &update(None, "1 beta y")), None);
    assert_eq!(heard(&known, &update(Some(key("1 - -")), "1 beta y")), None);
    assert_eq!(heard(&known, &Told::Delete(key("1 - -"))), None);
}
