//! The publication: which tables are in the change stream.

use tidegate_core::{CommandError, TableName};
use tidegate_ports::PortError;
use tidegate_sql::quoted;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalog::Catalog;
use crate::error::{Failure, port_error, rejected};
use crate::session::run;
use crate::table::{Published, Table};
use tidegate_core::Value;

/// How long adding a table may wait for those who write to it. Whoever wants to write waits behind
/// it, so not long.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '3s'";

/// Makes the publication if it is not there, and sees that it tells of everything.
pub(crate) async fn ensure_publication(client: &Client, name: &str) -> Result<(), PortError> {
    let sql = "SELECT (pubinsert AND pubupdate AND pubdelete AND pubtruncate)::text \
               FROM pg_catalog.pg_publication WHERE pubname = $1::text";
    let found = run(client, sql, &[Value::text(name)])
        .await
        .map_err(port_error)?;
    if let Some(row) = found.first() {
        if crate::session::text_of(row, 0) == Some("true") {
            return Ok(());
        }
        return Err(rejected(format!(
            "publication {name} leaves out some kinds of changes: \
             ALTER PUBLICATION {} SET (publish = \
             'insert, update, delete, truncate')",
            quoted(name)
        )));
    }
    let create = format!(
        "CREATE PUBLICATION {} WITH (publish_via_partition_root = true)",
        quoted(name)
    );
    match client.batch_execute(&create).await {
        Ok(()) => Ok(()),
        // Another process was faster.
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            Err(rejected(format!(
                "there is no publication {name}, and the role may not make one: \
                 {create}, or GRANT CREATE ON \
                 DATABASE"
            )))
        }
        Err(error) => Err(port_error(error)),
    }
}

/// Sees that a table's changes are in the stream from now on.
pub(crate) async fn publish(
    catalog: &Catalog,
    client: &Client,
    table: &Table,
) -> Result<(), Failure> {
    let name = table.schema.table();
    match table.published {
        Published::Yes => return Ok(()),
        Published::InPart => {
            let text = format!(
                "publication {} leaves out some rows or columns of table {name}",
                catalog.publication
            );
            return Err(CommandError::UnsupportedTable(text).into());
        }
        Published::No => {}
    }
    ensure_publication(client, &catalog.publication).await?;
    let target = table.quoted();
    let added = add(catalog, client, &target).await;
    added.map_err(|error| not_added(catalog, name, &target, error))
}

/// The lock waits for everybody who has written to the table and not committed yet: the part that
/// they wrote before this would be missing from the stream. Whoever writes later is streamed whole,
/// and whoever was waited for is visible to every later snapshot.
async fn add(
    catalog: &Catalog,
    client: &Client,
    target: &str,
) -> Result<(), tokio_postgres::Error> {
    let publication = quoted(&catalog.publication);
    let all = format!(
        "{LOCK_TIMEOUT}; LOCK TABLE {target} IN SHARE MODE; \
         ALTER PUBLICATION {publication} ADD TABLE {target}"
    );
    // Sent as one, they are one transaction, which ends with them whatever happens.
    match client.batch_execute(&all).await {
        // Another process added it meanwhile.
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => Ok(()),
        other => other,
    }
}

fn not_added(
    catalog: &Catalog,
    name: &TableName,
    target: &str,
    error: tokio_postgres::Error,
) -> Failure {
    if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return error.into();
    }
    let text = format!(
        "table {name} is not in publication {}, and the role may not add it: \
         ALTER PUBLICATION {} ADD TABLE {target}",
        catalog.publication,
        quoted(&catalog.publication),
    );
    CommandError::UnsupportedTable(text).into()
}
