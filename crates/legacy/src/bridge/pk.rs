//! The primary key of a row that is JSON, as text: what a page of ours calls the row.

use std::collections::HashMap;

use serde_json::value::RawValue;
use tidegate_core::TableSchema;

/// `None` when the row is no object or lacks a column of the key.
pub(super) fn pk_of(schema: &TableSchema, row: &str) -> Option<String> {
    let row: HashMap<String, &RawValue> = serde_json::from_str(row).ok()?;
    let value = |at: &usize| {
        row.get(&*schema.columns()[*at].name)
            .map(|value| value.get())
    };
    let values: Vec<&str> = schema.key().iter().map(value).collect::<Option<_>>()?;
    match values[..] {
        [] => None,
        ["null"] => Some(String::new()),
        [one] if one.starts_with('"') => serde_json::from_str(one).ok(),
        [one] => Some(one.to_owned()),
        _ => Some(format!("[{}]", values.join(","))),
    }
}
