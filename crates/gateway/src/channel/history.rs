//! What a channel holds of its page's history: the newest whole page and a bounded run of diffs.

use std::collections::VecDeque;

use tidegate_core::{Lsn, Position};
use tidegate_protocol::{DiffContent, DiffKind, PageContent, PageOrigin};

/// Bounds of a history. Beyond them the oldest diffs go: a resume from before them asks the cache,
/// a newcomer asks for the page again.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimits {
    /// Diffs kept.
    pub diffs_max: usize,
    /// Bytes of diffs kept.
    pub bytes_max: usize,
    /// Bytes of diffs that a newcomer is sent after the page; past this, and past the page's own
    /// size, a fresh page is cheaper for both sides.
    pub join_bytes_max: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            diffs_max: 256,
            bytes_max: 512 << 10,
            join_bytes_max: 128 << 10,
        }
    }
}

/// A page's history up to `head`.
///
/// `tail` is dense and ends at `head`. It may reach back to before `base`, for those who resume.
#[derive(Debug)]
pub(super) struct History {
    head: Position,
    head_lsn: Lsn,
    /// Highest commit of a diff seen in this epoch: that one has certainly been passed.
    passed: Lsn,
    base: Option<PageContent>,
    tail: VecDeque<DiffContent>,
    tail_bytes: usize,
}

impl History {
    pub(super) fn starting_with(page: PageContent) -> Self {
        Self {
            head: page.position,
            head_lsn: page.lsn,
            passed: Lsn::ZERO,
            base: Some(page),
            tail: VecDeque::new(),
            tail_bytes: 0,
        }
    }

    pub(super) fn head(&self) -> Position {
        self.head
    }

    pub(super) fn passed(&self) -> Lsn {
        self.passed
    }

    /// Bytes held, for the bound over all channels.
    pub(super) fn bytes(&self) -> usize {
        self.tail_bytes + self.base.as_ref().map_or(0, page_bytes)
    }

    /// Appends the diff that follows the head.
    pub(super) fn append(&mut self, diff: DiffContent, limits: &HistoryLimits) {
        debug_assert!(diff.position.follows(self.head), "the caller has checked");
        self.head = diff.position;
        self.head_lsn = self.head_lsn.max(diff.lsn);
        self.passed = self.passed.max(diff.lsn);
        self.tail_bytes += diff_bytes(&diff);
        self.tail.push_back(diff);
        while self.tail.len() > limits.diffs_max || self.tail_bytes > limits.bytes_max {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.tail.pop_front() else {
            return;
        };
        self.tail_bytes -= diff_bytes(&oldest);
        // Without a diff that comes after it, the page is of no use any more.
        if self
            .base
            .as_ref()
            .is_some_and(|page| page.position < oldest.position)
        {
            self.base = None;
        }
    }

    /// Keeps nothing but the position.
    pub(super) fn shed(&mut self) {
        self.base = None;
        self.tail = VecDeque::new();
        self.tail_bytes = 0;
    }

    /// Takes a page of the running epoch, at the head or before it, as the one that newcomers get.
    pub(super) fn rebase(&mut self, page: PageContent) {
        let is_newer = self
            .base
            .as_ref()
            .is_none_or(|base| (base.position, base.fence()) < (page.position, page.fence()));
        if is_newer && self.reaches(page.position) {
            self.base = Some(page);
        }
    }

    /// Whether every diff after `position` is here. The position is of this epoch and not past the
    /// head.
    pub(super) fn reaches(&self, position: Position) -> bool {
        let first_needed = position.next();
        position == self.head
            || self
                .tail
                .front()
                .is_some_and(|first| first.position <= first_needed)
    }

    /// The commit that a client at `position` has seen, or the highest it can have seen.
    pub(super) fn lsn_at(&self, position: Position) -> Lsn {
        if position == self.head {
            return self.head_lsn;
        }
        let before = |diff: &DiffContent| Lsn::new(diff.lsn.get().saturating_sub(1));
        let known = self.tail.iter().find(|diff| diff.position == position);
        known
            .map(|diff| diff.lsn)
            .or_else(|| self.after(position).next().map(before))
            .unwrap_or(self.head_lsn)
    }

    /// The diffs after `position`.
    pub(super) fn after(&self, position: Position) -> impl Iterator<Item = &DiffContent> {
        let start = self.tail.partition_point(|diff| diff.position <= position);
        self.tail.range(start..)
    }

    /// The page for a newcomer, when sending it and the diffs after it is cheaper than a fresh one.
    pub(super) fn joinable(&self, limits: &HistoryLimits) -> Option<&PageContent> {
        let page = self.base.as_ref()?;
        let behind: usize = self.after(page.position).map(diff_bytes).sum();
        (behind <= limits.join_bytes_max.min(page_bytes(page).max(4096))).then_some(page)
    }

    /// The position of a client whose last diff was of commit `version`, and its fence, if that can
    /// be proved.
    ///
    /// An LSN says little about completeness, so this takes it only where nothing is left to doubt:
    /// the commits held here rise strictly and the version is one of them. A version between them,
    /// or above all that is known here, is not believed. Nor is any where row events are among the
    /// diffs: they come by another topic, and another gateway may have sent them in another order.
    pub(super) fn position_of(&self, version: Lsn) -> Option<(Position, Lsn)> {
        let base = self.base.as_ref()?;
        let marks = std::iter::once((base.position, base.lsn)).chain(
            self.after(base.position)
                .filter(|diff| diff.lsn > base.fence())
                .map(|diff| (diff.position, diff.lsn)),
        );
        if self.tail.iter().any(|diff| diff.kind == DiffKind::RowEvent) {
            return None;
        }
        let mut found = None;
        let mut previous: Option<Lsn> = None;
        for (position, lsn) in marks {
            if previous.is_some_and(|previous| lsn <= previous) {
                return None;
            }
            previous = Some(lsn);
            if lsn == version {
                found = Some(position);
            }
        }
        let fence = match base.origin {
            PageOrigin::Kept => Lsn::ZERO,
            PageOrigin::Read => version,
        };
        found.map(|position| (position, fence))
    }
}

fn diff_bytes(diff: &DiffContent) -> usize {
    size_of::<DiffContent>() + diff.body.len()
}

fn page_bytes(page: &PageContent) -> usize {
    size_of::<PageContent>() + page.rows.len() + page.pks.len() + page.cursor.len()
}
