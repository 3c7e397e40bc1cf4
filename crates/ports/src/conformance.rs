//! One suite per seam. An implementation's tests call it with a factory; a failure panics with what
//! was promised.

mod bus;
mod cache;

pub use bus::bus_conforms;
pub use cache::cache_conforms;
