//! Whose turn it is to stream, where only one may.
//!
//! Whoever streams holds an advisory lock of the database, and holds it on the replication
//! connection itself. So a lock that is lost means a stream that has ended: there is no moment at
//! which one process still streams and another one may.

use pgwire_replication::ReplicationClient;
use tidegate_ports::PortError;
use tokio_postgres::Client;

use crate::config::Streams;
use crate::error::{port_error, rejected, replication_error};
use crate::session::run;

/// The first half of our locks' keys; the second is made of a name.
const OURS: i32 = 0x7469_6465;

const TAKEN: PortError = PortError::Taken {
    what: "the stream of changes",
};

/// Says so when another process has its turn: cheaper than a connection that is opened in vain.
pub(crate) async fn look(client: &Client, streams: &Streams) -> Result<(), PortError> {
    let Streams::OneOf(name) = streams else {
        return Ok(());
    };
    let (ours, key) = (OURS.cast_unsigned(), key(name).cast_unsigned());
    let sql = format!(
        "SELECT 1::text FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND granted \
         AND objsubid = 2 AND classid = {ours} AND objid = {key} AND database = \
         (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
    );
    let found = run(client, &sql, &[]).await.map_err(port_error)?;
    match found.is_empty() {
        true => Ok(()),
        false => Err(TAKEN),
    }
}

/// Takes the turn for as long as the connection lives.
pub(crate) async fn take(
    replication: &mut ReplicationClient,
    streams: &Streams,
) -> Result<(), PortError> {
    let Streams::OneOf(name) = streams else {
        return Ok(());
    };
    let key = key(name);
    let sql = format!("SELECT pg_catalog.pg_try_advisory_lock({OURS}, {key})");
    let rows = replication.simple_query(&sql).await;
    let rows = rows.map_err(replication_error)?;
    let is_ours = rows.first().and_then(|row| row.first()?.as_deref());
    match is_ours {
        Some(b"t") => Ok(()),
        Some(b"f") => Err(TAKEN),
        _ => Err(rejected("it does not say whether a lock is ours")),
    }
}

/// FNV-1a: the same in every version of ours. Two names with one key would only wait for each
/// other.
fn key(name: &str) -> i32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::key;

    /// The key of a name never changes: processes of two versions may run side by side.
    #[test]
    fn keys_are_fixed() {
        assert_eq!(key(""), 0x811c_9dc5_u32.cast_signed());
        assert_eq!(key("a"), 0xe40c_292c_u32.cast_signed());
        assert_eq!(key("foobar"), 0xbf9c_f968_u32.cast_signed());
    }
}
