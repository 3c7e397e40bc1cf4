//! JSON documents, taken apart as `jsonb` of Postgres does: numbers are exact decimals, an object
//! has each name once, and what it says last counts.

use std::collections::BTreeMap;

use crate::numeric::Numeric;

/// How deep a document may nest to be taken apart. Far above what anybody writes; it keeps every
/// walk of a document within the stack.
const DEPTH_MAX: usize = 512;

/// A JSON document.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, with its digits.
    Number(Numeric),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Document>),
    /// An object.
    Object(BTreeMap<String, Document>),
}

impl Document {
    /// Reads a document. `None` when the text is no JSON, nests deeper than 512 levels, or holds
    /// what `jsonb` has no place for: half a surrogate pair, the character NUL.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { text, at: 0 };
        let document = reader.document(0)?;
        reader.blank();
        (reader.at == text.len()).then_some(document)
    }

    /// Whether a text nests deeper than a document may. No recursion, whatever the text is.
    #[must_use]
    pub fn is_too_deep(text: &str) -> bool {
        // Each level takes two bytes at least.
        if text.len() < 2 * DEPTH_MAX {
            return false;
        }
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        for byte in text.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'[' | b'{' if !in_string => depth += 1,
                b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEPTH_MAX {
                return true;
            }
        }
        false
    }

    /// The document as JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => out.push_str(number.as_str()),
            Self::Text(text) => write_string(out, text),
            Self::Array(members) => {
                out.push('[');
                for (at, member) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    member.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, member)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_string(out, name);
                    out.push(':');
                    member.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A member of a document's outermost level, still as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outline<'a> {
    /// An object: look a member up with [`Outline::field`].
    Object(&'a str),
    /// An array.
    Array(&'a str),
    /// A string, number, boolean or null.
    Scalar(&'a str),
}

impl<'a> Outline<'a> {
    /// What a text that is JSON is.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        let text = text.trim_matches(is_blank);
        match text.as_bytes().first() {
            Some(b'{') => Self::Object(text),
            Some(b'[') => Self::Array(text),
            _ => Self::Scalar(text),
        }
    }

    /// The text of an object's member; of several of one name, that of the last. `None` when there
    /// is none, or this is no object.
    #[must_use]
    pub fn field(self, name: &str) -> Option<&'a str> {
        let Self::Object(text) = self else {
            return None;
        };
        let mut found = None;
        let mut reader = Reader { text, at: 0 };
        reader.members(|key, value| {
            if key == name {
                found = Some(value);
            }
        });
        found
    }

    /// Whether a name is that of an object's member, a string of an array, or the string itself.
    #[must_use]
    pub fn has_key(self, name: &str) -> bool {
        match self {
            Self::Object(_) => self.field(name).is_some(),
            Self::Array(text) => {
                let mut found = false;
                let mut reader = Reader { text, at: 0 };
                reader.elements(|element| found |= is_string(element, name));
                found
            }
            Self::Scalar(text) => is_string(text, name),
        }
    }
}

fn is_string(text: &str, name: &str) -> bool {
    // The quotes make it longer, and escapes more so.
    text.starts_with('"')
        && text.len() >= name.len() + 2
        && matches!(Document::parse(text), Some(Document::Text(own)) if own == name)
}

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.blank();
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text[self.at..]
            .starts_with(word)
            .then(|| self.at += word.len())
    }

    fn document(&mut self, depth: usize) -> Option<Document> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.blank();
        match self.peek()? {
            b'n' => self.word("null").map(|()| Document::Null),
            b't' => self.word("true").map(|()| Document::Bool(true)),
            b'f' => self.word("false").map(|()| Document::Bool(false)),
            b'"' => self.string().map(Document::Text),
            b'[' => self.array(depth).map(Document::Array),
            b'{' => self.object(depth).map(Document::Object),
            _ => self.number().map(Document::Number),
        }
    }

    fn array(&mut self, depth: usize) -> Option<Vec<Document>> {
        self.take(b'[')?;
        let mut members = Vec::new();
        if self.take(b']').is_some() {
            return Some(members);
        }
        loop {
            members.push(self.document(depth + 1)?);
            if self.take(b']').is_some() {
                return Some(members);
            }
            self.take(b',')?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<BTreeMap<String, Document>> {
        self.take(b'{')?;
        let mut members = BTreeMap::new();
        if self.take(b'}').is_some() {
            return Some(members);
        }
        loop {
            self.blank();
            let name = self.string()?;
            self.take(b':')?;
            let value = self.document(depth + 1)?;
            members.insert(name, value);
            if self.take(b'}').is_some() {
                return Some(members);
            }
            self.take(b',')?;
        }
    }

    fn number(&mut self) -> Option<Numeric> {
        let rest = &self.text.as_bytes()[self.at..];
        let end = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        let text = &self.text[self.at..self.at + end];
        if !is_number(text.as_bytes()) {
            return None;
        }
        self.at += end;
        Numeric::parse(text)
    }

    fn string(&mut self) -> Option<String> {
        if self.peek() != Some(b'"') {
            return None;
        }
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .bytes()
                .position(|byte| byte < b' ' || matches!(byte, b'"' | b'\\'))?;
            out.push_str(&rest[..plain]);
            self.at += plain + 1;
            match rest.as_bytes()[plain] {
                b'"' => return Some(out),
                b'\\' => out.push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let kind = self.peek()?;
        self.at += 1;
        Some(match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                let code = match first {
                    0xD800..=0xDBFF => {
                        self.word("\\u")?;
                        let second = self.hex().filter(|low| (0xDC00..=0xDFFF).contains(low))?;
                        0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                    }
                    other => other,
                };
                char::from_u32(code).filter(|c| *c != '\0')?
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u32::from_str_radix(digits, 16).ok())?
    }

    /// Tells each member of the object at the start. The text is JSON already.
    fn members(&mut self, mut tell: impl FnMut(String, &'a str)) -> Option<()> {
        self.take(b'{')?;
        loop {
            self.blank();
            let name = self.string()?;
            self.take(b':')?;
            let value = self.skip()?;
            tell(name, value);
            self.take(b',')?;
        }
    }

    /// Tells each element of the array at the start. The text is JSON already.
    fn elements(&mut self, mut tell: impl FnMut(&'a str)) -> Option<()> {
        self.take(b'[')?;
        loop {
            tell(self.skip()?);
            self.take(b',')?;
        }
    }

    /// Passes over a value and gives its text.
    fn skip(&mut self) -> Option<&'a str> {
        self.blank();
        let start = self.at;
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        while let Some(byte) = self.peek() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'[' | b'{' => depth += 1,
                b']' | b'}' | b',' if depth == 0 => break,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        let text = self.text[start..self.at].trim_end_matches(is_blank);
        (!text.is_empty()).then_some(text)
    }
}

/// `-12.5e+3`, as JSON has numbers.
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || whole > 1 && rest[0] == b'0' {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', exponent @ ..] => exponent,
            exponent => exponent,
        };
        let count = digits(exponent);
        return count > 0 && count == exponent.len();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `jsonb` makes one is one: names that come twice, escapes, digits of a number.
    #[test]
    fn equal_as_jsonb() {
        let check = |a: &str, b: &str, equal: bool| {
            let (a, b) = (Document::parse(a).expect(a), Document::parse(b).expect(b));
            assert_eq!(a == b, equal, "{a:?} {b:?}");
            assert_eq!(Document::parse(&a.to_text()), Some(a));
        };
        check(
            r#"{"a":1,"b":[1.0],"a":2}"#,
            r#" {"b" : [1.00], "a":2e0}"#,
            true,
        );
        check(r#""\u00e9\ud83d\ude00\n""#, "\"é😀\\u000a\"", true);
        check("[1,2]", "[2,1]", false);
        check("12345678901234567890", "12345678901234567891", false);
        check("-0", "0.00", true);
    }

    /// What is no JSON, or no `jsonb`, is not guessed at.
    #[test]
    fn refuses() {
        for bad in [
            "",
            "[",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "nul",
            "[1] 2",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "\"\\x\"",
            "\"\n\"",
            "\"a",
            "NaN",
            "1e99999999",
        ] {
            assert_eq!(Document::parse(bad), None, "{bad:?}");
        }
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Document::parse(&nested(DEPTH_MAX)).is_some());
        let deep = nested(DEPTH_MAX + 2);
        assert_eq!(Document::parse(&deep), None);
        assert!(Document::is_too_deep(&deep) && !Document::is_too_deep(&nested(DEPTH_MAX)));
    }

    /// The outermost level can be looked at without reading the rest.
    #[test]
    fn outlines() {
        let text = r#" {"a" : "x,}", "b": {"c":[1, 2]} , "a":null}"#;
        let outline = Outline::of(text);
        assert_eq!(outline.field("a"), Some("null"));
        assert_eq!(outline.field("b"), Some(r#"{"c":[1, 2]}"#));
        assert_eq!(outline.field("c"), None);
        assert_eq!(Outline::of(r#"["a"]"#).field("a"), None);
        assert!(Outline::of(r#"["b", "\u0061"]"#).has_key("a"));
        assert!(Outline::of("\"a\"").has_key("a"));
        assert!(!Outline::of("[[\"a\"], 1]").has_key("a"));
        assert!(!Outline::of("[]").has_key(""));
        assert!(!Outline::of("{}").has_key(""));
    }
}
