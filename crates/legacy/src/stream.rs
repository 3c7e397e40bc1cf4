//! What the foreign stream says: its messages, read.

use std::collections::HashSet;

use bytes::Bytes;
use tidegate_core::Lsn;
use tidegate_ports::{Received, TopicName};
use tidegate_protocol::{DiffKind, ForeignEvent, header_lsn};

use crate::config::ForeignTopics;
use crate::metrics;

/// A diff or row event of a foreign page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) kind: DiffKind,
    /// Its commit; nothing when the stream does not say.
    pub(crate) lsn: Option<Lsn>,
    pub(crate) body: Bytes,
}

/// Why a message says nothing. Each is counted, and logged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Unreadable {
    /// Its topic is none that we understand.
    Topic,
    /// It has no key, or one that is no text.
    Key,
    /// It has no value.
    Value,
    /// It is no row event.
    Event,
    /// It names an LSN that is none. What else it says counts.
    Lsn,
}

impl Unreadable {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Key => "key",
            Self::Value => "value",
            Self::Event => "event",
            Self::Lsn => "lsn",
        }
    }
}

/// Reads messages, and remembers what it has complained of.
pub(crate) struct StreamReader {
    topics: ForeignTopics,
    logged: HashSet<(TopicName, Unreadable)>,
}

impl StreamReader {
    pub(crate) fn new(topics: ForeignTopics) -> Self {
        Self {
            topics,
            logged: HashSet::new(),
        }
    }

    /// The page a message is about and what it says of it. `None` when it makes no sense; that has
    /// been counted.
    pub(crate) fn read(&mut self, received: &Received) -> Option<(String, Incoming)> {
        match self.try_read(received) {
            Ok(read) => Some(read),
            Err(why) => {
                self.complain(received, why);
                None
            }
        }
    }

    fn try_read(&mut self, received: &Received) -> Result<(String, Incoming), Unreadable> {
        let message = &received.message;
        let key = message
            .key
            .as_deref()
            .and_then(|key| std::str::from_utf8(key).ok());
        // Whoever has no key was never anybody's, even where the key does not count.
        let key = key.filter(|key| !key.is_empty()).ok_or(Unreadable::Key)?;
        let value = message.value.clone().ok_or(Unreadable::Value)?;
        let (key, kind, body) = if self.topics.diffs.contains(&received.topic) {
            (key.to_owned(), DiffKind::Opaque, value)
        } else if self.topics.events.contains(&received.topic) {
            let event = ForeignEvent::decode(&value).map_err(|_| Unreadable::Event)?;
            (event.key, DiffKind::RowEvent, event.json)
        } else {
            return Err(Unreadable::Topic);
        };
        let headers = message.headers.iter();
        let headers = headers.map(|header| (header.name.as_str(), header.value.as_deref()));
        let lsn = header_lsn(headers).unwrap_or_else(|_| {
            self.complain(received, Unreadable::Lsn);
            None
        });
        // Zero is what programs say that do not know.
        let lsn = lsn.filter(|lsn| *lsn > Lsn::ZERO);
        Ok((key, Incoming { kind, lsn, body }))
    }

    fn complain(&mut self, received: &Received, why: Unreadable) {
        metrics::count_unreadable(why);
        if self.logged.insert((received.topic.clone(), why)) {
            tracing::warn!(
                topic = received.topic.as_str(),
                partition = received.partition,
                offset = received.offset.0,
                what = why.as_str(),
                "a message of the foreign stream cannot be read; more of its kind are only counted"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    //! Shows that every message is read or counted, whatever its bytes are.

    use tidegate_ports::{BusOffset, Header, Message};

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).unwrap()
    }

    fn received(topic_name: &str, key: Option<&[u8]>, value: Option<&[u8]>) -> Received {
        Received {
            topic: topic(topic_name),
            partition: 0,
            offset: BusOffset(7),
            sent_millis: None,
            message: Message {
                key: key.map(Bytes::copy_from_slice),
                value: value.map(Bytes::copy_from_slice),
                headers: Vec::new(),
            },
        }
    }

    fn reader() -> StreamReader {
        let names = [topic("server.page.diffs"), topic("server.row.events")];
        StreamReader::new(ForeignTopics::of_names(&names))
    }

    #[test]
    fn hostile_messages_are_refused_by_what_is_wrong() {
        let mut reader = reader();
        let mut check = |message: Received, expect| {
            assert_eq!(reader.try_read(&message).map(|_| ()), expect);
        };
        let diffs = "server.page.diffs";
        check(
            received("else", Some(b"k"), Some(b"v")),
            Err(Unreadable::Topic),
        );
        check(received(diffs, None, Some(b"v")), Err(Unreadable::Key));
        check(received(diffs, Some(b""), Some(b"v")), Err(Unreadable::Key));
        check(
            received(diffs, Some(b"\xff"), Some(b"v")),
            Err(Unreadable::Key),
        );
        check(received(diffs, Some(b"k"), None), Err(Unreadable::Value));
        check(received(diffs, Some(b"k"), Some(b"")), Ok(()));
        let events = "server.row.events";
        check(
            received(events, Some(b"k"), Some(b"not json")),
            Err(Unreadable::Event),
        );
        check(
            received(events, Some(b"k"), Some(b"{}")),
            Err(Unreadable::Event),
        );
        check(
            received(events, Some(b"k"), Some(b"\xff\x00")),
            Err(Unreadable::Event),
        );
    }

    /// An event goes where it says itself; a diff where its record's key says.
    #[test]
    fn messages_find_their_pages() {
        let mut reader = reader();
        let event = br#"{"routingKey": "demo_notes|q1", "kind": "added"}"#;
        let read = reader.read(&received("server.row.events", Some(b"other"), Some(event)));
        assert_eq!(read.unwrap().0, "demo_notes|q1");
        let read = reader.read(&received(
            "server.page.diffs",
            Some(b"demo_notes|q2"),
            Some(b"\0"),
        ));
        assert_eq!(read.unwrap().0, "demo_notes|q2");
    }

    #[test]
    fn an_lsn_that_is_none_is_as_if_it_were_not_there() {
        let mut reader = reader();
        for (value, lsn) in [
            ("16/B374D848", Some(97_500_059_720)),
            ("abc", None),
            ("0", None),
        ] {
            let mut message = received("server.page.diffs", Some(b"k"), Some(b"v"));
            message.message.headers.push(Header {
                name: "LSN".to_owned(),
                value: Some(Bytes::from(value)),
            });
            let (_, incoming) = reader.read(&message).unwrap();
            assert_eq!(incoming.lsn, lsn.map(Lsn::new), "{value}");
        }
    }
}
