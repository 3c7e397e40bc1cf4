//! What a column of a new table is declared as.

use tidegate_core::{ColumnDefinition, ColumnType, Literal};

use crate::dialect::Dialect;

/// The declared type that reads back as the type the wire's name means, and that type.
pub(crate) fn declared_type(
    dialect: Dialect<'_>,
    column: &ColumnDefinition,
) -> Result<(String, ColumnType), String> {
    let name = column.data_type.trim_end_matches('_').to_ascii_lowercase();
    let (found, database) = match dialect {
        Dialect::Sqlite => (sqlite_type(&name), "SQLite"),
        Dialect::Postgres(_) => (postgres_type(&name), "Postgres"),
    };
    let Some((declared, kind)) = found else {
        let shown: String = column.data_type.chars().take(40).collect();
        return Err(format!(
            "column {:?}: type {shown:?} is not supported with {database}",
            column.name
        ));
    };
    Ok((with_sizes(declared, column)?, kind))
}

fn sqlite_type(name: &str) -> Option<(&'static str, ColumnType)> {
    Some(match name {
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
        _ => return None,
    })
}

fn postgres_type(name: &str) -> Option<(&'static str, ColumnType)> {
    let other = |declared: &'static str| (declared, ColumnType::Other(declared.into()));
    Some(match name {
        "text" => ("TEXT", ColumnType::Text),
        "varchar" => ("VARCHAR", ColumnType::Text),
        "char" => ("CHAR", ColumnType::Text),
        "uuid" => ("UUID", ColumnType::Text),
        "integer" | "serial" => ("INTEGER", ColumnType::Integer),
        "bigint" | "bigserial" => ("BIGINT", ColumnType::BigInt),
        "smallint" | "smallserial" => ("SMALLINT", ColumnType::SmallInt),
        "decimal" | "numeric" => ("NUMERIC", ColumnType::Numeric),
        "real" => ("REAL", ColumnType::Real),
        "doubleprecision" => ("DOUBLE PRECISION", ColumnType::Double),
        "date" => ("DATE", ColumnType::Date),
        "timestamp" => ("TIMESTAMP", ColumnType::Timestamp),
        "timestamptz" => ("TIMESTAMPTZ", ColumnType::Timestamp),
        "boolean" => ("BOOLEAN", ColumnType::Boolean),
        "bytea" => ("BYTEA", ColumnType::Bytea),
        "json" => ("JSON", ColumnType::Json),
        "jsonb" => ("JSONB", ColumnType::Json),
        "time" => other("TIME"),
        "timetz" => other("TIMETZ"),
        "interval" => other("INTERVAL"),
        "money" => other("MONEY"),
        "xml" => other("XML"),
        "varchararray" => other("VARCHAR[]"),
        "textarray" => other("TEXT[]"),
        "chararray" => other("CHAR[]"),
        "jsonarray" => other("JSON[]"),
        "jsonbarray" => other("JSONB[]"),
        _ => return None,
    })
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
pub(crate) fn default_value(
    dialect: Dialect<'_>,
    name: &str,
    kind: &ColumnType,
    text: &str,
) -> Result<String, String> {
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
            return Ok(match dialect {
                Dialect::Sqlite => "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
                Dialect::Postgres(_) => "CURRENT_TIMESTAMP",
            }
            .to_owned());
        }
        ColumnType::Date if now => return Ok("CURRENT_DATE".to_owned()),
        _ => {}
    }
    let value = Literal::Text(text.to_owned())
        .coerce(kind)
        .map_err(|why| format!("default of column {name:?}: the column {why}"))?;
    let plain = value.to_text().unwrap_or_default();
    if matches!(dialect, Dialect::Postgres(_)) {
        // A constant without a type: it takes the column's.
        return string_literal(&format!("default of column {name:?}"), &plain);
    }
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
        _ => string_literal(&format!("default of column {name:?}"), &plain)?,
    })
}

pub(crate) fn string_literal(name: &str, text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err(format!("{name} holds a NUL character"));
    }
    Ok(format!("'{}'", text.replace('\'', "''")))
}
