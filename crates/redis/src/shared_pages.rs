//! [`SharedPages`] on a Redis server: the keys and formats that gateways before us use.
//!
//! What has to be one step is a script: counting who is left, and appending a diff exactly once.
//! (Tails need none, see [`RedisCache`](crate::RedisCache), but lists of the old form have no ids.)
//! The clock is the server's, so that the clocks of gateways need not agree. Numbers are compared
//! as text of one length: the scripts' own numbers are doubles.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, Pipeline, Value, cmd};
use tidegate_core::Lsn;
use tidegate_ports::{Claimed, Left, PageClaim, PortError, SharedDiff, SharedPages};

use crate::config::RedisConfig;
use crate::error::Trouble;
use crate::link::Link;

/// How long it is remembered up to where a partition has been kept, at least: longer than any
/// reader of it is away.
const MARK_RETENTION: Duration = Duration::from_secs(24 * 3600);
/// Commands sent at once.
const COMMANDS_MAX: usize = 256;

/// Claims a page. KEYS: claims, query, all claims. ARGV: gateway, digest, lease in ms, key.
const CLAIM: &str = r"
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local others = redis.call('ZCARD', KEYS[1])
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
if held then others = others - 1 end
local known = redis.call('GET', KEYS[2])
if others > 0 and known and known ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3] * 4)
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3] * 4)
redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[4])
if held then return 2 end
return 1
";

/// Leaves a page. KEYS: claims, query, all claims. ARGV: gateway, key.
const LEAVE: &str = r"
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) > 0 then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[2])
return 1
";

/// Takes keys that nobody claims any more. KEYS: all claims. ARGV: how many, what the names of the
/// claims and of the query begin with.
const TAKE_LAPSED: &str = r"
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local taken = {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  redis.call('ZREMRANGEBYSCORE', ARGV[2] .. key, '-inf', now)
  local newest = redis.call('ZRANGE', ARGV[2] .. key, -1, -1, 'WITHSCORES')
  if newest[2] then
    redis.call('ZADD', KEYS[1], newest[2], key)
  else
    redis.call('DEL', ARGV[2] .. key, ARGV[3] .. key)
    redis.call('ZREM', KEYS[1], key)
    taken[#taken + 1] = key
  end
end
return taken
";

/// Appends a diff unless it is a repetition. KEYS: list, mark. ARGV: offset as 20 digits, entry,
/// entries kept, retention in ms, retention of the mark in ms.
const APPEND: &str = r"
local mark = redis.call('GET', KEYS[2])
if mark and mark >= ARGV[1] then return 0 end
redis.call('RPUSH', KEYS[1], ARGV[2])
redis.call('LTRIM', KEYS[1], -ARGV[3], -1)
if ARGV[4] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[5])
return 1
";

/// Stores a page and drops the diffs that are in it. KEYS: page, list, LSN of the page. ARGV: LSN
/// as 20 digits, page, retention in ms.
const STORE: &str = r"
local known = redis.call('GET', KEYS[3])
if known and known > ARGV[1] and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
  redis.call('SET', KEYS[3], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
while true do
  local entry = redis.call('LINDEX', KEYS[2], 0)
  if not entry then break end
  local lsn = string.match(entry, '^{.lsn.:.(%d+).,') or ''
  if #lsn > 20 then lsn = '' end
  if string.rep('0', 20 - #lsn) .. lsn > ARGV[1] then break end
  redis.call('LPOP', KEYS[2])
end
return 1
";

/// What gateways share on a Redis server, under the names of programs before us.
pub struct RedisSharedPages {
    link: Link,
    names: Names,
    settings: SharedPagesSettings,
}

/// What is kept, and for how long.
#[derive(Debug, Clone)]
pub struct SharedPagesSettings {
    /// How long a claim holds.
    pub lease: Duration,
    /// Entries of one list.
    pub diffs_max: usize,
    /// How long a list and a page are kept after their newest entry; zero is for ever.
    pub retention: Duration,
}

struct Names {
    prefix: String,
}

impl Names {
    fn of(&self, kind: &str, key: &str) -> String {
        format!("{}{kind}:{key}", self.prefix)
    }

    fn all_claims(&self) -> String {
        format!("{}claims", self.prefix)
    }
}

impl RedisSharedPages {
    /// Pages on this server, under the prefix of its configuration. Does not connect yet.
    #[must_use]
    pub fn new(config: &RedisConfig, settings: SharedPagesSettings) -> Self {
        Self {
            link: Link::new(config),
            names: Names {
                prefix: config.key_prefix.clone(),
            },
            settings,
        }
    }

    fn retention(&self) -> String {
        self.settings.retention.as_millis().to_string()
    }

    async fn send(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, PortError> {
        let mut answers = Vec::with_capacity(commands.len());
        for part in commands.chunks(COMMANDS_MAX) {
            let mut pipeline = Pipeline::with_capacity(part.len());
            for command in part {
                pipeline.add_command(command.clone());
            }
            for answer in self.link.send(&pipeline).await? {
                if let Value::ServerError(error) = &answer {
                    return Err(Trouble::from(error).into());
                }
                answers.push(answer);
            }
        }
        Ok(answers)
    }

    async fn send_one(&self, command: Cmd) -> Result<Value, PortError> {
        let answer = self.send(vec![command]).await?.pop();
        Ok(answer.ok_or(Trouble::Garbage)?)
    }

    async fn list(&self, kind: &str, key: &str) -> Result<Vec<Bytes>, PortError> {
        let mut command = cmd("LRANGE");
        command.arg(self.names.of(kind, key)).arg(0).arg(-1);
        texts(self.send_one(command).await?)
    }
}

fn script(body: &str, keys: &[String]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(body).arg(keys.len()).arg(keys);
    command
}

fn number(answer: &Value) -> Result<i64, PortError> {
    match answer {
        Value::Int(number) => Ok(*number),
        _ => Err(Trouble::Garbage.into()),
    }
}

fn texts(answer: Value) -> Result<Vec<Bytes>, PortError> {
    let Value::Array(members) = answer else {
        return Err(Trouble::Garbage.into());
    };
    let text = |member| match member {
        Value::BulkString(bytes) => Ok(Bytes::from(bytes)),
        _ => Err(Trouble::Garbage.into()),
    };
    members.into_iter().map(text).collect()
}

/// A number as text of one length, so that it compares as text.
fn digits(number: u64) -> String {
    format!("{number:020}")
}

#[async_trait]
impl SharedPages for RedisSharedPages {
    async fn claim(&self, gateway: u64, claims: Vec<PageClaim>) -> Result<Vec<Claimed>, PortError> {
        let lease = self.settings.lease.as_millis().to_string();
        let command = |PageClaim { key, query }: PageClaim| {
            let keys = [
                self.names.of("claims", &key),
                self.names.of("query", &key),
                self.names.all_claims(),
            ];
            let mut command = script(CLAIM, &keys);
            command.arg(gateway).arg(query).arg(&lease).arg(key);
            command
        };
        let answers = self.send(claims.into_iter().map(command).collect()).await?;
        let claimed = answers.iter().map(|answer| {
            Ok(match number(answer)? {
                0 => Claimed::Conflict,
                1 => Claimed::Granted,
                _ => Claimed::Renewed,
            })
        });
        claimed.collect()
    }

    async fn leave(&self, gateway: u64, key: &str) -> Result<Left, PortError> {
        let keys = [
            self.names.of("claims", key),
            self.names.of("query", key),
            self.names.all_claims(),
        ];
        let mut command = script(LEAVE, &keys);
        command.arg(gateway).arg(key);
        Ok(match number(&self.send_one(command).await?)? {
            0 => Left::Others,
            _ => Left::Last,
        })
    }

    async fn take_lapsed(&self, count_max: usize) -> Result<Vec<String>, PortError> {
        let mut command = script(TAKE_LAPSED, &[self.names.all_claims()]);
        command
            .arg(count_max)
            .arg(self.names.of("claims", ""))
            .arg(self.names.of("query", ""));
        text_list(texts(self.send_one(command).await?)?)
    }

    async fn append(&self, diffs: Vec<SharedDiff>) -> Result<(), PortError> {
        let retention = self.retention();
        let mark_retention = self.settings.retention.max(MARK_RETENTION).as_millis();
        let mark_retention = mark_retention.to_string();
        let command = |diff: SharedDiff| {
            let partition = format!("{}:{}", diff.topic, diff.partition);
            let keys = [
                self.names.of("diff", &diff.key),
                self.names.of("mark", &partition),
            ];
            let mut command = script(APPEND, &keys);
            command
                .arg(digits(diff.offset))
                .arg(diff.entry)
                .arg(self.settings.diffs_max)
                .arg(&retention)
                .arg(&mark_retention);
            command
        };
        self.send(diffs.into_iter().map(command).collect()).await?;
        Ok(())
    }

    async fn diffs(&self, key: &str) -> Result<Vec<Bytes>, PortError> {
        self.list("diff", key).await
    }

    async fn store(&self, key: &str, lsn: Lsn, page: Bytes) -> Result<(), PortError> {
        let keys = [
            self.names.of("snap", key),
            self.names.of("diff", key),
            self.names.of("snap-lsn", key),
        ];
        let mut command = script(STORE, &keys);
        command
            .arg(digits(lsn.get()))
            .arg(&page[..])
            .arg(self.retention());
        self.send_one(command).await?;
        Ok(())
    }

    async fn range(&self, key: &str) -> Result<Vec<String>, PortError> {
        text_list(self.list("range", key).await?)
    }
}

fn text_list(texts: Vec<Bytes>) -> Result<Vec<String>, PortError> {
    let text = |bytes: Bytes| {
        String::from_utf8(bytes.to_vec()).map_err(|_| PortError::Corrupt {
            what: crate::error::WHAT,
            why: "a member of a list is not UTF-8".to_owned(),
        })
    };
    texts.into_iter().map(text).collect()
}
