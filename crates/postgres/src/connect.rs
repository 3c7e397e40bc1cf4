//! Addresses and connections.

use std::path::Path;
use std::time::Duration;

use deadpool_postgres::{ManagerConfig, Pool, RecyclingMethod, Runtime};
use pgwire_replication::ReplicationConfig;
use tidegate_ports::PortError;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::config::{Host, SslMode};

use crate::config::PostgresConfig;
use crate::error::{port_error, rejected};
use crate::tls::{Connector, PostgresTls};

/// How long a connection may take to come about, and a caller wait for a free one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long sent bytes may stay unacknowledged before a connection counts as broken.
const TCP_TIMEOUT: Duration = Duration::from_secs(15);

/// One change of a row, as the server sends it; Postgres itself allows a gigabyte. A larger one
/// breaks the stream off, and the next one starts after it.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Settings that decide how values are printed, and so have to be the same on each connection.
const SETTINGS: &str = "-c TimeZone=UTC -c DateStyle=ISO,YMD -c IntervalStyle=postgres \
     -c extra_float_digits=1 -c bytea_output=hex -c xmlbinary=base64 -c client_encoding=UTF8 \
     -c standard_conforming_strings=on -c default_transaction_isolation=read\\ committed \
     -c default_transaction_read_only=off";

/// A connection outside of the pool, closed when dropped.
pub(crate) struct Alone {
    pub(crate) client: Client,
    _connection: JoinSet<()>,
}

/// Where the server is, read from the address.
#[derive(Clone)]
pub(crate) struct Server {
    config: tokio_postgres::Config,
    host: String,
    port: u16,
    user: String,
    password: String,
    name: String,
    connector: Connector,
    tls: PostgresTls,
}

impl Server {
    /// Reads an address. No error repeats any of it: there may be a password in it.
    pub(crate) fn parse(address: &str, tls: &PostgresTls) -> Result<Self, PortError> {
        let bad = |why: &str| {
            rejected(format!(
                "its address {why}; give it as postgres://user:password@host:port/name"
            ))
        };
        let mut config: tokio_postgres::Config =
            address.parse().map_err(|_| bad("cannot be read"))?;
        let host = match config.get_hosts() {
            [] => return Err(bad("has no host")),
            [Host::Tcp(name)] => name.clone(),
            [Host::Unix(path)] => socket_folder(path),
            _ => return Err(bad("has more than one host, which is not supported")),
        };
        if config.get_ssl_mode() == SslMode::Require && *tls == PostgresTls::Disable {
            return Err(bad("asks for TLS, which is to be asked for beside it"));
        }
        if matches!(config.get_hosts(), [Host::Unix(_)]) && *tls != PostgresTls::Disable {
            return Err(rejected(
                "a Unix socket is not encrypted: sslmode goes with a host",
            ));
        }
        let connector = Connector::new(tls, &mut config)?;
        let user = config.get_user().unwrap_or("postgres").to_owned();
        let name = config.get_dbname().unwrap_or(&user).to_owned();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let password = config.get_password().unwrap_or_default();
        let password = String::from_utf8_lossy(password).into_owned();
        let options = match config.get_options() {
            Some(own) => format!("{own} {SETTINGS}"),
            None => SETTINGS.to_owned(),
        };
        config
            .user(&user)
            .dbname(&name)
            .options(options)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(TCP_TIMEOUT);
        if config.get_application_name().is_none() {
            config.application_name("tidegate");
        }
        Ok(Self {
            config,
            host,
            port,
            user,
            password,
            name,
            connector,
            tls: tls.clone(),
        })
    }

    fn with_settings(&self, more: &str) -> tokio_postgres::Config {
        let mut config = self.config.clone();
        let own = config.get_options().unwrap_or_default().to_owned();
        config.options(format!("{own} {more}"));
        config
    }

    /// The connections for commands and snapshots; none is opened yet.
    pub(crate) fn pool(&self, config: &PostgresConfig) -> Result<Pool, PortError> {
        let millis = config.statement_timeout.as_millis().max(1);
        let options = self.with_settings(&format!("-c statement_timeout={millis}"));
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        Pool::builder(self.connector.manager(options, recycling))
            .max_size(config.connections.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(config.statement_timeout))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(CONNECT_TIMEOUT))
            .build()
            .map_err(|error| rejected(error.to_string()))
    }

    /// A connection outside of the pool, for heartbeats and for what a stream looks up: neither may
    /// wait behind commands. Commits wait for the local disk, without which heartbeats would not be
    /// streamed, but for no standby: they have to go on while transactions are held back by one.
    pub(crate) async fn connect_alone(&self) -> Result<Alone, PortError> {
        let settings = "-c synchronous_commit=local -c statement_timeout=10000";
        let config = self.with_settings(settings);
        let mut task = JoinSet::new();
        let client = self.connector.connect(&config, &mut task).await;
        let client = client.map_err(port_error)?;
        Ok(Alone {
            client,
            _connection: task,
        })
    }

    /// How to stream a publication through a slot.
    pub(crate) fn replication(&self, slot: &str, publication: &str) -> ReplicationConfig {
        let mut config = ReplicationConfig::new(
            &self.host,
            &self.user,
            &self.password,
            &self.name,
            slot,
            publication,
        );
        config.port = self.port;
        config.tls = self.tls.of_stream(&self.host);
        // A reader that the server has lost sight of must not keep its turn for long: another one
        // waits for it. Ours says several times in that time that it is there.
        let own = self.config.get_options().unwrap_or_default();
        config.options = Some(format!("{own} -c wal_sender_timeout=10s"));
        config.application_name = Some(slot.to_owned());
        config.max_message_size = MESSAGE_BYTES_MAX;
        config.status_interval = Duration::from_secs(1);
        config.buffer_events = 1_024;
        config
    }
}

fn socket_folder(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is wrong with an address, no error repeats its password.
    #[test]
    fn no_error_holds_the_password() {
        for address in [
            "postgres://me:s3cret@host:notaport/db",
            "postgres://me:s3cret@a,b/db",
            "host= password=s3cret",
            "password=s3cret",
            "postgres://me:s3cret",
            "s3cret",
            "postgres://me:s3cret@host/db?unknown=s3cret",
        ] {
            if let Err(error) = Server::parse(address, &PostgresTls::Disable) {
                assert!(!error.to_string().contains("s3cret"), "{error}");
                assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
            }
        }
    }
}
