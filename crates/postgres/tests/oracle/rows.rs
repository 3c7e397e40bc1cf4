//! Rows as the oracle knows them: its own values, their own order, and their JSON.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// A value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    /// Hundredths: the one scale that the tables have.
    Price(i64),
    Bool(bool),
    Text(Arc<str>),
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Big,
    Int,
    Price,
    Bool,
    Text,
}

/// The columns that every table begins with; those that are added later are integers.
pub(crate) const COLUMNS: [(&str, Kind); 7] = [
    ("id", Kind::Big),
    ("grp", Kind::Int),
    ("val", Kind::Int),
    ("price", Kind::Price),
    ("flag", Kind::Bool),
    ("name", Kind::Text),
    ("body", Kind::Text),
];

/// The name of a column, also of one that was added.
pub(crate) fn column_name(at: usize) -> String {
    match COLUMNS.get(at) {
        Some((name, _)) => (*name).to_owned(),
        None => format!("extra{at}"),
    }
}

pub(crate) fn kind(at: usize) -> Kind {
    COLUMNS.get(at).map_or(Kind::Int, |(_, kind)| *kind)
}

impl Cell {
    /// Reads what the server wrote as text.
    pub(crate) fn parse(kind: Kind, text: &str) -> Self {
        match kind {
            Kind::Big | Kind::Int => Self::Int(text.parse().expect("an integer")),
            Kind::Price => {
                let digits: String = text.chars().filter(|c| *c != '.').collect();
                assert_eq!(text.len() - text.find('.').expect("two places"), 3);
                Self::Price(digits.parse().expect("a number"))
            }
            Kind::Bool => Self::Bool(matches!(text, "t" | "true")),
            Kind::Text => Self::Text(text.into()),
        }
    }

    /// How two values of one column compare; `None` with NULL.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) | (Self::Price(a), Self::Price(b)) => Some(a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Self::Null, _) | (_, Self::Null) => None,
            (a, b) => panic!("{a:?} and {b:?} are of one column"),
        }
    }

    /// As SQL text.
    pub(crate) fn sql(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Int(number) => number.to_string(),
            Self::Price(_) | Self::Bool(_) => self.plain(),
            Self::Text(text) => format!("'{}'", text.replace('\'', "''")),
        }
    }

    pub(crate) fn plain(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Int(number) => number.to_string(),
            Self::Price(hundredths) => {
                let sign = if *hundredths < 0 { "-" } else { "" };
                let size = hundredths.abs();
                format!("{sign}{}.{:02}", size / 100, size % 100)
            }
            Self::Bool(is) => is.to_string(),
            Self::Text(text) => text.to_string(),
        }
    }

    fn write_json(&self, out: &mut String, kind: Kind) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Int(_) if kind == Kind::Int => out.push_str(&self.plain()),
            Self::Bool(_) => out.push_str(&self.plain()),
            Self::Int(_) | Self::Price(_) => write!(out, "\"{}\"", self.plain()).expect("memory"),
            Self::Text(text) => {
                let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
                write!(out, "\"{escaped}\"").expect("memory");
            }
        }
    }
}

/// A row of some version of its table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) cells: Box<[Cell]>,
    /// The hash of the row's JSON, by how many columns are shown less those of the beginning.
    hashes: Box<[u64]>,
}

impl Row {
    pub(crate) fn new(cells: Vec<Cell>) -> Self {
        let mut json = String::with_capacity(128);
        let mut hashes = Vec::new();
        for (at, cell) in cells.iter().enumerate() {
            json.push(if at == 0 { '{' } else { ',' });
            write!(json, "\"{}\":", column_name(at)).expect("memory");
            cell.write_json(&mut json, kind(at));
            if at + 1 >= COLUMNS.len() {
                json.push('}');
                hashes.push(hash(json.as_bytes()));
                json.pop();
            }
        }
        let (cells, hashes) = (cells.into(), hashes.into());
        Self { cells, hashes }
    }

    pub(crate) fn id(&self) -> i64 {
        match self.cells[0] {
            Cell::Int(id) => id,
            _ => panic!("a key is an integer"),
        }
    }

    /// The hash of the JSON of its first columns.
    pub(crate) fn hash(&self, columns: usize) -> u64 {
        self.hashes[columns - COLUMNS.len()]
    }
}

/// A hash that two different rows do not share, for all that can be expected.
pub(crate) fn hash(json: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(json);
    hasher.finish()
}
