//! The listeners of a channel, in groups that get the same bytes.
//!
//! A frame carries the client's own label, so listeners of one label and format share each frame. A
//! slot within a group is stable while its listener is there: the fan-out walks the slots in memory
//! order.

use std::collections::HashMap;

use bytes::Bytes;
use slab::Slab;
use tidegate_core::{Lsn, Position};
use tidegate_protocol::server_frame::SnapshotReason;
use tidegate_protocol::{Format, HashId, PageContent};

use super::Listener;
use crate::frame;
use crate::outbox::SubscriptionId;
use crate::outboxes::SessionIndex;
use crate::subscription::{Phase, Subscription, Wish};

/// Where a listener is within its channel. Valid until it is removed; a place may be used again, so
/// whoever comes back later brings the subscription's id as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenerPlace {
    group: u32,
    slot: u32,
}

/// Listeners of one label and format.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) label: HashId,
    pub(super) format: Format,
    pub(super) members: Slab<Subscription>,
    /// The last snapshot frame, for the next who wants the same: a herd of newcomers encodes it
    /// once. Not kept for long: see [`Listeners::forget_frames`].
    snapshot: Option<(Position, SnapshotReason, Bytes)>,
}

impl Group {
    /// The frame of a page, made at most once for all who get it in a row.
    pub(super) fn snapshot_frame(&mut self, page: &PageContent, reason: SnapshotReason) -> Bytes {
        match &self.snapshot {
            Some((made_of, for_reason, frame))
                if *made_of == page.position && *for_reason == reason =>
            {
                frame.clone()
            }
            Some(_) | None => {
                let frame = frame::snapshot(&self.label, page, reason);
                self.snapshot = Some((page.position, reason, frame.clone()));
                frame
            }
        }
    }
}

/// All listeners of a channel.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    groups: Slab<Group>,
    by_label: HashMap<(HashId, Format), usize>,
    count: usize,
}

impl Listeners {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn add(&mut self, listener: Listener, phase: Phase) -> ListenerPlace {
        let key = (listener.label, listener.format);
        let groups = &mut self.groups;
        let group = *self
            .by_label
            .entry(key)
            .or_insert_with_key(|(label, format)| {
                groups.insert(Group {
                    label: label.clone(),
                    format: *format,
                    members: Slab::new(),
                    snapshot: None,
                })
            });
        let slot = self.groups[group].members.insert(Subscription {
            session: listener.session,
            id: listener.id,
            phase,
            slow: listener.slow,
            fence: Lsn::ZERO,
        });
        self.count += 1;
        ListenerPlace {
            group: group as u32,
            slot: slot as u32,
        }
    }

    pub(super) fn remove(&mut self, place: ListenerPlace) {
        let Some((group, slot)) = self.group_of(place) else {
            return;
        };
        group.members.remove(slot);
        if group.members.is_empty() {
            let group = self.groups.remove(place.group as usize);
            self.by_label.remove(&(group.label, group.format));
        }
        self.count -= 1;
    }

    pub(super) fn drain(&mut self) -> Vec<(SessionIndex, SubscriptionId)> {
        self.by_label.clear();
        self.count = 0;
        let members = self.groups.drain().flat_map(|group| group.members);
        members
            .map(|(_, member)| (member.session, member.id))
            .collect()
    }

    /// The listener at a place, if it is still the one that is meant.
    pub(super) fn get(&self, place: ListenerPlace, id: SubscriptionId) -> Option<&Subscription> {
        let group = self.groups.get(place.group as usize)?;
        group
            .members
            .get(place.slot as usize)
            .filter(|member| member.id == id)
    }

    pub(super) fn id_of(&self, place: ListenerPlace) -> Option<SubscriptionId> {
        let group = self.groups.get(place.group as usize)?;
        group
            .members
            .get(place.slot as usize)
            .map(|member| member.id)
    }

    /// The group of a listener that is there, and its slot in it.
    pub(super) fn group_of(&mut self, place: ListenerPlace) -> Option<(&mut Group, usize)> {
        let group = self.groups.get_mut(place.group as usize)?;
        let slot = place.slot as usize;
        group.members.contains(slot).then_some((group, slot))
    }

    pub(super) fn groups(&mut self) -> impl Iterator<Item = &mut Group> {
        self.groups.iter_mut().map(|(_, group)| group)
    }

    /// Forgets frames that were kept for the next newcomer.
    pub(super) fn forget_frames(&mut self) {
        self.groups().for_each(|group| group.snapshot = None);
    }

    pub(super) fn for_each(&mut self, mut act: impl FnMut(&mut Subscription)) {
        for group in self.groups() {
            group.members.iter_mut().for_each(|(_, member)| act(member));
        }
    }

    pub(super) fn set_phase(&mut self, place: ListenerPlace, phase: Phase) {
        if let Some((group, slot)) = self.group_of(place) {
            group.members[slot].phase = phase;
        }
    }

    pub(super) fn set_fence(&mut self, place: ListenerPlace, fence: Lsn) {
        if let Some((group, slot)) = self.group_of(place) {
            group.members[slot].fence = fence;
        }
    }

    /// Those who wait for the page, and what for.
    pub(super) fn waiting(&self) -> Vec<(ListenerPlace, Wish)> {
        let mut waiting = Vec::new();
        for (group_index, group) in &self.groups {
            for (slot, member) in &group.members {
                if let Phase::Waiting(wish) = member.phase {
                    let place = ListenerPlace {
                        group: group_index as u32,
                        slot: slot as u32,
                    };
                    waiting.push((place, wish));
                }
            }
        }
        waiting
    }
}
