//! Small things about JSON text that serde does not give: writing without a tree, and depth.

use serde::Deserialize;
use serde_json::value::RawValue;

/// How deep a client's JSON may nest. What serde itself allows; far above any query or document.
pub(crate) const DEPTH_MAX: usize = 128;

/// How deep brackets nest, outside of strings. No recursion, whatever the text is.
pub(crate) fn depth(text: &str) -> usize {
    let (mut deepest, mut open, mut in_string, mut escaped) = (0, 0_usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The kind of a JSON value, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// The kind of a value that serde has found to be JSON.
pub(crate) fn kind(raw: &RawValue) -> Kind {
    match raw.get().as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::String,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') | None => Kind::Null,
        Some(_) => Kind::Number,
    }
}

/// The text of a JSON string. `None` when the value is no string, or holds half a surrogate pair.
pub(crate) fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// The fields of an object. `None` when it is no object, or names a field twice.
pub(crate) fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    // A struct is read from an array too.
    (kind(raw) == Kind::Object)
        .then(|| serde_json::from_str(raw.get()).ok())
        .flatten()
}

/// The members of an array.
pub(crate) fn array(raw: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw.get()).ok()
}

/// A boolean.
pub(crate) fn boolean(raw: &RawValue) -> Option<bool> {
    serde_json::from_str(raw.get()).ok()
}

/// A field that is there and not null.
pub(crate) fn given(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| kind(raw) != Kind::Null)
}

/// Whether a text is JSON, as a whole.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Whether a text is a JSON number.
pub(crate) fn is_number(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text)
        .is_ok_and(|raw| kind(raw) == Kind::Number && raw.get().len() == text.len())
}

/// Writes a text as a JSON string: quotes, backslashes and control characters escaped, the rest as
/// it is.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        write_escape(out, byte);
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        other => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(other >> 4)]);
            out.push(HEX[usize::from(other & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Writes an integer.
pub(crate) fn write_int(out: &mut Vec<u8>, value: impl serde::Serialize) {
    serde_json::to_writer(out, &value).expect("a number is written to memory");
}

/// Writes members of an array or object with a comma between them.
pub(crate) fn write_separated<T>(
    out: &mut Vec<u8>,
    members: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    for (at, member) in members.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, member);
    }
}
