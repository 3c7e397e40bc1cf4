//! The page of a live query as a pure state machine: changes and seeds in, effects out.
//!
//! [`Pages`] is the front door: it keeps the pages of one partition exact over the change stream,
//! and tells its owner what to read and what to publish. The rules it keeps:
//!
//! - A page at position P is the result of its query over exactly the commits up to P.
//! - Where rows that were read join the stream, [`tidegate_core::Fence`] decides, and nothing
//!   else.
//! - What cannot be kept exact is read again, never guessed.
//!
//! What is deliberately absent: I/O, clocks, async code, randomness, encoding, and positions
//! other than commits; epochs and offsets are the owner's.

#![warn(missing_docs)]

mod diff;
mod effect;
mod index;
mod intervals;
mod members;
mod net;
mod page;
mod pages;
mod pending;
mod predicate;
mod recent;
mod sort_key;
mod table_pages;
mod window;

pub use effect::{Disagreement, Effect, PageId, Seed, SeedRequest};
pub use pages::{Counts, Limits, Pages, TooManyPages};
pub use predicate::{Truth, evaluate, matches};
pub use sort_key::{KeyBytes, sort_key_of_value};
