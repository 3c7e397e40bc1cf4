//! Every byte that crosses a process: client frames, FlatBuffers, bus records, error codes.
//!
//! Bytes become typed values of `core` here, or errors; values become bytes. Nothing here does I/O,
//! reads a clock or remembers anything. docs/PROTOCOL.md is the same for the author of a client.

#![warn(missing_docs)]

#[cfg(test)]
mod arbitrary;
mod binary_frame;
mod calls;
mod change_record;
mod changes_json;
mod client_frame;
mod command_json;
mod control_record;
mod error_code;
mod filter_json;
mod foreign;
mod generated;
#[cfg(test)]
mod golden;
mod json_text;
mod literal_json;
mod old_record;
mod page_record;
mod query_flatbuffer;
mod query_json;
mod query_name;
mod record_bytes;
mod reply_json;
mod row_json;
pub mod server_frame;
mod sql_request;
mod sql_response;

pub use binary_frame::{
    BinaryDiff, BinaryFrameError, WireChange, binary_changes, binary_diff, read_binary_diff,
    read_changes,
};
pub use calls::{OLD_TIMEOUT, TIMEOUT_HEADER, read_millis, write_millis};
pub use change_record::{ChangeRecord, Part};
pub use changes_json::{RowJsonCache, changes_json};
pub use client_frame::{
    ClientFrame, CorrelationId, ErrorReply, Format, FrameError, HashId, INVALID_JSON, RpcCall,
    SlowPolicy, Subscribe, TypedFrame,
};
pub use command_json::{Method, parse_command};
pub use control_record::{ControlRecord, Want};
pub use error_code::{CloseCode, ErrorCode, Fault, Retry, WireError};
pub use foreign::{
    ForeignEvent, ForeignKey, ForeignPage, header_lsn, read_stored_diff, stored_diff,
};
pub use old_record::{OldKey, PageSeed, RowEvent};
pub use page_record::{DiffContent, DiffKind, PageCause, PageContent, PageOrigin, PageRecord};
pub use query_flatbuffer::{decode_query, encode_named_query, encode_query};
pub use query_json::{parse_query, write_query};
pub use query_name::{QueryName, QueryWords};
pub use record_bytes::RecordError;
pub use reply_json::reply_data;
pub use row_json::{RowWriter, pk_text, value_text};
pub use sql_request::{SqlCall, SqlRequest, SqlRequestError};
pub use sql_response::{SqlAnswer, SqlResponse, SqlResult, encode_response};
