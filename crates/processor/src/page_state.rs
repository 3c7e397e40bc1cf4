//! What the owner knows of one page beside its rows.

use std::sync::Arc;

use tidegate_core::{Lsn, Position, Query, QuerySpec};
use tidegate_view::PageId;

use crate::lease::Leases;

/// One page: who wants it, where its history is, and how far it is in being opened.
#[derive(Debug)]
pub(crate) struct PageState {
    /// The query as the gateway sent it, to be brought into canonical form anew when the table
    /// changes.
    pub(crate) spec: QuerySpec,
    pub(crate) leases: Leases,
    /// The position last published, and the commit it stands for; `None` until the page was first
    /// opened.
    pub(crate) published: Option<(Position, Lsn)>,
    pub(crate) phase: Phase,
}

/// How far a page is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Waits to learn what its table looks like.
    Describing,
    /// Registered with the engine: being read, or live.
    Registered {
        /// Its name there.
        page: PageId,
        /// The canonical query.
        query: Arc<Query>,
    },
}
