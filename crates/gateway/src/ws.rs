//! WebSocket frames: a reader of what clients send and a writer of what they get (RFC 6455).
//!
//! The reader does no I/O. It is given bytes as they come, calls back for each message, and keeps
//! only what is incomplete: clients mostly listen, so a session that is between frames costs one
//! empty pointer here. A whole, unfragmented message is lent straight out of the caller's buffer.

mod close;
mod partial;

use tidegate_protocol::CloseCode;

pub(crate) use close::close_payload;
use partial::Partial;

/// Bytes of one message from a client. More ends the connection with 1009.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// RFC 6455, 5.5: a control frame is never longer.
const CONTROL_BYTES_MAX: u64 = 125;
/// Longest header of a server's frame: two bytes and a 64-bit length.
pub(crate) const SERVER_HEADER_BYTES_MAX: usize = 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// What a client sent, lent for the time of the call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Text(&'a str),
    /// A whole binary message. What was in it is not kept: clients have no use of them here.
    Binary,
    Ping(&'a [u8]),
    Pong,
    /// The client closes. `None` when it gave no code.
    Close(Option<u16>),
}

/// Why the connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("the frame breaks the WebSocket protocol: {0}")]
    Protocol(&'static str),
    #[error("the text is not UTF-8")]
    NotUtf8,
    #[error("the message is larger than 1 MiB")]
    TooLarge,
}

impl Violation {
    /// The code to close with.
    pub(crate) const fn close_code(self) -> CloseCode {
        match self {
            Self::Protocol(_) => CloseCode::BadWebSocket,
            Self::NotUtf8 => CloseCode::NotUtf8,
            Self::TooLarge => CloseCode::TooLarge,
        }
    }
}

/// Whether the receiver of messages wants more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    /// Nothing after this message counts: the connection is closing.
    Stop,
}

/// The header of a client's frame.
#[derive(Debug, Clone, Copy)]
struct Header {
    fin: bool,
    opcode: Opcode,
    length: u64,
    mask: [u8; 4],
}

impl Header {
    /// Reads a header at the start of `bytes`, with its length; `None` while it is incomplete.
    ///
    /// What is already wrong in its first bytes is said at once, without waiting for the rest.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Violation::Protocol("a reserved bit is set"));
        }
        let opcode =
            Opcode::from_bits(first & 0x0f).ok_or(Violation::Protocol("unknown opcode"))?;
        let fin = first & 0x80 != 0;
        if opcode.is_control() && !fin {
            return Err(Violation::Protocol("a control frame is fragmented"));
        }
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        if second & 0x80 == 0 {
            return Err(Violation::Protocol("a client's frame is not masked"));
        }
        let Some((length, length_end)) = payload_length(bytes, second & 0x7f)? else {
            return Ok(None);
        };
        if opcode.is_control() && length > CONTROL_BYTES_MAX {
            return Err(Violation::Protocol("a control frame is too long"));
        }
        let Some(mask) = bytes.get(length_end..length_end + 4) else {
            return Ok(None);
        };
        let mask = mask.try_into().expect("the range has four bytes");
        let header = Self {
            fin,
            opcode,
            length,
            mask,
        };
        Ok(Some((header, length_end + 4)))
    }
}

/// The payload's length and where the length field ends.
fn payload_length(bytes: &[u8], short: u8) -> Result<Option<(u64, usize)>, Violation> {
    let (length, end, least) = match short {
        126 => match bytes.get(2..4) {
            Some(field) => (
                u64::from(u16::from_be_bytes(field.try_into().expect("two bytes"))),
                4,
                126,
            ),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10) {
            Some(field) => (
                u64::from_be_bytes(field.try_into().expect("eight bytes")),
                10,
                65_536,
            ),
            None => return Ok(None),
        },
        short => (u64::from(short), 2, 0),
    };
    if length < least || length > i64::MAX as u64 {
        return Err(Violation::Protocol("a length is not in its shortest form"));
    }
    Ok(Some((length, end)))
}

/// Reads one client's frames.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Present only while a frame or a fragmented message is incomplete.
    partial: Option<Box<Partial>>,
}

impl Reader {
    /// Takes the next bytes of the connection and hands out every message that is complete. The
    /// bytes are unmasked in place.
    pub(crate) fn read(
        &mut self,
        mut input: &mut [u8],
        on_message: &mut dyn FnMut(Message<'_>) -> Flow,
    ) -> Result<Flow, Violation> {
        while !input.is_empty() {
            if let Some(partial) = &mut self.partial {
                let (taken, flow) = partial.read(input, on_message)?;
                if partial.is_idle() {
                    self.partial = None;
                }
                if flow == Flow::Stop {
                    return Ok(Flow::Stop);
                }
                input = &mut input[taken..];
                continue;
            }
            match take_whole(input, on_message)? {
                Some((_, Flow::Stop)) => return Ok(Flow::Stop),
                Some((taken, Flow::Continue)) => input = &mut input[taken..],
                None => self.partial = Some(Box::default()),
            }
        }
        Ok(Flow::Continue)
    }
}

/// Hands out the message at the start of `input` if it is whole and in one frame. This is how
/// nearly all messages come; everything else takes the slow path.
fn take_whole(
    input: &mut [u8],
    on_message: &mut dyn FnMut(Message<'_>) -> Flow,
) -> Result<Option<(usize, Flow)>, Violation> {
    let Some((header, start)) = Header::parse(input)? else {
        return Ok(None);
    };
    if header.length > MESSAGE_BYTES_MAX as u64 {
        return Err(Violation::TooLarge);
    }
    let end = start + header.length as usize;
    if !header.fin || header.opcode == Opcode::Continuation || end > input.len() {
        return Ok(None);
    }
    let payload = &mut input[start..end];
    unmask(payload, header.mask, 0);
    let message = match header.opcode {
        Opcode::Text => {
            Message::Text(std::str::from_utf8(payload).map_err(|_| Violation::NotUtf8)?)
        }
        Opcode::Binary => Message::Binary,
        control => control_message(control, payload)?,
    };
    Ok(Some((end, on_message(message))))
}

/// The message of a whole control frame.
fn control_message(opcode: Opcode, payload: &[u8]) -> Result<Message<'_>, Violation> {
    match opcode {
        Opcode::Ping => Ok(Message::Ping(payload)),
        Opcode::Pong => Ok(Message::Pong),
        Opcode::Close => close::parse(payload).map(Message::Close),
        Opcode::Continuation | Opcode::Text | Opcode::Binary => {
            unreachable!("only control frames get here")
        }
    }
}

/// Undoes the masking of bytes that start at `phase` within their frame's payload.
fn unmask(bytes: &mut [u8], mask: [u8; 4], phase: usize) {
    let mut rotated = mask;
    rotated.rotate_left(phase % 4);
    let word = u32::from_ne_bytes(rotated);
    let mut chunks = bytes.chunks_exact_mut(4);
    for chunk in &mut chunks {
        let plain = u32::from_ne_bytes(chunk.try_into().expect("chunks of four")) ^ word;
        chunk.copy_from_slice(&plain.to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(rotated) {
        *byte ^= key;
    }
}

/// Writes the header of a server's frame, which is never masked, so that it ends where the payload
/// starts. `room` is the space before the payload; the header's first index in it is returned.
pub(crate) fn write_header(
    room: &mut [u8; SERVER_HEADER_BYTES_MAX],
    opcode: Opcode,
    length: usize,
) -> usize {
    let first = 0x80 | opcode.bits();
    if length < 126 {
        room[8..].copy_from_slice(&[first, length as u8]);
        8
    } else if let Ok(short) = u16::try_from(length) {
        room[6..8].copy_from_slice(&[first, 126]);
        room[8..].copy_from_slice(&short.to_be_bytes());
        6
    } else {
        room[..2].copy_from_slice(&[first, 127]);
        room[2..].copy_from_slice(&(length as u64).to_be_bytes());
        0
    }
}

#[cfg(test)]
mod tests;
