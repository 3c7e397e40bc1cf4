//! Words that must not be in any file of ours, and what a lock file may name.
//!
//! The words are spelled in halves here, so that this file passes its own rule.

use super::Violation;
use crate::tree::TextFile;

/// Folders of one person's machine. A path into them works nowhere else.
const PRIVATE_FOLDERS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/tm", "p/"),
    concat!("/wo", "rk/"),
];

/// Marks of unfinished work. They are read by nobody: do it, or write down what holds instead.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

const MERGE_MARKERS: &[&str] = &[concat!("<<<", "<<<< "), concat!(">>>", ">>>> ")];

/// The only registries a lock file may name. A mirror's name would bind every build to that mirror;
/// cargo and npm both know how to go through a mirror by their own configuration.
const CRATES_REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
const NPM_REGISTRY: &str = "https://registry.npmjs.org/";

/// Checks one file of any kind.
pub(super) fn check(file: &TextFile, out: &mut Vec<Violation>) {
    let name = file.path.rsplit('/').next().unwrap_or(&file.path);
    match name {
        "Cargo.lock" => check_lock(file, "source = \"", CRATES_REGISTRY, out),
        "package-lock.json" => check_lock(file, "\"resolved\": \"", NPM_REGISTRY, out),
        _ => {
            for (index, line) in file.text.lines().enumerate() {
                check_line(&file.path, index, line, out);
            }
        }
    }
    let is_client_configuration = name == ".npmrc" || file.path.starts_with(".cargo/");
    if is_client_configuration {
        check_registry_setting(file, out);
    }
}

fn check_line(path: &str, index: usize, line: &str, out: &mut Vec<Violation>) {
    for folder in PRIVATE_FOLDERS {
        if line
            .match_indices(folder)
            .any(|(at, _)| begins_a_path(&line[..at]))
        {
            let advice =
                format!("take the path from configuration or a temporary folder: {folder}…");
            out.push(Violation::new(path, index + 1, advice));
        }
    }
    for word in UNFINISHED {
        if line
            .match_indices(word)
            .any(|(at, _)| is_a_word(line, at, word.len()))
        {
            let advice = format!("do it now, or say in a sentence what holds instead of {word}");
            out.push(Violation::new(path, index + 1, advice));
        }
    }
    if MERGE_MARKERS.iter().any(|marker| line.starts_with(marker)) {
        out.push(Violation::new(path, index + 1, "finish the merge"));
    }
}

/// Whether a slash after `before` is the root, and not the middle of a longer path or address.
fn begins_a_path(before: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || "._-~*})]>".contains(c);
    !before.chars().next_back().is_some_and(continues)
}

fn is_a_word(line: &str, at: usize, length: usize) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let before = line[..at].chars().next_back();
    let after = line[at + length..].chars().next();
    !before.is_some_and(is_word) && !after.is_some_and(is_word)
}

fn check_lock(file: &TextFile, key: &str, registry: &str, out: &mut Vec<Violation>) {
    for (index, line) in file.text.lines().enumerate() {
        let value = line.trim_start().strip_prefix(key);
        if value.is_some_and(|value| !value.starts_with(registry)) {
            let advice = format!("lock this dependency from the public registry, {registry}");
            out.push(Violation::new(&file.path, index + 1, advice));
        }
    }
}

fn check_registry_setting(file: &TextFile, out: &mut Vec<Violation>) {
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim_start();
        let sets_registry = line.starts_with("registry")
            || line.starts_with("[source")
            || line.starts_with("[registries")
            || line.starts_with("replace-with");
        if sets_registry {
            let advice = "keep registry settings in your own configuration, outside the tree";
            out.push(Violation::new(&file.path, index + 1, advice));
        }
    }
}

#[cfg(test)]
mod tests {
    //! Shows that each word is caught where it stands, and that look-alikes pass.

    use super::check;
    use crate::tree::TextFile;

    const NONE: [usize; 0] = [];

    fn violations(path: &str, text: &str) -> Vec<usize> {
        let mut out = Vec::new();
        check(
            &TextFile {
                path: path.to_owned(),
                text: text.to_owned(),
            },
            &mut out,
        );
        out.into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn private_folders_are_caught_and_look_alikes_pass() {
        let home = concat!("/ho", "me/");
        assert_eq!(violations("a.md", &format!("fine\nsee {home}me/x\n")), [2]);
        assert_eq!(violations("a.sh", &format!("cp \"{home}me\" b\n")), [1]);
        assert_eq!(
            violations("a.md", &format!("https://example.org{home}page\n")),
            NONE
        );
        assert_eq!(violations("a.sh", &format!("cd ${{BASE}}{home}\n")), NONE);
        let temporary = concat!("/tm", "p/");
        assert_eq!(
            violations("a.rs", &format!("open(\"{temporary}x\")\n")),
            [1]
        );
    }

    #[test]
    fn marks_of_unfinished_work_are_caught_as_whole_words() {
        let mark = concat!("TO", "DO");
        assert_eq!(violations("a.rs", &format!("\n// {mark}: later\n")), [2]);
        assert_eq!(violations("a.rs", &format!("// {mark}(7)\n")), [1]);
        assert_eq!(violations("a.rs", &format!("{mark}_LIST\n")), NONE);
        assert_eq!(violations("a.sh", "mktemp -d demo.XXXXXX\n"), NONE);
    }

    #[test]
    fn an_unfinished_merge_is_caught() {
        assert_eq!(violations("a.txt", concat!("<<<", "<<<< HEAD\n")), [1]);
    }

    #[test]
    fn lock_files_name_public_registries_only() {
        let mirror = "[[package]]\nsource = \"sparse+https://mirror.example/\"\n";
        assert_eq!(violations("Cargo.lock", mirror), [2]);
        let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        assert_eq!(violations("Cargo.lock", public), NONE);
        let mirror = "  \"resolved\": \"http://mirror.example/a.tgz\",\n";
        assert_eq!(violations("console/package-lock.json", mirror), [1]);
        let public = "  \"resolved\": \"https://registry.npmjs.org/a.tgz\",\n";
        assert_eq!(violations("console/package-lock.json", public), NONE);
    }

    #[test]
    fn registry_settings_stay_out_of_the_tree() {
        assert_eq!(
            violations("console/.npmrc", "registry=https://mirror.example/\n"),
            [1]
        );
        assert_eq!(
            violations(".cargo/config.toml", "[source.crates-io]\n"),
            [1]
        );
        assert_eq!(
            violations(".cargo/config.toml", "[alias]\nxtask = \"run\"\n"),
            NONE
        );
    }
}
