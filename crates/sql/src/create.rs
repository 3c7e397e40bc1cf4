//! Creating tables.

use tidegate_core::{ColumnDefinition, ColumnType, Literal, TableDefinition};

use crate::dialect::Dialect;
use crate::writer::quoted;

/// Columns in one table. SQLite stops at 2,000, Postgres at 1,600.
const COLUMNS_MAX: usize = 1_000;

/// Longest name of a column, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The statements that create a table, in order: the table, then its indexes.
///
/// # Errors
/// A sentence on what in the definition makes no sense or is not supported.
pub fn create_table(
    dialect: Dialect,
    table: &str,
    definition: &TableDefinition,
) -> Result<Vec<String>, String> {
    let Dialect::Sqlite = dialect;
    if definition.columns.is_empty() || definition.columns.len() > COLUMNS_MAX {
        return Err(format!("a table has 1 to {COLUMNS_MAX} columns"));
    }
    if let Some((option, _)) = definition.options.first() {
        return Err(format!("table option {option:?} is not supported"));
    }
    let plans = definition
        .columns
        .iter()
        .map(Plan::read)
        .collect::<Result<Vec<_>, _>>()?;
    let key: Vec<&Plan<'_>> = plans.iter().filter(|plan| plan.key).collect();
    for (at, plan) in plans.iter().enumerate() {
        if plans[..at].iter().any(|other| plan.is_named_as(other)) {
            return Err(format!("column {:?} is defined twice", plan.name));
        }
        if plan.numbered && (key.len() != 1 || !plan.key) {
            let name = plan.name;
            return Err(format!(
                "column {name:?} is numbered by the database, so it must be the whole primary key"
            ));
        }
    }
    let mut parts: Vec<String> = plans.iter().map(Plan::text).collect();
    if !key.is_empty() && !key[0].numbered {
        let names: Vec<String> = key.iter().map(|plan| quoted(plan.name)).collect();
        parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
    }
    let mut statements = vec![format!(
        "CREATE TABLE {} ({})",
        quoted(table),
        parts.join(", ")
    )];
    for plan in plans.iter().filter(|plan| plan.indexed) {
        let index = quoted(&format!("{table}_{}_index", plan.name));
        let (table, column) = (quoted(table), quoted(plan.name));
        statements.push(format!("CREATE INDEX {index} ON {table} ({column})"));
    }
    Ok(statements)
}

/// A column, understood.
struct Plan<'a> {
    name: &'a str,
    declared: String,
    key: bool,
    /// Filled with the next number when left out: SQLite's `INTEGER PRIMARY KEY`.
    numbered: bool,
    not_null: bool,
    unique: bool,
    indexed: bool,
    default: Option<String>,
}

impl<'a> Plan<'a> {
    fn read(column: &'a ColumnDefinition) -> Result<Self, String> {
        let name = column.name.as_str();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            let shown: String = name.chars().take(40).collect();
            return Err(format!(
                "column name {shown:?} is empty, too long or holds control characters"
            ));
        }
        let (declared, kind) = declared_type(column)?;
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
                "default" => plan.default = Some(default_value(name, &kind, value)?),
                _ => {
                    return Err(format!(
                        "option {option:?} of column {name:?} is not supported"
                    ));
                }
            }
        }
        if plan.numbered {
            plan.declared = "INTEGER".to_owned();
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

    /// SQLite's names ignore case, so two that differ by case only would be one.
    fn is_named_as(&self, other: &Self) -> bool {
        self.name.eq_ignore_ascii_case(other.name)
    }

    fn text(&self) -> String {
        let mut text = format!("{} {}", quoted(self.name), self.declared);
        if self.numbered {
            text.push_str(" PRIMARY KEY");
        }
        if self.not_null {
            text.push_str(" NOT NULL");
        }
        if self.unique && !self.numbered {
            text.push_str(" UNIQUE");
        }
        if let Some(default) = &self.default {
            text.push_str(" DEFAULT ");
            text.push_str(default);
        }
        text
    }
}

/// The declared type of SQLite that reads back as the type the wire's name means, and that type.
fn declared_type(column: &ColumnDefinition) -> Result<(String, ColumnType), String> {
    let name = column.data_type.trim_end_matches('_').to_ascii_lowercase();
    let (declared, kind) = match name.as_str() {
        "text" => ("TEXT", ColumnType::Text),
        "varchar" => ("VARCHAR", ColumnType::Text),
        "char" => ("CHAR", ColumnType::Text),
        // Just `UUID` would make SQLite turn digits into a number.
        "uuid" => ("UUID TEXT", ColumnType::Text),
        "integer" | "serial" => ("INTEGER", ColumnType::WideInteger),
        "bigint" | "bigserial" => ("BIGINT", ColumnType::BigInt),
        "smallint" | "smallserial" => ("SMALLINT", ColumnType::SmallInt),
        "decimal" => ("DECIMAL", ColumnType::Numeric),
        "numeric" => ("NUMERIC", ColumnType::Numeric),
        "real" => ("REAL", ColumnType::Double),
        "doubleprecision" => ("DOUBLE PRECISION", ColumnType::Double),
        "date" => ("DATE", ColumnType::Date),
        "timestamp" => ("TIMESTAMP", ColumnType::Timestamp),
        "timestamptz" => ("TIMESTAMPTZ", ColumnType::Timestamp),
        "boolean" => ("BOOLEAN", ColumnType::Boolean),
        "bytea" => ("BLOB", ColumnType::Bytea),
        "json" | "jsonb" => ("JSON", ColumnType::Json),
        _ => {
            let shown: String = column.data_type.chars().take(40).collect();
            return Err(format!(
                "column {:?}: type {shown:?} is not supported with SQLite",
                column.name
            ));
        }
    };
    Ok((with_sizes(declared, column)?, kind))
}

/// Adds `(length)` or `(precision, scale)`.
fn with_sizes(declared: &str, column: &ColumnDefinition) -> Result<String, String> {
    let size = |option: &str| -> Result<Option<u32>, String> {
        let Some((_, value)) = column.options.iter().find(|(name, _)| name == option) else {
            return Ok(None);
        };
        match value.parse::<u32>() {
            Ok(size) if size <= 10_000_000 => Ok(Some(size)),
            _ => Err(format!(
                "column {:?}: {option} is a number up to 10000000",
                column.name
            )),
        }
    };
    let (length, precision, scale) = (size("length")?, size("precision")?, size("scale")?);
    Ok(match (declared, length, precision, scale) {
        ("VARCHAR" | "CHAR", Some(length), ..) => format!("{declared}({length})"),
        ("DECIMAL" | "NUMERIC", _, Some(precision), Some(scale)) => {
            format!("{declared}({precision},{scale})")
        }
        ("DECIMAL" | "NUMERIC", _, Some(precision), None) => format!("{declared}({precision})"),
        _ => declared.to_owned(),
    })
}

/// A default as SQL: a constant of the column's type, or the moment of writing.
fn default_value(name: &str, kind: &ColumnType, text: &str) -> Result<String, String> {
    let lower = text.trim().to_ascii_lowercase();
    if lower == "null" {
        return Ok("NULL".to_owned());
    }
    let now = matches!(
        lower.as_str(),
        "now()" | "now" | "current_timestamp" | "current_date"
    );
    match kind {
        ColumnType::Timestamp if now => {
            return Ok("(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))".to_owned());
        }
        ColumnType::Date if now => return Ok("CURRENT_DATE".to_owned()),
        _ => {}
    }
    let value = Literal::Text(text.to_owned())
        .coerce(kind)
        .map_err(|why| format!("default of column {name:?}: the column {why}"))?;
    let plain = value.to_text().unwrap_or_default();
    Ok(match kind {
        ColumnType::Boolean => if plain == "true" { "1" } else { "0" }.to_owned(),
        ColumnType::Bytea => format!("x'{}'", plain.trim_start_matches("\\x")),
        kind if kind.integer_range().is_some() => plain,
        ColumnType::Numeric | ColumnType::Double | ColumnType::Real
            if plain
                .bytes()
                .all(|b| b.is_ascii_digit() || b == b'.' || b == b'-') =>
        {
            plain
        }
        _ => string_literal(name, &plain)?,
    })
}

fn string_literal(name: &str, text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err(format!("default of column {name:?} holds a NUL character"));
    }
    Ok(format!("'{}'", text.replace('\'', "''")))
}
