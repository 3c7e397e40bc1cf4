//! Calls between a gateway and a SQL worker: `RequestEnvelope`.
//!
//! Old gateways write these and old workers read them, so both directions are here. What a call
//! does not say stays unsaid: an absent key column means the table's own key, a limit of zero means
//! none.

use flatbuffers::root_with_opts;
use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, UnionWIPOffset, Vector, WIPOffset};
use serde_json::value::RawValue;
use tidegate_core::{
    Aggregation, ColumnDefinition, Command, KeySpec, Literal, QuerySpec, Selection,
    TableDefinition, TableName,
};

use crate::command_json::{COLUMNS_MAX, CONSTRAINTS, DATA_TYPES, key_parts, parse_row_text};
use crate::error_code::{ErrorCode, WireError};
use crate::generated::sql::sql_rpc::{
    AddSingleReq, AddSingleReqArgs, CreateTableReq, CreateTableReqArgs, DeleteRowReq,
    DeleteRowReqArgs, DescribeReq, DescribeReqArgs, GetDataReq, GetDataReqArgs, GetSingleReq,
    GetSingleReqArgs, ListTablesReq, ListTablesReqArgs, RequestEnvelope, RequestEnvelopeArgs,
    RpcMethod, RpcPayload, RunAggregationReq, RunAggregationReqArgs, TableExistsReq,
    TableExistsReqArgs, UpdateSingleReq, UpdateSingleReqArgs,
};
use crate::generated::sql::sql_schema::TableDefinition as TableDefinitionTable;
use crate::generated::sql::sql_schema::{
    ColumnConstraint, CustomOptions, CustomOptionsArgs, KeyValuePair, KeyValuePairArgs,
    SQLDataType, TableColumn, TableColumnArgs, TableDefinitionArgs, TableOptions, TableOptionsArgs,
};
use crate::json_text::{is_number, write_separated, write_string};
use crate::query_flatbuffer::{
    BUDGETS, decode_filter, decode_keyset, decode_order, encode_filter, encode_keyset, encode_order,
};

/// A call on its way to a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlRequest {
    /// Names the call in its answer.
    pub correlation_id: String,
    /// Where the answer goes.
    pub reply_topic: String,
    /// The tenant.
    pub company_id: String,
    /// What to do.
    pub call: SqlCall,
}

/// What a worker is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum SqlCall {
    /// A procedure.
    Run(Command),
    /// What a table looks like.
    Describe(TableName),
}

/// A call that could not be read, with as much as is needed to answer it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct SqlRequestError {
    /// Names the call, when that could be read.
    pub correlation_id: Option<String>,
    /// Where the answer goes, when that could be read.
    pub reply_topic: Option<String>,
    /// Why.
    pub error: WireError,
}

fn bad(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::BadCommand, message)
}

impl SqlRequest {
    /// Reads a call.
    ///
    /// # Errors
    /// When it makes no sense. An answer can be sent if the error says where to.
    pub fn decode(bytes: &[u8]) -> Result<Self, SqlRequestError> {
        let root = root_with_opts::<RequestEnvelope<'_>>(&BUDGETS, bytes);
        let root = root.map_err(|_| SqlRequestError {
            correlation_id: None,
            reply_topic: None,
            error: bad("the call is not a RequestEnvelope"),
        })?;
        let text = |text: Option<&str>| text.map(str::to_owned);
        decode_payload(bytes, root)
            .map(|(company_id, call)| Self {
                correlation_id: text(root.correlation_id()).unwrap_or_default(),
                reply_topic: text(root.reply_topic()).unwrap_or_default(),
                company_id,
                call,
            })
            .map_err(|error| SqlRequestError {
                correlation_id: text(root.correlation_id()),
                reply_topic: text(root.reply_topic()),
                error,
            })
    }

    /// Writes a call.
    ///
    /// # Errors
    /// When the command says something that the format cannot: a document as a query's value, a
    /// limit above 32 bits.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut builder = FlatBufferBuilder::new();
        let b = &mut builder;
        let (method, payload_type, payload) = encode_payload(b, &self.company_id, &self.call)?;
        let arguments = RequestEnvelopeArgs {
            correlation_id: Some(b.create_string(&self.correlation_id)),
            reply_topic: Some(b.create_string(&self.reply_topic)),
            method,
            payload_type,
            payload: Some(payload),
        };
        let root = RequestEnvelope::create(b, &arguments);
        b.finish(root, None);
        Ok(builder.finished_data().to_vec())
    }
}

fn table_name(name: Option<&str>) -> Result<TableName, WireError> {
    TableName::parse(name.unwrap_or_default())
        .map_err(|error| WireError::new(ErrorCode::UnknownTable, error.to_string()))
}

fn key(column: Option<&str>, text: Option<&str>) -> KeySpec {
    let text = text.unwrap_or_default();
    KeySpec {
        column: column.filter(|name| !name.is_empty()).map(str::to_owned),
        text: text.to_owned(),
        parts: key_parts(text),
    }
}

fn unfit() -> WireError {
    bad("the method and the payload of the call do not fit")
}

/// The tenant and the call. The payload says what it is; `method` must not disagree.
fn decode_payload(bytes: &[u8], root: RequestEnvelope<'_>) -> Result<(String, SqlCall), WireError> {
    if root.method().0.checked_add(1) != Some(root.payload_type().0) {
        return Err(unfit());
    }
    if root.payload_type() == RpcPayload::DescribeReq {
        let request = root.payload_as_describe_req().ok_or_else(unfit)?;
        let table = table_name(request.table_name())?;
        let company = request.company_id().unwrap_or_default();
        return Ok((company.to_owned(), SqlCall::Describe(table)));
    }
    let (company, command) = decode_command(bytes, root)?;
    let company = company.unwrap_or_default().to_owned();
    Ok((company, SqlCall::Run(command)))
}

fn decode_command<'a>(
    bytes: &[u8],
    root: RequestEnvelope<'a>,
) -> Result<(Option<&'a str>, Command), WireError> {
    let none = unfit;
    Ok(match root.payload_type() {
        RpcPayload::GetDataReq => {
            let request = root.payload_as_get_data_req().ok_or_else(none)?;
            let selection = decode_selection(bytes, request)?;
            let table = table_name(request.table_name())?;
            (request.company_id(), Command::GetData(table, selection))
        }
        RpcPayload::GetSingleReq => {
            let request = root.payload_as_get_single_req().ok_or_else(none)?;
            let key = key(request.primary_key_column(), request.primary_id());
            let table = table_name(request.table_name())?;
            (request.company_id(), Command::GetSingle(table, key))
        }
        RpcPayload::AddSingleReq => {
            let request = root.payload_as_add_single_req().ok_or_else(none)?;
            let row = parse_row_text(request.row_json().unwrap_or("{}"), "row_json")?;
            let table = table_name(request.table_name())?;
            (request.company_id(), Command::AddSingle(table, row))
        }
        RpcPayload::UpdateSingleReq => {
            let request = root.payload_as_update_single_req().ok_or_else(none)?;
            let key = key(request.primary_key_column(), request.primary_id());
            let text = request.updates_json().unwrap_or("{}");
            let updates = parse_row_text(text, "updates_json")?;
            let table = table_name(request.table_name())?;
            (
                request.company_id(),
                Command::UpdateSingle(table, key, updates),
            )
        }
        RpcPayload::DeleteRowReq => {
            let request = root.payload_as_delete_row_req().ok_or_else(none)?;
            let key = key(request.primary_key_column(), request.primary_id());
            let table = table_name(request.table_name())?;
            (request.company_id(), Command::DeleteRow(table, key))
        }
        RpcPayload::CreateTableReq => {
            let request = root.payload_as_create_table_req().ok_or_else(none)?;
            let definition = request.definition().ok_or_else(none)?;
            let table = table_name(definition.name())?;
            let command = Command::CreateTable(table, decode_definition(definition)?);
            (request.company_id(), command)
        }
        RpcPayload::TableExistsReq => {
            let request = root.payload_as_table_exists_req().ok_or_else(none)?;
            let table = table_name(request.table_name())?;
            (request.company_id(), Command::TableExists(table))
        }
        RpcPayload::RunAggregationReq => {
            let request = root.payload_as_run_aggregation_req().ok_or_else(none)?;
            let table = table_name(request.table_name())?;
            let aggregation = decode_aggregation(bytes, request)?;
            (
                request.company_id(),
                Command::RunAggregation(table, aggregation),
            )
        }
        RpcPayload::ListTablesReq => {
            let request = root.payload_as_list_tables_req().ok_or_else(none)?;
            (request.company_id(), Command::ListTables)
        }
        _ => return Err(none()),
    })
}

fn decode_selection(bytes: &[u8], request: GetDataReq<'_>) -> Result<Selection, WireError> {
    let filter = request
        .wrapper()
        .map(|wrapper| decode_filter(bytes, wrapper));
    Ok(Selection {
        query: QuerySpec {
            filter: filter.transpose()?,
            order: decode_order(request.order())?,
            keyset: decode_keyset(request.cursor())?,
            strict_after: request.strict_after(),
            limit: (request.limit() > 0).then(|| u64::from(request.limit())),
        },
        offset: u64::from(request.offset()),
    })
}

fn decode_aggregation(
    bytes: &[u8],
    request: RunAggregationReq<'_>,
) -> Result<Aggregation, WireError> {
    let filter = request
        .wrapper()
        .map(|wrapper| decode_filter(bytes, wrapper));
    Ok(Aggregation {
        sum: texts(request.sum_fields())?,
        average: texts(request.average_fields())?,
        minimum: texts(request.minimum_fields())?,
        maximum: texts(request.maximum_fields())?,
        filter: filter.transpose()?,
    })
}

fn texts(list: Option<Vector<'_, ForwardsUOffset<&str>>>) -> Result<Vec<String>, WireError> {
    let list = list.unwrap_or_default();
    if list.len() > COLUMNS_MAX {
        return Err(bad("a list names too many columns"));
    }
    Ok(list.iter().map(str::to_owned).collect())
}

fn decode_definition(definition: TableDefinitionTable<'_>) -> Result<TableDefinition, WireError> {
    let columns = definition.columns().unwrap_or_default();
    if columns.len() > COLUMNS_MAX {
        return Err(bad(format!("a table has at most {COLUMNS_MAX} columns")));
    }
    Ok(TableDefinition {
        columns: columns
            .iter()
            .map(decode_column)
            .collect::<Result<_, _>>()?,
        comment: definition.comment().map(str::to_owned),
        options: pairs(definition.table_options().and_then(|table| table.options())),
    })
}

fn decode_column(column: TableColumn<'_>) -> Result<ColumnDefinition, WireError> {
    let named = |number: u8, names: &[&'static str]| names.get(usize::from(number)).copied();
    let name = column.name().ok_or_else(|| bad("a column needs a name"))?;
    let data_type =
        named(column.data_type().0, DATA_TYPES).ok_or_else(|| bad("a data type is not known"))?;
    let constraints = column.constraints().unwrap_or_default();
    let constraints = constraints.iter().map(|constraint| {
        named(constraint.0, CONSTRAINTS)
            .map(str::to_owned)
            .ok_or_else(|| bad("a constraint is not known"))
    });
    Ok(ColumnDefinition {
        name: name.to_owned(),
        data_type: data_type.to_owned(),
        nullable: column.is_nullable(),
        constraints: constraints.collect::<Result<_, _>>()?,
        options: pairs(column.custom_options().and_then(|custom| custom.options())),
    })
}

fn pairs(list: Option<Vector<'_, ForwardsUOffset<KeyValuePair<'_>>>>) -> Vec<(String, String)> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let list = list.unwrap_or_default();
    list.iter()
        .map(|pair| (text(pair.key()), text(pair.value())))
        .collect()
}

type Payload = (RpcMethod, RpcPayload, WIPOffset<UnionWIPOffset>);

fn encode_payload(
    b: &mut FlatBufferBuilder<'_>,
    company: &str,
    call: &SqlCall,
) -> Result<Payload, WireError> {
    let company_id = Some(b.create_string(company));
    match call {
        SqlCall::Run(command) => encode_command(b, company_id, command),
        SqlCall::Describe(table) => {
            let arguments = DescribeReqArgs {
                company_id,
                table_name: Some(b.create_string(table.as_str())),
            };
            let request = DescribeReq::create(b, &arguments).as_union_value();
            Ok((RpcMethod::DESCRIBE, RpcPayload::DescribeReq, request))
        }
    }
}

fn encode_command<'b>(
    b: &mut FlatBufferBuilder<'b>,
    company_id: Option<WIPOffset<&'b str>>,
    command: &Command,
) -> Result<Payload, WireError> {
    Ok(match command {
        Command::GetData(table, selection) => {
            let arguments = GetDataReqArgs {
                company_id,
                table_name: Some(b.create_string(table.as_str())),
                ..encode_selection(b, selection)?
            };
            let request = GetDataReq::create(b, &arguments).as_union_value();
            (RpcMethod::GET_DATA, RpcPayload::GetDataReq, request)
        }
        Command::AddSingle(table, row) => {
            let arguments = AddSingleReqArgs {
                company_id,
                table_name: Some(b.create_string(table.as_str())),
                primary_key_column: None,
                row_json: Some(b.create_string(&row_text(row)?)),
            };
            let request = AddSingleReq::create(b, &arguments).as_union_value();
            (RpcMethod::ADD_SINGLE, RpcPayload::AddSingleReq, request)
        }
        Command::GetSingle(table, key) => encode_keyed(b, company_id, table, key, Keyed::Get),
        Command::UpdateSingle(table, key, updates) => {
            let updates = row_text(updates)?;
            encode_keyed(b, company_id, table, key, Keyed::Update(&updates))
        }
        Command::DeleteRow(table, key) => encode_keyed(b, company_id, table, key, Keyed::Delete),
        Command::CreateTable(table, definition) => {
            let arguments = CreateTableReqArgs {
                company_id,
                definition: Some(encode_definition(b, table, definition)?),
            };
            let request = CreateTableReq::create(b, &arguments).as_union_value();
            (RpcMethod::CREATE_TABLE, RpcPayload::CreateTableReq, request)
        }
        Command::TableExists(table) => {
            let arguments = TableExistsReqArgs {
                company_id,
                table_name: Some(b.create_string(table.as_str())),
            };
            let request = TableExistsReq::create(b, &arguments).as_union_value();
            (RpcMethod::TABLE_EXISTS, RpcPayload::TableExistsReq, request)
        }
        Command::RunAggregation(table, aggregation) => {
            let arguments = RunAggregationReqArgs {
                company_id,
                table_name: Some(b.create_string(table.as_str())),
                ..encode_aggregation(b, aggregation)?
            };
            let request = RunAggregationReq::create(b, &arguments).as_union_value();
            (
                RpcMethod::RUN_AGGREGATION,
                RpcPayload::RunAggregationReq,
                request,
            )
        }
        Command::ListTables => {
            let arguments = ListTablesReqArgs { company_id };
            let request = ListTablesReq::create(b, &arguments).as_union_value();
            (RpcMethod::LIST_TABLES, RpcPayload::ListTablesReq, request)
        }
    })
}

/// What is done with one row.
enum Keyed<'a> {
    Get,
    /// With new values, as JSON.
    Update(&'a str),
    Delete,
}

fn encode_keyed<'b>(
    b: &mut FlatBufferBuilder<'b>,
    company_id: Option<WIPOffset<&'b str>>,
    table: &TableName,
    key: &KeySpec,
    what: Keyed<'_>,
) -> Payload {
    let table_name = Some(b.create_string(table.as_str()));
    let primary_key_column = key.column.as_ref().map(|name| b.create_string(name));
    let primary_id = Some(b.create_string(&key.text));
    match what {
        Keyed::Get => {
            let arguments = GetSingleReqArgs {
                company_id,
                table_name,
                primary_key_column,
                primary_id,
            };
            let request = GetSingleReq::create(b, &arguments).as_union_value();
            (RpcMethod::GET_SINGLE, RpcPayload::GetSingleReq, request)
        }
        Keyed::Update(updates) => {
            let arguments = UpdateSingleReqArgs {
                company_id,
                table_name,
                primary_key_column,
                primary_id,
                updates_json: Some(b.create_string(updates)),
            };
            let request = UpdateSingleReq::create(b, &arguments).as_union_value();
            (
                RpcMethod::UPDATE_SINGLE,
                RpcPayload::UpdateSingleReq,
                request,
            )
        }
        Keyed::Delete => {
            let arguments = DeleteRowReqArgs {
                company_id,
                table_name,
                primary_key_column,
                primary_id,
            };
            let request = DeleteRowReq::create(b, &arguments).as_union_value();
            (RpcMethod::DELETE_ROW, RpcPayload::DeleteRowReq, request)
        }
    }
}

fn encode_selection<'b>(
    b: &mut FlatBufferBuilder<'b>,
    selection: &Selection,
) -> Result<GetDataReqArgs<'b>, WireError> {
    let query = &selection.query;
    let rows = |count: u64| {
        u32::try_from(count)
            .map_err(|_| WireError::new(ErrorCode::BadLimit, "more rows than 32 bits count"))
    };
    // Zero is "no limit" on the wire, and no limit at all here: it must not turn into the other.
    if query.limit == Some(0) {
        return Err(WireError::new(
            ErrorCode::BadLimit,
            "limit is 1 or more, not 0",
        ));
    }
    let filter = query.filter.as_ref().map(|filter| encode_filter(b, filter));
    Ok(GetDataReqArgs {
        wrapper: filter.transpose()?,
        limit: rows(query.limit.unwrap_or(0))?,
        offset: rows(selection.offset)?,
        order: (!query.order.is_empty()).then(|| encode_order(b, &query.order)),
        cursor: match query.keyset.as_slice() {
            [] => None,
            keyset => Some(encode_keyset(b, keyset)?),
        },
        strict_after: query.strict_after,
        ..GetDataReqArgs::default()
    })
}

fn encode_aggregation<'b>(
    b: &mut FlatBufferBuilder<'b>,
    aggregation: &Aggregation,
) -> Result<RunAggregationReqArgs<'b>, WireError> {
    let filter = aggregation
        .filter
        .as_ref()
        .map(|filter| encode_filter(b, filter));
    Ok(RunAggregationReqArgs {
        count_enabled: true,
        sum_fields: encode_texts(b, &aggregation.sum),
        average_fields: encode_texts(b, &aggregation.average),
        minimum_fields: encode_texts(b, &aggregation.minimum),
        maximum_fields: encode_texts(b, &aggregation.maximum),
        wrapper: filter.transpose()?,
        ..RunAggregationReqArgs::default()
    })
}

fn encode_texts<'b>(
    b: &mut FlatBufferBuilder<'b>,
    texts: &[String],
) -> Option<WIPOffset<Vector<'b, ForwardsUOffset<&'b str>>>> {
    if texts.is_empty() {
        return None;
    }
    let texts: Vec<_> = texts.iter().map(|text| b.create_string(text)).collect();
    Some(b.create_vector(&texts))
}

fn encode_definition<'b>(
    b: &mut FlatBufferBuilder<'b>,
    table: &TableName,
    definition: &TableDefinition,
) -> Result<WIPOffset<TableDefinitionTable<'b>>, WireError> {
    let columns = definition
        .columns
        .iter()
        .map(|column| encode_column(b, column));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = encode_pairs(b, &definition.options);
    let arguments = TableDefinitionArgs {
        name: Some(b.create_string(table.as_str())),
        columns: Some(b.create_vector(&columns)),
        comment: definition
            .comment
            .as_ref()
            .map(|text| b.create_string(text)),
        table_options: options.map(|options| {
            let options = Some(options);
            TableOptions::create(b, &TableOptionsArgs { options })
        }),
    };
    Ok(TableDefinitionTable::create(b, &arguments))
}

fn encode_column<'b>(
    b: &mut FlatBufferBuilder<'b>,
    column: &ColumnDefinition,
) -> Result<WIPOffset<TableColumn<'b>>, WireError> {
    let number = |name: &str, names: &[&str]| {
        let at = names.iter().position(|known| *known == name);
        at.and_then(|at| u8::try_from(at).ok())
            .ok_or_else(|| bad(format!("{name} is not known to workers")))
    };
    let constraints = column
        .constraints
        .iter()
        .map(|name| number(name, CONSTRAINTS).map(ColumnConstraint));
    let constraints = constraints.collect::<Result<Vec<_>, _>>()?;
    let options = encode_pairs(b, &column.options);
    let arguments = TableColumnArgs {
        name: Some(b.create_string(&column.name)),
        data_type: SQLDataType(number(&column.data_type, DATA_TYPES)?),
        is_nullable: column.nullable,
        constraints: Some(b.create_vector(&constraints)),
        custom_options: options.map(|options| {
            let options = Some(options);
            CustomOptions::create(b, &CustomOptionsArgs { options })
        }),
    };
    Ok(TableColumn::create(b, &arguments))
}

type WrittenPairs<'b> = WIPOffset<Vector<'b, ForwardsUOffset<KeyValuePair<'b>>>>;

/// `None` for no pairs at all.
pub(crate) fn encode_pairs<'b>(
    b: &mut FlatBufferBuilder<'b>,
    pairs: &[(String, String)],
) -> Option<WrittenPairs<'b>> {
    if pairs.is_empty() {
        return None;
    }
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| {
            let (key, value) = (Some(b.create_string(key)), Some(b.create_string(value)));
            KeyValuePair::create(b, &KeyValuePairArgs { key, value })
        })
        .collect();
    Some(b.create_vector(&pairs))
}

/// A row as a JSON object, from values as they were written in one.
fn row_text(row: &[(String, Literal)]) -> Result<String, WireError> {
    let mut out = vec![b'{'];
    let mut refused = Ok(());
    write_separated(&mut out, row, |out, (column, value)| {
        write_string(out, column);
        out.push(b':');
        match value {
            Literal::Null => out.extend_from_slice(b"null"),
            Literal::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Literal::Number(text) | Literal::Int(text) if is_number(text) => {
                out.extend_from_slice(text.as_bytes());
            }
            Literal::Text(text) | Literal::Number(text) | Literal::Int(text) => {
                write_string(out, text);
            }
            Literal::Json(text) if serde_json::from_str::<&RawValue>(text).is_ok() => {
                out.extend_from_slice(text.as_bytes());
            }
            Literal::Json(_) | Literal::Time { .. } | Literal::List(_) | Literal::Range { .. } => {
                let why = format!("column {column}: not a plain JSON value");
                refused = Err(WireError::new(ErrorCode::BadValue, why));
            }
        }
    });
    out.push(b'}');
    refused.map(|()| String::from_utf8(out).expect("only text was written"))
}

#[cfg(test)]
mod tests;
