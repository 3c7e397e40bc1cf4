//! Transaction ids and snapshots, as Postgres prints and streams them.

use tidegate_core::{TransactionSnapshot, Xid};

/// Transactions in progress in one snapshot. A server has at most some thousands.
const IN_PROGRESS_MAX: usize = 1_000_000;

/// Reads `xmin:xmax:xid,xid,…`, the print of `pg_current_snapshot()`.
pub(crate) fn parse_snapshot(text: &str) -> Option<TransactionSnapshot> {
    let mut parts = text.split(':');
    let (xmin, xmax, list) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let xid = |text: &str| text.parse().ok().map(Xid::new);
    let mut in_progress = Vec::new();
    for text in list.split(',').filter(|text| !text.is_empty()) {
        if in_progress.len() >= IN_PROGRESS_MAX {
            return None;
        }
        in_progress.push(xid(text)?);
    }
    // Printed in this order; the search in it relies on that.
    in_progress.sort_unstable();
    Some(TransactionSnapshot {
        xmin: xid(xmin)?,
        xmax: xid(xmax)?,
        in_progress,
    })
}

/// The full number of a transaction, of which the stream tells the lower half: the one nearest to a
/// number that was given out at about the same time. Ids alive at one time are less than 2^31
/// apart, or the server would have stopped.
pub(crate) fn full_xid(low: u32, near: Xid) -> Xid {
    const EPOCH: u64 = 1 << 32;
    let near = near.get();
    let same = (near & !(EPOCH - 1)) | u64::from(low);
    let earlier = same.checked_sub(EPOCH);
    let candidates = [earlier, Some(same), same.checked_add(EPOCH)];
    let nearest = candidates
        .into_iter()
        .flatten()
        .min_by_key(|candidate| candidate.abs_diff(near));
    Xid::new(nearest.unwrap_or(same))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prints of the server are read, and nothing else.
    #[test]
    fn reads_snapshots() {
        let snapshot = parse_snapshot("5:9:5,7").expect("a snapshot");
        assert_eq!((snapshot.xmin, snapshot.xmax), (Xid::new(5), Xid::new(9)));
        assert_eq!(snapshot.in_progress, [Xid::new(5), Xid::new(7)]);
        let empty = parse_snapshot("5:5:").expect("a snapshot");
        assert!(empty.in_progress.is_empty());
        for bad in ["", "5", "5:9", "5:9:5:7", "a:9:", "5:9:x", "-1:9:"] {
            assert!(parse_snapshot(bad).is_none(), "{bad}");
        }
    }

    /// Just before and after an epoch begins, ids of the other side of it are told right.
    #[test]
    fn epochs_are_found() {
        let epoch = 1_u64 << 32;
        for (low, near, full) in [
            (700, 710, 700),
            (700, epoch - 5, epoch + 700),
            (u32::MAX, epoch + 3, epoch - 1),
            (3, 3 * epoch + 1, 3 * epoch + 3),
            (u32::MAX - 1, 5, epoch - 2),
        ] {
            let found = full_xid(low, Xid::new(near));
            // Before the first epoch there is no other.
            let expected = if near == 5 { u64::from(low) } else { full };
            assert_eq!(found.get(), expected, "{low} near {near}");
        }
    }
}
