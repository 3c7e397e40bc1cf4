//! That changes are written as the contract says, that a shared row is written once, and that a row
//! has the same bytes as elsewhere.

use tidegate_core::{Column, ColumnType, TableName, Value};

use super::*;

fn schema() -> Arc<TableSchema> {
    let column = |name: &str, kind| Column {
        name: name.into(),
        kind,
        nullable: true,
    };
    let columns = vec![
        column("id", ColumnType::Text),
        column("n", ColumnType::Integer),
    ];
    Arc::new(TableSchema::new(
        TableName::parse("t").unwrap(),
        columns,
        vec![0],
    ))
}

fn row(id: &str, n: i64) -> Row {
    Row::new(vec![Value::text(id), Value::Int(n)])
}

#[test]
fn changes_are_written_in_order() {
    let mut cache = RowJsonCache::new(schema());
    let changes = [
        PageChange::Removed {
            key: [Value::text("z")].into(),
            from: 4,
        },
        PageChange::Added {
            row: row("a", 1),
            pos: 0,
        },
        PageChange::Modified {
            row: row("b", 2),
            from: 3,
            pos: 1,
        },
    ];
    let expected = concat!(
        r#"[{"kind":"removed","pk":"z","from":4},"#,
        r#"{"kind":"added","pk":"a","pos":0,"row":{"id":"a","n":1}},"#,
        r#"{"kind":"modified","pk":"b","from":3,"pos":1,"row":{"id":"b","n":2}}]"#
    );
    assert_eq!(changes_json(&mut cache, &changes), expected);
    assert_eq!(changes_json(&mut cache, &[]), "[]");
}

/// A row that enters two pages is written once; an equal row of another allocation is another row;
/// and after `clear` nothing of an earlier transaction is taken for a new one.
#[test]
fn shared_rows_are_written_once() {
    let mut cache = RowJsonCache::new(schema());
    let shared = row("a", 1);
    let added = |row: &Row, pos| PageChange::Added {
        row: row.clone(),
        pos,
    };
    let first = changes_json(&mut cache, &[added(&shared, 0)]);
    let written = cache.text.len();
    let second = changes_json(&mut cache, &[added(&shared, 0)]);
    assert_eq!((first, cache.text.len()), (second, written));
    let _ = changes_json(&mut cache, &[added(&row("a", 1), 0)]);
    assert_eq!(cache.text.len(), 2 * written);
    cache.clear();
    let after = changes_json(&mut cache, &[added(&row("b", 2), 1)]);
    assert_eq!(
        after,
        r#"[{"kind":"added","pk":"b","pos":1,"row":{"id":"b","n":2}}]"#
    );
}
