//! Shows which layer wins, what is refused and with which sentence, and that the documents list the
//! keys as the program has them. No test reads or changes the process environment.

use std::collections::BTreeMap;

use super::error::Origin;
use super::layers::FileText;
use super::{Config, ConfigError, Flags, Inputs, Key, Settings};

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
    assert_eq!(
        config.database.to_str(),
        Some("./tidegate-data/tidegate.db")
    );
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

#[test]
fn what_this_version_cannot_use_is_refused_with_a_way_out() {
    let environment = |environment, sentence: &str| {
        Layers {
            environment,
            ..Layers::default()
        }
        .refused(sentence);
    };
    environment(
        &[("KAFKA_BROKERS", "k:9092")],
        "bus is \"kafka://k:9092\" (variable KAFKA_BROKERS), which this version cannot run; \
         allowed is memory: (set TIDEGATE_BUS=memory: to overrule it)",
    );
    environment(
        &[("KEYDB_HOST", "h"), ("KEYDB_PASSWORD", "p")],
        "cache is \"redis://h:6379\" (variable KEYDB_HOST), which this version cannot run; \
         allowed is memory: (set TIDEGATE_CACHE=memory: to overrule it)",
    );
    environment(
        &[("PGHOST", "h"), ("PGDATABASE", "shop")],
        "database is \"postgres://h/shop\" (variable PGHOST), which this version cannot use; \
         allowed is sqlite: and a file (set TIDEGATE_DATABASE to overrule it)",
    );
    environment(
        &[("TIDEGATE_ROLES", "gateway")],
        "roles is \"gateway\" (variable TIDEGATE_ROLES), which this version cannot run; \
         allowed is all (set TIDEGATE_ROLES=all to overrule it)",
    );
    environment(
        &[("TIDEGATE_PAGES", "gateway")],
        "pages is \"gateway\" (variable TIDEGATE_PAGES); allowed is processor",
    );
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
         allowed is sqlite: and a file, or nothing for tidegate.db in the data folder",
    );
}

/// A password in an address is not shown by the sentence that refuses it.
#[test]
fn secrets_are_masked_in_sentences() {
    let layers = Layers {
        dotenv: "TIDEGATE_DATABASE=postgres://me:hunter2@h/db",
        ..Layers::default()
    };
    let sentence = layers.config().expect_err("no adapter").to_string();
    assert!(sentence.contains("postgres://me:***@h/db"), "{sentence}");
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
        let quoted = match default.parse::<u64>().is_ok() || key == Key::Demo {
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
