//! Close frames: what ours hold, and which of a client's are valid.

use super::Violation;

/// The payload of a close frame. The reason is cut to what a control frame can hold.
pub(crate) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    let room = super::CONTROL_BYTES_MAX as usize - 2;
    let end = (0..=reason.len().min(room))
        .rev()
        .find(|end| reason.is_char_boundary(*end))
        .unwrap_or(0);
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    payload
}

/// Reads the payload of a client's close frame.
pub(super) fn parse(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(Violation::Protocol("a close code has one byte")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    // 1004 to 1006 and 1015 mean something to programs but must not be sent; the rest below 3000 is
    // not assigned.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol("a close code that may not be sent"));
    }
    std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
    Ok(Some(code))
}
