//! Holes: what a channel does when a diff is missing between its head and what came.
//!
//! What comes meanwhile is held back while the cache is asked. If the cache has it, nobody notices;
//! if not, everybody gets a fresh page that says so.

use std::collections::VecDeque;

use tidegate_core::Position;
use tidegate_protocol::server_frame::SnapshotReason;
use tidegate_protocol::{DiffContent, PageContent};

use super::history::History;
use super::{Asked, Channel, Context, Effect};

/// Diffs held back behind a hole while the cache is asked for it. Past this a fresh page is
/// cheaper.
pub(super) const HELD_DIFFS_MAX: usize = 512;

/// A hole in the history that the cache was asked to fill.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) after: Position,
    /// Diffs that came meanwhile.
    pub(super) held: VecDeque<DiffContent>,
    /// The page that came meanwhile: what everybody gets if the cache cannot help.
    pub(super) page: Option<PageContent>,
}

impl Channel {
    /// The hole after `head` is being filled, from now if not before.
    pub(super) fn begin_filling(
        &mut self,
        head: Position,
        context: &mut Context<'_>,
    ) -> &mut Filling {
        self.filling.get_or_insert_with(|| {
            context.effects.push(Effect::Fill { after: head });
            Filling {
                after: head,
                held: VecDeque::new(),
                page: None,
            }
        })
    }

    /// Delivers what was held back, as far as it follows the head. The hole is closed when nothing
    /// is left.
    pub(super) fn release_held(&mut self, context: &mut Context<'_>) {
        while let Some(filling) = &mut self.filling {
            let Some(head) = self.history.as_ref().map(History::head) else {
                return;
            };
            match filling.held.front().map(|diff| diff.position) {
                Some(position) if position <= head => {
                    filling.held.pop_front();
                }
                Some(position) if position.follows(head) => {
                    let diff = filling.held.pop_front().expect("just seen");
                    self.deliver(diff, context);
                }
                Some(_) => return,
                None => {
                    if filling
                        .page
                        .as_ref()
                        .is_some_and(|page| page.position > head)
                    {
                        return;
                    }
                    let page = self.filling.take().and_then(|filling| filling.page);
                    if let (Some(page), Some(history)) = (page, &mut self.history) {
                        // It answers the question whether there is more than we have.
                        history.rebase(page);
                        self.asked = Asked::No;
                        self.in_doubt = false;
                    }
                    self.serve_waiting(context);
                }
            }
        }
    }

    /// The hole cannot be filled. If its far side begins with a page, everybody gets that.
    pub(super) fn give_up_filling(&mut self, context: &mut Context<'_>) {
        let Some(filling) = self.filling.take() else {
            return;
        };
        let Some(page) = filling.page else {
            self.lose(SnapshotReason::Unrecoverable, context);
            return;
        };
        self.adopt(page, SnapshotReason::Unrecoverable, context);
        for diff in filling.held {
            self.on_diff(diff, context);
        }
    }
}
