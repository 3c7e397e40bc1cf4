//! Calls of SQL procedures, and their answers.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tidegate_core::Lsn;

/// The arguments of a call: JSON as written, so that no number in it goes through a double.
#[derive(Debug, Clone, Default)]
pub struct Payload(Option<Box<RawValue>>);

impl Payload {
    /// No arguments.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Takes JSON text as it is.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text.trim().to_owned()).map(|raw| Self(Some(raw)))
    }

    pub(crate) fn raw(&self) -> Option<&RawValue> {
        self.0.as_deref()
    }

    /// The text, if there is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref().map(RawValue::get)
    }
}

impl From<serde_json::Value> for Payload {
    fn from(value: serde_json::Value) -> Self {
        Self(serde_json::value::to_raw_value(&value).ok())
    }
}

/// What a procedure gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcReply {
    /// JSON text, byte for byte as the server wrote it.
    pub data: String,
    /// Where it was committed, if it wrote: what [`crate::Subscription::sync`] takes.
    pub lsn: Option<Lsn>,
}

impl RpcReply {
    /// The data as a value.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.data)
    }
}
