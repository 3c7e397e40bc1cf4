//! Shows which layer wins, what is refused and with which sentence, and that the documents list the
//! keys as the program has them. No test reads or changes the process environment.

use std::collections::BTreeMap;

use super::error::Origin;
use super::layers::FileText;
use super::{Config, ConfigError, DatabaseAddress, Flags, Inputs, Key, Settings};

#[derive(Default)]
struct Layers<'a> {
    flags: &'a [(Key, &'a str)],
    environment: &'a [(&'a str, &'a str)],
    dotenv: &'a str,
    file: Option<&'a str>,
}

impl Layers<'_> {
    fn settings(&self) -> Result<Settings, ConfigError> {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let flags: Flags = self
            .flags
            .iter()
            .map(|&(key, value)| (key, value.to_owned()))
            .collect();
        let environment: BTreeMap<String, String> = self.environment.iter().map(owned).collect();
        Settings::of(&Inputs {
            flags,
            environment,
            dotenv: self.dotenv.to_owned(),
            file: self.file.map(|text| FileText {
                path: "t.toml".to_owned(),
                text: text.to_owned(),
            }),
        })
    }

    fn config(&self) -> Result<Config, ConfigError> {
        Config::of(&self.settings()?)
    }

    fn refused(&self, sentence: &str) {
        let error = self.config().expect_err(sentence);
        assert_eq!(error.to_string(), sentence);
    }
}

#[test]
fn the_defaults_are_right_in_themselves() {
    let config = Layers::default().config().expect("valid");
    assert_eq!(config.listen.to_string(), "127.0.0.1:7000");
    let file = "./tidegate-data/tidegate.db";
    assert_eq!(config.database, DatabaseAddress::Sqlite(file.into()));
    assert_eq!(config.database_shown, format!("sqlite:{file}"));
    assert!(config.roles.is_all());
    assert_eq!(config.limits.outbox_bytes_max, 1 << 20);
    assert!(config.demo.is_none());
}

/// Each layer is taken away from the top, and the next one shows.
#[test]
fn flags_over_environment_over_dotenv_over_file_over_defaults() {
    let check = |layers: &Layers<'_>, value: &str, origin: Origin| {
        let settings = layers.settings().expect("valid");
        assert_eq!(settings.get(Key::Partitions).value, value);
        assert_eq!(settings.get(Key::Partitions).origin, origin);
    };
    let mut layers = Layers {
        flags: &[(Key::Partitions, "5")],
        environment: &[("TIDEGATE_PARTITIONS", "4")],
        dotenv: "\nTIDEGATE_PARTITIONS=3",
        file: Some("# two\npartitions = 2\n"),
    };
    check(&layers, "5", Origin::Flag("--partitions".to_owned()));
    layers.flags = &[];
    let variable = || "TIDEGATE_PARTITIONS".to_owned();
    check(&layers, "4", Origin::Variable(variable()));
    layers.environment = &[];
    let line = Origin::DotEnv {
        variable: variable(),
        line: 2,
    };
    check(&layers, "3", line);
    layers.dotenv = "";
    let line = Origin::File {
        path: "t.toml".to_owned(),
        line: 2,
    };
    check(&layers, "2", line);
    layers.file = None;
    check(&layers, "8", Origin::Default);
}

#[test]
fn the_old_names_work_and_ours_win_over_them() {
    let listen = |layers: Layers<'_>| layers.config().expect("valid").listen.to_string();
    let old_only = Layers {
        environment: &[("WS_PORT", "7100")],
        ..Layers::default()
    };
    assert_eq!(listen(old_only), "127.0.0.1:7100");
    let over_file = Layers {
        environment: &[("WS_PORT", "7100"), ("TIDEGATE_AUTH", "headers")],
        file: Some("listen = '0.0.0.0:1'"),
        ..Layers::default()
    };
    assert_eq!(listen(over_file), "0.0.0.0:7100");
    let ours_beside = Layers {
        environment: &[("WS_PORT", "7100"), ("TIDEGATE_LISTEN", "127.0.0.1:5")],
        ..Layers::default()
    };
    assert_eq!(listen(ours_beside), "127.0.0.1:5");
    let overruled = Layers {
        environment: &[("KAFKA_BROKERS", "k:9092"), ("TIDEGATE_BUS", "memory:")],
        ..Layers::default()
    };
    assert!(overruled.config().is_ok());
}

/// What the old gateway's variables make of a key.
fn said(environment: &[(&str, &str)], dotenv: &str, key: Key) -> String {
    let layers = Layers {
        environment,
        dotenv,
        ..Layers::default()
    };
    layers.settings().expect("valid").get(key).value.clone()
}

#[test]
fn the_old_gateway_s_engines_are_ours() {
    let check = |environment, key, value: &str| assert_eq!(said(environment, "", key), value);
    check(&[("KAFKA_BROKERS", "a:1,b:2")], Key::Bus, "kafka://a:1,b:2");
    check(&[("KEYDB_HOST", "h")], Key::Cache, "redis://h:6379");
    let keydb = [
        ("KEYDB_HOST", "h"),
        ("KEYDB_PORT", "1"),
        ("KEYDB_PASSWORD", "p@/:"),
    ];
    check(&keydb, Key::Cache, "redis://:p%40%2F%3A@h:1");
    check(&[("KEYDB_PASSWORD", "alone")], Key::Cache, "memory:");
    check(
        &[("KEYDB_PREFIX", "hcache:")],
        Key::RedisKeyPrefix,
        "hcache:",
    );
    let retention = Key::RedisRetentionSeconds;
    check(&[("HOTCACHE_RETENTION_MS", "600000")], retention, "600");
    check(&[("HOTCACHE_RETENTION_MS", "12345")], retention, "13");
    check(&[("HOTCACHE_RETENTION_MS", "1")], retention, "10");
    check(&[("HOTCACHE_RETENTION_MS", "0")], retention, "31536000");
    check(
        &[("PGHOST", "h")],
        Key::Database,
        "postgres://postgres@h:5432/postgres",
    );
    let postgres = [
        ("PGHOST", "h"),
        ("PGPORT", "1"),
        ("PGUSER", "me"),
        ("PGPASSWORD", "a b"),
        ("PGDATABASE", "shop"),
    ];
    check(&postgres, Key::Database, "postgres://me:a%20b@h:1/shop");
    let socket = [("PGHOST", "/run/pg"), ("PGUSER", "me")];
    check(&socket, Key::Database, "postgres://me@%2Frun%2Fpg:5432/me");
}

/// Secrets stand in the environment, the rest in `.env`.
#[test]
fn what_belongs_together_may_be_said_in_two_layers() {
    let dotenv = "PGHOST=h\nPGUSER=me\nPGPASSWORD=old\nPGDATABASE=shop";
    let database = said(&[("PGPASSWORD", "new")], dotenv, Key::Database);
    assert_eq!(database, "postgres://me:new@h:5432/shop");
    // A stray variable changes nothing that a higher layer has said.
    let ours = "TIDEGATE_DATABASE=sqlite:a.db";
    let database = said(&[("PGPASSWORD", "new")], ours, Key::Database);
    assert_eq!(database, "sqlite:a.db");
}

/// The sentences about parts that cannot meet, which need no adapter to be said.
#[test]
fn what_does_not_go_together_is_refused() {
    let flag = |flags, sentence: &str| {
        Layers {
            flags,
            ..Layers::default()
        }
        .refused(sentence);
    };
    flag(
        &[(Key::Roles, "all,worker")],
        "roles is \"all,worker\" (flag --roles), but the bus is in this process, where nobody asks \
         a worker: it needs bus = kafka://",
    );
    flag(
        &[(Key::Database, "workers:")],
        "database is \"workers:\" (flag --database), but workers give no snapshots and no changes: \
         it goes with roles gateway only",
    );
    flag(
        &[(Key::RpcRequestTopic, "sql rpc")],
        "rpc_request_topic is \"sql rpc\" (flag --rpc-request-topic); \
         allowed is the name of a topic",
    );
    flag(
        &[(Key::Roles, "gateways")],
        "roles is \"gateways\" (flag --roles); \
         allowed is all, or some of gateway, processor, cdc and worker with commas between them",
    );
    flag(
        &[(Key::Roles, "gateway")],
        "roles is \"gateway\" (flag --roles), but the bus is in this process: parts in other \
         processes need bus = kafka://",
    );
    flag(
        &[(Key::Bus, "kafka://")],
        "bus is \"kafka://\" (flag --bus); allowed is memory: or kafka://HOST:PORT,HOST:PORT",
    );
    flag(
        &[(Key::KafkaProperties, "security.protocol")],
        "kafka_properties is \"***\" (flag --kafka-properties); \
         allowed is name=value pairs of librdkafka with commas between them, or nothing",
    );
    flag(
        &[(Key::PostgresSlot, "Tide-gate")],
        "postgres_slot is \"Tide-gate\" (flag --postgres-slot); \
         allowed is lower-case letters, digits and underscores",
    );
    Layers {
        environment: &[("TIDEGATE_PAGES", "gateway")],
        ..Layers::default()
    }
    .refused(
        "pages is \"gateway\" (variable TIDEGATE_PAGES), but the bus is in this process: foreign \
         topics need bus = kafka://",
    );
}

/// An address without its adapter is refused with the flag that brings it, and with a way out.
#[cfg(not(any(feature = "kafka", feature = "redis", feature = "postgres")))]
#[test]
fn a_build_without_an_adapter_says_how_to_get_it() {
    let check = |environment, start: &str, feature: &str, variable: &str| {
        Layers {
            environment,
            ..Layers::default()
        }
        .refused(&format!(
            "{start}, but this build has no adapter for it: build with --features {feature}, or \
             with --features cluster for all of them (set {variable} to overrule it)"
        ));
    };
    let kafka = "bus is \"kafka://k:9092\" (variable KAFKA_BROKERS)";
    check(
        &[("KAFKA_BROKERS", "k:9092")],
        kafka,
        "kafka",
        "TIDEGATE_BUS",
    );
    let redis = "cache is \"redis://:***@h:6379\" (variable KEYDB_HOST)";
    let keydb = [("KEYDB_HOST", "h"), ("KEYDB_PASSWORD", "p")];
    check(&keydb, redis, "redis", "TIDEGATE_CACHE");
    let postgres = "database is \"postgres://postgres@h:5432/shop\" (variable PGHOST)";
    let pg = [("PGHOST", "h"), ("PGDATABASE", "shop")];
    check(&pg, postgres, "postgres", "TIDEGATE_DATABASE");
}

#[cfg(all(feature = "kafka", feature = "redis", feature = "postgres"))]
mod cluster {
    //! The same keys in a build that has every adapter.

    use super::super::{BusAddress, CacheAddress, Role};
    use super::{DatabaseAddress, Key, Layers};

    const ENGINES: &str = "
        bus = ['kafka://a:1', 'b:2']
        cache = 'redis://:secret@h/3'
        database = 'postgres://me:secret@h/shop'
        kafka_properties = ['security.protocol=ssl', 'ssl.ca.location=/ca.pem']
        redis_retention_seconds = 60
    ";

    #[test]
    fn every_seam_may_leave_the_process() {
        let layers = Layers {
            file: Some(ENGINES),
            ..Layers::default()
        };
        let config = layers.config().expect("valid");
        assert!(matches!(config.bus, BusAddress::Kafka(_)));
        assert!(matches!(config.cache, CacheAddress::Redis(_)));
        assert!(matches!(config.database, DatabaseAddress::Postgres(_)));
        assert_eq!(config.database_shown, "postgres://me:***@h/shop");
        assert_eq!(config.engines.kafka_properties.len(), 2);
        assert_eq!(config.engines.redis_retention.as_secs(), 60);
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn roles_may_be_split_when_all_seams_that_must_have_left() {
        let with = |flags| Layers {
            file: Some(ENGINES),
            flags,
            ..Layers::default()
        };
        let gateway = with(&[(Key::Roles, "gateway")]).config().expect("valid");
        assert!(gateway.roles.has(Role::Gateway) && !gateway.roles.has(Role::Cdc));
        assert_eq!(gateway.warning(), None);
        let behind = [(Key::Roles, "cdc,processor"), (Key::Admin, "127.0.0.1:0")];
        assert!(with(&behind).config().is_ok());
        with(&behind[..1]).refused(
            "roles is \"cdc,processor\" (flag --roles), which serve nobody on listen: set admin to \
             an address for /health, /ready and /metrics",
        );
        with(&[(Key::Roles, "gateway"), (Key::Database, "sqlite:a.db")]).refused(
            "roles is \"gateway\" (flag --roles), but one process at a time has a SQLite file: \
             parts in other processes need database = postgres://",
        );
        with(&[(Key::Tenancy, "schema"), (Key::Database, "sqlite:a.db")]).refused(
            "tenancy is \"schema\" (flag --tenancy), but SQLite has no schemas: set database to \
             postgres://, or tenancy to prefix or column",
        );
        with(&[(Key::Roles, "gateway"), (Key::Demo, "true")])
            .refused("demo is \"true\" (flag --demo), but the demo goes with roles all only");
        let forgetful = [(Key::Roles, "gateway"), (Key::Cache, "memory:")];
        let config = with(&forgetful).config().expect("right, if slow");
        assert!(
            config
                .warning()
                .is_some_and(|text| text.contains("fresh pages"))
        );
    }
}

#[test]
fn a_bad_value_is_named_with_its_key_its_place_and_what_is_allowed() {
    let flag = |flags, sentence: &str| {
        Layers {
            flags,
            ..Layers::default()
        }
        .refused(sentence);
    };
    flag(
        &[(Key::Listen, "localhost")],
        "listen is \"localhost\" (flag --listen); \
         allowed is an IP address and a port, such as 127.0.0.1:7000",
    );
    flag(
        &[(Key::Shards, "0")],
        "shards is \"0\" (flag --shards); allowed is a whole number from 1 to 256, or cores",
    );
    flag(
        &[(Key::OutboxBytesMax, "10")],
        "outbox_bytes_max is \"10\" (flag --outbox-bytes-max); \
         allowed is a size from 64KiB to 1GiB",
    );
    flag(
        &[(Key::Log, "loud")],
        "log is \"loud\" (flag --log); allowed is a level (error, warn, info, debug, trace), \
         or module=level pairs",
    );
    flag(
        &[(Key::Listen, "0.0.0.0:1")],
        "auth is \"none\" (default), which believes everybody and is allowed on loopback only, but \
         listen is 0.0.0.0:1; set auth to headers (behind a proxy) or jwt",
    );
    flag(
        &[(Key::Auth, "jwt")],
        "auth is \"jwt\" (flag --auth), which needs jwt_key_file",
    );
    flag(
        &[(Key::Database, "sqlite:")],
        "database is \"sqlite:\" (flag --database); \
         allowed is sqlite:FILE, postgres://USER:PASSWORD@HOST:PORT/NAME with ?sslmode=… \
         or without, workers:, or nothing for tidegate.db in the data folder",
    );
}

/// A password in an address is not shown by the sentence that refuses it.
#[test]
fn secrets_are_masked_in_sentences() {
    let layers = Layers {
        dotenv: "TIDEGATE_DATABASE=postgres://me:hunter2@h:port/db",
        ..Layers::default()
    };
    let sentence = layers.config().expect_err("no port").to_string();
    assert!(
        sentence.contains("postgres://me:***@h:port/db"),
        "{sentence}"
    );
    assert!(!sentence.contains("hunter2"), "{sentence}");
}

#[test]
fn wrong_names_are_refused_in_files_and_reported_from_the_environment() {
    let file = |text, sentence: &str| {
        Layers {
            file: Some(text),
            ..Layers::default()
        }
        .refused(sentence);
    };
    file(
        "\ntenacy = 'single'",
        "t.toml:2 names \"tenacy\", which is no key; is tenancy meant?",
    );
    file(
        "config = 'other.toml'",
        "t.toml:1 names \"config\", which is no key; is config meant?",
    );
    file(
        "[gateway]\nlisten = 1",
        "t.toml:1 names \"gateway\", which is no key; `tidegate config` lists them all",
    );
    file(
        "listen = 1.5",
        "listen is \"float\" (t.toml:1); \
         allowed is an IP address and a port, such as 127.0.0.1:7000",
    );
    Layers {
        dotenv: "TIDEGATE_TENACY=single",
        ..Layers::default()
    }
    .refused(
        ".env:1, TIDEGATE_TENACY names \"TIDEGATE_TENACY\", which is no key; \
         is TIDEGATE_TENANCY meant?",
    );
    let layers = Layers {
        environment: &[("TIDEGATE_TENACY", "single"), ("TIDEGATE_PORT", "tcp://x")],
        ..Layers::default()
    };
    let warnings = layers.settings().expect("only warned").warnings;
    assert_eq!(warnings.len(), 2);
    assert!(warnings[1].ends_with("is TIDEGATE_TENANCY meant?"));
}

#[test]
fn a_file_that_makes_no_sense_is_refused_with_its_line() {
    let layers = Layers {
        file: Some("listen = \"127.0.0.1:1\"\npages = \n"),
        ..Layers::default()
    };
    let sentence = layers.settings().expect_err("bad TOML").to_string();
    assert!(sentence.starts_with("t.toml:2: "), "{sentence}");
    let layers = Layers {
        dotenv: "A=1\nnonsense",
        ..Layers::default()
    };
    layers.refused(".env:2: this line is not NAME=value");
}

/// The table in the document is the table of the program; the failure prints what belongs there.
#[test]
fn the_document_lists_every_key() {
    let mut table = String::from("| key | default | allowed | |\n|---|---|---|---|\n");
    for key in Key::ALL.iter().copied() {
        let definition = key.definition();
        let default = match definition.default {
            "" => String::new(),
            text => format!("`{text}`"),
        };
        let (name, allowed, about) = (definition.name, definition.allowed, definition.about);
        table.push_str(&format!("| `{name}` | {default} | {allowed} | {about} |\n"));
    }
    let document = include_str!("../../../../docs/OPERATIONS.md");
    assert!(
        document.contains(&table),
        "docs/OPERATIONS.md must hold:\n\n{table}"
    );
}

/// The example file holds every key with its default, so that copying it changes nothing.
#[test]
fn the_example_file_says_the_defaults() {
    let text = include_str!("../../../../examples/tidegate.toml");
    let plain = Layers {
        file: Some(text),
        ..Layers::default()
    };
    plain.config().expect("valid as it is");
    for key in Key::ALL.iter().copied() {
        if key == Key::ConfigFile {
            continue;
        }
        let default = key.definition().default;
        let is_bare = matches!(key, Key::Demo | Key::Legacy);
        let quoted = match default.parse::<u64>().is_ok() || is_bare {
            true => default.to_owned(),
            false => format!("\"{default}\""),
        };
        let line = format!("{} = {quoted}", key.name());
        assert!(
            text.lines().any(|l| l.trim_start_matches("# ") == line),
            "examples/tidegate.toml lacks the line `{line}`"
        );
    }
}

/// The old gateway's environment, as it is, makes a gateway in its place; our own keys still win.
#[test]
fn the_old_environment_takes_the_old_place() {
    let old = [
        ("KAFKA_BROKERS", "b:9092"),
        ("KAFKA_GROUP", "group-1"),
        ("KAFKA_TOPICS", "server.page.diffs"),
        ("KEYDB_HOST", "h"),
        ("KEYDB_PREFIX", "hc :"),
        ("HOTCACHE_RETENTION_MS", "0"),
        ("SLOW_SOCKET_PAUSE_THRESHOLD", "7"),
        ("WS_PORT", "7001"),
        ("TIDEGATE_AUTH", "headers"),
        ("KAFKA_TOPIC", "a slip of the hand"),
        ("KAFKA_SERVICE_HOST", "set by the platform"),
    ];
    let inputs = |more: &[(&str, &str)]| Inputs {
        environment: old
            .iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Inputs::default()
    };
    let settings = Settings::of(&inputs(&[])).unwrap();
    let shown = |key| settings.get(key).value.as_str();
    assert_eq!(shown(Key::Pages), "gateway");
    assert_eq!(
        settings.get(Key::Pages).origin.to_string(),
        "variable KAFKA_BROKERS"
    );
    assert_eq!(
        (shown(Key::Roles), shown(Key::Database)),
        ("gateway", "workers:")
    );
    assert_eq!(shown(Key::Listen), "0.0.0.0:7001");
    assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
    assert!(settings.warnings[0].starts_with("KAFKA_TOPIC "));
    let foreign = super::foreign::foreign(&settings).unwrap().unwrap();
    assert_eq!(foreign.key_prefix, "hc:");
    assert_eq!(
        (foreign.group.as_str(), foreign.slow_sockets_max),
        ("group-1", 7)
    );
    assert_eq!(foreign.topics.followed().len(), 1);
    assert!(foreign.retention.is_zero(), "for ever");
    let ours = Settings::of(&inputs(&[("TIDEGATE_PAGES", "processor")])).unwrap();
    assert_eq!(ours.get(Key::Pages).value, "processor");
    assert_eq!(ours.get(Key::Roles).value, "all");
    let database = Settings::of(&inputs(&[("PGHOST", "h")])).unwrap();
    assert_eq!(
        database.get(Key::Pages).value,
        "processor",
        "a cluster of ours"
    );
}
