//! Frames and messages that came only in part.

use super::{
    CONTROL_BYTES_MAX, Flow, Header, MESSAGE_BYTES_MAX, Message, Opcode, Violation,
    control_message, unmask,
};

/// A client's frame header has two bytes, a length of up to eight, and a mask of four.
const CLIENT_HEADER_BYTES_MAX: usize = 14;

/// What is incomplete on a connection: a header, a frame's payload, a fragmented message, or
/// several.
#[derive(Debug, Default)]
pub(super) struct Partial {
    header: [u8; CLIENT_HEADER_BYTES_MAX],
    header_length: usize,
    frame: Option<Frame>,
    /// The fragmented (or merely incomplete) data message. Control frames may come in between.
    data: Option<Data>,
    control: Vec<u8>,
}

/// A frame whose payload is being read.
#[derive(Debug)]
struct Frame {
    header: Header,
    taken: u64,
}

/// A data message being put together.
#[derive(Debug)]
enum Data {
    Text {
        bytes: Vec<u8>,
        /// Bytes from the start that are known to be UTF-8. What follows is at most the beginning
        /// of one character.
        checked: usize,
    },
    /// Only counted.
    Binary { length: usize },
}

impl Data {
    fn length(&self) -> usize {
        match self {
            Self::Text { bytes, .. } => bytes.len(),
            Self::Binary { length } => *length,
        }
    }

    /// Adds plain bytes. Text that can no longer become UTF-8 is refused at once, not at its end.
    fn push(&mut self, payload: &[u8]) -> Result<(), Violation> {
        match self {
            Self::Binary { length } => *length += payload.len(),
            Self::Text { bytes, checked } => {
                bytes.extend_from_slice(payload);
                match std::str::from_utf8(&bytes[*checked..]) {
                    Ok(_) => *checked = bytes.len(),
                    Err(error) if error.error_len().is_none() => *checked += error.valid_up_to(),
                    Err(_) => return Err(Violation::NotUtf8),
                }
            }
        }
        Ok(())
    }

    fn message(&self) -> Result<Message<'_>, Violation> {
        match self {
            Self::Binary { .. } => Ok(Message::Binary),
            Self::Text { bytes, .. } => std::str::from_utf8(bytes)
                .map(Message::Text)
                .map_err(|_| Violation::NotUtf8),
        }
    }
}

impl Partial {
    /// Whether nothing is incomplete any more.
    pub(super) fn is_idle(&self) -> bool {
        self.header_length == 0 && self.frame.is_none() && self.data.is_none()
    }

    /// Takes bytes up to the end of one frame, or all of them, and says how many.
    pub(super) fn read(
        &mut self,
        input: &mut [u8],
        on_message: &mut dyn FnMut(Message<'_>) -> Flow,
    ) -> Result<(usize, Flow), Violation> {
        let mut taken = 0;
        if self.frame.is_none() {
            taken = self.read_header(input)?;
        }
        let Some(frame) = &mut self.frame else {
            return Ok((taken, Flow::Continue));
        };
        let header = frame.header;
        let missing = header.length - frame.taken;
        let length = missing.min((input.len() - taken) as u64) as usize;
        let payload = &mut input[taken..taken + length];
        unmask(payload, header.mask, (frame.taken % 4) as usize);
        frame.taken += length as u64;
        let is_complete = frame.taken == header.length;
        if header.opcode.is_control() {
            self.control.extend_from_slice(payload);
        } else if let Some(data) = &mut self.data {
            data.push(payload)?;
        }
        taken += length;
        if !is_complete {
            return Ok((taken, Flow::Continue));
        }
        self.frame = None;
        self.finish_frame(header, on_message)
            .map(|flow| (taken, flow))
    }

    /// Adds bytes to the header. When it is whole, the frame is begun; otherwise all bytes were
    /// taken.
    fn read_header(&mut self, input: &[u8]) -> Result<usize, Violation> {
        let known = self.header_length;
        let fresh = input.len().min(CLIENT_HEADER_BYTES_MAX - known);
        self.header[known..known + fresh].copy_from_slice(&input[..fresh]);
        match Header::parse(&self.header[..known + fresh])? {
            None => {
                self.header_length += fresh;
                Ok(fresh)
            }
            Some((header, length)) => {
                self.header_length = 0;
                self.begin_frame(header)?;
                Ok(length - known)
            }
        }
    }

    fn begin_frame(&mut self, header: Header) -> Result<(), Violation> {
        match (header.opcode, &self.data) {
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Violation::Protocol("a message begins within another"));
            }
            (Opcode::Continuation, None) => {
                return Err(Violation::Protocol("a continuation of nothing"));
            }
            (Opcode::Text, None) => {
                self.data = Some(Data::Text {
                    bytes: Vec::new(),
                    checked: 0,
                });
            }
            (Opcode::Binary, None) => self.data = Some(Data::Binary { length: 0 }),
            (Opcode::Continuation, Some(_)) => {}
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {
                self.control = Vec::with_capacity(CONTROL_BYTES_MAX as usize);
            }
        }
        // The bound is checked before a byte of the payload is kept.
        let before = self.data.as_ref().map_or(0, Data::length) as u64;
        if !header.opcode.is_control() && header.length > MESSAGE_BYTES_MAX as u64 - before {
            return Err(Violation::TooLarge);
        }
        self.frame = Some(Frame { header, taken: 0 });
        Ok(())
    }

    fn finish_frame(
        &mut self,
        header: Header,
        on_message: &mut dyn FnMut(Message<'_>) -> Flow,
    ) -> Result<Flow, Violation> {
        if header.opcode.is_control() {
            let control = std::mem::take(&mut self.control);
            return control_message(header.opcode, &control).map(on_message);
        }
        if !header.fin {
            return Ok(Flow::Continue);
        }
        match self.data.take() {
            Some(data) => data.message().map(on_message),
            None => Ok(Flow::Continue),
        }
    }
}
