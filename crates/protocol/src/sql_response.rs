//! Answers of a SQL worker to a gateway: `ResponseEnvelope`.
//!
//! A worker has typed replies and writes them; a gateway needs only the JSON that it hands on, so
//! that is what reading gives. Rows are JSON texts on the way, and are passed on as they are. What
//! the first version of the format cannot say stands in fields of its own, which old gateways do
//! not read and old workers do not write: an error's stable code, a write's commit.

use std::sync::Arc;

use flatbuffers::root_with_opts;
use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, UnionWIPOffset, Vector, WIPOffset};
use tidegate_core::{
    Aggregates, Column, ColumnType, KeysetSpec, Literal, Lsn, Numeric, Outcome, RangeType, Reply,
    Row, TableName, TableSchema, Value,
};

use crate::error_code::{ErrorCode, Fault, WireError};
use crate::generated::sql::sql_rpc::{
    AggRes, AggResArgs, BoolRes, BoolResArgs, ColumnKind, ColumnSchema, ColumnSchemaArgs, DataJson,
    DataJsonArgs, ErrorCode as WorkerCode, ResponseEnvelope, ResponseEnvelopeArgs, RowJson,
    RowJsonArgs, RowsJson, RowsJsonArgs, RowsWithCursor, RowsWithCursorArgs, RpcResponse,
    SchemaRes, SchemaResArgs,
};
use crate::generated::sql::sql_schema::{
    CursorEntry, DataHelperAggregation, DataHelperAggregationArgs, KeyValuePair,
};
use crate::json_text::{is_json, is_number, write_int, write_separated, write_string};
use crate::query_flatbuffer::{BUDGETS, cursor_literal, encode_keyset};
use crate::reply_json::{reply_data, write_numeric};
use crate::row_json::{RowWriter, is_reserved, value_text};
use crate::sql_request::encode_pairs;

/// What a failure without a message says.
const NAMELESS: &str = "rpc error";

/// A worker's answer, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlResponse {
    /// Names the call.
    pub correlation_id: String,
    /// What was asked for, or why there is none.
    pub result: Result<SqlAnswer, WireError>,
}

/// What a worker answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlAnswer {
    /// To a procedure.
    Data {
        /// The `data` of an `rpcResult`.
        json: String,
        /// The position of a write's commit, when the worker told it.
        lsn: Option<Lsn>,
    },
    /// To the question what a table looks like.
    Schema(Arc<TableSchema>),
}

impl SqlResponse {
    /// Reads an answer. Rows that are no JSON make it a failed one.
    ///
    /// # Errors
    /// When the bytes are no answer at all.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let root = root_with_opts::<ResponseEnvelope<'_>>(&BUDGETS, bytes).map_err(|_| {
            WireError::new(ErrorCode::Internal, "the answer is not a ResponseEnvelope")
        })?;
        let result = match (root.ok(), root.data_as_schema_res()) {
            (false, _) => Err(decode_error(root)),
            (true, Some(schema)) => decode_schema(schema).map(SqlAnswer::Schema),
            (true, None) => decode_data(root).map(|json| SqlAnswer::Data {
                json: String::from_utf8(json).expect("only text was written"),
                lsn: (root.lsn() > 0).then(|| Lsn::new(root.lsn())),
            }),
        };
        Ok(Self {
            correlation_id: root.correlation_id().unwrap_or_default().to_owned(),
            result,
        })
    }
}

fn decode_error(root: ResponseEnvelope<'_>) -> WireError {
    let code = match (
        root.code().and_then(ErrorCode::from_text),
        root.error_code(),
    ) {
        (Some(code), _) => code,
        (None, WorkerCode::BAD_REQUEST) => ErrorCode::BadCommand,
        (None, _) => ErrorCode::Internal,
    };
    let message = root.error_message().filter(|text| !text.is_empty());
    WireError::new(code, message.unwrap_or(NAMELESS))
}

fn senseless() -> WireError {
    WireError::new(ErrorCode::Internal, "the worker's answer makes no sense")
}

fn decode_data(root: ResponseEnvelope<'_>) -> Result<Vec<u8>, WireError> {
    let none = senseless;
    let mut out = Vec::with_capacity(256);
    match root.data_type() {
        RpcResponse::NONE => out.extend_from_slice(b"null"),
        RpcResponse::RowsJson => {
            let rows = root.data_as_rows_json().ok_or_else(none)?.rows();
            copy_rows(&mut out, rows)?;
        }
        RpcResponse::RowJson => {
            let row = root.data_as_row_json().ok_or_else(none)?.row();
            match row.unwrap_or_default() {
                "" => out.extend_from_slice(b"null"),
                row => copy_json(&mut out, row)?,
            }
        }
        RpcResponse::BoolRes => {
            let value = root.data_as_bool_res().ok_or_else(none)?.value();
            out.extend_from_slice(value.to_string().as_bytes());
        }
        RpcResponse::AggRes => {
            let answer = root.data_as_agg_res().ok_or_else(none)?;
            match answer.data() {
                Some(data) => copy_json(&mut out, data)?,
                None => write_aggregation(&mut out, answer.agg()),
            }
        }
        RpcResponse::DataJson => {
            let data = root.data_as_data_json().ok_or_else(none)?.data();
            copy_json(&mut out, data.unwrap_or_default())?;
        }
        RpcResponse::RowsWithCursor => {
            let page = root.data_as_rows_with_cursor().ok_or_else(none)?;
            out.extend_from_slice(b"{\"rows\":");
            copy_rows(&mut out, page.rows())?;
            out.extend_from_slice(b",\"cursor\":");
            write_cursor(&mut out, page.cursor())?;
            out.push(b'}');
        }
        _ => return Err(none()),
    }
    Ok(out)
}

fn copy_json(out: &mut Vec<u8>, text: &str) -> Result<(), WireError> {
    if !is_json(text) {
        let why = "the worker's answer holds a row that is no JSON";
        return Err(WireError::new(ErrorCode::UnreadableValue, why));
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn copy_rows(
    out: &mut Vec<u8>,
    rows: Option<Vector<'_, ForwardsUOffset<&str>>>,
) -> Result<(), WireError> {
    out.push(b'[');
    for (at, row) in rows.unwrap_or_default().iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        copy_json(out, row)?;
    }
    out.push(b']');
    Ok(())
}

fn write_cursor(
    out: &mut Vec<u8>,
    cursor: Option<Vector<'_, ForwardsUOffset<CursorEntry<'_>>>>,
) -> Result<(), WireError> {
    out.push(b'{');
    for (at, entry) in cursor.unwrap_or_default().iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(out, entry.field());
        out.push(b':');
        let literal = cursor_literal(entry)
            .map_err(|why| WireError::new(ErrorCode::Internal, why))?
            .unwrap_or(Literal::Null);
        write_plain(out, &literal);
    }
    out.push(b'}');
    Ok(())
}

/// A value as plain JSON, without its tag.
fn write_plain(out: &mut Vec<u8>, literal: &Literal) {
    match literal {
        Literal::Null => out.extend_from_slice(b"null"),
        Literal::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Literal::Number(text) | Literal::Int(text) if is_number(text) => {
            out.extend_from_slice(text.as_bytes());
        }
        Literal::Number(text) | Literal::Int(text) | Literal::Text(text) | Literal::Json(text) => {
            write_string(out, text);
        }
        Literal::Time { epoch, .. } => write_int(out, epoch),
        Literal::List(members) => {
            out.push(b'[');
            write_separated(out, members, write_plain);
            out.push(b']');
        }
        Literal::Range { low, high, .. } => {
            out.push(b'[');
            write_separated(out, [low, high], |out, end| write_plain(out, end));
            out.push(b']');
        }
    }
}

/// Groups that are empty are left out, and so is a count that nobody computed.
fn write_aggregation(out: &mut Vec<u8>, agg: Option<DataHelperAggregation<'_>>) {
    out.push(b'{');
    if let Some(agg) = agg {
        out.extend_from_slice(b"\"count\":");
        write_int(out, agg.count());
        let groups = [
            ("sumValues", agg.sum_values()),
            ("avgValues", agg.avg_values()),
            ("minimumValues", agg.minimum_values()),
            ("maximumValues", agg.maximum_values()),
        ];
        for (name, pairs) in groups {
            let pairs = pairs.unwrap_or_default();
            if pairs.is_empty() {
                continue;
            }
            out.extend_from_slice(format!(",\"{name}\":{{").as_bytes());
            write_separated(out, pairs.iter(), write_pair);
            out.push(b'}');
        }
    }
    out.push(b'}');
}

/// A text that is a number is one; another is a text, and none at all is null.
fn write_pair(out: &mut Vec<u8>, pair: KeyValuePair<'_>) {
    write_string(out, pair.key().unwrap_or_default());
    out.push(b':');
    match pair.value() {
        None => out.extend_from_slice(b"null"),
        Some(text) => match Numeric::parse(text).filter(|_| is_number(text)) {
            Some(number) => write_numeric(out, &number),
            None => write_string(out, text),
        },
    }
}

/// What a worker has to say.
#[derive(Debug, Clone, Copy)]
pub enum SqlResult<'a> {
    /// What a procedure gave.
    Reply(&'a Reply),
    /// What a table looks like.
    Schema(&'a TableSchema),
    /// Why there is nothing.
    Error(&'a WireError),
}

/// Writes the answer to a call.
///
/// # Errors
/// When a query's value in it is none that the format knows; no database gives such.
pub fn encode_response(correlation_id: &str, result: SqlResult<'_>) -> Result<Vec<u8>, WireError> {
    let mut builder = FlatBufferBuilder::new();
    let b = &mut builder;
    let mut arguments = ResponseEnvelopeArgs {
        correlation_id: Some(b.create_string(correlation_id)),
        ..ResponseEnvelopeArgs::default()
    };
    match result {
        SqlResult::Reply(reply) => {
            let (data_type, data) = encode_outcome(b, reply)?;
            arguments.data_type = data_type;
            arguments.data = Some(data);
            arguments.lsn = reply.lsn.map_or(0, Lsn::get);
        }
        SqlResult::Schema(schema) => {
            arguments.data_type = RpcResponse::SchemaRes;
            arguments.data = Some(encode_schema(b, schema).as_union_value());
        }
        SqlResult::Error(error) => {
            arguments.ok = false;
            arguments.error_code = match error.code.fault() {
                Fault::Client => WorkerCode::BAD_REQUEST,
                Fault::Server => WorkerCode::INTERNAL,
            };
            arguments.error_message = Some(b.create_string(&error.message));
            arguments.code = Some(b.create_string(error.code.as_str()));
        }
    }
    let root = ResponseEnvelope::create(b, &arguments);
    b.finish(root, None);
    Ok(builder.finished_data().to_vec())
}

fn encode_outcome(
    b: &mut FlatBufferBuilder<'_>,
    reply: &Reply,
) -> Result<(RpcResponse, WIPOffset<UnionWIPOffset>), WireError> {
    Ok(match &reply.outcome {
        Outcome::Page {
            schema,
            rows,
            order,
            lsn,
        } => {
            let mut cursor = rows
                .last()
                .map(|row| cursor_entries(schema, order, row))
                .unwrap_or_default();
            cursor.push(KeysetSpec {
                column: "lsn".to_owned(),
                value: Literal::Text(lsn.to_string()),
            });
            let arguments = RowsWithCursorArgs {
                rows: Some(encode_rows(b, schema, rows)),
                cursor: Some(encode_keyset(b, &cursor)?),
            };
            let data = RowsWithCursor::create(b, &arguments).as_union_value();
            (RpcResponse::RowsWithCursor, data)
        }
        Outcome::Rows { schema, rows } => {
            let rows = Some(encode_rows(b, schema, rows));
            let data = RowsJson::create(b, &RowsJsonArgs { rows });
            (RpcResponse::RowsJson, data.as_union_value())
        }
        Outcome::Row { schema, row } => {
            let text = match row {
                Some(row) => row_text(schema, row),
                None => "{}".to_owned(),
            };
            let row = Some(b.create_string(&text));
            let data = RowJson::create(b, &RowJsonArgs { row });
            (RpcResponse::RowJson, data.as_union_value())
        }
        Outcome::Bool(value) => {
            let data = BoolRes::create(b, &BoolResArgs { value: *value });
            (RpcResponse::BoolRes, data.as_union_value())
        }
        Outcome::Aggregates(aggregates) => {
            let agg = Some(encode_aggregates(b, aggregates));
            let data = Some(data_text(b, reply));
            let data = AggRes::create(b, &AggResArgs { agg, data });
            (RpcResponse::AggRes, data.as_union_value())
        }
        Outcome::Tables(_) | Outcome::Json(_) => {
            let data = Some(data_text(b, reply));
            let data = DataJson::create(b, &DataJsonArgs { data });
            (RpcResponse::DataJson, data.as_union_value())
        }
    })
}

/// What a client gets.
fn data_text<'b>(b: &mut FlatBufferBuilder<'b>, reply: &Reply) -> WIPOffset<&'b str> {
    let data = reply_data(reply);
    b.create_string(std::str::from_utf8(&data).expect("only text was written"))
}

fn row_text(schema: &Arc<TableSchema>, row: &Row) -> String {
    let mut out = Vec::new();
    RowWriter::new(schema.clone()).write_row(&mut out, row);
    String::from_utf8(out).expect("only text was written")
}

fn encode_rows<'b>(
    b: &mut FlatBufferBuilder<'b>,
    schema: &Arc<TableSchema>,
    rows: &[Row],
) -> WIPOffset<Vector<'b, ForwardsUOffset<&'b str>>> {
    let (writer, mut out) = (RowWriter::new(schema.clone()), Vec::new());
    let texts: Vec<_> = rows
        .iter()
        .map(|row| {
            out.clear();
            writer.write_row(&mut out, row);
            b.create_string(std::str::from_utf8(&out).expect("only text was written"))
        })
        .collect();
    b.create_vector(&texts)
}

fn cursor_entries(schema: &TableSchema, order: &[usize], row: &Row) -> Vec<KeysetSpec> {
    let columns = schema.columns();
    let named = order.iter().filter(|at| !is_reserved(&columns[**at].name));
    let entry = |at: &usize| KeysetSpec {
        column: columns[*at].name.to_string(),
        value: match value_text(&columns[*at].kind, &row[*at]) {
            Some(text) => Literal::Text(text),
            None => Literal::Null,
        },
    };
    named.map(entry).collect()
}

fn encode_aggregates<'b>(
    b: &mut FlatBufferBuilder<'b>,
    aggregates: &Aggregates,
) -> WIPOffset<DataHelperAggregation<'b>> {
    let numbers = |members: &[(String, Option<Numeric>)]| -> Vec<(String, String)> {
        let text = |number: &Numeric| number.as_str().to_owned();
        let known = members
            .iter()
            .filter_map(|(name, number)| Some((name, number.as_ref()?)));
        known
            .map(|(name, number)| (name.clone(), text(number)))
            .collect()
    };
    let values = |members: &[(String, Value)]| -> Vec<(String, String)> {
        let known = members
            .iter()
            .filter_map(|(name, value)| Some((name, value.to_text()?)));
        known.map(|(name, text)| (name.clone(), text)).collect()
    };
    let arguments = DataHelperAggregationArgs {
        count: u32::try_from(aggregates.count).unwrap_or(u32::MAX),
        sum_values: encode_pairs(b, &numbers(&aggregates.sum)),
        avg_values: encode_pairs(b, &numbers(&aggregates.average)),
        minimum_values: encode_pairs(b, &values(&aggregates.minimum)),
        maximum_values: encode_pairs(b, &values(&aggregates.maximum)),
    };
    DataHelperAggregation::create(b, &arguments)
}

fn encode_schema<'b>(
    b: &mut FlatBufferBuilder<'b>,
    schema: &TableSchema,
) -> WIPOffset<SchemaRes<'b>> {
    let columns: Vec<_> = schema
        .columns()
        .iter()
        .map(|column| {
            let (element, is_array) = match &column.kind {
                ColumnType::Array(array) => (array.element(), true),
                element => (element, false),
            };
            let (kind, type_name) = kind_of(element);
            let arguments = ColumnSchemaArgs {
                name: Some(b.create_string(&column.name)),
                kind,
                type_name: type_name.map(|name| b.create_string(name)),
                is_nullable: column.nullable,
                is_array,
            };
            ColumnSchema::create(b, &arguments)
        })
        .collect();
    let number = |at: &usize| u16::try_from(*at).expect("a table has at most 1,600 columns");
    let key: Vec<u16> = schema.key().iter().map(number).collect();
    let arguments = SchemaResArgs {
        name: Some(b.create_string(schema.table().as_str())),
        columns: Some(b.create_vector(&columns)),
        key: Some(b.create_vector(&key)),
    };
    SchemaRes::create(b, &arguments)
}

fn decode_schema(schema: SchemaRes<'_>) -> Result<Arc<TableSchema>, WireError> {
    let name = schema.name().and_then(|name| TableName::parse(name).ok());
    let name = name.ok_or_else(senseless)?;
    let column = |column: ColumnSchema<'_>| {
        let element = type_of(column.kind(), column.type_name())?;
        Some(Column {
            name: column.name()?.into(),
            kind: match column.is_array() {
                true => ColumnType::array_of(element),
                false => element,
            },
            nullable: column.is_nullable(),
        })
    };
    let columns = schema.columns().unwrap_or_default();
    let columns: Option<Vec<Column>> = columns.iter().map(column).collect();
    let columns = columns.ok_or_else(senseless)?;
    let key = schema.key().unwrap_or_default();
    let key: Vec<usize> = key.iter().map(usize::from).collect();
    if key.iter().any(|at| *at >= columns.len()) {
        return Err(senseless());
    }
    Ok(Arc::new(TableSchema::new(name, columns, key)))
}

fn kind_of(kind: &ColumnType) -> (ColumnKind, Option<&str>) {
    let kind = match kind {
        ColumnType::Boolean => ColumnKind::BOOLEAN,
        ColumnType::SmallInt => ColumnKind::SMALL_INT,
        ColumnType::Integer => ColumnKind::INTEGER,
        ColumnType::BigInt => ColumnKind::BIG_INT,
        ColumnType::WideInteger => ColumnKind::WIDE_INTEGER,
        ColumnType::Real => ColumnKind::REAL,
        ColumnType::Double => ColumnKind::DOUBLE,
        ColumnType::Numeric => ColumnKind::NUMERIC,
        ColumnType::Text => ColumnKind::TEXT,
        ColumnType::Timestamp => ColumnKind::TIMESTAMP,
        ColumnType::Date => ColumnKind::DATE,
        ColumnType::Bytea => ColumnKind::BYTEA,
        ColumnType::Json => ColumnKind::JSON,
        ColumnType::JsonText => ColumnKind::JSON_TEXT,
        ColumnType::Range(range) => return (ColumnKind::RANGE, Some(range.name())),
        // An array's elements are no arrays; should they ever be, their name says so.
        ColumnType::Array(_) | ColumnType::Other(_) => {
            return (ColumnKind::OTHER, Some(kind.name()));
        }
    };
    (kind, None)
}

fn type_of(kind: ColumnKind, name: Option<&str>) -> Option<ColumnType> {
    Some(match kind {
        ColumnKind::BOOLEAN => ColumnType::Boolean,
        ColumnKind::SMALL_INT => ColumnType::SmallInt,
        ColumnKind::INTEGER => ColumnType::Integer,
        ColumnKind::BIG_INT => ColumnType::BigInt,
        ColumnKind::WIDE_INTEGER => ColumnType::WideInteger,
        ColumnKind::REAL => ColumnType::Real,
        ColumnKind::DOUBLE => ColumnType::Double,
        ColumnKind::NUMERIC => ColumnType::Numeric,
        ColumnKind::TEXT => ColumnType::Text,
        ColumnKind::TIMESTAMP => ColumnType::Timestamp,
        ColumnKind::DATE => ColumnType::Date,
        ColumnKind::BYTEA => ColumnType::Bytea,
        ColumnKind::JSON => ColumnType::Json,
        ColumnKind::JSON_TEXT => ColumnType::JsonText,
        ColumnKind::RANGE => ColumnType::Range(RangeType::from_name(name?)?),
        ColumnKind::OTHER => ColumnType::Other(name?.into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
