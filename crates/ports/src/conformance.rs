//! One suite per seam. An implementation's tests call it with a factory; a failure panics with what
//! was promised.

mod broker;
mod bus;
mod cache;
mod shared_pages;
mod tenants;

pub use broker::broker_conforms;
pub use bus::bus_conforms;
pub use cache::cache_conforms;
pub use shared_pages::shared_pages_conform;
pub use tenants::{
    SharedTables, TENANT_COLUMN, TenantType, commands_keep_tenants_apart,
    the_stream_keeps_tenants_apart,
};
