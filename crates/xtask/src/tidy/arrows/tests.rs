//! Shows that each forbidden arrow is caught where it is written, and each allowed one passes.

use std::path::PathBuf;

use super::{ARROWS, PARTS, PURE, Violation, check_package};
use crate::tree::{Dependency, Package};

/// The advice for package `name` with one dependency, which stands on line 5 of the manifest.
fn check(name: &str, used: &str, kind: Option<&str>) -> Vec<Violation> {
    let folder = super::short_name(name);
    let path = format!("crates/{folder}/Cargo.toml");
    let package = Package {
        name: name.to_owned(),
        manifest_path: PathBuf::from(&path),
        dependencies: vec![Dependency {
            name: used.to_owned(),
            kind: kind.map(str::to_owned),
        }],
    };
    let manifest =
        format!("[lints]\nworkspace = true\n\n[dependencies]\n{used}.workspace = true\n");
    let mut violations = Vec::new();
    check_package(&package, &path, &manifest, &mut violations);
    violations
}

#[track_caller]
fn refused(name: &str, used: &str, kind: Option<&str>, expect: &str) {
    let violations = check(name, used, kind);
    assert_eq!(violations.len(), 1, "{name} -> {used}: {violations:?}");
    assert_eq!(violations[0].line, 5);
    assert!(
        violations[0].advice.contains(expect),
        "{}",
        violations[0].advice
    );
}

#[track_caller]
fn allowed(name: &str, used: &str, kind: Option<&str>) {
    let violations = check(name, used, kind);
    assert!(violations.is_empty(), "{name} -> {used}: {violations:?}");
}

#[test]
fn arrows_of_the_table_pass() {
    allowed("tidegate-sqlite", "tidegate-view", None);
    allowed("tidegate-kafka", "tidegate-core", None);
    allowed("tidegate", "tidegate-postgres", None);
    allowed("tidegate-sim", "tidegate-gateway", None);
    allowed("xtask", "tidegate-client", None);
    allowed("tidegate-ports", "tidegate-view", Some("dev"));
    allowed("tidegate-gateway", "serde", None);
}

#[test]
fn other_arrows_are_refused() {
    refused(
        "tidegate-core",
        "tidegate-protocol",
        None,
        "core must not use protocol",
    );
    refused(
        "tidegate-gateway",
        "tidegate-kafka",
        None,
        "gateway must not use kafka",
    );
    refused(
        "tidegate-gateway",
        "tidegate-view",
        Some("build"),
        "gateway must not use view",
    );
    refused(
        "tidegate-sim",
        "tidegate-kafka",
        None,
        "sim must not use kafka",
    );
    refused("xtask", "tidegate", None, "xtask must not use server");
}

#[test]
fn parts_never_use_parts_not_even_in_tests() {
    refused(
        "tidegate-gateway",
        "tidegate-processor",
        None,
        "parts meet on the bus",
    );
    refused(
        "tidegate-gateway",
        "tidegate-processor",
        Some("dev"),
        "parts meet on the bus",
    );
}

#[test]
fn the_pure_middle_takes_no_runtime() {
    refused("tidegate-view", "tokio", None, "view is pure");
    allowed("tidegate-view", "tokio", Some("dev"));
    allowed("tidegate-ports", "tokio", None);
}

#[test]
fn anyhow_stays_at_the_edge() {
    refused("tidegate-ports", "anyhow", None, "error enum");
    allowed("tidegate", "anyhow", None);
    allowed("tidegate-ports", "anyhow", Some("dev"));
}

#[test]
fn a_crate_outside_the_table_is_refused() {
    let violations = check("tidegate-extra", "serde", None);
    assert_eq!(violations.len(), 1);
    assert!(violations[0].advice.contains("ARROWS"));
}

#[test]
fn a_manifest_takes_over_the_lints_and_the_folder_name() {
    let package = Package {
        name: "other".to_owned(),
        manifest_path: PathBuf::from("crates/core/Cargo.toml"),
        dependencies: Vec::new(),
    };
    let mut violations = Vec::new();
    check_package(
        &package,
        "crates/core/Cargo.toml",
        "[package]\n",
        &mut violations,
    );
    let advice: Vec<&str> = violations.iter().map(|v| v.advice.as_str()).collect();
    assert!(advice.iter().any(|a| a.contains("[lints]")), "{advice:?}");
    assert!(
        advice.iter().any(|a| a.contains("call the package")),
        "{advice:?}"
    );
}

#[test]
fn every_crate_a_rule_names_is_in_the_table() {
    for name in PARTS.iter().chain(PURE) {
        assert!(ARROWS.iter().any(|(known, _)| known == name), "{name}");
    }
}
