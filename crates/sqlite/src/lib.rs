//! SQLite as a database of live queries.
//!
//! One file, any number of programs writing to it. Triggers write every change into a log table of
//! the same file (`capture`); one thread relays the log ([`relay`]), one carries out the writing
//! commands (`writer`), a few read ([`readers`]). The log's row number is the LSN: SQLite has one
//! writer at a time, so a snapshot contains exactly the log up to the last row it sees.
//!
//! What is deliberately absent: any evaluation of queries other than by SQLite itself, on forms of
//! the values that it compares as the engine does (`functions`).

mod aggregate;
mod capture;
mod catalog;
mod cell;
mod config;
mod connect;
mod database;
mod decimal;
mod declared;
mod error;
mod functions;
mod index_text;
mod install;
mod readers;
mod reads;
mod relay;
mod unique;
mod units;
mod writer;
mod writes;

pub use config::SqliteConfig;
pub use database::SqliteDatabase;
pub use error::OpenError;
