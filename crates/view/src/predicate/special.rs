//! Checks of arrays, documents, ranges and text without its case, as Postgres decides them.

use std::borrow::Cow;

use tidegate_core::{
    Array, ArrayCheck, Document, FoldedCheck, Folding, JsonCheck, Outline, Polarity, Range,
    RangeCheck, RangeType, Value,
};

use super::{Truth, text_matches};

/// Text whose letters A to Z are in lower case.
fn folded(text: &str) -> Cow<'_, str> {
    match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    }
}

/// `None` when only the database can say: such a check is never live.
pub(super) fn folded_check(folding: Folding, check: &FoldedCheck, text: &str) -> Option<Truth> {
    if folding == Folding::Database {
        return None;
    }
    let text = folded(text);
    Some(match check {
        FoldedCheck::InList(texts, polarity) => {
            let is_inside = texts
                .binary_search_by(|other| (**other).cmp(&*text))
                .is_ok();
            Truth::inside(is_inside, *polarity)
        }
        FoldedCheck::Text(kind, needle) => Truth::of(text_matches(*kind, &text, needle)),
    })
}

pub(super) fn array_check(check: &ArrayCheck, array: &Array) -> Truth {
    let own = array.elements();
    match check {
        ArrayCheck::Contains(other) => Truth::of(holds_all(own, other.elements())),
        ArrayCheck::ContainedBy(other) => Truth::of(holds_all(other.elements(), own)),
        ArrayCheck::Overlaps(other) => {
            Truth::of(other.elements().iter().any(|element| holds(own, element)))
        }
        ArrayCheck::Equals(other, polarity) => Truth::inside(equals(array, other), *polarity),
        ArrayCheck::Empty(polarity) => Truth::inside(own.is_empty(), *polarity),
        ArrayCheck::Length(length) => match array.dimensions().first() {
            Some(first) => Truth::of(i64::from(first.length) == *length),
            None => Truth::Unknown,
        },
    }
}

fn holds_all(outer: &[Value], inner: &[Value]) -> bool {
    inner.iter().all(|element| holds(outer, element))
}

/// NULL is in no array, not even in one that has it.
fn holds(array: &[Value], element: &Value) -> bool {
    array
        .iter()
        .any(|own| own.compare(element).is_some_and(std::cmp::Ordering::is_eq))
}

/// Here NULL equals NULL, and bounds count.
fn equals(array: &Array, other: &Array) -> bool {
    let same = |(own, other): (&Value, &Value)| match (own.is_null(), other.is_null()) {
        (false, false) => own.compare(other).is_some_and(std::cmp::Ordering::is_eq),
        (own, other) => own && other,
    };
    array.dimensions() == other.dimensions()
        && array.elements().iter().zip(other.elements()).all(same)
}

/// `None` for what is no document of `jsonb`.
pub(super) fn json_check(check: &JsonCheck, text: &str) -> Option<Truth> {
    let outline = Outline::of(text);
    Some(match check {
        JsonCheck::Contains(other) => Truth::of(contains(&Document::parse(text)?, other)),
        JsonCheck::ContainedBy(other) => Truth::of(contains(other, &Document::parse(text)?)),
        JsonCheck::HasKey(key) => Truth::of(outline.has_key(key)),
        JsonCheck::HasAnyKey(keys) => Truth::of(keys.iter().any(|key| outline.has_key(key))),
        JsonCheck::HasAllKeys(keys) => Truth::of(keys.iter().all(|key| outline.has_key(key))),
        JsonCheck::HasField(name) => Truth::of(outline.field(name).is_some()),
        JsonCheck::HasFieldText(name) => Truth::of(field_text(outline, name)?.is_some()),
        JsonCheck::FieldEquals(name, other) => match outline.field(name) {
            Some(field) => Truth::of(Document::parse(field)? == **other),
            None => Truth::Unknown,
        },
        JsonCheck::FieldTextEquals(name, other) => match field_text(outline, name)? {
            Some(text) => Truth::of(*text == **other),
            None => Truth::Unknown,
        },
    })
}

/// A member as text: strings without their quotes, null as NULL.
fn field_text<'a>(outline: Outline<'a>, name: &str) -> Option<Option<Cow<'a, str>>> {
    Some(match outline.field(name) {
        None | Some("null") => None,
        Some(text) if text.starts_with('"') => match Document::parse(text)? {
            Document::Text(text) => Some(Cow::Owned(text)),
            _ => return None,
        },
        Some(text) => Some(Cow::Borrowed(text)),
    })
}

/// `@>` of `jsonb`: an array contains a scalar, but at the outermost level only.
fn contains(outer: &Document, inner: &Document) -> bool {
    match (outer, inner) {
        (Document::Array(members), inner) if is_scalar(inner) => members.contains(inner),
        (outer, inner) => contains_within(outer, inner),
    }
}

fn is_scalar(document: &Document) -> bool {
    !matches!(document, Document::Array(_) | Document::Object(_))
}

fn contains_within(outer: &Document, inner: &Document) -> bool {
    match (outer, inner) {
        (Document::Object(own), Document::Object(other)) => other.iter().all(|(name, inner)| {
            own.get(name)
                .is_some_and(|outer| contains_within(outer, inner))
        }),
        (Document::Array(own), Document::Array(other)) => other.iter().all(|inner| {
            own.iter().any(|outer| match is_scalar(inner) {
                true => outer == inner,
                false => contains_within(outer, inner),
            })
        }),
        (outer, inner) => is_scalar(outer) && outer == inner,
    }
}

/// `None` for a text that is no range.
pub(super) fn range_check(kind: RangeType, check: &RangeCheck, text: &str) -> Option<Truth> {
    let range = Range::parse(kind, text)?;
    Some(Truth::of(match check {
        RangeCheck::Holds(value) => range.holds(value),
        RangeCheck::Covers(other) => range.covers(other),
        RangeCheck::CoveredBy(other) => other.covers(&range),
    }))
}

/// What a polarity makes of an answer that may be missing.
pub(super) fn known(matches: Option<bool>, polarity: Polarity) -> Option<Truth> {
    matches.map(|matches| Truth::inside(matches, polarity))
}
