//! A table as the server has it, and as one tenant has it.
//!
//! Where tenants share tables, the column that says whose a row is is hidden from them. It stands
//! last in what is read and written here, behind the columns that clients know of; so a column has
//! one index whether it is a client or a statement that means it.

use std::ops::Deref;
use std::sync::Arc;

use serde::Deserialize;
use tidegate_core::{
    Column, ColumnType, CommandError, KeyPromise, KeySpec, Owner, RangeType, TableInfo, TableName,
    TableSchema, TenantId, Value,
};
use tidegate_sql::{
    Dialect, PostgresRows, PostgresTable, PostgresType, Scope, Target, is_printed_uuid, quoted,
};

use crate::catalog::SHAPE;
use crate::refusal::{refusal, refusal_of_owner};

/// A table or view.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    pub(crate) physical: String,
    pub(crate) owner: Owner,
    /// As clients know it.
    pub(crate) schema: Arc<TableSchema>,
    /// With the column that says whose a row is, if there is one: see the module.
    pub(crate) stored: TableSchema,
    pub(crate) sql: PostgresTable,
    /// For each stored column.
    pub(crate) columns: Vec<Storage>,
    pub(crate) kind: TableKind,
    /// Columns whose values name one row at most of a tenant's.
    pub(crate) uniques: Vec<usize>,
    pub(crate) shape: String,
    /// Whether it is a part of another table, under whose name its rows are told.
    pub(crate) is_partition: bool,
    /// Whether rows may be changed by a trigger of the table before they are stored.
    pub(crate) has_triggers: bool,
    /// Why it cannot be watched, whatever the publication is.
    pub(crate) refusal: Option<String>,
    pub(crate) published: Published,
}

/// How the server keeps a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Storage {
    /// The type, as the stream names it.
    pub(crate) oid: u32,
    pub(crate) modifier: i32,
    /// Whether the server computes it, so that it cannot be written to and is not streamed.
    pub(crate) generated: bool,
    /// Where it stands among the columns that the stream tells.
    pub(crate) place: usize,
    /// Whether it is part of the primary key.
    pub(crate) in_key: bool,
}

/// Whose a table is, and what it is called.
pub(crate) struct Named<'a> {
    /// The server's schema that it is in.
    pub(crate) schema: &'a str,
    pub(crate) owner: Owner,
    pub(crate) name: TableName,
    /// The column that says whose a row is, where rows say it.
    pub(crate) tenant_column: Option<&'a str>,
}

/// A table, and what of it one tenant may touch.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    table: Arc<Table>,
    scope: Scope,
}

impl Share {
    pub(crate) fn new(table: Arc<Table>, tenant: &TenantId) -> Self {
        let scope = match Scope::of(tenant, &table.owner, &table.stored) {
            // Postgres would refuse to compare such a column with it, or to store it.
            Scope::Rows(Value::Text(name))
                if table.sql.columns.last() == Some(&PostgresType::Uuid)
                    && !is_printed_uuid(&name) =>
            {
                Scope::Nothing
            }
            scope => scope,
        };
        Self { table, scope }
    }

    /// What a statement is about.
    pub(crate) fn target(&self) -> Target<'_> {
        Target {
            dialect: Dialect::Postgres(&self.table.sql),
            name: &self.table.physical,
            schema: &self.table.stored,
            scope: &self.scope,
        }
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl Deref for Share {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.table
    }
}

/// What `pg_class` says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableKind {
    Table,
    Partitioned,
    View,
    Materialized,
    Foreign,
}

/// Whether changes of a table are in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Yes,
    No,
    /// Only some of its rows or columns.
    InPart,
}

/// A table as the catalog's statement gives it.
#[derive(Debug, Deserialize)]
pub(crate) struct RawTable {
    pub(crate) oid: u32,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) persistence: String,
    pub(crate) identity: String,
    /// Columns of the index that is the identity, by number.
    pub(crate) identity_key: Option<Vec<i32>>,
    /// The identities of its partitions, each once.
    pub(crate) leaf_identities: Option<Vec<String>>,
    pub(crate) partition_of: Option<String>,
    pub(crate) has_children: bool,
    has_triggers: bool,
    pub(crate) row_security: bool,
    pub(crate) shape: String,
    pub(crate) columns: Vec<RawColumn>,
    /// Columns of the primary key, by number.
    pub(crate) key: Vec<i32>,
    pub(crate) key_is_immediate: bool,
    /// Columns of unique indexes, by number; zero is an expression.
    pub(crate) uniques: Vec<Vec<i32>>,
    pub(crate) published: bool,
    pub(crate) published_in_part: bool,
    pub(crate) via_root: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RawColumn {
    pub(crate) number: i32,
    name: String,
    /// The type, as the stream names it.
    oid: u32,
    /// The type that a domain is of, or the same.
    base: u32,
    type_name: String,
    /// The element of `base`, when that is an array.
    element: Option<RawElement>,
    modifier: i32,
    not_null: bool,
    pub(crate) generated: bool,
}

#[derive(Debug, Deserialize)]
struct RawElement {
    oid: u32,
    name: String,
}

impl RawTable {
    /// Puts the columns in the order of the module's comment. Gives the place of each in the
    /// stream, and the index of the one that says whose a row is; `None` when that is not there.
    fn put_in_order(&mut self, tenant_column: Option<&str>) -> Option<(Vec<usize>, Option<usize>)> {
        let mut places: Vec<usize> = (0..self.columns.len()).collect();
        let Some(name) = tenant_column else {
            return Some((places, None));
        };
        let at = self.columns.iter().position(|column| column.name == name)?;
        let (column, place) = (self.columns.remove(at), places.remove(at));
        self.columns.push(column);
        places.push(place);
        Some((places, Some(self.columns.len() - 1)))
    }

    /// The columns of these numbers; expressions have none.
    fn indexes_of(&self, numbers: &[i32]) -> Vec<usize> {
        let index = |number: &i32| {
            let mut columns = self.columns.iter();
            columns.position(|column| column.number == *number)
        };
        numbers.iter().filter_map(index).collect()
    }

    fn table_kind(&self) -> TableKind {
        match self.kind.as_str() {
            "p" => TableKind::Partitioned,
            "v" => TableKind::View,
            "m" => TableKind::Materialized,
            "f" => TableKind::Foreign,
            _ => TableKind::Table,
        }
    }

    fn storage(&self, places: &[usize], key: &[usize]) -> Vec<Storage> {
        let columns = self.columns.iter().zip(places).enumerate();
        let storage = columns.map(|(at, (column, place))| Storage {
            oid: column.oid,
            modifier: column.modifier,
            generated: column.generated,
            place: *place,
            in_key: key.contains(&at),
        });
        storage.collect()
    }
}

impl Table {
    /// `None` when it is nobody's: it has no column that says whose its rows are.
    pub(crate) fn from_raw(mut raw: RawTable, named: Named<'_>) -> Option<Self> {
        let (places, tenant_column) = raw.put_in_order(named.tenant_column)?;
        let stored_key = raw.indexes_of(&raw.key);
        let is_clients = |at: &usize| Some(*at) != tenant_column;
        // What is unique with the tenant is unique for it.
        let key: Vec<usize> = stored_key.iter().copied().filter(is_clients).collect();
        let uniques = raw.uniques.iter().chain([&raw.key]);
        let uniques = uniques.filter_map(|numbers| {
            let columns = raw.indexes_of(numbers).into_iter().filter(is_clients);
            match &columns.collect::<Vec<_>>()[..] {
                [only] => Some(*only),
                _ => None,
            }
        });
        let uniques = uniques.collect();
        let own: Vec<PostgresType> = raw.columns.iter().map(RawColumn::own_type).collect();
        let columns = raw.columns.iter().zip(&own).enumerate();
        let columns = columns.map(|(at, (column, own))| Column {
            name: column.name.as_str().into(),
            kind: column.kind(*own),
            nullable: !column.not_null && !stored_key.contains(&at),
        });
        let columns: Vec<Column> = columns.collect();
        let name = named.name;
        let clients = columns[..tenant_column.unwrap_or(columns.len())].to_vec();
        let schema = Arc::new(TableSchema::new(name.clone(), clients, key.clone()));
        let stored = TableSchema::new(name, columns, key);
        let kind = raw.table_kind();
        let refusal = refusal(&schema, kind, &raw);
        Some(Self {
            oid: raw.oid,
            owner: named.owner,
            sql: PostgresTable {
                schema: named.schema.to_owned(),
                rows: match kind {
                    TableKind::Table => PostgresRows::Own,
                    _ => PostgresRows::All,
                },
                columns: own,
            },
            columns: raw.storage(&places, &stored_key),
            kind,
            uniques,
            is_partition: raw.partition_of.is_some(),
            has_triggers: raw.has_triggers,
            refusal: match tenant_column {
                Some(_) => refusal.or_else(|| refusal_of_owner(&stored, &raw)),
                None => refusal,
            },
            published: match (raw.published, raw.published_in_part) {
                (false, _) => Published::No,
                (true, true) => Published::InPart,
                (true, false) => Published::Yes,
            },
            shape: raw.shape,
            physical: raw.name,
            schema,
            stored,
        })
    }

    /// The table in SQL.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.sql.schema), quoted(&self.physical))
    }

    /// Where the column that says whose a row is stands, if there is one.
    pub(crate) fn tenant_column(&self) -> Option<usize> {
        match self.owner {
            Owner::Tenant(_) => None,
            Owner::EachRow => Some(self.columns.len() - 1),
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

    /// The columns and values that a key stands for. Whoever names one row means the UUID, not its
    /// letters.
    pub(crate) fn resolve_key(
        &self,
        spec: &KeySpec,
        promise: KeyPromise<'_>,
    ) -> Result<Vec<(usize, Value)>, CommandError> {
        let mut key = self.schema.resolve_key(spec, promise)?;
        for (column, value) in &mut key {
            if let (PostgresType::Uuid, Value::Text(text)) = (self.sql.columns[*column], &*value) {
                *value = Value::text(&text.to_ascii_lowercase());
            }
        }
        Ok(key)
    }

    /// The expression that gives the shape in a statement.
    pub(crate) fn shape_sql(&self) -> String {
        SHAPE.replace("{oid}", &self.oid.to_string())
    }
}

impl RawColumn {
    fn own_type(&self) -> PostgresType {
        match &self.element {
            Some(element) => own_type(element.oid).array(),
            None => own_type(self.base),
        }
    }

    fn kind(&self, own: PostgresType) -> ColumnType {
        match (own, &self.element) {
            (PostgresType::Array(own), Some(element)) => {
                ColumnType::array_of(kind_of(*own, &element.name))
            }
            _ => kind_of(own, &self.type_name),
        }
    }
}

fn own_type(oid: u32) -> PostgresType {
    match oid {
        16 => PostgresType::Boolean,
        17 => PostgresType::Bytea,
        20 => PostgresType::BigInt,
        21 => PostgresType::SmallInt,
        23 => PostgresType::Integer,
        25 | 1043 => PostgresType::Text,
        114 => PostgresType::Json,
        700 => PostgresType::Real,
        701 => PostgresType::Double,
        1042 => PostgresType::Char,
        1082 => PostgresType::Date,
        1114 => PostgresType::Timestamp,
        1184 => PostgresType::Timestamptz,
        1700 => PostgresType::Numeric,
        2950 => PostgresType::Uuid,
        3802 => PostgresType::Jsonb,
        3904 => PostgresType::Range(RangeType::Int4),
        3906 => PostgresType::Range(RangeType::Num),
        3908 => PostgresType::Range(RangeType::Ts),
        3910 => PostgresType::Range(RangeType::Tstz),
        3912 => PostgresType::Range(RangeType::Date),
        3926 => PostgresType::Range(RangeType::Int8),
        _ => PostgresType::Other,
    }
}

fn kind_of(own: PostgresType, name: &str) -> ColumnType {
    match own {
        PostgresType::Boolean => ColumnType::Boolean,
        PostgresType::SmallInt => ColumnType::SmallInt,
        PostgresType::Integer => ColumnType::Integer,
        PostgresType::BigInt => ColumnType::BigInt,
        PostgresType::Real => ColumnType::Real,
        PostgresType::Double => ColumnType::Double,
        PostgresType::Numeric => ColumnType::Numeric,
        PostgresType::Text | PostgresType::Char | PostgresType::Uuid => ColumnType::Text,
        PostgresType::Timestamp | PostgresType::Timestamptz => ColumnType::Timestamp,
        PostgresType::Date => ColumnType::Date,
        PostgresType::Bytea => ColumnType::Bytea,
        PostgresType::Json => ColumnType::JsonText,
        PostgresType::Jsonb => ColumnType::Json,
        PostgresType::Range(range) => ColumnType::Range(range),
        PostgresType::Array(_) | PostgresType::Other => ColumnType::Other(name.into()),
    }
}
