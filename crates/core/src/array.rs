//! Arrays, as columns hold them.

use std::fmt::Write;

use crate::value::Value;

/// Dimensions of one array. Postgres has at most six.
const DIMENSIONS_MAX: usize = 6;

/// One dimension of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimension {
    /// The index of its first element; one unless said otherwise.
    pub lower: i32,
    /// How many elements it has.
    pub length: u32,
}

/// An array: its elements, and how they stand in rows of rows. Bounds count for equality, as they
/// do in Postgres.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    dimensions: Box<[Dimension]>,
    elements: Box<[Value]>,
}

impl Array {
    /// A plain list.
    ///
    /// # Panics
    /// When it holds more elements than 32 bits count; no text that long is read.
    #[must_use]
    pub fn flat(elements: Vec<Value>) -> Self {
        let length = u32::try_from(elements.len()).expect("a list is bounded by its text");
        let dimensions = match length {
            0 => Vec::new(),
            _ => vec![Dimension { lower: 1, length }],
        };
        Self {
            dimensions: dimensions.into(),
            elements: elements.into(),
        }
    }

    /// An array of these dimensions, outermost first. `None` when the number of elements is not
    /// theirs, or one of the elements is itself an array.
    #[must_use]
    pub fn new(dimensions: Vec<Dimension>, elements: Vec<Value>) -> Option<Self> {
        let count = match &dimensions[..] {
            [] => 0,
            some => some.iter().try_fold(1_usize, |count, dimension| {
                count.checked_mul(dimension.length as usize)
            })?,
        };
        let is_flat = |value: &Value| !matches!(value, Value::Array(_));
        let is_right = count == elements.len()
            && dimensions.len() <= DIMENSIONS_MAX
            && dimensions.iter().all(|dimension| dimension.length > 0)
            && elements.iter().all(is_flat);
        is_right.then(|| Self {
            dimensions: dimensions.into(),
            elements: elements.into(),
        })
    }

    /// All elements, the last dimension's fastest.
    #[must_use]
    pub fn elements(&self) -> &[Value] {
        &self.elements
    }

    /// The dimensions, outermost first; none when it is empty.
    #[must_use]
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// As Postgres writes and reads it: `{"a",NULL}`, `[0:1]={"a","b"}`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::with_capacity(2 + self.elements.len() * 8);
        if self.dimensions.iter().any(|dimension| dimension.lower != 1) {
            for dimension in &self.dimensions {
                let lower = i64::from(dimension.lower);
                let upper = lower + i64::from(dimension.length) - 1;
                write!(out, "[{lower}:{upper}]").expect("writing to a string does not fail");
            }
            out.push('=');
        }
        if self.elements.is_empty() {
            out.push_str("{}");
            return out;
        }
        let mut elements = self.elements.iter();
        write_level(&mut out, &self.dimensions, &mut elements);
        out
    }
}

fn write_level<'a>(
    out: &mut String,
    dimensions: &[Dimension],
    elements: &mut impl Iterator<Item = &'a Value>,
) {
    let Some((outer, inner)) = dimensions.split_first() else {
        match elements.next().and_then(Value::to_text) {
            Some(text) => write_element(out, &text),
            None => out.push_str("NULL"),
        }
        return;
    };
    out.push('{');
    for at in 0..outer.length {
        if at > 0 {
            out.push(',');
        }
        write_level(out, inner, elements);
    }
    out.push('}');
}

fn write_element(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrays are written with all that their text has to say: bounds, levels, quotes, NULL.
    #[test]
    fn writes_text() {
        let list = Array::flat(vec![Value::text("a\"b\\"), Value::Null, Value::text("")]);
        assert_eq!(list.to_text(), r#"{"a\"b\\",NULL,""}"#);
        assert_eq!(Array::flat(Vec::new()).to_text(), "{}");
        let dimension = |lower, length| Dimension { lower, length };
        let elements = || (1..=4).map(Value::Int).collect::<Vec<_>>();
        let square = Array::new(vec![dimension(1, 2), dimension(1, 2)], elements());
        assert_eq!(square.expect("fits").to_text(), r#"{{"1","2"},{"3","4"}}"#);
        let shifted = Array::new(vec![dimension(0, 4)], elements()).expect("fits");
        assert_eq!(shifted.to_text(), r#"[0:3]={"1","2","3","4"}"#);
    }

    /// An array whose elements do not fill its dimensions is none.
    #[test]
    fn refuses_what_does_not_fit() {
        let dimension = |length| Dimension { lower: 1, length };
        assert_eq!(Array::new(vec![dimension(2)], vec![Value::Null]), None);
        assert_eq!(Array::new(Vec::new(), vec![Value::Null]), None);
        assert_eq!(Array::new(vec![dimension(0)], Vec::new()), None);
        let inner = Value::Array(Array::flat(Vec::new()).into());
        assert_eq!(Array::new(vec![dimension(1)], vec![inner]), None);
    }
}
