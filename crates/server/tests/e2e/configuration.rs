//! Shows that a wrong configuration ends the program with code 64 and its sentence before anything
//! is made, and what `tidegate config` prints.

use crate::harness::{Folder, run, tidegate};

fn refused(folder: &Folder, arguments: &[&str], sentence: &str) {
    let output = run(folder.path(), arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    assert_eq!(stderr.trim_end(), format!("tidegate: {sentence}"));
    assert!(output.stdout.is_empty());
    assert!(
        !folder.path().join("tidegate-data").exists(),
        "nothing is made"
    );
}

#[test]
fn every_form_of_a_bad_value_is_refused() {
    let folder = Folder::new();
    refused(
        &folder,
        &["serve", "--tenancy", "both"],
        "tenancy is \"both\" (flag --tenancy); allowed is prefix or schema or column or single",
    );
    std::fs::write(folder.path().join("t.toml"), "\ndrain_seconds = -1\n").expect("writable");
    refused(
        &folder,
        &["serve", "--config", "t.toml"],
        "drain_seconds is \"-1\" (t.toml:2); allowed is a whole number from 0 to 3600",
    );
    std::fs::write(folder.path().join(".env"), "# old\nKAFKA_BROKERS=k:0\n").expect("writable");
    refused(
        &folder,
        &["serve"],
        "bus is \"kafka://k:0\" (.env:2, KAFKA_BROKERS); \
         allowed is memory: or kafka://HOST:PORT,HOST:PORT",
    );
}

#[test]
fn a_missing_file_is_named() {
    let folder = Folder::new();
    let output = run(folder.path(), &["serve", "--config", "none.toml"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64));
    assert!(
        stderr.starts_with("tidegate: none.toml: it cannot be read: "),
        "{stderr}"
    );
}

#[test]
fn a_bad_command_line_is_clap_s() {
    let folder = Folder::new();
    let output = run(folder.path(), &["serve", "--no-such-flag"]);
    assert_eq!(output.status.code(), Some(2));
}

/// The line of a key, as its words.
fn words(table: &str, key: &str) -> Vec<String> {
    let line = table
        .lines()
        .find(|line| line.split(' ').next() == Some(key));
    let line = line.unwrap_or_else(|| panic!("no {key} in:\n{table}"));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn config_prints_each_value_with_its_place() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("t.toml"), "shards = 3\npartitions = 3\n").expect("writable");
    std::fs::write(folder.path().join(".env"), "TIDEGATE_PARTITIONS=4\n").expect("writable");
    let output = tidegate(folder.path())
        .args(["config", "--config", "t.toml", "--log", "debug"])
        .env("WS_PORT", "7100")
        .env("TIDEGATE_TENACY", "single")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0));
    let table = String::from_utf8_lossy(&output.stdout);
    let check = |key: &str, rest: &[&str]| assert_eq!(words(&table, key)[1..], *rest);
    check("shards", &["3", "t.toml:1"]);
    check("partitions", &["4", ".env:1,", "TIDEGATE_PARTITIONS"]);
    check("listen", &["127.0.0.1:7100", "variable", "WS_PORT"]);
    check("log", &["debug", "flag", "--log"]);
    check("pages", &["processor", "default"]);
    check("admin", &["-", "default"]);
    check(
        "database",
        &["sqlite:./tidegate-data/tidegate.db", "default"],
    );
}

/// A configuration that is refused is printed all the same, for whoever must mend it; the secret is
/// not.
#[test]
fn config_masks_secrets_and_says_what_is_wrong() {
    let folder = Folder::new();
    let flag = "--database=postgres://me:hunter2@db/";
    let output = run(folder.path(), &["config", flag]);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(64));
    let database = words(&stdout, "database");
    assert_eq!(
        database[1..],
        ["postgres://me:***@db/", "flag", "--database"]
    );
    assert!(stderr.contains("postgres://me:***@db/"), "{stderr}");
    assert!(!stdout.contains("hunter2") && !stderr.contains("hunter2"));
}

/// A key that cannot check tokens is refused before anything is made, and never shown.
#[test]
fn a_key_that_is_none_is_refused() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("key"), "hunter2\n").expect("writable");
    let check = |algorithm: &str, why: &str| {
        let flags = ["--auth=jwt", "--jwt-key-file=key", algorithm];
        let output = run(folder.path(), &[&["serve"][..], &flags].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        let start = "tidegate: jwt_key_file is \"key\" (flag --jwt-key-file), ";
        assert!(
            stderr.starts_with(start) && stderr.contains(why),
            "{stderr}"
        );
        assert!(!stderr.contains("hunter2"), "{stderr}");
    };
    check("--jwt-algorithm=HS256", "Hs256");
    check("--jwt-algorithm=ES256", "Es256");
    std::fs::remove_file(folder.path().join("key")).expect("it is there");
    check("--jwt-algorithm=HS256", "cannot be read");
}
