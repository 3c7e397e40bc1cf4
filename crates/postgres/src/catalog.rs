//! What tables there are, as the server's catalog has them.
//!
//! Nothing tells us of a change of the catalog in time, so what is kept here may be old. Each read
//! therefore brings a table's *shape* along, a digest of all that its text depends on, taken under
//! the same lock and snapshot as the rows; when it differs, the table is looked up again.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use tidegate_core::{
    Column, ColumnType, CommandError, KeyPromise, KeySpec, Owner, RangeType, TableInfo, TableName,
    TableSchema, Tenancy, TenantId, Value,
};
use tidegate_sql::{PostgresRows, PostgresTable, PostgresType};
use tokio_postgres::Client;

use crate::error::Failure;
use crate::refusal::refusal;
use crate::session::{run, text_of};

/// Tables kept. More than a person has; past it all are looked up again.
const TABLES_MAX: usize = 10_000;

/// A digest of what a table's columns, key and partitions are.
pub(crate) const SHAPE: &str = "(SELECT md5(concat_ws('|', \
     (SELECT string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, \
     a.attgenerated), ',' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a \
     WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped), \
     (SELECT i.indkey::text FROM pg_catalog.pg_index i \
     WHERE i.indrelid = {oid} AND i.indisprimary), \
     (SELECT string_agg(p.relid::oid::text, ',' ORDER BY p.relid::oid) \
     FROM pg_catalog.pg_partition_tree({oid}) p))))";

/// A table or view.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    pub(crate) physical: String,
    pub(crate) tenant: TenantId,
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) sql: PostgresTable,
    /// For each column.
    pub(crate) columns: Vec<Storage>,
    pub(crate) kind: TableKind,
    /// Columns that have a unique index of their own.
    pub(crate) uniques: Vec<usize>,
    pub(crate) shape: String,
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

/// A table by its name, and its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shaped {
    pub(crate) physical: String,
    pub(crate) shape: String,
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
    pub(crate) partition_of: Option<String>,
    pub(crate) has_children: bool,
    has_triggers: bool,
    pub(crate) row_security: bool,
    pub(crate) shape: String,
    pub(crate) columns: Vec<RawColumn>,
    /// Columns of the primary key, by number.
    pub(crate) key: Vec<i32>,
    pub(crate) key_is_immediate: bool,
    pub(crate) uniques: Vec<i32>,
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
    generated: bool,
}

#[derive(Debug, Deserialize)]
struct RawElement {
    oid: u32,
    name: String,
}

impl Table {
    pub(crate) fn from_raw(
        raw: RawTable,
        schema_name: &str,
        tenant: TenantId,
        name: TableName,
    ) -> Self {
        let at = |number: &i32| {
            raw.columns
                .iter()
                .position(|column| column.number == *number)
        };
        let key: Vec<usize> = raw.key.iter().filter_map(at).collect();
        let mut uniques: Vec<usize> = raw.uniques.iter().filter_map(at).collect();
        if let [only] = &key[..] {
            uniques.push(*only);
        }
        let own: Vec<PostgresType> = raw.columns.iter().map(RawColumn::own_type).collect();
        let columns = raw.columns.iter().zip(&own).enumerate();
        let columns = columns.map(|(at, (column, own))| Column {
            name: column.name.as_str().into(),
            kind: column.kind(*own),
            nullable: !column.not_null && !key.contains(&at),
        });
        let schema = Arc::new(TableSchema::new(name, columns.collect(), key));
        let kind = match raw.kind.as_str() {
            "p" => TableKind::Partitioned,
            "v" => TableKind::View,
            "m" => TableKind::Materialized,
            "f" => TableKind::Foreign,
            _ => TableKind::Table,
        };
        let storage = raw.columns.iter().map(|column| Storage {
            oid: column.oid,
            modifier: column.modifier,
            generated: column.generated,
        });
        Self {
            oid: raw.oid,
            tenant,
            sql: PostgresTable {
                schema: schema_name.to_owned(),
                rows: match kind {
                    TableKind::Table => PostgresRows::Own,
                    _ => PostgresRows::All,
                },
                columns: own,
            },
            columns: storage.collect(),
            kind,
            uniques,
            has_triggers: raw.has_triggers,
            refusal: refusal(&schema, kind, &raw),
            published: match (raw.published, raw.published_in_part) {
                (false, _) => Published::No,
                (true, true) => Published::InPart,
                (true, false) => Published::Yes,
            },
            shape: raw.shape,
            physical: raw.name,
            schema,
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

/// One row for each table of a schema, or for one of them, as JSON. `$1` is the schema, `$2` the
/// table or NULL, `$3` the publication.
fn catalog_sql() -> String {
    let numbers = |index: &str| {
        format!(
            "(SELECT json_agg(k.n ORDER BY k.at) \
             FROM unnest({index}.indkey::int2[]) WITH ORDINALITY AS k(n, at) \
             WHERE k.at <= {index}.indnkeyatts)"
        )
    };
    let (shape, key, identity) = (
        SHAPE.replace("{oid}", "c.oid"),
        numbers("pk"),
        numbers("ri"),
    );
    format!(
        "SELECT json_build_object(
           'oid', c.oid::bigint, 'name', c.relname, 'kind', c.relkind::text,
           'persistence', c.relpersistence::text, 'identity', c.relreplident::text,
           'identity_key', {identity},
           'partition_of', (SELECT p.relname FROM pg_catalog.pg_inherits h
             JOIN pg_catalog.pg_class p ON p.oid = h.inhparent
             WHERE h.inhrelid = c.oid AND c.relispartition LIMIT 1),
           'has_children', c.relkind = 'r' AND EXISTS(
             SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid),
           'has_triggers', EXISTS(SELECT FROM pg_catalog.pg_trigger g
             WHERE g.tgrelid = c.oid AND NOT g.tgisinternal),
           'row_security', CASE WHEN c.relrowsecurity
             THEN pg_catalog.row_security_active(c.oid) ELSE false END,
           'shape', {shape},
           'columns', coalesce((SELECT json_agg(json_build_object(
               'number', a.attnum, 'name', a.attname, 'oid', a.atttypid::bigint,
               'base', b.base::bigint, 'element', (
                 SELECT json_build_object('oid', e.oid::bigint, 'name', pg_catalog.format_type(e.oid, NULL))
                 FROM pg_catalog.pg_type t JOIN pg_catalog.pg_type e ON e.oid = t.typelem
                 WHERE t.oid = b.base AND e.typarray = t.oid AND e.typdelim = ','),
               'type_name', pg_catalog.format_type(a.atttypid, a.atttypmod),
               'modifier', a.atttypmod, 'not_null', a.attnotnull,
               'generated', a.attgenerated <> '') ORDER BY a.attnum)
             FROM pg_catalog.pg_attribute a
             CROSS JOIN LATERAL (
               WITH RECURSIVE up(oid, kind, below) AS (
                 SELECT t.oid, t.typtype, t.typbasetype FROM pg_catalog.pg_type t
                 WHERE t.oid = a.atttypid
                 UNION ALL
                 SELECT t.oid, t.typtype, t.typbasetype FROM up
                 JOIN pg_catalog.pg_type t ON t.oid = up.below WHERE up.kind = 'd')
               SELECT up.oid AS base FROM up WHERE up.kind <> 'd') b
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
           'key', coalesce({key}, '[]'),
           'key_is_immediate', coalesce(pk.indimmediate, true),
           'uniques', coalesce((SELECT json_agg(u.indkey[0]) FROM pg_catalog.pg_index u
             WHERE u.indrelid = c.oid AND u.indisunique AND u.indisvalid AND u.indnkeyatts = 1
               AND u.indpred IS NULL AND u.indkey[0] > 0), '[]'),
           'published', coalesce(pub.puballtables OR pr.prrelid IS NOT NULL OR EXISTS(
             SELECT FROM pg_catalog.pg_publication_namespace pn
             WHERE pn.pnpubid = pub.oid AND pn.pnnspid = c.relnamespace), false),
           'published_in_part', pr.prqual IS NOT NULL OR pr.prattrs IS NOT NULL,
           'via_root', coalesce(pub.pubviaroot, true))::text
         FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN pg_catalog.pg_index pk ON pk.indrelid = c.oid AND pk.indisprimary
         LEFT JOIN pg_catalog.pg_index ri ON ri.indrelid = c.oid AND ri.indisreplident
         LEFT JOIN pg_catalog.pg_publication pub ON pub.pubname = $3::text
         LEFT JOIN pg_catalog.pg_publication_rel pr
           ON pr.prpubid = pub.oid AND pr.prrelid = c.oid
         WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
           AND ($2::text IS NULL OR c.relname = $2::text)
         ORDER BY c.relname"
    )
}

/// The tables, as far as they were asked for.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) tenancy: Tenancy,
    pub(crate) schema: String,
    pub(crate) publication: String,
    sql: String,
    tables: RwLock<HashMap<String, Arc<Table>>>,
}

impl Catalog {
    pub(crate) fn new(tenancy: Tenancy, schema: String, publication: String) -> Self {
        Self {
            tenancy,
            schema,
            publication,
            sql: catalog_sql(),
            tables: RwLock::default(),
        }
    }

    /// The name in the database of a tenant's table.
    pub(crate) fn physical(
        &self,
        tenant: &TenantId,
        table: &TableName,
    ) -> Result<String, CommandError> {
        let physical = self.tenancy.physical(tenant, table);
        physical.map_err(|_| CommandError::UnknownTable(format!("there is no table {table}")))
    }

    /// A tenant's table, as it was when it was last looked up.
    pub(crate) async fn table(
        &self,
        client: &Client,
        tenant: &TenantId,
        name: &TableName,
    ) -> Result<Arc<Table>, Failure> {
        let physical = self.physical(tenant, name)?;
        match self.known(&physical) {
            Some(table) => Ok(table),
            None => self.fresh(client, tenant, name).await,
        }
    }

    /// A tenant's table, as it is.
    pub(crate) async fn fresh(
        &self,
        client: &Client,
        tenant: &TenantId,
        name: &TableName,
    ) -> Result<Arc<Table>, Failure> {
        let physical = self.physical(tenant, name)?;
        let found = self.look_up(client, &physical).await?;
        let unknown = || CommandError::UnknownTable(format!("there is no table {name}"));
        Ok(found.ok_or_else(unknown)?)
    }

    /// A table by its name in the database; `None` when it is not there, or nobody's.
    pub(crate) async fn look_up(
        &self,
        client: &Client,
        physical: &str,
    ) -> Result<Option<Arc<Table>>, Failure> {
        let table = self.read(client, Some(physical)).await?.pop();
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        match &table {
            Some(table) => {
                if tables.len() >= TABLES_MAX {
                    tables.clear();
                }
                tables.insert(physical.to_owned(), Arc::clone(table));
            }
            None => {
                tables.remove(physical);
            }
        }
        Ok(table)
    }

    /// The shapes of all tables in the stream, by oid.
    pub(crate) async fn shapes(&self, client: &Client) -> Result<HashMap<u32, Shaped>, Failure> {
        let sql = format!(
            "SELECT c.oid::text, c.relname::text, {} \
             FROM pg_catalog.pg_get_publication_tables($1::text) AS p \
             JOIN pg_catalog.pg_class c ON c.oid = p.relid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $2::text",
            SHAPE.replace("{oid}", "c.oid")
        );
        let parameters = [Value::text(&self.publication), Value::text(&self.schema)];
        let rows = run(client, &sql, &parameters).await?;
        let shaped = rows.iter().filter_map(|row| {
            let text = |column| text_of(row, column).unwrap_or_default();
            let oid = text(0).parse().ok()?;
            let (physical, shape) = (text(1).to_owned(), text(2).to_owned());
            Some((oid, Shaped { physical, shape }))
        });
        Ok(shaped.collect())
    }

    fn known(&self, physical: &str) -> Option<Arc<Table>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(physical).cloned()
    }

    /// All tables of a tenant.
    pub(crate) async fn tables_of(
        &self,
        client: &Client,
        tenant: &TenantId,
    ) -> Result<Vec<TableInfo>, Failure> {
        let Ok(owner) = self.tenancy.admit(tenant) else {
            return Ok(Vec::new());
        };
        let tables = self.read(client, None).await?;
        let own = tables.iter().filter(|table| table.tenant == owner);
        Ok(own.map(|table| table.info()).collect())
    }

    async fn read(
        &self,
        client: &Client,
        physical: Option<&str>,
    ) -> Result<Vec<Arc<Table>>, Failure> {
        let parameters = [
            Value::text(&self.schema),
            physical.map_or(Value::Null, Value::text),
            Value::text(&self.publication),
        ];
        let mut tables = Vec::new();
        for row in run(client, &self.sql, &parameters).await? {
            let text = text_of(&row, 0).unwrap_or_default();
            let raw: RawTable = serde_json::from_str(text).map_err(|error| {
                crate::error::rejected(format!("its catalog cannot be read: {error}"))
            })?;
            let owner = self.tenancy.logical(&self.schema, &raw.name);
            if let Some((Owner::Tenant(tenant), name)) = owner {
                tables.push(Arc::new(Table::from_raw(raw, &self.schema, tenant, name)));
            }
        }
        Ok(tables)
    }
}
