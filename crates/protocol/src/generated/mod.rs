//! FlatBuffers types, generated from `schemas/` by `cargo xtask codegen`.
//!
//! Raw material: only this crate's codecs use it. `sql` has the modules `sql_schema` and `sql_rpc`,
//! `delivery` the module `tidegate`. One thing flatc cannot express in Rust is the vector of
//! unions in a filter wrapper; `twin`, written by hand, reads and writes it.

#[rustfmt::skip]
#[allow(
    warnings,
    clippy::all,
    clippy::unwrap_used,
    unreachable_pub,
    unsafe_code,
    reason = "flatc writes it: its style is not ours, and it reads memory that it has verified"
)]
pub(crate) mod delivery;

#[rustfmt::skip]
#[allow(
    warnings,
    clippy::all,
    clippy::unwrap_used,
    unreachable_pub,
    unsafe_code,
    reason = "flatc writes it: its style is not ours, and it reads memory that it has verified"
)]
pub(crate) mod sql;


pub(crate) mod twin;

#[cfg(test)]
mod tests;
