//! Creating tables.

use tidegate_core::{ColumnDefinition, ColumnType, TableDefinition};

use crate::declared::{declared_type, default_value, string_literal};
use crate::dialect::Dialect;
use crate::writer::quoted;

/// Columns in one table. SQLite stops at 2,000, Postgres at 1,600.
const COLUMNS_MAX: usize = 1_000;

/// Longest name of a column, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Where Postgres would cut a name, without an error.
pub const POSTGRES_NAME_BYTES_MAX: usize = 63;

/// The statements that create a table, in order: the table, then its indexes and its comment.
///
/// # Errors
/// A sentence on what in the definition makes no sense or is not supported.
pub fn create_table(
    dialect: Dialect<'_>,
    table: &str,
    definition: &TableDefinition,
) -> Result<Vec<String>, String> {
    if definition.columns.is_empty() || definition.columns.len() > COLUMNS_MAX {
        return Err(format!("a table has 1 to {COLUMNS_MAX} columns"));
    }
    if let Some((option, _)) = definition.options.first() {
        return Err(format!("table option {option:?} is not supported"));
    }
    let plans = definition
        .columns
        .iter()
        .map(|column| Plan::read(dialect, column))
        .collect::<Result<Vec<_>, _>>()?;
    let key: Vec<&Plan<'_>> = plans.iter().filter(|plan| plan.key).collect();
    for (at, plan) in plans.iter().enumerate() {
        if plans[..at]
            .iter()
            .any(|other| plan.is_named_as(dialect, other))
        {
            return Err(format!("column {:?} is defined twice", plan.name));
        }
        let whole_key = key.len() == 1 && plan.key;
        if dialect == Dialect::Sqlite && plan.numbered && !whole_key {
            let name = plan.name;
            return Err(format!(
                "column {name:?} is numbered by the database, so it must be the whole primary key"
            ));
        }
    }
    let mut parts: Vec<String> = plans.iter().map(|plan| plan.text(dialect)).collect();
    if !key.is_empty() && !key[0].is_key_in_place(dialect) {
        let names: Vec<String> = key.iter().map(|plan| quoted(plan.name)).collect();
        parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
    }
    let target = match dialect {
        Dialect::Sqlite => quoted(table),
        Dialect::Postgres(place) => format!("{}.{}", quoted(&place.schema), quoted(table)),
    };
    let mut statements = vec![format!("CREATE TABLE {target} ({})", parts.join(", "))];
    for plan in plans.iter().filter(|plan| plan.indexed) {
        let column = quoted(plan.name);
        statements.push(match dialect {
            Dialect::Sqlite => {
                let index = quoted(&format!("{table}_{}_index", plan.name));
                format!("CREATE INDEX {index} ON {target} ({column})")
            }
            // It finds a name that is free and short enough.
            Dialect::Postgres(_) => format!("CREATE INDEX ON {target} ({column})"),
        });
    }
    if let (Dialect::Postgres(_), Some(comment)) = (dialect, &definition.comment) {
        let text = string_literal("the comment", comment)?;
        statements.push(format!("COMMENT ON TABLE {target} IS {text}"));
    }
    Ok(statements)
}

/// A column, understood.
struct Plan<'a> {
    name: &'a str,
    declared: String,
    key: bool,
    /// Filled with the next number when left out: SQLite's `INTEGER PRIMARY KEY`, an identity
    /// column of Postgres.
    numbered: bool,
    not_null: bool,
    unique: bool,
    indexed: bool,
    default: Option<String>,
}

impl<'a> Plan<'a> {
    fn read(dialect: Dialect<'_>, column: &'a ColumnDefinition) -> Result<Self, String> {
        let name = column.name.as_str();
        let bytes_max = match dialect {
            Dialect::Sqlite => NAME_BYTES_MAX,
            Dialect::Postgres(_) => POSTGRES_NAME_BYTES_MAX,
        };
        if name.is_empty() || name.len() > bytes_max || name.chars().any(char::is_control) {
            let shown: String = name.chars().take(40).collect();
            return Err(format!(
                "column name {shown:?} is empty, too long or holds control characters"
            ));
        }
        let (declared, kind) = declared_type(dialect, column)?;
        let mut plan = Self {
            name,
            declared,
            key: false,
            numbered: column.data_type.to_ascii_lowercase().ends_with("serial"),
            not_null: !column.nullable,
            unique: false,
            indexed: false,
            default: None,
        };
        for constraint in &column.constraints {
            plan.constrain(constraint)?;
        }
        // In SQLite's older tables a key may hold NULL; ours never.
        plan.not_null |= plan.key;
        for (option, value) in &column.options {
            match option.as_str() {
                "length" | "precision" | "scale" => {}
                "default" => plan.default = Some(default_value(dialect, name, &kind, value)?),
                _ => {
                    return Err(format!(
                        "option {option:?} of column {name:?} is not supported"
                    ));
                }
            }
        }
        if plan.numbered {
            plan.number(dialect, &kind)?;
        }
        Ok(plan)
    }

    fn constrain(&mut self, constraint: &str) -> Result<(), String> {
        match constraint {
            "primaryKey" => self.key = true,
            "notNull" => self.not_null = true,
            "unique" => self.unique = true,
            "indexed" => self.indexed = true,
            "identity" => self.numbered = true,
            // Says that there is a default; its value is an option.
            "default" => {}
            _ => {
                let name = self.name;
                return Err(format!(
                    "constraint {constraint:?} of column {name:?} is not supported"
                ));
            }
        }
        Ok(())
    }

    /// Makes it one that the database numbers.
    fn number(&mut self, dialect: Dialect<'_>, kind: &ColumnType) -> Result<(), String> {
        match dialect {
            Dialect::Sqlite => self.declared = "INTEGER".to_owned(),
            Dialect::Postgres(_) if kind.integer_range().is_none() || self.default.is_some() => {
                let name = self.name;
                return Err(format!(
                    "column {name:?} is numbered by the database, so it must be an integer \
                     without a default"
                ));
            }
            Dialect::Postgres(_) => self.declared.push_str(" GENERATED BY DEFAULT AS IDENTITY"),
        }
        Ok(())
    }

    /// SQLite's names ignore case, so two that differ by case only would be one.
    fn is_named_as(&self, dialect: Dialect<'_>, other: &Self) -> bool {
        match dialect {
            Dialect::Sqlite => self.name.eq_ignore_ascii_case(other.name),
            Dialect::Postgres(_) => self.name == other.name,
        }
    }

    /// Whether it says itself that it is the key.
    fn is_key_in_place(&self, dialect: Dialect<'_>) -> bool {
        dialect == Dialect::Sqlite && self.numbered
    }

    fn text(&self, dialect: Dialect<'_>) -> String {
        let mut text = format!("{} {}", quoted(self.name), self.declared);
        let in_place = self.is_key_in_place(dialect);
        if in_place {
            text.push_str(" PRIMARY KEY");
        }
        if self.not_null {
            text.push_str(" NOT NULL");
        }
        if self.unique && !in_place {
            text.push_str(" UNIQUE");
        }
        if let Some(default) = &self.default {
            text.push_str(" DEFAULT ");
            text.push_str(default);
        }
        text
    }
}
