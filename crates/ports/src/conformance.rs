//! One suite per seam. An implementation's tests call it with a factory; a failure panics with what
//! was promised.

mod broker;
mod bus;
mod cache;
mod corpus;
mod database;
mod shared_pages;
mod tenants;

pub use broker::broker_conforms;
pub use bus::bus_conforms;
pub use cache::cache_conforms;
pub use corpus::{CORPUS_SQL, CORPUS_TABLE, CorpusCase, corpus_cases, corpus_rows, corpus_schema};
pub use database::{DatabaseSite, answers_conform, changes_conform};
pub use shared_pages::shared_pages_conform;
pub use tenants::{
    SharedTables, TENANT_COLUMN, TenantType, commands_keep_tenants_apart,
    the_stream_keeps_tenants_apart,
};
