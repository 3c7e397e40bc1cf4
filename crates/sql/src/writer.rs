//! Puts a statement together.

use tidegate_core::{ColumnType, Comparison, QueryError, TableSchema, Value};

use crate::dialect::{Comparand, Dialect};
use crate::keyset::comparison_text;
use crate::postgres::{PostgresRows, PostgresType};
use crate::target::{Scope, Target};
use crate::{PARAMETERS_MAX, Statement};

/// A name as SQL: in double quotes, its own doubled.
#[must_use]
pub fn quoted(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quote(&mut quoted, name);
    quoted
}

fn quote(text: &mut String, name: &str) {
    text.push('"');
    for (at, part) in name.split('"').enumerate() {
        if at > 0 {
            text.push_str("\"\"");
        }
        text.push_str(part);
    }
    text.push('"');
}

/// A parameter that was pushed, by its number; it may be written any number of times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter(usize);

pub(crate) struct Writer<'a> {
    pub(crate) dialect: Dialect<'a>,
    pub(crate) schema: &'a TableSchema,
    pub(crate) scope: &'a Scope,
    name: &'a str,
    text: String,
    parameters: Vec<Value>,
    has_conditions: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(target: Target<'a>) -> Self {
        let (text, parameters) = (String::with_capacity(256), Vec::new());
        Self {
            dialect: target.dialect,
            schema: target.schema,
            scope: target.scope,
            name: target.name,
            text,
            parameters,
            has_conditions: false,
        }
    }

    /// Begins the next of the conditions that all have to hold.
    pub(crate) fn condition(&mut self) {
        let is_first = !std::mem::replace(&mut self.has_conditions, true);
        self.push(if is_first { " WHERE " } else { " AND " });
    }

    pub(crate) fn push(&mut self, sql: &str) {
        self.text.push_str(sql);
    }

    pub(crate) fn name(&mut self, name: &str) {
        quote(&mut self.text, name);
    }

    /// The table, as what is read from or written to.
    pub(crate) fn table(&mut self) {
        match self.dialect {
            Dialect::Sqlite => self.name(self.name),
            Dialect::Postgres(table) => {
                if table.rows == PostgresRows::Own {
                    self.push("ONLY ");
                }
                self.table_to_fill();
            }
        }
    }

    /// The table, as what rows are added to.
    pub(crate) fn table_to_fill(&mut self) {
        let name = self.name;
        match self.dialect {
            Dialect::Sqlite => self.name(name),
            Dialect::Postgres(table) => {
                self.name(&table.schema);
                self.push(".");
                self.name(name);
                self.push(" AS t");
            }
        }
    }

    /// A column as a value. Postgres takes a bare name in an order for the column of that name in
    /// the result, which is text, so there the table stands before it.
    pub(crate) fn column(&mut self, column: usize) {
        match self.dialect {
            Dialect::Sqlite => {}
            Dialect::Postgres(_) => self.push("t."),
        }
        self.column_name(column);
    }

    /// A column as a place to write to.
    pub(crate) fn column_name(&mut self, column: usize) {
        let schema = self.schema;
        self.name(&schema.columns()[column].name);
    }

    /// Columns as they are returned, separated by commas.
    pub(crate) fn columns(&mut self, columns: impl IntoIterator<Item = usize>) {
        for (at, column) in columns.into_iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.returned(column);
        }
    }

    /// Postgres gives text, the same as in its change stream. For a few types (`inet`) a cast to
    /// text prints something else than the type's own output function, which `format` uses.
    fn returned(&mut self, column: usize) {
        match self.dialect {
            Dialect::Sqlite => self.column(column),
            Dialect::Postgres(table) => match table.columns[column] {
                PostgresType::Other => {
                    self.push("CASE WHEN ");
                    self.column(column);
                    self.push(" IS NOT NULL THEN format('%s', ");
                    self.column(column);
                    self.push(") END");
                }
                _ => {
                    self.column(column);
                    self.push("::text");
                }
            },
        }
    }

    pub(crate) fn all_columns(&mut self) {
        self.columns(0..self.schema.columns().len());
    }

    pub(crate) fn bind(&mut self, value: Value) -> Parameter {
        self.parameters.push(value);
        Parameter(self.parameters.len())
    }

    pub(crate) fn parameter(&mut self, parameter: Parameter) {
        self.push(&self.dialect.placeholder(parameter.0));
    }

    /// The column in the form that orders as the engine does.
    pub(crate) fn ordering_column(&mut self, column: usize) {
        self.comparable_column(column, self.comparand(column, None));
    }

    /// The column in the form that compares as the engine does.
    pub(crate) fn comparable_column(&mut self, column: usize, comparand: Comparand) {
        match comparand {
            Comparand::Plain | Comparand::Cast(_) => self.column(column),
            Comparand::Bytes => {
                self.column(column);
                self.push(" COLLATE BINARY");
            }
            Comparand::Function(function) => {
                self.push(function);
                self.push("(");
                self.column(column);
                self.push(")");
            }
            Comparand::Text(own) => {
                self.column(column);
                self.push(if own == PostgresType::Text {
                    " COLLATE \"C\""
                } else {
                    "::text COLLATE \"C\""
                });
            }
        }
    }

    /// A constant in the form that compares with [`Writer::comparable_column`].
    pub(crate) fn comparable_constant(&mut self, comparand: Comparand, parameter: Parameter) {
        match comparand {
            Comparand::Plain | Comparand::Bytes => self.parameter(parameter),
            Comparand::Function(function) => {
                self.push(function);
                self.push("(");
                self.parameter(parameter);
                self.push(")");
            }
            Comparand::Cast(own) => self.cast(parameter, own),
            Comparand::Text(_) => self.cast(parameter, "text"),
        }
    }

    pub(crate) fn cast(&mut self, parameter: Parameter, to: &str) {
        self.parameter(parameter);
        self.push("::");
        self.push(to);
    }

    /// A comparison of a column with a constant that was pushed.
    pub(crate) fn compared(&mut self, column: usize, comparison: Comparison, parameter: Parameter) {
        let comparand = self.comparand(column, self.parameters.get(parameter.0 - 1));
        let narrowed = match (comparand, comparison) {
            (Comparand::Text(own), Comparison::Equal) => self.narrow(column, own, &[parameter]),
            _ => false,
        };
        self.comparable_column(column, comparand);
        self.push(comparison_text(comparison));
        self.comparable_constant(comparand, parameter);
        if narrowed {
            self.push(")");
        }
    }

    /// Opens a condition with what follows from it in the column's own collation, so that an index
    /// of the column can be used: whatever the collation, equal bytes are equal. Says whether it
    /// did; then it is to be closed.
    pub(crate) fn narrow(&mut self, column: usize, own: PostgresType, to: &[Parameter]) -> bool {
        if own == PostgresType::Other {
            return false;
        }
        self.push("(");
        self.column(column);
        self.push(" IN (");
        for (at, parameter) in to.iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.cast(*parameter, "text");
            if own == PostgresType::Char {
                self.push("::bpchar");
            }
        }
        self.push(") AND ");
        true
    }

    pub(crate) fn bind_constant(&mut self, value: &Value) -> Parameter {
        self.bind(self.dialect.constant(value))
    }

    pub(crate) fn kind(&self, column: usize) -> &'a ColumnType {
        &self.schema.columns()[column].kind
    }

    pub(crate) fn is_nullable(&self, column: usize) -> bool {
        self.schema.columns()[column].nullable
    }

    pub(crate) fn comparand(&self, column: usize, constant: Option<&Value>) -> Comparand {
        self.dialect.comparand(column, self.kind(column), constant)
    }

    /// Writes members joined by `AND` or `OR` as a balanced tree. Databases bound the depth of an
    /// expression (SQLite: 1,000), and a plain chain is as deep as it is long.
    pub(crate) fn joined<T>(
        &mut self,
        operator: &str,
        members: &[T],
        write: &mut impl FnMut(&mut Self, &T),
    ) {
        match members {
            [] => {}
            [member] => write(self, member),
            _ => {
                let (left, right) = members.split_at(members.len() / 2);
                self.push("(");
                self.joined(operator, left, write);
                self.push(operator);
                self.joined(operator, right, write);
                self.push(")");
            }
        }
    }

    pub(crate) fn finish(self) -> Result<Statement, QueryError> {
        if self.parameters.len() > PARAMETERS_MAX {
            let text = format!("a query holds at most {PARAMETERS_MAX} values");
            return Err(QueryError::BadFilter(text));
        }
        Ok(Statement {
            text: self.text,
            parameters: self.parameters,
        })
    }
}
