//! What procedures gave, as the `data` of an `rpcResult`.

use tidegate_core::{Aggregates, Numeric, Outcome, Reply, TableInfo, Value};

use crate::json_text::{write_int, write_separated, write_string};
use crate::row_json::RowWriter;

/// The `data` of a reply, as JSON text.
#[must_use]
pub fn reply_data(reply: &Reply) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    match &reply.outcome {
        Outcome::Page {
            schema,
            rows,
            order,
            lsn,
        } => {
            let writer = RowWriter::new(schema.clone());
            out.extend_from_slice(b"{\"rows\":");
            writer.write_rows(&mut out, rows);
            out.extend_from_slice(b",\"cursor\":{");
            let start = out.len();
            if let Some(last) = rows.last() {
                writer.write_cursor(&mut out, order.iter().copied(), last);
            }
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(format!("\"lsn\":\"{lsn}\"}}}}").as_bytes());
        }
        Outcome::Rows { schema, rows } => {
            RowWriter::new(schema.clone()).write_rows(&mut out, rows);
        }
        Outcome::Row { row: None, .. } => out.extend_from_slice(b"{}"),
        Outcome::Row {
            schema,
            row: Some(row),
        } => RowWriter::new(schema.clone()).write_row(&mut out, row),
        Outcome::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Outcome::Aggregates(aggregates) => write_aggregates(&mut out, aggregates),
        Outcome::Tables(tables) => {
            out.push(b'[');
            write_separated(&mut out, tables, write_table);
            out.push(b']');
        }
        Outcome::Json(data) => out.extend_from_slice(data.as_bytes()),
    }
    out
}

fn write_aggregates(out: &mut Vec<u8>, aggregates: &Aggregates) {
    out.extend_from_slice(b"{\"count\":");
    write_int(out, aggregates.count);
    for (name, numbers) in [
        ("sumValues", &aggregates.sum),
        ("avgValues", &aggregates.average),
    ] {
        write_group(out, name, numbers, |out, number| match number {
            Some(number) => write_numeric(out, number),
            None => out.extend_from_slice(b"null"),
        });
    }
    for (name, values) in [
        ("minimumValues", &aggregates.minimum),
        ("maximumValues", &aggregates.maximum),
    ] {
        write_group(out, name, values, write_aggregate_value);
    }
    out.push(b'}');
}

fn write_group<T>(
    out: &mut Vec<u8>,
    name: &str,
    members: &[(String, T)],
    write: impl Fn(&mut Vec<u8>, &T),
) {
    if members.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":{");
    write_separated(out, members, |out, (column, value)| {
        write_string(out, column);
        out.push(b':');
        write(out, value);
    });
    out.push(b'}');
}

fn write_aggregate_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Int(value) => write_numeric(out, &Numeric::from_int(*value)),
        Value::Float(value) => write_numeric(out, &Numeric::from_float(*value)),
        Value::Numeric(number) => write_numeric(out, number),
        Value::Text(_)
        | Value::Timestamp(_)
        | Value::Date(_)
        | Value::Bytes(_)
        | Value::Json(_)
        | Value::Array(_) => write_string(out, &value.to_text().unwrap_or_default()),
    }
}

/// A JSON number where a double reads it back without loss, else a decimal string.
pub(crate) fn write_numeric(out: &mut Vec<u8>, number: &Numeric) {
    let float: Option<f64> = number.as_str().parse().ok().filter(|f: &f64| f.is_finite());
    match float.map(Numeric::from_float) {
        Some(same) if same == *number => out.extend_from_slice(same.as_str().as_bytes()),
        _ => write_string(out, number.as_str()),
    }
}

fn write_table(out: &mut Vec<u8>, table: &TableInfo) {
    out.extend_from_slice(b"{\"name\":");
    write_string(out, table.name.as_str());
    out.extend_from_slice(b",\"columns\":[");
    write_separated(out, &table.columns, |out, column| {
        out.extend_from_slice(b"{\"name\":");
        write_string(out, &column.name);
        out.extend_from_slice(b",\"type\":");
        write_string(out, column.kind.name());
        out.extend_from_slice(format!(",\"nullable\":{}}}", column.nullable).as_bytes());
    });
    out.extend_from_slice(b"],\"primaryKey\":[");
    write_separated(out, &table.key, |out, name| write_string(out, name));
    out.extend_from_slice(b"],\"refusal\":");
    match &table.refusal {
        Some(why) => write_string(out, why),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests;
