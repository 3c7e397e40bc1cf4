//! Why a table cannot be watched.

use tidegate_core::{ColumnType, TableSchema};

use crate::table::{RawTable, TableKind};

/// The reason, in a sentence that says what to do where something can be done. `None` when there is
/// none.
pub(crate) fn refusal(schema: &TableSchema, kind: TableKind, raw: &RawTable) -> Option<String> {
    let table = schema.table();
    of_kind(schema, kind, raw)
        .or_else(|| of_key(schema, raw))
        .or_else(|| {
            raw.row_security.then(|| {
                format!(
                    "table {table} has row security for the role of this connection, which the \
                     change stream has not: use a role with BYPASSRLS"
                )
            })
        })
}

fn of_kind(schema: &TableSchema, kind: TableKind, raw: &RawTable) -> Option<String> {
    let table = schema.table();
    let what = match kind {
        TableKind::View => "view",
        TableKind::Materialized => "materialized view",
        TableKind::Foreign => "foreign table",
        TableKind::Table | TableKind::Partitioned => "",
    };
    if !what.is_empty() {
        return Some(format!(
            "{table} is a {what}: its changes are not in the change stream"
        ));
    }
    if raw.persistence != "p" {
        return Some(format!(
            "table {table} is not logged, so its changes are not in the change stream: \
             ALTER TABLE … SET LOGGED"
        ));
    }
    if let Some(root) = &raw.partition_of {
        return Some(format!(
            "table {table} is a partition of {root}: watch that one"
        ));
    }
    if raw.has_children {
        return Some(format!(
            "other tables inherit from {table}, and their changes are not told under its name"
        ));
    }
    if kind == TableKind::Partitioned && !raw.via_root {
        return Some(format!(
            "table {table} is partitioned, and the publication tells of its partitions: \
             ALTER PUBLICATION … SET (publish_via_partition_root = true)"
        ));
    }
    None
}

fn of_key(schema: &TableSchema, raw: &RawTable) -> Option<String> {
    let table = schema.table();
    if schema.key().is_empty() {
        return Some(format!("table {table} has no primary key"));
    }
    let mut key = schema.key().iter().map(|at| &schema.columns()[*at]);
    if let Some(odd) = key.find(|column| !column.kind.is_comparable()) {
        let kind = match &odd.kind {
            ColumnType::Other(name) => name,
            other => other.name(),
        };
        let name = &odd.name;
        return Some(format!(
            "table {table}: its key column {name} has {kind}, by which rows cannot be told apart"
        ));
    }
    let identity_tells_key = match raw.identity.as_str() {
        "f" => true,
        "d" => raw.key_is_immediate,
        "i" => {
            let told = raw.identity_key.as_deref().unwrap_or_default();
            raw.key.iter().all(|number| told.contains(number))
        }
        _ => false,
    };
    (!identity_tells_key).then(|| {
        format!(
            "the change stream cannot tell which row of table {table} was changed: its replica \
             identity does not hold the primary key (ALTER TABLE … REPLICA IDENTITY DEFAULT, or \
             FULL if the key is deferrable)"
        )
    })
}

/// The same for a table that tenants share: the stream has to say whose a row was before it was
/// changed. `stored` and `raw` have the column that says it last.
pub(crate) fn refusal_of_owner(stored: &TableSchema, raw: &RawTable) -> Option<String> {
    let (table, column, raw_column) = (
        stored.table(),
        stored.columns().last()?,
        raw.columns.last()?,
    );
    let (name, kind) = (&column.name, &column.kind);
    if !kind.names_tenants() {
        return Some(format!(
            "table {table}: its column {name} has {kind}, which cannot say whose a row is: text, \
             uuid and integers can"
        ));
    }
    if raw_column.generated {
        return Some(format!(
            "table {table}: its column {name} is computed by the server, so the change stream does \
             not say whose a row is"
        ));
    }
    let number = raw_column.number;
    let tells = |identity: &str| match identity {
        "f" => true,
        "d" => raw.key.contains(&number),
        _ => false,
    };
    let by_index = raw.identity_key.as_deref().unwrap_or_default();
    let own = tells(&raw.identity) || raw.identity == "i" && by_index.contains(&number);
    let mut leaves = raw.leaf_identities.iter().flatten();
    let of_leaves = leaves.all(|identity| tells(identity));
    let what = match (own, of_leaves) {
        (true, true) => return None,
        (false, _) => "its replica identity does",
        (true, false) => "the replica identities of its partitions do",
    };
    Some(format!(
        "the change stream cannot tell whose row of table {table} was changed: {what} not hold \
         column {name} (ALTER TABLE … REPLICA IDENTITY FULL, or a primary key that holds {name})"
    ))
}
