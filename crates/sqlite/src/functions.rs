//! The SQL functions by which SQLite compares as the engine does.
//!
//! They are registered on our own connections only. Nothing that stays in the file (triggers,
//! indexes, defaults) may use them: other programs write to it too.

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{ToSqlOutput, Value as Stored};
use tidegate_core::{
    Case, Check, ColumnType, Document, Filter, JsonCheck, Pattern, Polarity, Test, Value,
};
use tidegate_view::{Truth, evaluate};

use crate::cell::{Place, read};

type Out = rusqlite::Result<ToSqlOutput<'static>>;

/// Registers them.
///
/// - `tidegate_micros(x)`: a stored timestamp as microseconds, which order as the timestamps do;
/// - `tidegate_number(x)`: a stored decimal as a blob whose byte order is the order of the numbers;
/// - `tidegate_lower(x)`: a text with its letters A to Z in lower case;
/// - `tidegate_regex(x, pattern, ignore_case)`, `tidegate_json(check, x, …)`: what the engine says.
///
/// What is unreadable becomes NULL here: it satisfies no comparison. A row that is returned all the
/// same is refused when it is read.
pub(crate) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("tidegate_micros", 1, flags, |context| {
        Ok(comparable(context, &ColumnType::Timestamp))
    })?;
    connection.create_scalar_function("tidegate_number", 1, flags, |context| {
        Ok(comparable(context, &ColumnType::Numeric))
    })?;
    connection.create_scalar_function("tidegate_lower", 1, flags, |context| {
        Ok(comparable(context, &ColumnType::Text))
    })?;
    connection.create_scalar_function("tidegate_regex", 3, flags, regex)?;
    connection.create_scalar_function("tidegate_json", 3, flags, json)?;
    connection.create_scalar_function("tidegate_json", 4, flags, json)
}

fn comparable(context: &Context<'_>, kind: &ColumnType) -> ToSqlOutput<'static> {
    let stored = match read(kind, Place::Plain, context.get_raw(0)) {
        Ok(Value::Timestamp(micros)) => Stored::Integer(micros),
        Ok(Value::Numeric(number)) => {
            let mut key = Vec::with_capacity(24);
            number.write_sort_key(&mut key);
            Stored::Blob(key)
        }
        Ok(Value::Text(text)) => Stored::Text(text.to_ascii_lowercase()),
        Ok(_) | Err(_) => Stored::Null,
    };
    ToSqlOutput::Owned(stored)
}

fn regex(context: &mut Context<'_>) -> Out {
    let pattern = context.get_or_create_aux(1, |pattern| {
        let case = match context.get_raw(2).as_i64()? {
            0 => Case::Counts,
            _ => Case::Ignored,
        };
        let pattern = Pattern::new(pattern.as_str()?, case);
        Ok::<_, rusqlite::types::FromSqlError>(alone(Check::Pattern(pattern, Polarity::Inside)))
    })?;
    Ok(decided(context, 0, &ColumnType::Text, &pattern))
}

fn json(context: &mut Context<'_>) -> Out {
    let check = context.get_or_create_aux(2, |first| {
        let name = context.get_raw(0).as_str()?;
        let second = match context.len() {
            4 => context.get_raw(3).as_str()?,
            _ => "",
        };
        let check = json_check(name, first.as_str()?, second);
        let check = check.ok_or(rusqlite::types::FromSqlError::InvalidType)?;
        Ok::<_, rusqlite::types::FromSqlError>(alone(Check::Json(check)))
    })?;
    Ok(decided(context, 1, &ColumnType::Json, &check))
}

/// The check that a statement of ours names.
fn json_check(name: &str, first: &str, second: &str) -> Option<JsonCheck> {
    let document = |text: &str| Document::parse(text).map(std::sync::Arc::new);
    let keys = || match Document::parse(first)? {
        Document::Array(members) => {
            let members = members.into_iter().map(|member| match member {
                Document::Text(text) => Some(text.into()),
                _ => None,
            });
            members.collect()
        }
        _ => None,
    };
    Some(match name {
        "contains" => JsonCheck::Contains(document(first)?),
        "contained_by" => JsonCheck::ContainedBy(document(first)?),
        "has_key" => JsonCheck::HasKey(first.into()),
        "has_any_key" => JsonCheck::HasAnyKey(keys()?),
        "has_all_keys" => JsonCheck::HasAllKeys(keys()?),
        "has_field" => JsonCheck::HasField(first.into()),
        "has_field_text" => JsonCheck::HasFieldText(first.into()),
        "field_equals" => JsonCheck::FieldEquals(first.into(), document(second)?),
        "field_text_equals" => JsonCheck::FieldTextEquals(first.into(), second.into()),
        _ => return None,
    })
}

/// A filter of a check alone, on a row of one value.
fn alone(check: Check) -> Filter {
    Filter::Test(Test { column: 0, check })
}

/// What the engine says of an argument.
fn decided(
    context: &Context<'_>,
    argument: usize,
    kind: &ColumnType,
    filter: &Filter,
) -> ToSqlOutput<'static> {
    let truth = match read(kind, Place::Plain, context.get_raw(argument)) {
        Ok(value) => evaluate(filter, &[value]),
        Err(_) => Truth::Unknown,
    };
    ToSqlOutput::Owned(match truth {
        Truth::True => Stored::Integer(1),
        Truth::False => Stored::Integer(0),
        Truth::Unknown => Stored::Null,
    })
}
