//! `tidegate rpc`: one call from the shell.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal, Read, Write};

use serde_json::value::RawValue;
use tidegate_client::Payload;

use crate::commands::target::{TargetArgs, block_on};
use crate::exit::{Exit, Failure};

/// A frame holds no more; reading on would only end in a refusal.
const PAYLOAD_BYTES_MAX: u64 = 1 << 20;

/// Calls a SQL procedure and prints what it gave
#[derive(Debug, clap::Args)]
pub(crate) struct RpcArgs {
    /// GET_DATA, GET_SINGLE, ADD_SINGLE, UPDATE_SINGLE, DELETE_ROW, CREATE_TABLE, TABLE_EXISTS,
    /// RUN_AGGREGATION or LIST_TABLES; get-data means GET_DATA
    method: String,
    /// The table it is about
    #[arg(long)]
    table: Option<String>,
    /// Its arguments as JSON, or @FILE that holds them, or - for standard input
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// Primary key of the row it is about: `primaryId` of the payload
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
}

pub(crate) fn run(args: &RpcArgs) -> Result<(), Failure> {
    let text = args.payload.as_deref().map(read_payload).transpose()?;
    let payload = payload(text.as_deref(), args.key.as_deref())?;
    let method = args.method.to_uppercase().replace('-', "_");
    let reply = block_on(async {
        let client = args.target.connect().await?;
        let reply = client.rpc(&method, args.table.as_deref(), payload).await;
        client.close().await;
        // Whatever the code: a call that failed is a 1, so that a script can tell it from a bad
        // line.
        reply.map_err(|fault| Failure::new(Exit::Failed, fault.to_string()))
    })?;
    let mut out = io::stdout().lock();
    let text = if out.is_terminal() {
        indent(&reply.data)
    } else {
        reply.data
    };
    if let Some(lsn) = reply.lsn {
        eprintln!("lsn {lsn}");
    }
    match writeln!(out, "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, error.to_string()))
        }
        // Who reads may stop reading.
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read_payload(given: &str) -> Result<String, Failure> {
    let read = |from: &mut dyn Read| {
        let mut text = String::new();
        from.take(PAYLOAD_BYTES_MAX + 1).read_to_string(&mut text)?;
        Ok::<String, io::Error>(text)
    };
    let text = match given.strip_prefix('@') {
        Some(path) => fs::File::open(path).and_then(|mut file| read(&mut file)),
        None if given == "-" => read(&mut io::stdin().lock()),
        None => Ok(given.to_owned()),
    };
    let bad = |why: String| Failure::new(Exit::Config, format!("--payload {given}: {why}"));
    let text = text.map_err(|error| bad(error.to_string()))?;
    if text.len() as u64 > PAYLOAD_BYTES_MAX {
        return Err(bad("is larger than 1 MiB".to_owned()));
    }
    Ok(text)
}

/// The arguments of a call; its numbers stay as they were written.
fn payload(text: Option<&str>, key: Option<&str>) -> Result<Payload, Failure> {
    let bad = |error: serde_json::Error| {
        Failure::new(
            Exit::Config,
            format!("--payload is not a JSON object: {error}"),
        )
    };
    let mut fields: BTreeMap<String, Box<RawValue>> = match text {
        None if key.is_none() => return Ok(Payload::none()),
        None => BTreeMap::new(),
        Some(text) => serde_json::from_str(text).map_err(bad)?,
    };
    if let Some(key) = key {
        let key = serde_json::value::to_raw_value(key).map_err(bad)?;
        fields.insert("primaryId".to_owned(), key);
    }
    let text = serde_json::to_string(&fields).map_err(bad)?;
    Payload::parse(&text).map_err(bad)
}

/// JSON spread over lines. It moves white space only, so every number keeps its digits.
fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut chars = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                out.push(c);
                while let Some(c) = chars.next() {
                    out.push(c);
                    match c {
                        '\\' => out.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if let Some(end) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    //! Shows that what is typed reaches the call unchanged, and its answer the reader.

    use super::{indent, payload};

    /// Lines are added between tokens only: texts and digits stay as they are.
    #[test]
    fn indents_without_changing() {
        let json = r#"{"a":[1.10,{"b":"x{,}:\"\\"}],"c":{},"d":[ ],"e":null}"#;
        let expect = r#"{
  "a": [
    1.10,
    {
      "b": "x{,}:\"\\"
    }
  ],
  "c": {},
  "d": [],
  "e": null
}"#;
        assert_eq!(indent(json), expect);
        assert_eq!(indent("[]"), "[]");
        assert_eq!(indent("12345678901234567890.10"), "12345678901234567890.10");
    }

    /// The key goes in beside the payload; numbers keep their digits; what is no object is refused.
    #[test]
    fn merges_the_key() {
        let text = |payload_text, key| {
            let payload = payload(payload_text, key).expect("valid");
            payload.as_str().map(str::to_owned)
        };
        assert_eq!(text(None, None), None);
        assert_eq!(
            text(None, Some("7")).as_deref(),
            Some(r#"{"primaryId":"7"}"#)
        );
        let exact = r#"{"updates":{"n":12345678901234567890.10}}"#;
        let expect = r#"{"primaryId":"[1,2]","updates":{"n":12345678901234567890.10}}"#;
        assert_eq!(text(Some(exact), Some("[1,2]")).as_deref(), Some(expect));
        assert!(payload(Some("[1]"), None).is_err());
        assert!(payload(Some("{"), Some("7")).is_err());
    }
}
