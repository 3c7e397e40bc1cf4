//! What tables the file has, as of one version of its schema.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rusqlite::Connection;
use tidegate_core::{
    Column, ColumnType, CommandError, KeyPromise, KeySpec, Owner, TableInfo, TableName,
    TableSchema, Tenancy, TenantId, Value,
};

use crate::declared::column_type;
use crate::error::Failure;
use crate::unique::{UniqueIndex, unique_indexes};

/// Names of our own objects start with this; they are never shown.
pub(crate) const OWN_PREFIX: &str = "_tidegate_";

/// Columns of a table that can be captured: each becomes one of the log, which has a few of its
/// own, and SQLite stops at 2,000.
pub(crate) const COLUMNS_MAX: usize = 1_900;

/// Everything that is known about the tables, until the file's schema changes.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// How tables, or their rows, are found to be a tenant's.
    pub(crate) tenancy: Tenancy,
    /// `PRAGMA schema_version` that it was read at.
    pub(crate) version: i64,
    /// By physical name. Tables of nobody, and our own, are not among them.
    pub(crate) tables: BTreeMap<String, Arc<Table>>,
    /// Numbers of the shapes that tables have now.
    pub(crate) live: BTreeSet<i64>,
    /// By the number that log rows carry, former shapes of tables included.
    pub(crate) sources: HashMap<i64, Arc<Source>>,
}

/// One shape of one table, as the log refers to it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) tenant: TenantId,
    pub(crate) schema: Arc<TableSchema>,
}

/// A table or view.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) physical: String,
    pub(crate) tenant: TenantId,
    pub(crate) schema: Arc<TableSchema>,
    /// For each column.
    pub(crate) columns: Vec<Storage>,
    /// Whether rows can be written at all.
    pub(crate) kind: TableKind,
    /// Through which a row can replace one of another key.
    pub(crate) uniques: Vec<UniqueIndex>,
    /// Why it cannot be watched.
    pub(crate) refusal: Option<String>,
    /// A name by which the rowid can be reached, where it is not the primary key.
    pub(crate) free_rowid: Option<&'static str>,
}

/// What `sqlite_schema` says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableKind {
    Table,
    View,
    Virtual,
}

/// How a column is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    pub(crate) declared: String,
    pub(crate) generated: bool,
    /// Whether SQLite itself lets NULL into it.
    pub(crate) may_be_null: bool,
    /// The collation that the primary key compares it by, when it is part of that.
    pub(crate) key_collation: Option<String>,
}

impl Table {
    /// The reason why it cannot be watched, as an error.
    pub(crate) fn watchable(&self) -> Result<(), CommandError> {
        match &self.refusal {
            None => Ok(()),
            Some(why) => Err(CommandError::UnsupportedTable(why.clone())),
        }
    }

    /// Its entry in a list of tables.
    pub(crate) fn info(&self) -> TableInfo {
        let columns = self.schema.columns();
        let key = self.schema.key().iter();
        TableInfo {
            name: self.schema.table().clone(),
            columns: columns.to_vec(),
            key: key.map(|at| columns[*at].name.to_string()).collect(),
            refusal: self.refusal.clone(),
        }
    }

    /// The columns and values of the one row that a key names: by the primary key, or by a column
    /// with a unique index of its own.
    pub(crate) fn key_of_one(&self, spec: &KeySpec) -> Result<Vec<(usize, Value)>, CommandError> {
        let names_one = |(at, column): (usize, &Column)| {
            let is_unique = |index: &UniqueIndex| index.is_exactly(&column.name);
            let names = self.schema.key() == [at] || self.uniques.iter().any(is_unique);
            names.then_some(at)
        };
        let columns = self.schema.columns().iter().enumerate();
        let uniques: Vec<usize> = columns.filter_map(names_one).collect();
        self.schema.resolve_key(spec, KeyPromise::OneRow(&uniques))
    }
}

impl Catalog {
    /// One that knows of nothing yet.
    pub(crate) fn empty(tenancy: Tenancy) -> Self {
        Self {
            tenancy,
            version: 0,
            tables: BTreeMap::new(),
            live: BTreeSet::new(),
            sources: HashMap::new(),
        }
    }

    /// A tenant's table.
    pub(crate) fn table(
        &self,
        tenant: &TenantId,
        table: &TableName,
    ) -> Result<&Arc<Table>, CommandError> {
        let unknown = || CommandError::UnknownTable(format!("there is no table {table}"));
        let physical = self.tenancy.physical(tenant, table);
        let physical = physical.map_err(|_| unknown())?;
        self.tables.get(&physical).ok_or_else(unknown)
    }

    /// All tables of a tenant.
    pub(crate) fn tables_of(&self, tenant: &TenantId) -> Vec<TableInfo> {
        let Ok(owner) = self.tenancy.admit(tenant) else {
            return Vec::new();
        };
        let tables = self.tables.values();
        let own = tables.filter(|table| table.tenant == owner);
        own.map(|table| table.info()).collect()
    }
}

/// `PRAGMA schema_version`: a number that every change of the schema raises.
pub(crate) fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached("PRAGMA schema_version")?;
    statement.query_row([], |row| row.get(0))
}

/// Reads all tables. Call it in a transaction.
pub(crate) fn read_tables(
    connection: &Connection,
    tenancy: &Tenancy,
) -> Result<BTreeMap<String, Arc<Table>>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT name, type, wr FROM pragma_table_list \
         WHERE schema = 'main' AND type IN ('table', 'view', 'virtual')",
    )?;
    let listed = statement
        .query_map([], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, bool>(2)?,
            ))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let mut tables = BTreeMap::new();
    for (physical, kind, without_rowid) in listed {
        if physical.starts_with("sqlite_") || physical.starts_with(OWN_PREFIX) {
            continue;
        }
        let Some((Owner::Tenant(tenant), name)) = tenancy.logical("main", &physical) else {
            continue;
        };
        let owner = (tenant, name);
        let kind = match kind.as_str() {
            "view" => TableKind::View,
            "virtual" => TableKind::Virtual,
            _ => TableKind::Table,
        };
        let listed = Listed {
            kind,
            without_rowid,
            owner,
        };
        match read_table(connection, &physical, listed) {
            Ok(table) => {
                tables.insert(physical, Arc::new(table));
            }
            // A view of something that is gone, or a virtual table whose module is not built in.
            Err(Failure::Sqlite(error)) if kind != TableKind::Table => {
                tracing::warn!(table = physical, error = %error, "left out, as it cannot be read");
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(tables)
}

struct Listed {
    kind: TableKind,
    without_rowid: bool,
    owner: (TenantId, TableName),
}

/// A column as `table_xinfo` gives it.
struct RawColumn {
    name: String,
    declared: String,
    not_null: bool,
    key_place: usize,
    hidden: i64,
}

fn read_table(connection: &Connection, physical: &str, listed: Listed) -> Result<Table, Failure> {
    let mut raw = read_columns(connection, physical)?;
    // Hidden columns of virtual tables are their arguments, not their data.
    raw.retain(|column| column.hidden != 1);
    let mut key: Vec<usize> = (0..raw.len()).filter(|at| raw[*at].key_place > 0).collect();
    key.sort_by_key(|at| raw[*at].key_place);
    let indexes = unique_indexes(connection, physical)?;
    let rowid_is_key = key.len() == 1 && indexes.key.is_none() && !listed.without_rowid;
    let mut columns: Vec<Column> = Vec::with_capacity(raw.len());
    let mut storage = Vec::with_capacity(raw.len());
    for (at, column) in raw.iter().enumerate() {
        let in_key = key.contains(&at);
        let never_null = column.not_null || in_key && (rowid_is_key || listed.without_rowid);
        columns.push(Column {
            name: column.name.as_str().into(),
            kind: column_type(&column.declared),
            nullable: !in_key && !column.not_null,
        });
        storage.push(Storage {
            declared: column.declared.clone(),
            generated: column.hidden > 1,
            may_be_null: !never_null,
            key_collation: indexes.key_collation(&column.name),
        });
    }
    let (tenant, name) = listed.owner;
    let schema = Arc::new(TableSchema::new(name, columns, key));
    let free_rowid = match listed.kind == TableKind::Table && !listed.without_rowid {
        true if !rowid_is_key => unshadowed_rowid(&schema),
        _ => None,
    };
    let refusal = refusal(&schema, listed.kind).or(indexes.refusal);
    Ok(Table {
        physical: physical.to_owned(),
        tenant,
        schema,
        columns: storage,
        kind: listed.kind,
        uniques: indexes.uniques,
        refusal,
        free_rowid,
    })
}

fn read_columns(connection: &Connection, physical: &str) -> Result<Vec<RawColumn>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT name, type, \"notnull\", pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid",
    )?;
    let columns = statement.query_map([physical], |row| {
        Ok(RawColumn {
            name: row.get(0)?,
            declared: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
            not_null: row.get(2)?,
            key_place: row.get(3)?,
            hidden: row.get(4)?,
        })
    })?;
    Ok(columns.collect::<Result<Vec<_>, _>>()?)
}

fn unshadowed_rowid(schema: &TableSchema) -> Option<&'static str> {
    let taken = |name: &str| {
        let mut columns = schema.columns().iter();
        columns.any(|column| column.name.eq_ignore_ascii_case(name))
    };
    ["rowid", "_rowid_", "oid"]
        .into_iter()
        .find(|name| !taken(name))
}

fn refusal(schema: &TableSchema, kind: TableKind) -> Option<String> {
    let table = schema.table();
    match kind {
        TableKind::View => return Some(format!("{table} is a view: its changes are not captured")),
        TableKind::Virtual => {
            return Some(format!(
                "{table} is a virtual table: its changes are not captured"
            ));
        }
        TableKind::Table => {}
    }
    if schema.key().is_empty() {
        return Some(format!("table {table} has no primary key"));
    }
    if schema.columns().len() > COLUMNS_MAX {
        return Some(format!("table {table} has more than {COLUMNS_MAX} columns"));
    }
    let mut key = schema.key().iter().map(|at| &schema.columns()[*at]);
    let odd = key.find(|column| !column.kind.is_comparable())?;
    let (name, kind) = (&odd.name, &odd.kind);
    let shown = match kind {
        ColumnType::Other(name) if &**name == "any" => "no type",
        other => other.name(),
    };
    Some(format!(
        "table {table}: its key column {name} has {shown}, by which rows cannot be told apart"
    ))
}
