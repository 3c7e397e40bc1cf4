//! Postgres as a database of live queries.
//!
//! Rows are read by SQL in one statement that also says which transactions it saw ([`reads`]);
//! changes come from logical replication ([`stream`]), transaction by transaction, and each carries
//! the id by which the two are joined. A transaction is streamed before, or long before, any
//! snapshot sees it, so positions in the log do not join them.
//!
//! Values travel as text on both ways and are read by one function ([`value`]). What is
//! deliberately absent: any evaluation of queries other than by Postgres itself, and locks held
//! between calls.

mod aggregate;
mod assemble;
mod beats;
mod catalog;
mod config;
mod connect;
mod database;
mod error;
mod known;
mod life;
mod pgoutput;
mod prepared;
mod publication;
mod reads;
mod refusal;
mod session;
mod stream;
mod table;
mod tls;
mod turn;
mod value;
mod visible;
mod writes;

pub use config::{PostgresConfig, Streams};
pub use database::PostgresDatabase;
pub use tls::PostgresTls;
