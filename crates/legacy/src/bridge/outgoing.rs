//! What is said, as records for an old gateway.

use bytes::Bytes;
use tidegate_core::Lsn;
use tidegate_ports::{Header, Message};
use tidegate_protocol::{OldKey, RowEvent, WireChange, binary_changes};

use super::feed::Saying;

/// Longest value of a record: below the megabyte that a Kafka broker takes by itself, key, headers
/// and all, and that an old gateway's sockets buffer.
const VALUE_BYTES_MAX: usize = 900_000;
/// What a change takes in a page diff beside its texts.
const CHANGE_BYTES: usize = 64;

/// The records of the two topics.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) diffs: Vec<Message>,
    pub(super) events: Vec<Message>,
    /// Rows that are too long for a record.
    pub(super) long_rows: u64,
}

impl Outgoing {
    /// Adds what was said.
    ///
    /// Every change has an LSN of its own, the one above that of the change before it: an old
    /// gateway drops what is not above the last, and whoever reads events may go by that rule too.
    pub(super) fn add(&mut self, saying: &Saying) {
        let count = saying.changes.len() as u64;
        let lsns = (saying.last + 1 - count)..;
        for (lsn, change) in lsns.zip(&saying.changes) {
            let lsn = Lsn::new(lsn);
            let event = RowEvent {
                key: &saying.key,
                label: &saying.label,
                lsn,
                change,
                row_bytes_max: VALUE_BYTES_MAX,
            };
            self.events
                .push(message(&saying.key, lsn, event.encode().into()));
        }
        self.add_diffs(saying);
    }

    /// A diff too large for one record becomes several, each with a part of the changes.
    fn add_diffs(&mut self, saying: &Saying) {
        let changes = &saying.changes;
        let mut start = 0;
        while start < changes.len() {
            if size(&changes[start]) > VALUE_BYTES_MAX {
                self.long_rows += 1;
                start += 1;
                continue;
            }
            let mut bytes = 0;
            let fits = |change: &&WireChange| {
                bytes += size(change);
                bytes <= VALUE_BYTES_MAX
            };
            let end = start + changes[start..].iter().take_while(fits).count();
            let lsn = Lsn::new(saying.last - (changes.len() - end) as u64);
            let part = &changes[start..end];
            let value = binary_changes(&saying.label, (lsn, saying.position), part);
            self.diffs.push(message(&saying.key, lsn, value));
            start = end;
        }
    }
}

fn size(change: &WireChange) -> usize {
    CHANGE_BYTES + change.pk().len() + change.row().map_or(0, str::len)
}

fn message(key: &OldKey, lsn: Lsn, value: Bytes) -> Message {
    Message {
        key: Some(Bytes::copy_from_slice(key.as_str().as_bytes())),
        value: Some(value),
        headers: vec![Header {
            name: "lsn".to_owned(),
            value: Some(lsn.to_string().into()),
        }],
    }
}

#[cfg(test)]
mod tests {
    //! Shows that LSNs rise by record, and that no record is too long, whatever the rows.

    use tidegate_core::{Epoch, Position};
    use tidegate_protocol::{HashId, read_binary_diff};

    use super::*;

    fn saying(rows: &[usize]) -> Saying {
        let change = |(pos, length): (u32, &usize)| WireChange::Added {
            pk: format!("k{pos}"),
            pos,
            row: format!("{{\"a\":\"{}\"}}", "x".repeat(*length)),
        };
        Saying {
            key: OldKey::of("demo", "notes", "q"),
            label: HashId::parse("q").expect("short"),
            position: Position::start(Epoch::from_raw(7)),
            last: 100,
            changes: (0..).zip(rows).map(change).collect(),
        }
    }

    fn lsns(messages: &[Message]) -> Vec<u64> {
        let lsn = |message: &Message| {
            let header = message.headers[0].value.clone().expect("has one");
            String::from_utf8(header.to_vec()).unwrap().parse().unwrap()
        };
        messages.iter().map(lsn).collect()
    }

    #[test]
    fn each_record_has_a_higher_lsn() {
        let mut out = Outgoing::default();
        out.add(&saying(&[1, 1, 1]));
        assert_eq!(lsns(&out.events), [98, 99, 100]);
        assert_eq!(lsns(&out.diffs), [100]);
        let diff = read_binary_diff(out.diffs[0].value.as_ref().expect("has one")).expect("ours");
        assert_eq!((diff.lsn.get(), diff.changes.len()), (100, 3));
    }

    #[test]
    fn what_is_too_long_is_split_or_left_to_be_fetched() {
        let mut out = Outgoing::default();
        out.add(&saying(&[400_000, 400_000, 400_000, 1_000_000, 5]));
        assert_eq!(
            (out.events.len(), out.diffs.len(), out.long_rows),
            (5, 3, 1)
        );
        assert_eq!(lsns(&out.diffs), [97, 98, 100]);
        let value = |message: &Message| message.value.clone().expect("has one");
        for message in out.events.iter().chain(&out.diffs) {
            assert!(value(message).len() < 1_000_000);
        }
        let fetch = value(&out.events[3]);
        let text = std::str::from_utf8(&fetch).unwrap();
        assert!(
            text.ends_with(r#""pk":"k3","pos":3,"needFetch":true}"#),
            "{text}"
        );
    }
}
