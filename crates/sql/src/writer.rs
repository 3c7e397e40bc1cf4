//! Puts a statement together.

use tidegate_core::{ColumnType, TableSchema, Value};

use crate::dialect::{Comparand, Dialect};
use crate::{PARAMETERS_MAX, Statement};
use tidegate_core::QueryError;

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
    pub(crate) dialect: Dialect,
    pub(crate) schema: &'a TableSchema,
    text: String,
    parameters: Vec<Value>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(dialect: Dialect, schema: &'a TableSchema) -> Self {
        let (text, parameters) = (String::with_capacity(256), Vec::new());
        Self {
            dialect,
            schema,
            text,
            parameters,
        }
    }

    pub(crate) fn push(&mut self, sql: &str) {
        self.text.push_str(sql);
    }

    pub(crate) fn name(&mut self, name: &str) {
        quote(&mut self.text, name);
    }

    pub(crate) fn column(&mut self, column: usize) {
        let schema = self.schema;
        self.name(&schema.columns()[column].name);
    }

    /// Names of columns, separated by commas.
    pub(crate) fn columns(&mut self, columns: impl IntoIterator<Item = usize>) {
        for (at, column) in columns.into_iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            self.column(column);
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

    /// The column in the form that compares as the engine does.
    pub(crate) fn comparable_column(&mut self, column: usize) {
        let comparand = self.comparand(column);
        self.wrapped(comparand, |writer| writer.column(column));
        if comparand == Comparand::Bytes {
            self.push(self.dialect.collate_bytes());
        }
    }

    /// A constant in the form that compares with [`Writer::comparable_column`].
    pub(crate) fn comparable_constant(&mut self, column: usize, parameter: Parameter) {
        self.wrapped(self.comparand(column), |writer| writer.parameter(parameter));
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

    fn comparand(&self, column: usize) -> Comparand {
        self.dialect.comparand(self.kind(column))
    }

    fn wrapped(&mut self, comparand: Comparand, write: impl FnOnce(&mut Self)) {
        match comparand {
            Comparand::Plain | Comparand::Bytes => write(self),
            Comparand::Function(function) => {
                self.push(function);
                self.push("(");
                write(self);
                self.push(")");
            }
        }
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
