//! Conditions and orders as people type them: `priority >= 2`, `created_at desc, id`.
//!
//! The column's type says what a value is, so nobody has to quote a number or tag a text. It is a
//! convenience for a shell, not a language: conditions are AND-ed by giving several, and what goes
//! beyond that is a query in JSON.

use serde::Deserialize;
use tidegate_core::{FilterSpec, Literal, Numeric, Operator, OrderSpec, Sort};

use crate::query::test;

/// A table, as LIST_TABLES shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableShape {
    /// Its name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<ColumnShape>,
    /// Names of its primary key's columns.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// Why it cannot be subscribed to, if it cannot.
    #[serde(default)]
    pub refusal: Option<String>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ColumnShape {
    /// Its name.
    pub name: String,
    /// Its type, by its lower-case SQL name.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it may be NULL.
    #[serde(default)]
    pub nullable: bool,
}

/// What is wrong with a condition or an order; the text is a sentence for who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {why}")]
pub struct ConditionError {
    text: String,
    why: String,
}

/// The operators, longest spelling first where one begins another.
const SYMBOLS: &[(&str, Operator)] = &[
    ("!=", Operator::NotEquals),
    ("<>", Operator::NotEquals),
    ("<=", Operator::LessThanOrEquals),
    (">=", Operator::GreaterThanOrEquals),
    ("^=", Operator::StartsWith),
    ("$=", Operator::EndsWith),
    ("!~", Operator::NotContains),
    ("=", Operator::Equals),
    ("<", Operator::LessThan),
    (">", Operator::GreaterThan),
    ("~", Operator::Contains),
];

const WORDS: &[(&str, Operator)] = &[
    ("is not null", Operator::IsNotNull),
    ("is null", Operator::IsNull),
    ("not in", Operator::NotInList),
    ("in", Operator::InList),
    ("not between", Operator::NotBetween),
    ("between", Operator::Between),
];

/// Reads `COLUMN OPERATOR VALUE`.
///
/// Operators: `=`, `!=`, `<`, `<=`, `>`, `>=`, `~` (contains), `!~`, `^=` (starts with), `$=` (ends
/// with), `in a,b,c`, `not in a,b,c`, `between a..b`, `not between a..b`, `is null`, `is not null`.
/// A value or a column name may stand in quotes.
///
/// # Errors
/// When there is no such column, no operator, or the value does not fit the column's type.
pub fn parse_condition(text: &str, table: &TableShape) -> Result<FilterSpec, ConditionError> {
    let error = |why: String| ConditionError {
        text: text.to_owned(),
        why,
    };
    let (name, rest) = split_name(text.trim());
    let column = find_column(&name, table).map_err(error)?;
    let Some((operator, value)) = split_operator(rest.trim_start()) else {
        let known = "=, !=, <, <=, >, >=, ~, !~, ^=, $=, in, between, is null, is not null";
        return Err(error(format!("needs an operator after {name}: {known}")));
    };
    let value = value.trim();
    let literal = match operator {
        Operator::IsNull | Operator::IsNotNull => {
            if !value.is_empty() {
                return Err(error(format!("nothing goes after {}", operator.name())));
            }
            None
        }
        Operator::InList | Operator::NotInList => {
            let members = split_list(value).into_iter();
            let members = members.map(|member| literal(&member, column));
            Some(Literal::List(
                members.collect::<Result<_, _>>().map_err(error)?,
            ))
        }
        Operator::Between | Operator::NotBetween => {
            let ends = value.split_once("..");
            let (low, high) = ends.ok_or_else(|| error("needs two ends: a..b".to_owned()))?;
            let end = |text: &str| literal(&unquote(text.trim()), column).map_err(error);
            Some(Literal::List(vec![end(low)?, end(high)?]))
        }
        _ => Some(literal(&unquote(value), column).map_err(error)?),
    };
    Ok(test(&column.name, operator, literal))
}

/// Reads `COLUMN [asc|desc] [nulls first|nulls last], …`; ascending when not said.
///
/// # Errors
/// When there is no such column, or the words after it are others.
pub fn parse_order(text: &str, table: &TableShape) -> Result<Vec<OrderSpec>, ConditionError> {
    let keys = text.split(',').map(str::trim);
    keys.map(|key| {
        let error = |why: String| ConditionError {
            text: key.to_owned(),
            why,
        };
        let (name, rest) = split_name(key);
        let column = find_column(&name, table).map_err(error)?;
        let words: Vec<String> = rest.split_whitespace().map(str::to_lowercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let sort = match words.as_slice() {
            [] | ["asc"] => Sort::AscDefault,
            ["desc"] => Sort::DescDefault,
            ["nulls", "first"] | ["asc", "nulls", "first"] => Sort::AscNullsFirst,
            ["nulls", "last"] | ["asc", "nulls", "last"] => Sort::AscNullsLast,
            ["desc", "nulls", "first"] => Sort::DescNullsFirst,
            ["desc", "nulls", "last"] => Sort::DescNullsLast,
            _ => {
                return Err(error(
                    "an order is COLUMN [asc|desc] [nulls first|last]".to_owned(),
                ));
            }
        };
        Ok(OrderSpec {
            column: column.name.clone(),
            sort,
            is_pk: false,
        })
    })
    .collect()
}

/// A name at the start of a text, and what follows it.
fn split_name(text: &str) -> (String, &str) {
    if let Some((name, rest)) = text.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        return (name.to_owned(), rest);
    }
    let ends = |c: char| c.is_whitespace() || "=!<>~^$".contains(c);
    let at = text.find(ends).unwrap_or(text.len());
    (text[..at].to_owned(), &text[at..])
}

fn find_column<'a>(name: &str, table: &'a TableShape) -> Result<&'a ColumnShape, String> {
    let found = table.columns.iter().find(|column| column.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = table.columns.iter().map(|column| &*column.name).collect();
        format!(
            "table {} has no column {name:?}; it has {}",
            table.name,
            names.join(", ")
        )
    })
}

fn split_operator(text: &str) -> Option<(Operator, &str)> {
    let symbol = SYMBOLS.iter().find_map(|(symbol, operator)| {
        let rest = text.strip_prefix(symbol)?;
        Some((*operator, rest))
    });
    symbol.or_else(|| {
        WORDS.iter().find_map(|(words, operator)| {
            let rest = strip_words(text, words)?;
            Some((*operator, rest))
        })
    })
}

/// What follows some words, whatever their case and the space between them.
fn strip_words<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let mut rest = text;
    for word in words.split(' ') {
        rest = rest.trim_start();
        let head = rest.get(..word.len())?;
        if !head.eq_ignore_ascii_case(word) {
            return None;
        }
        rest = &rest[word.len()..];
        if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return None;
        }
    }
    Some(rest)
}

/// The text within quotes, if it is quoted as a whole; a quote inside is written twice.
fn unquote(text: &str) -> String {
    for quote in ['\'', '"'] {
        let inner = text
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            let twice: String = [quote, quote].iter().collect();
            return inner.replace(&twice, &quote.to_string());
        }
    }
    text.to_owned()
}

/// The members of a list; a comma within quotes is part of its member. Nothing is an empty list.
fn split_list(text: &str) -> Vec<String> {
    let text = text.trim();
    let inner = text
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'));
    let text = inner.unwrap_or(text);
    if text.trim().is_empty() {
        return Vec::new();
    }
    let mut members = vec![String::new()];
    let mut open: Option<char> = None;
    for c in text.chars() {
        match (open, c) {
            (None, ',') => {
                members.push(String::new());
                continue;
            }
            (None, '\'' | '"') => open = Some(c),
            (Some(quote), c) if c == quote => open = None,
            (None | Some(_), _) => {}
        }
        let last = members.last_mut().expect("it begins with one member");
        last.push(c);
    }
    members
        .iter()
        .map(|member| unquote(member.trim()))
        .collect()
}

/// A value of a column's type, as far as its JSON form depends on that; the server reads it
/// exactly.
fn literal(text: &str, column: &ColumnShape) -> Result<Literal, String> {
    let kind = column.kind.as_str();
    let misfit = |takes: &str| {
        let name = &column.name;
        format!("column {name} is of type {kind} and takes {takes}, not {text:?}")
    };
    match kind {
        "smallint" | "integer" | "bigint" | "real" | "double" | "numeric" => {
            let number = Numeric::parse(text).map(|_| Literal::Number(text.to_owned()));
            number.ok_or_else(|| misfit("a number"))
        }
        "boolean" => match text {
            "true" | "t" | "yes" | "1" => Ok(Literal::Bool(true)),
            "false" | "f" | "no" | "0" => Ok(Literal::Bool(false)),
            _ => Err(misfit("true or false")),
        },
        _ => Ok(Literal::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::to_json;
    use tidegate_core::QuerySpec;

    fn table() -> TableShape {
        let json = r#"{"name":"tickets","columns":[
            {"name":"id","type":"bigint","nullable":false},
            {"name":"status","type":"text","nullable":false},
            {"name":"priority","type":"integer","nullable":true},
            {"name":"price","type":"numeric","nullable":true},
            {"name":"done","type":"boolean","nullable":false},
            {"name":"created_at","type":"timestamp","nullable":true},
            {"name":"in stock","type":"integer","nullable":true}],
            "primaryKey":["id"],"refusal":null}"#;
        serde_json::from_str(json).unwrap()
    }

    fn check(text: &str, expect: &str) {
        let filter = parse_condition(text, &table());
        let spec = QuerySpec {
            filter: Some(filter.unwrap_or_else(|error| unreachable!("{error}"))),
            ..QuerySpec::default()
        };
        let json: serde_json::Value = serde_json::from_str(to_json(&spec).get()).unwrap();
        let mut test = json["wrapper"]["filters"][0].clone();
        let value = test["value"].take();
        let operator = test["filter_type"].as_str().unwrap();
        let column = test["field_name"].as_str().unwrap();
        assert_eq!(format!("{column} {operator} {value}"), expect, "{text}");
    }

    /// Every operator is read, spaced or not, and the column's type decides what its value is.
    #[test]
    fn reads_conditions() {
        let open = r#"{"StringValue":{"value":"open"}}"#;
        check("status = open", &format!("status equals {open}"));
        check("status='open'", &format!("status equals {open}"));
        check(
            "  \"status\"  !=  open ",
            &format!("status notEquals {open}"),
        );
        check("status<>open", &format!("status notEquals {open}"));
        check("status ~ open", &format!("status contains {open}"));
        check("status !~ open", &format!("status notContains {open}"));
        check("status ^= open", &format!("status startsWith {open}"));
        check("status$=open", &format!("status endsWith {open}"));
        check(
            "status = 12",
            r#"status equals {"StringValue":{"value":"12"}}"#,
        );
        check(
            "status = it''s",
            r#"status equals {"StringValue":{"value":"it''s"}}"#,
        );
        check(
            "status = 'it''s'",
            r#"status equals {"StringValue":{"value":"it's"}}"#,
        );
        check("status = ", r#"status equals {"StringValue":{"value":""}}"#);
        check(
            "priority >= 2",
            r#"priority greaterThanOrEquals {"NumberValue":{"value":2}}"#,
        );
        check(
            "priority<-2",
            r#"priority lessThan {"NumberValue":{"value":-2}}"#,
        );
        check(
            "priority <= 2",
            r#"priority lessThanOrEquals {"NumberValue":{"value":2}}"#,
        );
        check(
            "\"in stock\" > 0",
            r#"in stock greaterThan {"NumberValue":{"value":0}}"#,
        );
        check("done = yes", r#"done equals {"BoolValue":{"value":true}}"#);
        check("priority is null", "priority isNull null");
        check("priority IS  NOT null", "priority isNotNull null");
    }

    /// Lists and ranges are read, with commas and empty lists where they may be.
    #[test]
    fn reads_lists_and_ranges() {
        check(
            "status in open, 'on hold','a,b'",
            r#"status inList {"StringList":{"values":["open","on hold","a,b"]}}"#,
        );
        check(
            "priority in (1,2)",
            r#"priority inList {"Float64List":{"values":[1,2]}}"#,
        );
        check(
            "status not in",
            r#"status notInList {"StringList":{"values":[]}}"#,
        );
        check(
            "priority between 1..3",
            r#"priority between {"Float64List":{"values":[1,3]}}"#,
        );
        check(
            "created_at between 2026-01-01 .. '2026-02-01'",
            r#"created_at between {"StringList":{"values":["2026-01-01","2026-02-01"]}}"#,
        );
    }

    /// No number goes through a double on its way into the query.
    #[test]
    fn keeps_numbers_as_written() {
        let filter = parse_condition("price = 0.10000000000000000000001", &table()).unwrap();
        let spec = QuerySpec {
            filter: Some(filter),
            ..QuerySpec::default()
        };
        let json = to_json(&spec);
        assert!(
            json.get()
                .contains(r#"{"value":0.10000000000000000000001}"#),
            "{json}"
        );
    }

    /// What is wrong is said in words that help.
    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            (
                "colour = red",
                "has no column \"colour\"; it has id, status",
            ),
            ("status", "needs an operator after status"),
            ("status inside a", "needs an operator"),
            ("", "has no column \"\""),
            ("priority = high", "takes a number, not \"high\""),
            ("priority in 1,x", "takes a number, not \"x\""),
            ("done = maybe", "takes true or false"),
            ("priority between 3", "needs two ends"),
            ("priority is null 3", "nothing goes after isNull"),
        ] {
            let error = parse_condition(text, &table()).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    /// Orders are read key by key; ascending unless said otherwise.
    #[test]
    fn reads_orders() {
        let order = parse_order("created_at DESC nulls last, \"in stock\", id asc", &table());
        let found: Vec<(String, Sort)> = order
            .unwrap()
            .into_iter()
            .map(|key| (key.column, key.sort))
            .collect();
        let expect = [
            ("created_at".to_owned(), Sort::DescNullsLast),
            ("in stock".to_owned(), Sort::AscDefault),
            ("id".to_owned(), Sort::AscDefault),
        ];
        assert_eq!(found, expect);
        assert!(parse_order("id upwards", &table()).is_err());
        assert!(parse_order("id,", &table()).is_err());
    }
}
