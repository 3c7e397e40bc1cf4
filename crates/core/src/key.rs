//! Which row a command is about: a key as a client gives it, as columns and values of a table.

use crate::command::{CommandError, KeySpec};
use crate::literal::Literal;
use crate::query::QueryError;
use crate::schema::TableSchema;
use crate::value::Value;

/// What a key must promise.
#[derive(Debug, Clone, Copy)]
pub enum KeyPromise<'a> {
    /// It names one row at most: what writes need. Only these columns do so alone; a composite
    /// primary key does as a whole.
    OneRow(&'a [usize]),
    /// It may name any column that can be compared; the first row counts.
    AnyColumn,
}

impl TableSchema {
    /// The index of a column that a client named.
    ///
    /// # Errors
    /// `UnknownColumn`.
    pub fn named_column(&self, name: &str) -> Result<usize, QueryError> {
        self.column_index(name)
            .ok_or_else(|| QueryError::UnknownColumn {
                table: self.table().to_string(),
                column: name.chars().take(80).collect(),
            })
    }

    /// The columns and values that a key stands for.
    ///
    /// # Errors
    /// A sentence on what is wrong with the key, and how to give it.
    pub fn resolve_key(
        &self,
        spec: &KeySpec,
        promise: KeyPromise<'_>,
    ) -> Result<Vec<(usize, Value)>, CommandError> {
        let key = self.key();
        let named = match &spec.column {
            Some(name) => Some(self.named_column(name)?),
            None => None,
        };
        // A column of a composite key says no more than its absence does.
        let named = named.filter(|column| key.len() < 2 || !key.contains(column));
        if let (None, true) = (named, key.len() > 1) {
            return self.composite_key(spec);
        }
        let admits = |column: &usize| match promise {
            KeyPromise::AnyColumn => self.columns()[*column].kind.is_comparable(),
            KeyPromise::OneRow(columns) => columns.contains(column),
        };
        let id = || self.column_index("id").filter(admits);
        let single = || (key.len() == 1).then(|| key[0]);
        let column = named.or_else(id).or_else(single).ok_or_else(|| {
            let table = self.table();
            CommandError::BadCommand(format!("table {table} has no key: name a unique column"))
        })?;
        if !admits(&column) {
            return Err(self.not_a_key(column, promise));
        }
        let value = self.key_value(column, &Literal::Text(spec.text.clone()))?;
        Ok(vec![(column, value)])
    }

    fn not_a_key(&self, column: usize, promise: KeyPromise<'_>) -> CommandError {
        let (table, column) = (self.table(), &self.columns()[column]);
        let (name, kind) = (&column.name, &column.kind);
        CommandError::BadCommand(match promise {
            KeyPromise::OneRow(_) => {
                format!("column {name} of table {table} is not unique, so it names no one row")
            }
            KeyPromise::AnyColumn => format!(
                "column {name} of table {table} is of type {kind}, by which no row can be named"
            ),
        })
    }

    fn composite_key(&self, spec: &KeySpec) -> Result<Vec<(usize, Value)>, CommandError> {
        let key = self.key();
        match &spec.parts {
            Some(parts) if parts.len() == key.len() => key
                .iter()
                .zip(parts)
                .map(|(column, part)| Ok((*column, self.key_value(*column, part)?)))
                .collect(),
            _ => {
                let columns = self.columns();
                let names: Vec<&str> = key.iter().map(|at| &*columns[*at].name).collect();
                let (name, names) = (self.table(), names.join(", "));
                Err(CommandError::BadCommand(format!(
                    "table {name} has the key ({names}): give its values as a JSON array, in this \
                     order"
                )))
            }
        }
    }

    fn key_value(&self, column: usize, literal: &Literal) -> Result<Value, CommandError> {
        let column = &self.columns()[column];
        let bad = |why: &str| QueryError::BadValue(format!("key column {} {why}", column.name));
        match literal.coerce(&column.kind).map_err(|why| bad(&why))? {
            Value::Null => Err(bad("does not take NULL").into()),
            value => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TableName;
    use crate::schema::{Column, ColumnType};

    /// `a` integer, `b` text, `c` json, with this key.
    fn schema(key: &[usize]) -> TableSchema {
        let column = |name: &str, kind| Column {
            name: name.into(),
            kind,
            nullable: false,
        };
        let columns = vec![
            column("a", ColumnType::Integer),
            column("b", ColumnType::Text),
            column("c", ColumnType::Json),
        ];
        let table = TableName::parse("t").expect("valid");
        TableSchema::new(table, columns, key.to_vec())
    }

    fn spec(column: Option<&str>, text: &str) -> KeySpec {
        let parts = text.strip_prefix('[').map(|rest| {
            let parts = rest.trim_end_matches(']').split(',');
            parts.map(|part| Literal::Number(part.to_owned())).collect()
        });
        KeySpec {
            column: column.map(str::to_owned),
            text: text.to_owned(),
            parts,
        }
    }

    /// A key is a column that promises enough with a value of its type, or all of a composite one;
    /// everything else is refused in a sentence that names what is wrong.
    #[test]
    fn keys_are_resolved_or_refused() {
        let check =
            |key: &[usize], spec: KeySpec, promise, expect: Result<&[(usize, i64)], &str>| {
                let found = schema(key).resolve_key(&spec, promise);
                match expect {
                    Ok(values) => {
                        let values = values.iter().map(|(at, value)| (*at, Value::Int(*value)));
                        assert_eq!(found, Ok(values.collect::<Vec<_>>()));
                    }
                    Err(part) => {
                        let text = found.expect_err(part).to_string();
                        assert!(text.contains(part), "{text}");
                    }
                }
            };
        let (one, any) = (KeyPromise::OneRow(&[0]), KeyPromise::AnyColumn);
        check(&[0], spec(None, "7"), one, Ok(&[(0, 7)]));
        check(&[0], spec(Some("a"), "7"), one, Ok(&[(0, 7)]));
        check(
            &[0],
            spec(Some("b"), "7"),
            one,
            Err("b of table t is not unique"),
        );
        check(&[0], spec(Some("c"), "7"), any, Err("of type json"));
        check(&[0], spec(Some("d"), "7"), any, Err("d"));
        check(&[0], spec(None, "x"), one, Err("key column a"));
        check(&[], spec(None, "7"), one, Err("has no key"));
        check(&[], spec(Some("a"), "7"), any, Ok(&[(0, 7)]));
        check(&[0, 1], spec(Some("a"), "7"), any, Err("the key (a, b)"));
        check(&[0, 1], spec(None, "[1,2]"), one, Err("key column b"));
    }
}
