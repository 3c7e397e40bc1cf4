//! Tails as Redis streams: the commands, and what the answers mean. Pure.

use std::collections::HashMap;

use bytes::Bytes;
use redis::{Cmd, Pipeline, Value};
use tidegate_core::{Position, RoutingKey};
use tidegate_ports::{PortError, Replay, TailEntry};

use crate::config::RedisConfig;
use crate::error::{Trouble, WHAT};

/// The one field of an entry.
const FIELD: &str = "v";

/// Entries that one command reads: most clients were away for fewer diffs.
pub(crate) const READ_ENTRIES: usize = 128;

/// Entries and bytes of values that are appended at once, so that one answer comes within its time.
const APPEND_ENTRIES: usize = 256;
const APPEND_BYTES: usize = 1 << 20;

/// Ten years; Redis refuses what it cannot add to its clock.
const RETENTION_MILLIS_MAX: u128 = 10 * 365 * 86_400_000;

/// How Redis says that an id is not higher than the newest, or is 0-0.
const ID_REFUSED: &str = "The ID specified in XADD";

/// How many entries from the front go into the next append: at least one.
pub(crate) fn append_length(entries: &[TailEntry]) -> usize {
    let mut bytes = 0;
    for (index, entry) in entries.iter().enumerate().take(APPEND_ENTRIES) {
        bytes += entry.value.len();
        if bytes > APPEND_BYTES && index > 0 {
            return index;
        }
    }
    entries.len().min(APPEND_ENTRIES)
}

/// The commands that append entries, and whether the answer of each is that of an entry.
///
/// A tail's life is prolonged right after its last entry. Were it one transaction, a connection
/// that breaks between the two could not leave a tail that lives until its next entry; that is
/// rare, and not worth two more commands for every append.
pub(crate) fn append(config: &RedisConfig, entries: &[TailEntry]) -> (Pipeline, Vec<Answer>) {
    let last: HashMap<&RoutingKey, usize> = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| (&entry.key, index))
        .collect();
    let retention = config.retention.as_millis().clamp(1, RETENTION_MILLIS_MAX);
    let mut commands = Pipeline::with_capacity(entries.len() + last.len());
    let mut answers = Vec::with_capacity(entries.len() + last.len());
    for (index, entry) in entries.iter().enumerate() {
        let key = name(config, &entry.key);
        commands
            .cmd("XADD")
            .arg(&key)
            .arg("MAXLEN")
            .arg("~")
            .arg(config.tail_entries_max.max(1))
            .arg(entry.position.to_string())
            .arg(FIELD)
            .arg(&entry.value[..]);
        answers.push(Answer::Entry);
        if last[&entry.key] == index {
            commands.cmd("PEXPIRE").arg(&key).arg(retention.to_string());
            answers.push(Answer::Other);
        }
    }
    (commands, answers)
}

/// What an answer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An entry that was appended or refused.
    Entry,
    /// Something else.
    Other,
}

/// How many entries were refused. Any other error of a command is an error.
pub(crate) fn refused(answers: &[Answer], values: &[Value]) -> Result<usize, Trouble> {
    let mut refused = 0;
    for (answer, value) in answers.iter().zip(values) {
        let Value::ServerError(error) = value else {
            continue;
        };
        let says = error.details().unwrap_or_default();
        match answer {
            Answer::Entry if says.starts_with(ID_REFUSED) => refused += 1,
            Answer::Entry | Answer::Other => return Err(Trouble::from(error)),
        }
    }
    Ok(refused)
}

/// The name of a tail.
pub(crate) fn name(config: &RedisConfig, key: &RoutingKey) -> String {
    format!("{}tail:{}", config.key_prefix, key.encode())
}

/// A replay as it is read, part by part.
pub(crate) struct Reading {
    after: Position,
    /// The newest entry so far.
    newest: Option<Position>,
    entries: Vec<(Position, Bytes)>,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
}

/// What comes after a part.
pub(crate) enum Next {
    /// Another part.
    Read,
    /// Nothing: this is the answer.
    Answer(Replay),
}

impl Reading {
    pub(crate) fn new(config: &RedisConfig, after: Position) -> Self {
        Self {
            after,
            newest: None,
            entries: Vec::new(),
            bytes: 0,
            entries_max: config.tail_entries_max,
            bytes_max: config.replay_bytes_max,
        }
    }

    /// The command that reads the next part. The first one begins with the position itself, to see
    /// that the tail knows it.
    pub(crate) fn command(&self, name: &str) -> Cmd {
        let from = match self.newest {
            None => self.after.to_string(),
            Some(newest) => format!("({newest}"),
        };
        let mut command = redis::cmd("XRANGE");
        command.arg(name).arg(from).arg("+");
        command.arg("COUNT").arg(READ_ENTRIES);
        command
    }

    /// Takes a part in.
    pub(crate) fn take(&mut self, value: Value) -> Result<Next, PortError> {
        let part = parse(value)?;
        let is_last = part.len() < READ_ENTRIES;
        for (position, bytes) in part {
            let is_next = match self.newest {
                None if position == self.after => {
                    self.newest = Some(position);
                    continue;
                }
                None => position.follows(self.after),
                Some(newest) => position.follows(newest),
            };
            self.bytes += bytes.len();
            let fits = self.entries.len() < self.entries_max && self.bytes <= self.bytes_max;
            if !is_next || !fits {
                return Ok(Next::Answer(Replay::Gap));
            }
            self.newest = Some(position);
            self.entries.push((position, bytes));
        }
        Ok(match (is_last, self.newest) {
            (false, _) => Next::Read,
            (true, None) => Next::Answer(Replay::Gap),
            (true, Some(_)) => Next::Answer(Replay::Complete(std::mem::take(&mut self.entries))),
        })
    }
}

/// The entries of an answer to XRANGE.
fn parse(value: Value) -> Result<Vec<(Position, Bytes)>, PortError> {
    let entries = match value {
        Value::Array(entries) => entries,
        Value::ServerError(error) => return Err(Trouble::from(&error).into()),
        _ => return Err(corrupt("the answer is no list of entries")),
    };
    // A server that ignores COUNT must not make us keep all it sends.
    if entries.len() > READ_ENTRIES {
        return Err(corrupt("there are more entries than were asked for"));
    }
    entries
        .into_iter()
        .map(|entry| parse_entry(entry).ok_or_else(|| corrupt("an entry is not one of ours")))
        .collect()
}

fn parse_entry(entry: Value) -> Option<(Position, Bytes)> {
    let Value::Array(parts) = entry else {
        return None;
    };
    let [Value::BulkString(id), Value::Array(fields)] = <[Value; 2]>::try_from(parts).ok()? else {
        return None;
    };
    let [Value::BulkString(field), Value::BulkString(value)] =
        <[Value; 2]>::try_from(fields).ok()?
    else {
        return None;
    };
    let position = std::str::from_utf8(&id).ok()?.parse().ok()?;
    (field == FIELD.as_bytes()).then(|| (position, Bytes::from(value)))
}

fn corrupt(why: &str) -> PortError {
    PortError::Corrupt {
        what: WHAT,
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests;
