//! What a declared type means.
//!
//! SQLite accepts any words as a type and derives an affinity from them. Only those types are given
//! a meaning here whose affinity cannot distort the values that belong to them; all others are
//! [`ColumnType::Other`], which is shown but not compared.

use tidegate_core::ColumnType;

/// The type of a column, from the words of its declaration. Lengths and precisions do not count.
pub(crate) fn column_type(declared: &str) -> ColumnType {
    let words = words(declared);
    match words.as_str() {
        "SMALLINT" | "INT2" => ColumnType::SmallInt,
        "BIGINT" | "INT8" | "UNSIGNED BIG INT" | "BIG INT" | "BIGSERIAL" => big(&words),
        "INTEGER" | "INT" | "INT4" | "TINYINT" | "MEDIUMINT" | "UNSIGNED INTEGER"
        | "UNSIGNED INT" | "INT UNSIGNED" | "INTEGER UNSIGNED" => ColumnType::WideInteger,
        "BOOLEAN" | "BOOL" => ColumnType::Boolean,
        "REAL" | "DOUBLE" | "FLOAT" | "DOUBLE PRECISION" | "FLOAT4" | "FLOAT8" => {
            ColumnType::Double
        }
        "NUMERIC" | "DECIMAL" => ColumnType::Numeric,
        "TIMESTAMP"
        | "DATETIME"
        | "TIMESTAMPTZ"
        | "TIMESTAMP WITH TIME ZONE"
        | "TIMESTAMP WITHOUT TIME ZONE" => ColumnType::Timestamp,
        "DATE" => ColumnType::Date,
        "JSON" | "JSONB" => ColumnType::Json,
        "BLOB" | "BYTEA" => ColumnType::Bytea,
        "UUID" | "UUID TEXT" => ColumnType::Text,
        "" => ColumnType::Other("any".into()),
        other => by_affinity(other),
    }
}

fn big(words: &str) -> ColumnType {
    match words {
        // Without INT in its name it has no integer affinity.
        "BIGSERIAL" => ColumnType::Other("bigserial".into()),
        _ => ColumnType::BigInt,
    }
}

/// `VARYING CHARACTER`, `NVARCHAR`, `LONGTEXT` and the like have text affinity, which keeps text as
/// it is. `INT` must not stand in the name: SQLite asks for that first (`CHARINT` is an integer).
fn by_affinity(words: &str) -> ColumnType {
    let holds = |part: &str| words.contains(part);
    if !holds("INT") && (holds("CHAR") || holds("CLOB") || holds("TEXT")) {
        return ColumnType::Text;
    }
    ColumnType::Other(words.to_ascii_lowercase().into())
}

/// The words in upper case, without what stands in parentheses.
fn words(declared: &str) -> String {
    let mut depth = 0_u32;
    let mut plain = String::with_capacity(declared.len());
    for c in declared.chars() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth = depth.saturating_sub(1);
                plain.push(' ');
            }
            c if depth == 0 => plain.push(c.to_ascii_uppercase()),
            _ => {}
        }
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types map by name, whatever their case, length or precision.
    #[test]
    fn reads_declared_types() {
        let check = |declared: &str, expected: ColumnType| {
            assert_eq!(column_type(declared), expected, "{declared}");
        };
        check("integer", ColumnType::WideInteger);
        check("BigInt", ColumnType::BigInt);
        check("decimal(10, 2)", ColumnType::Numeric);
        check("character varying (20)", ColumnType::Text);
        check("timestamp (6) with time zone", ColumnType::Timestamp);
        check("POINT", ColumnType::Other("point".into()));
        check("CHARINT", ColumnType::Other("charint".into()));
        check("", ColumnType::Other("any".into()));
    }
}
