//! Procedures as clients call them: a method, a table and a payload of JSON.
//!
//! Names in a payload are taken in camelCase and snake_case. What is absent has the default that it
//! always had, except that a write never guesses which row it is about.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tidegate_core::{
    Aggregation, ColumnDefinition, Command, KeySpec, Literal, QuerySpec, Selection,
    TableDefinition, TableName,
};

use crate::client_frame::parse_query_text;
use crate::error_code::{ErrorCode, WireError};
use crate::filter_json::parse_filter;
use crate::json_text::{DEPTH_MAX, Kind, depth, given, kind, string};
use crate::query_json::{count, parse_keyset, parse_limit, parse_order, shorten};

/// Columns of one row, table or list of fields: what Postgres allows in a table.
pub(crate) const COLUMNS_MAX: usize = 1_600;

/// A procedure's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads rows.
    GetData,
    /// Reads one row by key.
    GetSingle,
    /// Adds a row.
    AddSingle,
    /// Changes a row by key.
    UpdateSingle,
    /// Deletes a row by key.
    DeleteRow,
    /// Creates a table.
    CreateTable,
    /// Asks whether a table exists.
    TableExists,
    /// Computes aggregates.
    RunAggregation,
    /// Lists the tenant's tables.
    ListTables,
}

impl Method {
    /// Every method; the first eight in the order of the wire.
    pub const ALL: &[Self] = &[
        Self::GetData,
        Self::GetSingle,
        Self::AddSingle,
        Self::UpdateSingle,
        Self::DeleteRow,
        Self::CreateTable,
        Self::TableExists,
        Self::RunAggregation,
        Self::ListTables,
    ];

    /// Whether it changes anything, so that it must not be carried out twice.
    #[must_use]
    pub const fn is_write(self) -> bool {
        match self {
            Self::AddSingle | Self::UpdateSingle | Self::DeleteRow | Self::CreateTable => true,
            Self::GetData
            | Self::GetSingle
            | Self::TableExists
            | Self::RunAggregation
            | Self::ListTables => false,
        }
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GetData => "GET_DATA",
            Self::GetSingle => "GET_SINGLE",
            Self::AddSingle => "ADD_SINGLE",
            Self::UpdateSingle => "UPDATE_SINGLE",
            Self::DeleteRow => "DELETE_ROW",
            Self::CreateTable => "CREATE_TABLE",
            Self::TableExists => "TABLE_EXISTS",
            Self::RunAggregation => "RUN_AGGREGATION",
            Self::ListTables => "LIST_TABLES",
        }
    }

    /// The method of a name, which is exact.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|method| method.as_str() == text)
    }

    /// The method that a command is called by.
    #[must_use]
    pub const fn of(command: &Command) -> Self {
        match command {
            Command::GetData(..) => Self::GetData,
            Command::GetSingle(..) => Self::GetSingle,
            Command::AddSingle(..) => Self::AddSingle,
            Command::UpdateSingle(..) => Self::UpdateSingle,
            Command::DeleteRow(..) => Self::DeleteRow,
            Command::CreateTable(..) => Self::CreateTable,
            Command::TableExists(_) => Self::TableExists,
            Command::RunAggregation(..) => Self::RunAggregation,
            Command::ListTables => Self::ListTables,
        }
    }
}

/// The fields of a JSON object by name. Looked up under several names, so a struct would not do.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Reads a call.
///
/// # Errors
/// `bad_command`, or the code of the query, filter or value in it.
pub fn parse_command(
    method: &str,
    table: Option<&str>,
    payload: Option<&RawValue>,
) -> Result<Command, WireError> {
    let Some(method) = Method::from_text(method) else {
        return Err(bad(format!("Unknown RPC method: {}", shorten(method))));
    };
    let payload = Payload::read(payload)?;
    if method == Method::ListTables {
        return Ok(Command::ListTables);
    }
    if method == Method::CreateTable {
        return create_table(table, &payload);
    }
    let table = payload.table(table)?;
    Ok(match method {
        Method::GetData => Command::GetData(table, selection(&payload)?),
        Method::GetSingle => Command::GetSingle(table, payload.key(MissingKey::IsEmpty)?),
        Method::AddSingle => {
            let row = payload.row(&["row", "row_json", "data", "rowJson"])?;
            Command::AddSingle(table, row.unwrap_or_default())
        }
        Method::UpdateSingle => {
            let key = payload.key(MissingKey::IsRefused)?;
            let updates = payload.row(&["updates", "updates_json"])?;
            Command::UpdateSingle(table, key, updates.unwrap_or_default())
        }
        Method::DeleteRow => Command::DeleteRow(table, payload.key(MissingKey::IsRefused)?),
        Method::TableExists => Command::TableExists(table),
        Method::RunAggregation => Command::RunAggregation(table, aggregation(&payload)?),
        Method::CreateTable | Method::ListTables => unreachable!("both returned above"),
    })
}

fn bad(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::BadCommand, message)
}

/// What a call without `primaryId` means.
#[derive(Clone, Copy)]
enum MissingKey {
    /// The empty key: old clients get `{}` for it.
    IsEmpty,
    /// An error.
    IsRefused,
}

struct Payload<'a>(Members<'a>);

impl<'a> Payload<'a> {
    fn read(raw: Option<&'a RawValue>) -> Result<Self, WireError> {
        match given(raw) {
            None => Ok(Self(Members::new())),
            Some(raw) if kind(raw) == Kind::Object => members(raw).map(Self),
            Some(_) => Err(bad("payload is a JSON object")),
        }
    }

    /// The first of these names that is there and not null.
    fn get(&self, names: &[&str]) -> Option<&'a RawValue> {
        names
            .iter()
            .find_map(|name| given(self.0.get(*name).copied()))
    }

    fn text(&self, names: &[&str]) -> Result<Option<String>, WireError> {
        match self.get(names) {
            None => Ok(None),
            Some(raw) => string(raw)
                .map(Some)
                .ok_or_else(|| bad(format!("{} is a text", names[0]))),
        }
    }

    fn table(&self, frame: Option<&str>) -> Result<TableName, WireError> {
        let name = match frame.filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => self
                .text(&["tableName", "table_name"])?
                .or(self.text(&["table"])?)
                .ok_or_else(|| bad("the call needs a table"))?,
        };
        table_name(&name)
    }

    fn key(&self, missing: MissingKey) -> Result<KeySpec, WireError> {
        let column = self
            .text(&["primaryKeyColumn", "primary_key_column"])?
            .filter(|column| !column.is_empty());
        let Some(raw) = self.get(&["primaryId", "primary_id"]) else {
            return match missing {
                MissingKey::IsEmpty => Ok(KeySpec {
                    column,
                    text: String::new(),
                    parts: None,
                }),
                MissingKey::IsRefused => Err(bad("the call needs primaryId")),
            };
        };
        let text = match kind(raw) {
            Kind::String => string(raw).ok_or_else(|| bad("primaryId is not a readable text"))?,
            Kind::Object => return Err(bad("primaryId is a text, a number or an array")),
            _ => raw.get().to_owned(),
        };
        let parts = key_parts(&text);
        Ok(KeySpec {
            column,
            text,
            parts,
        })
    }

    /// An object, or the text of one, as columns and values. An empty text counts as none.
    fn row(&self, names: &[&str]) -> Result<Option<Vec<(String, Literal)>>, WireError> {
        let Some(raw) = self.get(names) else {
            return Ok(None);
        };
        let name = names[0];
        match kind(raw) {
            Kind::Object => row(raw).map(Some),
            Kind::String => {
                let text = string(raw).ok_or_else(|| bad(format!("{name} is not readable")))?;
                if text.is_empty() {
                    return Ok(None);
                }
                parse_row_text(&text, name).map(Some)
            }
            _ => Err(bad(format!("{name} is a JSON object, or the text of one"))),
        }
    }

    fn fields(&self, names: &[&str]) -> Result<Vec<String>, WireError> {
        let Some(raw) = self.get(names) else {
            return Ok(Vec::new());
        };
        let fields: Vec<String> = serde_json::from_str(raw.get())
            .map_err(|_| bad(format!("{} is an array of column names", names[0])))?;
        if fields.len() > COLUMNS_MAX {
            return Err(bad(format!("{} names too many columns", names[0])));
        }
        Ok(fields)
    }
}

fn table_name(name: &str) -> Result<TableName, WireError> {
    TableName::parse(name)
        .map_err(|error| WireError::new(ErrorCode::UnknownTable, error.to_string()))
}

/// The object in a text that was itself a JSON string.
fn inner_object<'t>(text: &'t str, name: &str) -> Result<&'t RawValue, WireError> {
    let refuse = |why: &str| bad(format!("{name} {why}"));
    if depth(text) > DEPTH_MAX {
        return Err(refuse("nests too deep"));
    }
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| refuse("is not JSON"))?;
    match kind(raw) {
        Kind::Object => Ok(raw),
        _ => Err(refuse("is not the text of a JSON object")),
    }
}

/// Reads the text of a row.
pub(crate) fn parse_row_text(text: &str, name: &str) -> Result<Vec<(String, Literal)>, WireError> {
    row(inner_object(text, name)?)
}

fn members(raw: &RawValue) -> Result<Members<'_>, WireError> {
    serde_json::from_str(raw.get()).map_err(|error| bad(error.to_string()))
}

fn row(raw: &RawValue) -> Result<Vec<(String, Literal)>, WireError> {
    let OrderedMembers(members) =
        serde_json::from_str(raw.get()).map_err(|error| bad(error.to_string()))?;
    if members.len() > COLUMNS_MAX {
        return Err(bad(format!("a row has at most {COLUMNS_MAX} columns")));
    }
    let columns = members.into_iter().map(|(column, raw)| {
        let value = literal(raw).ok_or_else(|| {
            let why = format!("column {}: a text is not readable", shorten(&column));
            WireError::new(ErrorCode::BadValue, why)
        })?;
        Ok((column, value))
    });
    columns.collect()
}

/// The members of an object in the order in which they were written, each name once.
struct OrderedMembers<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for OrderedMembers<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor<'a>(std::marker::PhantomData<&'a ()>);

        impl<'de: 'a, 'a> serde::de::Visitor<'de> for Visitor<'a> {
            type Value = OrderedMembers<'a>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: serde::de::MapAccess<'de>>(
                self,
                mut map: M,
            ) -> Result<Self::Value, M::Error> {
                let (mut members, mut seen) = (Vec::new(), std::collections::HashSet::new());
                while let Some((name, raw)) = map.next_entry::<String, &'a RawValue>()? {
                    if !seen.insert(name.clone()) {
                        let name = shorten(&name);
                        return Err(serde::de::Error::custom(format!("{name} is there twice")));
                    }
                    members.push((name, raw));
                }
                Ok(OrderedMembers(members))
            }
        }

        from.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

/// A plain JSON value. `None` for a text with half a surrogate pair.
fn literal(raw: &RawValue) -> Option<Literal> {
    Some(match kind(raw) {
        Kind::Null => Literal::Null,
        Kind::Bool => Literal::Bool(raw.get() == "true"),
        Kind::Number => Literal::Number(raw.get().to_owned()),
        Kind::String => Literal::Text(string(raw)?),
        Kind::Array | Kind::Object => Literal::Json(raw.get().to_owned()),
    })
}

/// The members of a composite key's text.
pub(crate) fn key_parts(text: &str) -> Option<Vec<Literal>> {
    if !text.starts_with('[') {
        return None;
    }
    let members: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let part = |raw: &RawValue| literal(raw).filter(|part| !matches!(part, Literal::Json(_)));
    (members.len() <= COLUMNS_MAX)
        .then(|| members.into_iter().map(part).collect())
        .flatten()
}

fn selection(payload: &Payload<'_>) -> Result<Selection, WireError> {
    let spec = match payload.get(&["queryJson", "query_json", "query"]) {
        Some(raw) if kind(raw) == Kind::String => string(raw)
            .filter(|text| !text.is_empty())
            .map(|text| parse_query_text(&text)),
        Some(raw) => Some(parse_query_text(raw.get())),
        None => None,
    };
    let query = match spec {
        Some(spec) => spec?,
        None => loose_query(payload)?,
    };
    let offset = match payload.get(&["offset"]) {
        None => 0,
        Some(raw) => count(raw).ok_or_else(|| {
            WireError::new(ErrorCode::BadLimit, "offset is a whole number of rows")
        })?,
    };
    Ok(Selection { query, offset })
}

/// A query whose parts lie loose in the payload.
fn loose_query(payload: &Payload<'_>) -> Result<QuerySpec, WireError> {
    let strict_after = match payload.get(&["strict_after", "strictAfter"]) {
        None => true,
        Some(raw) if kind(raw) == Kind::Bool => raw.get() == "true",
        Some(_) => return Err(bad("strict_after is true or false")),
    };
    Ok(QuerySpec {
        filter: payload.get(&["wrapper"]).map(parse_filter).transpose()?,
        order: parse_order(payload.get(&["order"]))?,
        keyset: parse_keyset(payload.get(&["cursor"]))?,
        strict_after,
        limit: parse_limit(payload.get(&["limit"]))?,
    })
}

fn aggregation(payload: &Payload<'_>) -> Result<Aggregation, WireError> {
    Ok(Aggregation {
        sum: payload.fields(&["sumFields", "sum_fields"])?,
        average: payload.fields(&["averageFields", "average_fields"])?,
        minimum: payload.fields(&["minimumFields", "minimum_fields"])?,
        maximum: payload.fields(&["maximumFields", "maximum_fields"])?,
        filter: payload.get(&["wrapper"]).map(parse_filter).transpose()?,
    })
}

fn create_table(frame: Option<&str>, payload: &Payload<'_>) -> Result<Command, WireError> {
    let raw = payload
        .get(&["definition", "definition_json"])
        .ok_or_else(|| bad("CREATE_TABLE needs a definition"))?;
    let text = match kind(raw) {
        Kind::String => string(raw).ok_or_else(|| bad("definition is not readable"))?,
        _ => raw.get().to_owned(),
    };
    let definition = Payload(members(inner_object(&text, "definition")?)?);
    let name = match definition.text(&["name"])? {
        Some(name) => table_name(&name)?,
        None => payload.table(frame)?,
    };
    let columns = definition
        .get(&["columns"])
        .ok_or_else(|| bad("a definition needs columns"))?;
    let columns: Vec<&RawValue> = serde_json::from_str(columns.get())
        .map_err(|_| bad("columns is an array of column definitions"))?;
    if columns.len() > COLUMNS_MAX {
        return Err(bad(format!("a table has at most {COLUMNS_MAX} columns")));
    }
    let columns = columns.into_iter().map(column_definition);
    let definition = TableDefinition {
        columns: columns.collect::<Result<_, _>>()?,
        comment: definition.text(&["comment"])?,
        options: options(definition.get(&["tableOptions", "table_options"]))?,
    };
    Ok(Command::CreateTable(name, definition))
}

fn column_definition(raw: &RawValue) -> Result<ColumnDefinition, WireError> {
    let fields = Payload::read(Some(raw))?;
    let name = fields
        .text(&["name"])?
        .ok_or_else(|| bad("a column needs a name"))?;
    let data_type = fields
        .text(&["dataType", "data_type"])?
        .ok_or_else(|| bad(format!("column {} needs a dataType", shorten(&name))))?;
    let nullable = match fields.get(&["isNullable", "is_nullable"]) {
        None => false,
        Some(raw) if kind(raw) == Kind::Bool => raw.get() == "true",
        Some(_) => return Err(bad("isNullable is true or false")),
    };
    let constraints = fields.fields(&["constraints"])?;
    Ok(ColumnDefinition {
        name,
        data_type: wire_name(&data_type, DATA_TYPES)
            .ok_or_else(|| bad(format!("{} is not a data type", shorten(&data_type))))?,
        nullable,
        constraints: constraints
            .iter()
            .map(|name| {
                wire_name(name, CONSTRAINTS)
                    .ok_or_else(|| bad(format!("{} is not a constraint", shorten(name))))
            })
            .collect::<Result<_, _>>()?,
        options: options(fields.get(&["customOptions", "custom_options"]))?,
    })
}

/// Names of the wire's `SQLDataType`, without trailing underscores, in its order.
pub(crate) const DATA_TYPES: &[&str] = &[
    "text",
    "varchar",
    "char",
    "varcharArray",
    "textArray",
    "charArray",
    "integer",
    "bigInt",
    "smallInt",
    "decimal",
    "numeric",
    "real",
    "doublePrecision",
    "serial",
    "bigSerial",
    "smallSerial",
    "money",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "timetz",
    "boolean",
    "bytea",
    "json",
    "jsonb",
    "jsonArray",
    "jsonbArray",
    "uuid",
    "xml",
    "array",
    "custom",
];

/// Names of the wire's `ColumnConstraint`, without trailing underscores, in its order.
pub(crate) const CONSTRAINTS: &[&str] = &[
    "primaryKey",
    "unique",
    "notNull",
    "check",
    "default",
    "indexed",
    "exclusion",
    "generated",
    "identity",
    "references",
    "noInherit",
    "nullsNotDistinct",
];

fn wire_name(name: &str, names: &[&str]) -> Option<String> {
    let plain = name.strip_suffix('_').unwrap_or(name);
    names.contains(&plain).then(|| plain.to_owned())
}

/// Options as an object of texts, as `{options: […]}`, or as an array of `{key, value}`.
fn options(raw: Option<&RawValue>) -> Result<Vec<(String, String)>, WireError> {
    let Some(raw) = given(raw) else {
        return Ok(Vec::new());
    };
    match kind(raw) {
        Kind::Array => {
            let pairs: Vec<&RawValue> =
                serde_json::from_str(raw.get()).map_err(|error| bad(error.to_string()))?;
            pairs.into_iter().map(option_pair).collect()
        }
        Kind::Object => {
            let fields = members(raw)?;
            if let Some(list) = fields.get("options").filter(|raw| kind(raw) == Kind::Array) {
                return options(Some(list));
            }
            let pairs = fields
                .into_iter()
                .map(|(key, raw)| Ok((key, option_text(raw)?)));
            pairs.collect()
        }
        _ => Err(bad("options are an object of texts")),
    }
}

fn option_pair(raw: &RawValue) -> Result<(String, String), WireError> {
    let fields = Payload::read(Some(raw))?;
    let key = fields
        .text(&["key"])?
        .ok_or_else(|| bad("an option is {key, value}"))?;
    let value = fields
        .get(&["value"])
        .ok_or_else(|| bad("an option is {key, value}"))?;
    Ok((key, option_text(value)?))
}

fn option_text(raw: &RawValue) -> Result<String, WireError> {
    match kind(raw) {
        Kind::String => string(raw).ok_or_else(|| bad("an option is not readable")),
        Kind::Bool | Kind::Number => Ok(raw.get().to_owned()),
        Kind::Null | Kind::Array | Kind::Object => Err(bad("an option's value is a text")),
    }
}

#[cfg(test)]
mod tests;
