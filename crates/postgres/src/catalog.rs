//! What tables there are, as the server's catalog has them.
//!
//! Nothing tells us of a change of the catalog in time, so what is kept here may be old. Each read
//! therefore brings a table's *shape* along, a digest of all that its text depends on, taken under
//! the same lock and snapshot as the rows; when it differs, the table is looked up again.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tidegate_core::{CommandError, IdError, Owner, TableInfo, TableName, Tenancy, TenantId, Value};
use tokio_postgres::Client;

use crate::error::Failure;
use crate::session::{run, text_of};
use crate::table::{Named, RawTable, Share, Table};

/// Tables kept. More than a person has; past it all are looked up again.
const TABLES_MAX: usize = 10_000;

/// A digest of what a table's columns, key and partitions are, and of what the stream tells of
/// rows of these.
pub(crate) const SHAPE: &str = "(SELECT md5(concat_ws('|', \
     (SELECT string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, \
     a.attgenerated), ',' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a \
     WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped), \
     (SELECT i.indkey::text FROM pg_catalog.pg_index i \
     WHERE i.indrelid = {oid} AND i.indisprimary), \
     (SELECT string_agg(concat(q.oid, q.relreplident), ',' ORDER BY q.oid) \
     FROM pg_catalog.pg_partition_tree({oid}) p \
     JOIN pg_catalog.pg_class q ON q.oid = p.relid))))";

/// Where a table is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) schema: String,
    pub(crate) name: String,
}

/// A table by its place, and its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shaped {
    pub(crate) place: Place,
    pub(crate) shape: String,
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
    let (key, identity) = (numbers("pk"), numbers("ri"));
    let shape = SHAPE.replace("{oid}", "c.oid");
    format!(
        "SELECT json_build_object(
           'oid', c.oid::bigint, 'name', c.relname, 'kind', c.relkind::text,
           'persistence', c.relpersistence::text, 'identity', c.relreplident::text,
           'identity_key', {identity},
           'leaf_identities', (SELECT json_agg(DISTINCT q.relreplident::text)
             FROM pg_catalog.pg_partition_tree(c.oid) p
             JOIN pg_catalog.pg_class q ON q.oid = p.relid WHERE p.isleaf AND q.oid <> c.oid),
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
           'uniques', coalesce((SELECT json_agg((u.indkey::int2[])[0:u.indnkeyatts - 1])
             FROM pg_catalog.pg_index u
             WHERE u.indrelid = c.oid AND u.indisunique AND u.indisvalid AND u.indnkeyatts <= 2
               AND u.indpred IS NULL AND 0 <> ALL (u.indkey::int2[])), '[]'),
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
    /// Where tables are, unless each tenant has a schema.
    schema: String,
    pub(crate) publication: String,
    sql: String,
    tables: RwLock<HashMap<Place, Arc<Table>>>,
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

    /// The place of a tenant's table.
    pub(crate) fn place(&self, tenant: &TenantId, table: &TableName) -> Result<Place, IdError> {
        Ok(Place {
            name: self.tenancy.physical(tenant, table)?,
            schema: self.schema_of(tenant).to_owned(),
        })
    }

    fn schema_of<'a>(&'a self, tenant: &'a TenantId) -> &'a str {
        self.tenancy.schema_of(tenant).unwrap_or(&self.schema)
    }

    /// Whose a table is and what clients call it, or `None` when it is nobody's.
    pub(crate) fn owner(&self, place: &Place) -> Option<(Owner, TableName)> {
        let is_served = match self.tenancy {
            // Whether the schema is a tenant's, the tenancy says.
            Tenancy::Schema => true,
            Tenancy::Prefix | Tenancy::Column(_) | Tenancy::Single => place.schema == self.schema,
        };
        is_served
            .then(|| self.tenancy.logical(&place.schema, &place.name))
            .flatten()
    }

    /// A tenant's table, as it was when it was last looked up.
    pub(crate) async fn table(
        &self,
        client: &Client,
        tenant: &TenantId,
        name: &TableName,
    ) -> Result<Share, Failure> {
        let place = self.place(tenant, name).map_err(|_| unknown(name))?;
        match self.known(&place) {
            Some(table) => Ok(Share::new(table, tenant)),
            None => self.fresh(client, tenant, name).await,
        }
    }

    /// A tenant's table, as it is.
    pub(crate) async fn fresh(
        &self,
        client: &Client,
        tenant: &TenantId,
        name: &TableName,
    ) -> Result<Share, Failure> {
        let place = self.place(tenant, name).map_err(|_| unknown(name))?;
        let found = self.look_up(client, &place).await?;
        let table = found.ok_or_else(|| unknown(name))?;
        Ok(Share::new(table, tenant))
    }

    /// A table by its place; `None` when it is not there, or nobody's.
    pub(crate) async fn look_up(
        &self,
        client: &Client,
        place: &Place,
    ) -> Result<Option<Arc<Table>>, Failure> {
        let found = self.read(client, &place.schema, Some(&place.name));
        let table = found.await?.pop();
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        match &table {
            Some(table) => {
                if tables.len() >= TABLES_MAX {
                    tables.clear();
                }
                tables.insert(place.clone(), Arc::clone(table));
            }
            None => {
                tables.remove(place);
            }
        }
        Ok(table)
    }

    /// The shapes of all tables in the stream, by oid.
    pub(crate) async fn shapes(&self, client: &Client) -> Result<HashMap<u32, Shaped>, Failure> {
        let sql = format!(
            "SELECT c.oid::text, n.nspname::text, c.relname::text, {} \
             FROM pg_catalog.pg_get_publication_tables($1::text) AS p \
             JOIN pg_catalog.pg_class c ON c.oid = p.relid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE $2::text IS NULL OR n.nspname = $2::text",
            SHAPE.replace("{oid}", "c.oid")
        );
        let only = match self.tenancy {
            Tenancy::Schema => Value::Null,
            Tenancy::Prefix | Tenancy::Column(_) | Tenancy::Single => Value::text(&self.schema),
        };
        let rows = run(client, &sql, &[Value::text(&self.publication), only]).await?;
        let shaped = rows.iter().filter_map(|row| {
            let text = |column| text_of(row, column).unwrap_or_default().to_owned();
            let oid = text(0).parse().ok()?;
            let place = Place {
                schema: text(1),
                name: text(2),
            };
            let shape = text(3);
            Some((oid, Shaped { place, shape }))
        });
        Ok(shaped.collect())
    }

    fn known(&self, place: &Place) -> Option<Arc<Table>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.get(place).cloned()
    }

    /// All tables of a tenant, those that it shares included.
    pub(crate) async fn tables_of(
        &self,
        client: &Client,
        tenant: &TenantId,
    ) -> Result<Vec<TableInfo>, Failure> {
        let Ok(tenant) = self.tenancy.admit(tenant) else {
            return Ok(Vec::new());
        };
        let tables = self.read(client, self.schema_of(&tenant), None).await?;
        let own = tables.iter().filter(|table| match &table.owner {
            Owner::Tenant(owner) => *owner == tenant,
            Owner::EachRow => true,
        });
        Ok(own.map(|table| table.info()).collect())
    }

    /// Why shared tables cannot be watched, those that cannot; and how many there are.
    pub(crate) async fn shared(&self, client: &Client) -> Result<(usize, Vec<String>), Failure> {
        let mut tables = self.read(client, &self.schema, None).await?;
        tables.retain(|table| !table.is_partition);
        let refusals = tables.iter().filter_map(|table| table.refusal.clone());
        Ok((tables.len(), refusals.collect()))
    }

    async fn read(
        &self,
        client: &Client,
        schema: &str,
        name: Option<&str>,
    ) -> Result<Vec<Arc<Table>>, Failure> {
        let parameters = [
            Value::text(schema),
            name.map_or(Value::Null, Value::text),
            Value::text(&self.publication),
        ];
        let mut tables = Vec::new();
        for row in run(client, &self.sql, &parameters).await? {
            let text = text_of(&row, 0).unwrap_or_default();
            let raw: RawTable = serde_json::from_str(text).map_err(|error| {
                crate::error::rejected(format!("its catalog cannot be read: {error}"))
            })?;
            let place = Place {
                schema: schema.to_owned(),
                name: raw.name.clone(),
            };
            let named = self.owner(&place).map(|(owner, name)| Named {
                schema,
                owner,
                name,
                tenant_column: self.tenancy.column(),
            });
            let table = named.and_then(|named| Table::from_raw(raw, named));
            tables.extend(table.map(Arc::new));
        }
        Ok(tables)
    }
}

fn unknown(name: &TableName) -> CommandError {
    CommandError::UnknownTable(format!("there is no table {name}"))
}
