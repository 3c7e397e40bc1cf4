//! The client's side of a diff, as the contract tells it.

use std::collections::BTreeMap;

use tidegate_core::{PageChange, Row, TableSchema, Value};

use crate::model::key_text;

/// Whether two lists of rows look the same to a client.
pub(crate) fn look_alike(a: &[Row], b: &[Row]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| rows_look_alike(a, b))
}

fn rows_look_alike(a: &Row, b: &Row) -> bool {
    let texts = |row: &Row| -> Vec<_> { row.iter().map(Value::to_text).collect() };
    a.is_same(b) || texts(a) == texts(b)
}

/// Replays the steps literally, and refuses any that is out of form.
pub(crate) fn replay(
    rows: &mut Vec<Row>,
    changes: &[PageChange],
    schema: &TableSchema,
) -> Result<(), String> {
    let mut last_removed = u32::MAX;
    let mut is_removing = true;
    let in_range = |at: u32, end: usize| match (at as usize) < end {
        true => Ok(at as usize),
        false => Err(format!("index {at} of {end}")),
    };
    for change in changes {
        match change {
            PageChange::Removed { key, from } => {
                if !is_removing || *from >= last_removed {
                    return Err("a removal out of order".to_owned());
                }
                last_removed = *from;
                let row = rows.remove(in_range(*from, rows.len())?);
                if key_text(&schema.key_of(&row)) != key_text(key) {
                    return Err("removed another row than it says".to_owned());
                }
            }
            PageChange::Added { row, pos } => {
                is_removing = false;
                rows.insert(in_range(*pos, rows.len() + 1)?, row.clone());
            }
            PageChange::Modified { row, from, pos } => {
                is_removing = false;
                let old = rows.remove(in_range(*from, rows.len())?);
                if key_text(&schema.key_of(&old)) != key_text(&schema.key_of(row)) {
                    return Err("modified another row than it says".to_owned());
                }
                rows.insert(in_range(*pos, rows.len() + 1)?, row.clone());
            }
        }
    }
    Ok(())
}

/// Each row that is different has one step, and no other row has any.
pub(crate) fn check_is_minimal(
    before: &[Row],
    after: &[Row],
    changes: &[PageChange],
    schema: &TableSchema,
) -> Result<(), String> {
    let key = |row: &Row| key_text(&schema.key_of(row));
    let old: BTreeMap<_, _> = before.iter().map(|row| (key(row), row)).collect();
    let new: BTreeMap<_, _> = after.iter().map(|row| (key(row), row)).collect();
    let removed = old.keys().filter(|key| !new.contains_key(*key)).count();
    let is_changed =
        |(key, row): &(&String, &&Row)| old.get(*key).is_none_or(|old| !rows_look_alike(old, row));
    let changed = new.iter().filter(is_changed);
    match changes.len() == removed + changed.count() && !changes.is_empty() {
        true => Ok(()),
        false => Err(format!("steps that change nothing: {changes:?}")),
    }
}
