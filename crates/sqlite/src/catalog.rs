//! What tables the file has, as of one version of its schema.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use rusqlite::Connection;
use tidegate_core::{
    Column, ColumnType, CommandError, KeyPromise, KeySpec, Numeric, Owner, TableInfo, TableName,
    TableSchema, Tenancy, TenantId, Value,
};
use tidegate_sql::{Dialect, Scope, Target};

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
    pub(crate) owner: Owner,
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) stored: Arc<TableSchema>,
}

/// A table or view.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) physical: String,
    pub(crate) owner: Owner,
    /// As clients know it.
    pub(crate) schema: Arc<TableSchema>,
    /// The same, unless tenants share it: then with the column that says whose a row is, as the
    /// last one, and as the last one of the key.
    pub(crate) stored: Arc<TableSchema>,
    /// For each stored column.
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
            // What is unique with the tenant is unique for it.
            let tenant_column = self.tenant_column();
            let tenant_column = tenant_column.map(|at| &*self.stored.columns()[at].name);
            let is_unique = |index: &UniqueIndex| index.is_exactly(&column.name, tenant_column);
            let names = self.schema.key() == [at] || self.uniques.iter().any(is_unique);
            names.then_some(at)
        };
        let columns = self.schema.columns().iter().enumerate();
        let uniques: Vec<usize> = columns.filter_map(names_one).collect();
        self.schema.resolve_key(spec, KeyPromise::OneRow(&uniques))
    }
}

impl Table {
    /// Where the column that says whose a row is stands, if there is one.
    pub(crate) fn tenant_column(&self) -> Option<usize> {
        match self.owner {
            Owner::Tenant(_) => None,
            Owner::EachRow => Some(self.columns.len() - 1),
        }
    }

    /// What of it a tenant may touch.
    pub(crate) fn scope(&self, tenant: &TenantId) -> Scope {
        let column = self.columns.last();
        match Scope::of(tenant, &self.owner, &self.stored) {
            // To a column that is declared as UUID, SQLite takes text that looks like a number for
            // that number, and several texts for one.
            Scope::Rows(Value::Text(name))
                if column.is_some_and(|column| !column.has_text_affinity())
                    && Numeric::parse(&name).is_some() =>
            {
                Scope::Nothing
            }
            scope => scope,
        }
    }
}

impl Storage {
    fn has_text_affinity(&self) -> bool {
        let declared = self.declared.to_ascii_uppercase();
        ["CHAR", "CLOB", "TEXT"]
            .iter()
            .any(|word| declared.contains(word))
    }
}

/// A table, and what of it one tenant may touch.
#[derive(Debug, Clone)]
pub(crate) struct Share<'a> {
    table: &'a Table,
    scope: Scope,
}

impl Share<'_> {
    /// What a statement is about.
    pub(crate) fn target(&self) -> Target<'_> {
        Target {
            dialect: Dialect::Sqlite,
            name: &self.table.physical,
            schema: &self.table.stored,
            scope: &self.scope,
        }
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl Deref for Share<'_> {
    type Target = Table;

    fn deref(&self) -> &Table {
        self.table
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
    ) -> Result<Share<'_>, CommandError> {
        let unknown = || CommandError::UnknownTable(format!("there is no table {table}"));
        let physical = self.tenancy.physical(tenant, table);
        let physical = physical.map_err(|_| unknown())?;
        let table = self.tables.get(&physical).ok_or_else(unknown)?;
        let scope = table.scope(tenant);
        Ok(Share { table, scope })
    }

    /// All tables of a tenant, those that it shares included.
    pub(crate) fn tables_of(&self, tenant: &TenantId) -> Vec<TableInfo> {
        let Ok(tenant) = self.tenancy.admit(tenant) else {
            return Vec::new();
        };
        let tables = self.tables.values();
        let own = tables.filter(|table| match &table.owner {
            Owner::Tenant(owner) => *owner == tenant,
            Owner::EachRow => true,
        });
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
        let Some((owner, name)) = tenancy.logical("main", &physical) else {
            continue;
        };
        let kind = match kind.as_str() {
            "view" => TableKind::View,
            "virtual" => TableKind::Virtual,
            _ => TableKind::Table,
        };
        let listed = Listed {
            kind,
            without_rowid,
            owner,
            name,
            tenant_column: tenancy.column(),
        };
        match read_table(connection, &physical, listed) {
            Ok(Some(table)) => {
                tables.insert(physical, Arc::new(table));
            }
            Ok(None) => {}
            // A view of something that is gone, or a virtual table whose module is not built in.
            Err(Failure::Sqlite(error)) if kind != TableKind::Table => {
                tracing::warn!(table = physical, error = %error, "left out, as it cannot be read");
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(tables)
}

struct Listed<'a> {
    kind: TableKind,
    without_rowid: bool,
    owner: Owner,
    name: TableName,
    /// The column that says whose a row is, where rows say it.
    tenant_column: Option<&'a str>,
}

/// A column as `table_xinfo` gives it.
struct RawColumn {
    name: String,
    declared: String,
    not_null: bool,
    key_place: usize,
    hidden: i64,
}

/// `None` when it is nobody's: it has no column that says whose its rows are.
fn read_table(
    connection: &Connection,
    physical: &str,
    listed: Listed<'_>,
) -> Result<Option<Table>, Failure> {
    let mut raw = read_columns(connection, physical)?;
    // Hidden columns of virtual tables are their arguments, not their data.
    raw.retain(|column| column.hidden != 1);
    let tenant_column = match listed.tenant_column {
        Some(name) => {
            let Some(at) = raw.iter().position(|column| column.name == name) else {
                return Ok(None);
            };
            let column = raw.remove(at);
            raw.push(column);
            Some(raw.len() - 1)
        }
        None => None,
    };
    let mut key: Vec<usize> = (0..raw.len()).filter(|at| raw[*at].key_place > 0).collect();
    key.sort_by_key(|at| raw[*at].key_place);
    let mut indexes = unique_indexes(connection, physical)?;
    let rowid_is_key = key.len() == 1 && indexes.key.is_none() && !listed.without_rowid;
    if tenant_column.is_some_and(|at| !key.contains(&at)) {
        let names = key.iter().map(|at| raw[*at].name.clone());
        indexes.replaces_by_key(names);
    }
    let is_key = |at: &usize| key.contains(at);
    let never_null =
        |at: usize| raw[at].not_null || is_key(&at) && (rowid_is_key || listed.without_rowid);
    let columns = raw.iter().enumerate().map(|(at, column)| Column {
        name: column.name.as_str().into(),
        kind: column_type(&column.declared),
        nullable: !is_key(&at) && !column.not_null,
    });
    let columns: Vec<Column> = columns.collect();
    let storage = raw.iter().enumerate().map(|(at, column)| Storage {
        declared: column.declared.clone(),
        generated: column.hidden > 1,
        may_be_null: !never_null(at),
        key_collation: indexes.key_collation(&column.name),
    });
    let storage: Vec<Storage> = storage.collect();
    let own_key = key.iter().copied().filter(|at| Some(*at) != tenant_column);
    let own_key: Vec<usize> = own_key.collect();
    let own_columns = columns[..tenant_column.unwrap_or(columns.len())].to_vec();
    let schema = TableSchema::new(listed.name.clone(), own_columns, own_key.clone());
    let stored_key = own_key.into_iter().chain(tenant_column).collect();
    let stored = TableSchema::new(listed.name, columns, stored_key);
    let free_rowid = match listed.kind == TableKind::Table && !listed.without_rowid {
        true if !rowid_is_key => unshadowed_rowid(&stored),
        _ => None,
    };
    let refusal = refusal(&schema, listed.kind)
        .or_else(|| tenant_column.and_then(|at| refusal_of_owner(&stored, &storage[at])))
        .or(indexes.refusal);
    Ok(Some(Table {
        physical: physical.to_owned(),
        owner: listed.owner,
        schema: Arc::new(schema),
        stored: Arc::new(stored),
        columns: storage,
        kind: listed.kind,
        uniques: indexes.uniques,
        refusal,
        free_rowid,
    }))
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

/// The same for a table that tenants share. `stored` has the column that says whose a row is last.
fn refusal_of_owner(stored: &TableSchema, storage: &Storage) -> Option<String> {
    let (table, column) = (stored.table(), stored.columns().last()?);
    let (name, kind) = (&column.name, &column.kind);
    if storage.generated {
        return Some(format!(
            "table {table}: its column {name} is computed, so no row can be given to a tenant"
        ));
    }
    (!kind.names_tenants()).then(|| {
        format!(
            "table {table}: its column {name} has {kind}, which cannot say whose a row is: text and \
             integers can"
        )
    })
}
