//! Documents that must exist, and what ties them to the tree.

use super::Violation;
use crate::tree::TextFile;

const REQUIRED: &[(&str, &str)] = &[
    ("README.md", "write what this is and how to start it"),
    ("LICENSE", "put the text of the licence there"),
    ("CHANGELOG.md", "write what changed for users"),
    ("CONTRIBUTING.md", "write how a change is made"),
    (
        "docs/ARCHITECTURE.md",
        "write the bird's-eye view, the code map and the invariants",
    ),
    ("docs/PROTOCOL.md", "write what clients may rely on"),
    (
        "docs/OPERATIONS.md",
        "write the limits, the metrics and the runbook",
    ),
    (
        "docs/PERFORMANCE.md",
        "write what was measured, how, and what it means",
    ),
    ("docs/GLOSSARY.md", "write what each word means"),
    ("docs/STYLE.md", "write how the code should read"),
];

const ADR_FOLDER: &str = "docs/adr/";
const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";

/// The one command that checks everything: for readers, and for the build server.
const CHECK_COMMAND: &str = "cargo xtask ci";
const CHECK_COMMAND_USERS: &[&str] = &["README.md", ".ci/run"];

/// Checks the documents against the list and the tree.
pub(super) fn check(files: &[TextFile], out: &mut Vec<Violation>) {
    for (path, advice) in REQUIRED {
        match find(files, path) {
            Some(file) if !file.text.trim().is_empty() => {}
            _ => out.push(Violation::new(path, 1, *advice)),
        }
    }
    let is_adr = |file: &TextFile| file.path.starts_with(ADR_FOLDER) && file.path.ends_with(".md");
    if !files.iter().any(is_adr) {
        out.push(Violation::new(
            ADR_FOLDER,
            1,
            "write down at least one decision as an ADR",
        ));
    }
    for path in CHECK_COMMAND_USERS {
        if !find(files, path).is_some_and(|file| file.text.contains(CHECK_COMMAND)) {
            let advice = format!("name `{CHECK_COMMAND}`, the one command that checks everything");
            out.push(Violation::new(path, 1, advice));
        }
    }
    check_code_map(files, out);
}

/// A crate nobody can find in the code map may as well be anywhere.
fn check_code_map(files: &[TextFile], out: &mut Vec<Violation>) {
    // When the document is missing, that has been said already.
    let Some(architecture) = find(files, ARCHITECTURE) else {
        return;
    };
    for file in files {
        let name = file
            .path
            .strip_prefix("crates/")
            .and_then(|p| p.strip_suffix("/Cargo.toml"));
        let Some(name) = name.filter(|name| !name.contains('/')) else {
            continue;
        };
        let is_told = architecture.text.contains(&format!("crates/{name}"))
            || architecture.text.contains(&format!("`{name}`"));
        if !is_told {
            let advice = format!("tell in the code map what crates/{name} is for");
            out.push(Violation::new(ARCHITECTURE, 1, advice));
        }
    }
}

fn find<'a>(files: &'a [TextFile], path: &str) -> Option<&'a TextFile> {
    files.iter().find(|file| file.path == path)
}

#[cfg(test)]
mod tests {
    //! Shows that a missing or empty document is caught, and that documents follow the tree.

    use super::{REQUIRED, check};
    use crate::tree::TextFile;

    /// A tree in which nothing is missing.
    fn complete() -> Vec<TextFile> {
        let text = "run `cargo xtask ci`; see crates/core".to_owned();
        let paths = REQUIRED.iter().map(|(path, _)| *path);
        let more = [
            "docs/adr/0001-offsets.md",
            ".ci/run",
            "crates/core/Cargo.toml",
        ];
        paths
            .chain(more)
            .map(|p| TextFile {
                path: p.to_owned(),
                text: text.clone(),
            })
            .collect()
    }

    fn violations(files: &[TextFile]) -> Vec<String> {
        let mut out = Vec::new();
        check(files, &mut out);
        out.into_iter().map(|violation| violation.path).collect()
    }

    #[test]
    fn a_complete_tree_passes() {
        assert!(violations(&complete()).is_empty());
    }

    #[test]
    fn each_missing_document_is_caught() {
        for (path, _) in REQUIRED {
            let mut files = complete();
            files.retain(|file| file.path != *path);
            assert!(
                violations(&files).iter().any(|found| found == path),
                "{path}"
            );
        }
        let mut files = complete();
        files.retain(|file| !file.path.starts_with("docs/adr/"));
        assert_eq!(violations(&files), ["docs/adr/"]);
    }

    #[test]
    fn an_empty_document_is_a_missing_one() {
        let mut files = complete();
        let glossary = files
            .iter_mut()
            .find(|file| file.path == "docs/GLOSSARY.md")
            .unwrap();
        glossary.text = "\n".to_owned();
        assert_eq!(violations(&files), ["docs/GLOSSARY.md"]);
    }

    #[test]
    fn the_build_server_runs_the_command_the_readme_names() {
        let mut files = complete();
        let run = files
            .iter_mut()
            .find(|file| file.path == ".ci/run")
            .unwrap();
        run.text = "cargo test".to_owned();
        assert_eq!(violations(&files), [".ci/run"]);
    }

    #[test]
    fn the_code_map_knows_every_crate() {
        let mut files = complete();
        let path = "crates/other/Cargo.toml".to_owned();
        files.push(TextFile {
            path,
            text: String::new(),
        });
        assert_eq!(violations(&files), ["docs/ARCHITECTURE.md"]);
    }
}
