//! Unique indexes, as far as capture needs them.
//!
//! `INSERT OR REPLACE` deletes the rows that stand in its way through a unique index, and fires no
//! trigger for them. To know them beforehand, a trigger asks for the rows whose indexed terms equal
//! those of the new row. Terms that are expressions, and the condition of a partial index, stand
//! only in the text of `CREATE INDEX`; they are cut out of it here.

use rusqlite::Connection;
use tidegate_sql::quoted;

use crate::error::Failure;
use crate::index_text::{IndexText, cut};

/// A unique index through which a row can replace a row of another key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UniqueIndex {
    pub(crate) terms: Vec<Term>,
    /// The condition of a partial index, as SQL over the table's columns.
    pub(crate) condition: Option<String>,
}

/// What an index compares at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) what: TermKind,
    pub(crate) collation: String,
}

/// A column, or an expression over the table's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TermKind {
    Column(String),
    Expression(String),
}

impl UniqueIndex {
    /// Whether SQL of somebody else goes into the triggers for it.
    pub(crate) fn holds_text(&self) -> bool {
        let is_text = |term: &Term| matches!(term.what, TermKind::Expression(_));
        self.condition.is_some() || self.terms.iter().any(is_text)
    }

    /// Whether it makes this one column unique, in all rows that are equal in the `besides` one.
    pub(crate) fn is_exactly(&self, column: &str, besides: Option<&str>) -> bool {
        let names = |term: &Term, name: &str| term.what == TermKind::Column(name.to_owned());
        let mut terms = self.terms.iter();
        let all = terms
            .all(|term| names(term, column) || besides.is_some_and(|besides| names(term, besides)));
        let holds = self.terms.iter().any(|term| names(term, column));
        self.condition.is_none() && all && holds
    }
}

/// The unique indexes of one table.
pub(crate) struct Indexes {
    pub(crate) uniques: Vec<UniqueIndex>,
    /// The index that keeps the primary key, when it is not the rowid.
    pub(crate) key: Option<Vec<Term>>,
    /// Why changes of the table cannot be captured exactly.
    pub(crate) refusal: Option<String>,
}

impl Indexes {
    /// Notes that a row can replace one of another key through the primary key itself, whose
    /// columns have these names: it is only a part of what rows are told apart by.
    pub(crate) fn replaces_by_key(&mut self, names: impl Iterator<Item = String>) {
        let rowid = names.map(|name| Term {
            what: TermKind::Column(name),
            collation: "BINARY".to_owned(),
        });
        let terms = self.key.clone().unwrap_or_else(|| rowid.collect());
        let index = UniqueIndex {
            terms,
            condition: None,
        };
        if !index.terms.is_empty() && !self.uniques.contains(&index) {
            self.uniques.push(index);
        }
    }

    /// The collation that the primary key compares a column by.
    pub(crate) fn key_collation(&self, column: &str) -> Option<String> {
        let mut terms = self.key.iter().flatten();
        let term = terms.find(|term| term.what == TermKind::Column(column.to_owned()))?;
        Some(term.collation.clone())
    }
}

/// Reads the unique indexes of a table.
pub(crate) fn unique_indexes(connection: &Connection, physical: &str) -> Result<Indexes, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT i.name, i.origin, i.partial, s.sql \
         FROM pragma_index_list(?1) AS i LEFT JOIN sqlite_schema AS s \
         ON s.type = 'index' AND s.name = i.name WHERE i.\"unique\" ORDER BY i.name",
    )?;
    let listed = statement
        .query_map([physical], |row| {
            Ok(RawIndex {
                name: row.get(0)?,
                origin: row.get(1)?,
                partial: row.get(2)?,
                text: row.get(3)?,
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let mut indexes = Indexes {
        uniques: Vec::new(),
        key: None,
        refusal: None,
    };
    for raw in listed {
        match read_index(connection, &raw)? {
            Ok(index) if raw.origin == "pk" => {
                // To it, keys that differ in case may be one, so a row can replace one of another
                // key.
                if index.terms.iter().any(|term| !term.compares_bytes()) {
                    indexes.uniques.push(index.clone());
                }
                indexes.key = Some(index.terms);
            }
            Ok(index) => indexes.uniques.push(index),
            Err(why) => {
                indexes.refusal = Some(format!("its unique index {} {why}", raw.name));
            }
        }
    }
    Ok(indexes)
}

struct RawIndex {
    name: String,
    origin: String,
    partial: bool,
    text: Option<String>,
}

fn read_index(
    connection: &Connection,
    raw: &RawIndex,
) -> Result<Result<UniqueIndex, String>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno")?;
    let columns = statement
        .query_map([&raw.name], |row| {
            Ok((row.get::<_, Option<String>>(0)?, row.get::<_, String>(1)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let needs_text = raw.partial || columns.iter().any(|(name, _)| name.is_none());
    let text = match (needs_text, raw.text.as_deref().and_then(cut)) {
        (false, _) => IndexText::default(),
        (true, Some(text)) if text.terms.len() == columns.len() => text,
        (true, _) => return Ok(Err("has a text that cannot be read".to_owned())),
    };
    let mut terms = Vec::with_capacity(columns.len());
    for (at, (name, collation)) in columns.into_iter().enumerate() {
        let known = ["BINARY", "NOCASE", "RTRIM"];
        if !known
            .iter()
            .any(|name| collation.eq_ignore_ascii_case(name))
        {
            return Ok(Err(format!(
                "uses the collation {collation}, which is not built in"
            )));
        }
        let what = match name {
            Some(name) => TermKind::Column(name),
            None => TermKind::Expression(text.terms[at].clone()),
        };
        terms.push(Term { what, collation });
    }
    Ok(Ok(UniqueIndex {
        terms,
        condition: text.condition,
    }))
}

impl Term {
    fn compares_bytes(&self) -> bool {
        self.collation.eq_ignore_ascii_case("BINARY")
    }

    /// The term over the columns of a row of the table, with the table as the only thing in scope.
    pub(crate) fn on_table(&self) -> String {
        let collation = quoted(&self.collation);
        match &self.what {
            TermKind::Column(name) => format!("{} COLLATE {collation}", quoted(name)),
            TermKind::Expression(text) => format!("({text}) COLLATE {collation}"),
        }
    }

    /// The term over the columns of `NEW` or `OLD`. An expression is evaluated over a row that has
    /// its columns by their names.
    pub(crate) fn on_image(&self, image: &str, columns: &[String]) -> String {
        match &self.what {
            TermKind::Column(name) => format!("{image}.{}", quoted(name)),
            TermKind::Expression(text) => {
                let row: Vec<String> = columns
                    .iter()
                    .map(|name| format!("{image}.{} AS {}", quoted(name), quoted(name)))
                    .collect();
                format!("(SELECT ({text}) FROM (SELECT {}))", row.join(", "))
            }
        }
    }
}
