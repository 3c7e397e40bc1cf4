//! Which crate may use which: the table of the architecture, held against `cargo metadata`.
//!
//! The middle stays pure and the parts stay apart only as long as nobody adds an arrow in passing.
//! A new arrow is a decision: change `ARROWS` and `docs/ARCHITECTURE.md` together, or write an ADR.

use std::fs;

use anyhow::{Context, Result, bail};

use super::Violation;
use crate::tree::{Dependency, Package, Tree};

/// The services of the system. They meet on the bus only, so not even a test of one uses another.
const PARTS: &[&str] = &["cdc", "gateway", "legacy", "processor", "rpc"];

/// Crates that nothing depends on, except for tests.
const TOPS: &[&str] = &["server", "sim", "xtask"];

/// Synchronous crates without I/O, and what would end that.
const PURE: &[&str] = &["core", "protocol", "view", "sql"];
const IMPURE_LIBRARIES: &[&str] = &[
    "async-trait",
    "futures-util",
    "hyper",
    "rusqlite",
    "socket2",
    "tokio",
    "tokio-util",
];

/// The crates that may use `anyhow`: an error there is read by a person, not matched by a caller.
const ANYHOW_USERS: &[&str] = &["engines", "server", "xtask"];

/// The crates of the workspace, and those each may use beside `core`, which all may use.
const ARROWS: &[(&str, Allowed)] = &[
    ("core", Allowed::Only(&[])),
    ("protocol", Allowed::Only(&[])),
    ("view", Allowed::Only(&[])),
    ("sql", Allowed::Only(&[])),
    ("ports", Allowed::Only(&[])),
    ("kafka", Allowed::Only(&["ports"])),
    ("redis", Allowed::Only(&["ports"])),
    ("postgres", Allowed::Only(&["ports", "sql"])),
    // It registers the evaluator as SQL functions, so its answers are the engine's.
    ("sqlite", Allowed::Only(&["ports", "sql", "view"])),
    ("rpc", Allowed::Only(&["ports", "protocol"])),
    ("cdc", Allowed::Only(&["ports", "protocol"])),
    ("gateway", Allowed::Only(&["ports", "protocol"])),
    ("legacy", Allowed::Only(&["ports", "protocol"])),
    ("processor", Allowed::Only(&["ports", "protocol", "view"])),
    ("client", Allowed::Only(&["protocol"])),
    ("server", Allowed::All),
    (
        "sim",
        Allowed::Only(&[
            "cdc",
            "client",
            "gateway",
            "ports",
            "processor",
            "rpc",
            "view",
        ]),
    ),
    ("engines", Allowed::Only(&[])),
    ("xtask", Allowed::All),
];

/// The crates another may use.
#[derive(Clone, Copy)]
enum Allowed {
    Only(&'static [&'static str]),
    /// All but the tops.
    All,
}

impl Allowed {
    fn contains(self, name: &str) -> bool {
        name == "core"
            || match self {
                Self::Only(names) => names.contains(&name),
                Self::All => !TOPS.contains(&name),
            }
    }
}

/// Checks the arrows of every crate.
pub(super) fn check(tree: &Tree) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for package in &tree.packages {
        let manifest = fs::read_to_string(&package.manifest_path)
            .with_context(|| format!("the manifest of {} cannot be read", package.name))?;
        let path = tree.relative(&package.manifest_path);
        check_package(package, &path, &manifest, &mut violations);
    }
    if tree.packages.is_empty() {
        bail!("cargo metadata names no package, so no arrow was checked");
    }
    Ok(violations)
}

fn check_package(package: &Package, path: &str, manifest: &str, out: &mut Vec<Violation>) {
    let name = short_name(&package.name);
    if path != format!("crates/{name}/Cargo.toml") {
        let advice = format!(
            "call the package of this folder after it, not {:?}",
            package.name
        );
        out.push(Violation::new(path, 1, advice));
    }
    if !inherits_lints(manifest) {
        out.push(Violation::new(
            path,
            1,
            "take over the lints: [lints] with workspace = true",
        ));
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        let advice = "enter the crate in ARROWS of tidy/arrows.rs and in docs/ARCHITECTURE.md";
        out.push(Violation::new(path, 1, advice));
        return;
    };
    for dependency in &package.dependencies {
        if let Some(advice) = refusal(name, *allowed, dependency) {
            out.push(Violation::new(
                path,
                line_of(manifest, &dependency.name),
                advice,
            ));
        }
    }
}

/// Why `name` may not have this dependency, if so.
fn refusal(name: &str, allowed: Allowed, dependency: &Dependency) -> Option<String> {
    let for_tests_only = dependency.kind.as_deref() == Some("dev");
    let used = dependency.name.as_str();
    if !is_ours(used) {
        if for_tests_only {
            return None;
        }
        if PURE.contains(&name) && IMPURE_LIBRARIES.contains(&used) {
            return Some(format!(
                "{name} is pure: do what needs {used} in an outer crate"
            ));
        }
        if used == "anyhow" && !ANYHOW_USERS.contains(&name) {
            return Some(format!(
                "{name} has callers: give it an error enum instead of anyhow"
            ));
        }
        return None;
    }
    let used = short_name(used);
    if PARTS.contains(&name) && PARTS.contains(&used) {
        return Some(format!(
            "parts meet on the bus only: {name} must not use {used}, not even in tests; \
             a test of both belongs in sim"
        ));
    }
    if for_tests_only || allowed.contains(used) {
        return None;
    }
    Some(format!(
        "{name} must not use {used}: see the arrows in docs/ARCHITECTURE.md, \
         or write an ADR and change the table in tidy/arrows.rs"
    ))
}

fn is_ours(package: &str) -> bool {
    package == "tidegate" || package == "xtask" || package.starts_with("tidegate-")
}

/// The name of a package's folder: the program's package carries the project's name itself.
fn short_name(package: &str) -> &str {
    match package {
        "tidegate" => "server",
        other => other.strip_prefix("tidegate-").unwrap_or(other),
    }
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim);
    lines.any(|line| line == "[lints]") && lines.next() == Some("workspace = true")
}

/// The line that names a dependency, or the first when it is spelled in a way we do not expect.
fn line_of(manifest: &str, dependency: &str) -> usize {
    let names_it = |line: &str| {
        line.trim_start()
            .strip_prefix(dependency)
            .is_some_and(|rest| rest.starts_with([' ', '.', '=']))
    };
    manifest
        .lines()
        .position(names_it)
        .map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests;
