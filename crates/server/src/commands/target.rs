//! Which gateway a command of the shell talks to, and as whom.

use std::fs;

use tidegate_client::{Client, ConnectError, Fault, Options};

use crate::exit::{Exit, Failure};

/// Flags of every command that is a client.
#[derive(Debug, clap::Args)]
pub(crate) struct TargetArgs {
    /// Address of the gateway
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:7000")]
    url: String,
    /// Tenant, for a gateway that believes what it is told
    #[arg(long)]
    tenant: Option<String>,
    /// User, likewise
    #[arg(long)]
    user: Option<String>,
    /// Bearer token, or @FILE that holds it, out of sight of `ps`
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

impl TargetArgs {
    /// The address, for sentences.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Connects as the flags say.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let mut options = Options::new(&self.url);
        options.tenant.clone_from(&self.tenant);
        options.user.clone_from(&self.user);
        options.token = self.token.as_deref().map(read_token).transpose()?;
        Client::connect(options).await.map_err(|error| {
            let exit = match &error {
                ConnectError::BadOptions(_) => Exit::Config,
                ConnectError::Refused {
                    status: 401 | 403, ..
                } => Exit::Refused,
                ConnectError::Unreachable { .. }
                | ConnectError::Refused { .. }
                | ConnectError::NotWebSocket { .. } => Exit::Unavailable,
            };
            Failure::new(exit, error.to_string())
        })
    }
}

fn read_token(given: &str) -> Result<String, Failure> {
    let Some(path) = given.strip_prefix('@') else {
        return Ok(given.to_owned());
    };
    let read = fs::read_to_string(path).map(|text| text.trim().to_owned());
    read.map_err(|error| Failure::new(Exit::Config, format!("--token: {path}: {error}")))
}

/// What a refusal by the gateway means for a script.
pub(crate) fn failure(fault: &Fault) -> Failure {
    let exit = match fault.code.as_str() {
        "unknown_table" => Exit::NoSuchTable,
        "forbidden" | "unauthorized" | "unsupported_table" | "refused" => Exit::Refused,
        "unknown_column"
        | "unsupported_operator"
        | "not_live"
        | "bad_value"
        | "bad_filter"
        | "bad_order"
        | "bad_limit"
        | "bad_query"
        | "bad_frame" => Exit::Config,
        "disconnected" | "connection_lost" | "rpc_timeout" => Exit::Unavailable,
        _ if fault.retry => Exit::Unavailable,
        _ => Exit::Failed,
    };
    Failure::new(exit, fault.to_string())
}

/// Runs a client's work: one thread for the work, one for the connection, so that a terminal that
/// is slow to draw does not keep the connection from answering.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    runtime.block_on(work)
}
