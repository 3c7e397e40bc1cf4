//! Which pages hold a row.
//!
//! A change brings the new image of a row only. That a row has left a page can be told because the
//! pages that hold it are known here, together with the image they hold: one for all of them.

use std::collections::HashMap;

use smallvec::SmallVec;
use tidegate_core::Row;

use crate::diff::is_same;
use crate::sort_key::KeyBytes;

/// A row that is in some window.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) row: Row,
    /// Slots of the pages that hold it.
    pub(crate) pages: SmallVec<[u32; 4]>,
}

/// See the module. Keyed by bytes that clients choose, hence the hash that cannot be flooded.
#[derive(Debug, Default)]
pub(crate) struct Members {
    rows: HashMap<KeyBytes, Member>,
}

impl Members {
    pub(crate) fn get(&self, key: &KeyBytes) -> Option<&Member> {
        self.rows.get(key)
    }

    /// Notes that a page holds a row. Gives the image to hold: the one others hold, when it is
    /// the same.
    pub(crate) fn enter(&mut self, key: KeyBytes, row: &Row, page: u32) -> Row {
        let member = self.rows.entry(key).or_insert_with(|| Member {
            row: row.clone(),
            pages: SmallVec::new(),
        });
        member.pages.push(page);
        match is_same(&member.row, row) {
            true => member.row.clone(),
            false => row.clone(),
        }
    }

    /// Notes that a page no longer holds a row.
    pub(crate) fn leave(&mut self, key: &KeyBytes, page: u32) {
        let Some(member) = self.rows.get_mut(key) else {
            return;
        };
        if let Some(at) = member.pages.iter().position(|other| *other == page) {
            member.pages.swap_remove(at);
        }
        if member.pages.is_empty() {
            self.rows.remove(key);
        }
    }

    /// Notes the new image of a row, if some page holds it still.
    pub(crate) fn update(&mut self, key: &KeyBytes, row: &Row) {
        if let Some(member) = self.rows.get_mut(key) {
            member.row = row.clone();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}
