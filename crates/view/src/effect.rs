//! What passes between the pages and their owner.

use tidegate_core::{Fence, Lsn, PageChange, Row};

/// Names a page of one [`crate::Pages`] for as long as it is registered; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageId {
    pub(crate) table: u32,
    pub(crate) slot: u32,
    /// Tells apart the pages that take one slot after another.
    pub(crate) serial: u64,
}

/// Asks for the rows of a page. It may be carried out again as it is when the database failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeedRequest {
    /// Whose.
    pub page: PageId,
    /// How many rows to read; more than the query's limit.
    pub rows_max: u32,
    /// An answer to an earlier attempt is of no use, and is ignored.
    pub(crate) attempt: u64,
}

/// The answer: one consistent read, made after the request.
#[derive(Debug, Clone)]
pub struct Seed {
    /// The query's first rows, in its order, under its schema.
    pub rows: Vec<Row>,
    /// Whether the query has no further rows.
    pub complete: bool,
    /// What the rows contain.
    pub fence: Fence,
}

/// How the database's answer differs from any that the engine could have given. Not to be mended by
/// asking again: the two do not mean the same by the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// A row is not of the query's schema.
    #[error("a row does not have the columns of its table")]
    Shape,
    /// A row does not belong to the page.
    #[error("a row does not satisfy the query")]
    Filter,
    /// There are fewer rows than were asked for, and yet more of them.
    #[error("there are fewer rows than were asked for, and yet more of them")]
    Short,
    /// A row is not after the one before it.
    #[error("rows are not in the query's order")]
    Order,
}

/// What the owner has to do. Effects of one page are to be carried out in the order given.
///
/// `lsn` is the position at which the page is what it is: the result of the query over exactly the
/// commits up to there.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Read rows and pass them to [`crate::Pages::seed`].
    NeedSeed(SeedRequest),
    /// The page has its first rows.
    Opened {
        /// Which page.
        page: PageId,
        /// Where it stands.
        lsn: Lsn,
        /// All that is visible.
        rows: Vec<Row>,
    },
    /// The page changed.
    Publish {
        /// Which page.
        page: PageId,
        /// Where it stands.
        lsn: Lsn,
        /// The net difference to what was published before; never empty.
        changes: Vec<PageChange>,
    },
    /// What was published was wrong, as a refill has shown: an alarm, and a new epoch.
    Reset {
        /// Which page.
        page: PageId,
        /// Where it stands.
        lsn: Lsn,
        /// All that is visible.
        rows: Vec<Row>,
    },
    /// The page cannot be kept. It makes no further effects; remove it.
    Refused {
        /// Which page.
        page: PageId,
        /// Why.
        why: Disagreement,
    },
}
