//! The reader takes every frame that RFC 6455 allows, refuses every one that it does not, and cares
//! neither how the bytes are cut nor what they are.

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

use super::*;

/// A message as a value of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary,
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

fn own(message: &Message<'_>) -> Seen {
    match message {
        Message::Text(text) => Seen::Text((*text).to_owned()),
        Message::Binary => Seen::Binary,
        Message::Ping(payload) => Seen::Ping(payload.to_vec()),
        Message::Pong => Seen::Pong,
        Message::Close(code) => Seen::Close(*code),
    }
}

/// What comes of bytes that arrive in these pieces.
fn read_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Seen>, Result<(), Violation>, Reader) {
    let mut reader = Reader::default();
    let mut seen = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let result = reader.read(&mut piece, &mut |message| {
            seen.push(own(&message));
            Flow::Continue
        });
        if let Err(violation) = result {
            return (seen, Err(violation), reader);
        }
    }
    (seen, Ok(()), reader)
}

/// A client's frame: first byte as given, shortest length, masked.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![first];
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        middle @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(
        payload
            .iter()
            .enumerate()
            .map(|(index, byte)| byte ^ mask[index % 4]),
    );
    out
}

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// Whole, in every cut of two, and byte by byte, the same must come of it.
fn check(bytes: &[u8], expect: &[Seen], outcome: Result<(), Violation>) {
    let (seen, result, _) = read_pieces([bytes]);
    assert_eq!((seen.as_slice(), result), (expect, outcome), "in one piece");
    let (seen, result, _) = read_pieces(bytes.chunks(1));
    assert_eq!((seen.as_slice(), result), (expect, outcome), "byte by byte");
    for cut in 1..bytes.len().min(300) {
        let (seen, result, _) = read_pieces([&bytes[..cut], &bytes[cut..]]);
        assert_eq!((seen.as_slice(), result), (expect, outcome), "cut at {cut}");
    }
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

/// The examples of RFC 6455, 5.7, and what follows one message in the same bytes.
#[test]
fn reads_what_the_rfc_shows() {
    check(
        &[
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ],
        &[text("Hello")],
        Ok(()),
    );
    let mut several = masked(TEXT, b"one");
    several.extend(masked(PING, b"Hello"));
    several.extend(masked(PONG, b""));
    several.extend(masked(0x82, &[0xff; 200]));
    several.extend(masked(TEXT, "zwölf".as_bytes()));
    let ping = Seen::Ping(b"Hello".to_vec());
    check(
        &several,
        &[text("one"), ping, Seen::Pong, Seen::Binary, text("zwölf")],
        Ok(()),
    );
}

/// A message may come in fragments, with control frames in between, and leaves nothing behind.
#[test]
fn puts_fragments_together() {
    let mut bytes = masked(0x01, "häl".as_bytes());
    bytes.extend(masked(PING, b"!"));
    bytes.extend(masked(0x00, b""));
    bytes.extend(masked(0x80, b"fte"));
    check(&bytes, &[Seen::Ping(b"!".to_vec()), text("hälfte")], Ok(()));
    // A character may be cut in two by the fragments.
    let mut cut = masked(0x01, &[0xc3]);
    cut.extend(masked(0x80, &[0xa4]));
    check(&cut, &[text("ä")], Ok(()));
    let (_, _, reader) = read_pieces([&cut[..]]);
    assert!(reader.partial.is_none(), "an idle session keeps nothing");
}

/// Each length encoding at its ends, up to the bound and one byte past it.
#[test]
fn lengths_up_to_the_bound() {
    for length in [0, 125, 126, 65_535, 65_536, MESSAGE_BYTES_MAX] {
        let payload = vec![b'x'; length];
        let bytes = masked(TEXT, &payload);
        let (seen, result, _) = read_pieces(bytes.chunks(40_000));
        assert_eq!(result, Ok(()));
        assert_eq!(seen, [Seen::Text("x".repeat(length))]);
    }
    let bytes = masked(TEXT, &vec![b'x'; MESSAGE_BYTES_MAX + 1]);
    assert_eq!(
        read_pieces([&bytes[..20]]).1,
        Err(Violation::TooLarge),
        "before the payload is read"
    );
    let mut fragments = masked(0x01, &vec![b'x'; MESSAGE_BYTES_MAX]);
    fragments.extend(masked(0x80, b"y"));
    assert_eq!(read_pieces([&fragments[..]]).1, Err(Violation::TooLarge));
    assert_eq!(Violation::TooLarge.close_code().number(), 1009);
}

/// Everything that the protocol forbids, by the byte that breaks it.
#[test]
fn refuses_what_the_protocol_forbids() {
    let protocol = |bytes: &[u8], why| check(bytes, &[], Err(Violation::Protocol(why)));
    protocol(&[0x81, 0x05, b'H'], "a client's frame is not masked");
    for first in [0xc1, 0xa1, 0x91] {
        protocol(&masked(first, b"x"), "a reserved bit is set");
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        protocol(&masked(0x80 | opcode, b""), "unknown opcode");
    }
    protocol(&masked(0x09, b""), "a control frame is fragmented");
    protocol(&masked(PING, &[0; 126]), "a control frame is too long");
    protocol(&masked(0x80, b"x"), "a continuation of nothing");
    protocol(&masked(CLOSE, b"x"), "a close code has one byte");
    protocol(
        &[0x81, 0xfe, 0, 125, 0, 0, 0, 0],
        "a length is not in its shortest form",
    );
    protocol(
        &[0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0],
        "a length is not in its shortest form",
    );
    let mut nested = masked(0x01, b"a");
    nested.extend(masked(0x01, b"b"));
    protocol(&nested, "a message begins within another");
}

/// Text is refused as soon as it cannot become UTF-8 any more, wherever it is cut.
#[test]
fn refuses_text_that_is_not_utf8() {
    for bad in [
        &[0xce, 0xba, 0xff][..],
        &[0xed, 0xa0, 0x80],
        &[0xf4, 0x90, 0x80, 0x80],
        &[0xc3],
    ] {
        check(&masked(TEXT, bad), &[], Err(Violation::NotUtf8));
    }
    let mut fragments = masked(0x01, &[0xf4]);
    fragments.extend(masked(0x00, &[0x90]));
    check(&fragments, &[], Err(Violation::NotUtf8));
    // The fourth byte never comes, and is not waited for.
    let bytes = masked(TEXT, &[0xce, 0xba, 0xed, 0xa0, 0x80, b'x']);
    assert_eq!(
        read_pieces([&bytes[..bytes.len() - 2]]).1,
        Err(Violation::NotUtf8)
    );
}

/// Close codes that may be sent, and those that may not.
#[test]
fn checks_close_codes() {
    check(&masked(CLOSE, b""), &[Seen::Close(None)], Ok(()));
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ] {
        let payload = close_payload(code, "bye");
        check(&masked(CLOSE, &payload), &[Seen::Close(Some(code))], Ok(()));
    }
    let why = "a close code that may not be sent";
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        let payload = close_payload(code, "");
        check(&masked(CLOSE, &payload), &[], Err(Violation::Protocol(why)));
    }
    check(
        &masked(CLOSE, &[0x03, 0xe8, 0xff]),
        &[],
        Err(Violation::NotUtf8),
    );
}

/// A reason that is too long is cut at a character, so that the close frame stays a control frame.
#[test]
fn close_reasons_fit() {
    let payload = close_payload(1008, &"ü".repeat(100));
    assert!(payload.len() <= 125);
    assert!(std::str::from_utf8(&payload[2..]).is_ok());
}

/// After a message that stops, nothing is handed out any more.
#[test]
fn stops_when_told() {
    let mut bytes = masked(CLOSE, b"");
    bytes.extend(masked(TEXT, b"late"));
    let mut count = 0;
    let flow = Reader::default().read(&mut bytes, &mut |_| {
        count += 1;
        Flow::Stop
    });
    assert_eq!((flow, count), (Ok(Flow::Stop), 1));
}

/// Hostile bytes never panic and never grow what is kept beyond the bound; and valid traffic means
/// the same however it is cut.
#[test]
fn survives_anything() {
    let mut random = SmallRng::seed_from_u64(7);
    for _ in 0..3_000 {
        let mut bytes = vec![0; random.random_range(0..200)];
        random.fill_bytes(&mut bytes);
        // Often enough a frame that begins well.
        if random.random_bool(0.7) {
            let payload = bytes.clone();
            let first = [0x01, 0x81, 0x00, 0x80, 0x88, 0x89, 0x02][random.random_range(0..7)];
            bytes.splice(0..0, masked(first, &payload));
        }
        let whole = read_pieces([&bytes[..]]);
        let pieces = read_pieces(bytes.chunks(random.random_range(1..9)));
        assert_eq!(whole.0, pieces.0);
        assert_eq!(whole.1, pieces.1);
    }
}

/// Headers of every length, as a client reads them.
#[test]
fn writes_headers() {
    let header = |length| {
        let mut room = [0; SERVER_HEADER_BYTES_MAX];
        let start = write_header(&mut room, Opcode::Text, length);
        room[start..].to_vec()
    };
    assert_eq!(header(5), [0x81, 5]);
    assert_eq!(header(125), [0x81, 125]);
    assert_eq!(header(126), [0x81, 126, 0, 126]);
    assert_eq!(header(65_535), [0x81, 126, 0xff, 0xff]);
    assert_eq!(header(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
}
