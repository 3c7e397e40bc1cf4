//! Rules for Rust files: heads, sizes, columns, and words of the language we do without.

use super::Violation;
use super::lexer::{Class, Source};
use crate::tree::TextFile;

/// A function longer than a screen hides its branches.
const FUNCTION_LINES_MAX: usize = 70;
/// A file past this holds more than one idea. Tests do not count.
const FILE_LINES_MAX: usize = 700;
const COLUMNS_MAX: usize = 100;

/// The crates whose every public item is documented, because others build on them.
const DOCUMENTED: &[&str] = &["core", "protocol", "ports", "view", "client"];

/// Whether a file is the output of a generator, and so beyond our rules.
pub(super) fn is_generated(file: &TextFile) -> bool {
    file.path.contains("/generated/")
        || file.text.lines().take(5).any(|line| {
            line.starts_with("//")
                && (line.contains("@generated") || line.contains("automatically generated"))
        })
}

/// Checks one Rust file.
pub(super) fn check(file: &TextFile, out: &mut Vec<Violation>) {
    let source = Source::new(&file.text);
    let code: Vec<String> = source.lines.iter().map(|line| line.code()).collect();
    let in_tests = test_lines(&file.path, &code);
    check_head(file, out);
    check_documented(file, out);
    check_columns(&file.path, &source, out);
    check_file_length(&file.path, &in_tests, out);
    check_functions(&file.path, &code, out);
    for (index, line) in code.iter().enumerate() {
        check_language(&file.path, index, line, in_tests[index], out);
        check_exception(&file.path, index, &file.text, line, out);
    }
}

/// A file opens by saying what it is for; attributes for the whole file may stand before that.
fn check_head(file: &TextFile, out: &mut Vec<Violation>) {
    let mut lines = file.text.lines().map(str::trim_start);
    let first = lines.find(|line| !(line.is_empty() || line.starts_with("#!")));
    if !first.is_some_and(|line| line.starts_with("//!")) {
        let advice = "open the file with a //! comment: what it is for, and why it is so";
        out.push(Violation::new(&file.path, 1, advice));
    }
}

/// With the attribute the compiler warns about each item, and `ci` makes the warning an error.
fn check_documented(file: &TextFile, out: &mut Vec<Violation>) {
    let is_front_door = DOCUMENTED
        .iter()
        .any(|name| file.path == format!("crates/{name}/src/lib.rs"));
    let is_warned = file.text.contains("#![warn(missing_docs)]")
        || file.text.contains("#![deny(missing_docs)]");
    if is_front_door && !is_warned {
        let advice = "add #![warn(missing_docs)]: every public item of this crate is documented";
        out.push(Violation::new(&file.path, 1, advice));
    }
}

/// A line may run over when it is a literal or an address, which a break would spoil.
fn check_columns(path: &str, source: &Source, out: &mut Vec<Violation>) {
    for (index, line) in source.lines.iter().enumerate() {
        let runs_over = line.text.len() > COLUMNS_MAX;
        let excused = || {
            let text: String = line.text.iter().collect();
            line.classes[COLUMNS_MAX] == Class::Literal || text.contains("://")
        };
        if runs_over && !excused() {
            let advice = format!("break the line: it has more than {COLUMNS_MAX} columns");
            out.push(Violation::new(path, index + 1, advice));
        }
    }
}

fn check_file_length(path: &str, in_tests: &[bool], out: &mut Vec<Violation>) {
    let length = in_tests.iter().filter(|in_tests| !**in_tests).count();
    if length > FILE_LINES_MAX {
        let advice = format!(
            "split the file by its ideas: {length} lines without tests, at most {FILE_LINES_MAX}"
        );
        out.push(Violation::new(path, 1, advice));
    }
}

/// Which lines are tests: all of a test file, and the items under `#[cfg(test)]` of another.
fn test_lines(path: &str, code: &[String]) -> Vec<bool> {
    let is_test_file = path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || path.contains("/tests/")
        || path.contains("/benches/");
    let mut in_tests = vec![is_test_file; code.len()];
    for (index, line) in code.iter().enumerate() {
        if line.contains("#[cfg(test)]") || line.contains("#[cfg(all(test") {
            let column = line.find("#[cfg(").map_or(0, |at| at + "#[cfg(".len());
            let end = item_end(code, index, column);
            in_tests[index..=end].fill(true);
        }
    }
    in_tests
}

fn check_functions(path: &str, code: &[String], out: &mut Vec<Violation>) {
    for (index, line) in code.iter().enumerate() {
        for column in function_columns(line) {
            let length = item_end(code, index, column) - index + 1;
            if length > FUNCTION_LINES_MAX {
                let advice = format!(
                    "split the function: {length} lines, at most {FUNCTION_LINES_MAX}; \
                     keep the branches here and move the work out"
                );
                out.push(Violation::new(path, index + 1, advice));
            }
        }
    }
}

/// Where functions are declared in a line: `fn` and a name. A function pointer type has no name.
fn function_columns(line: &str) -> Vec<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_function = |at: &usize| {
        let before = line[..*at].chars().next_back();
        let name = line[*at + 2..].trim_start();
        !before.is_some_and(is_word)
            && line[*at + 2..].starts_with(' ')
            && name.starts_with(is_word)
    };
    line.match_indices("fn")
        .map(|(at, _)| at)
        .filter(is_function)
        .collect()
}

/// The line that ends the item found at a place: its closing brace, or its semicolon.
///
/// A semicolon or a brace within parentheses or brackets belongs to a type or an attribute.
fn item_end(code: &[String], from: usize, column: usize) -> usize {
    let mut nested = 0_usize;
    let mut braces = 0_usize;
    for (index, line) in code.iter().enumerate().skip(from) {
        let line = if index == from { &line[column..] } else { line };
        for c in line.chars() {
            match c {
                '(' | '[' => nested += 1,
                // The attribute or list we started within closes first; that is not our depth.
                ')' | ']' => nested = nested.saturating_sub(1),
                ';' if nested == 0 && braces == 0 => return index,
                '{' if nested == 0 || braces > 0 => braces += 1,
                '}' if braces == 1 => return index,
                '}' if braces > 1 => braces -= 1,
                _ => {}
            }
        }
    }
    code.len() - 1
}

/// Words of the language we do without, and what to do instead.
fn check_language(path: &str, index: usize, line: &str, in_tests: bool, out: &mut Vec<Violation>) {
    const BANNED: &[(&str, &str)] = &[
        (
            "#[allow(",
            "use #[expect(…, reason = \"…\")], which tells when it is needed no longer",
        ),
        (
            "#![allow(",
            "use #![expect(…, reason = \"…\")], which tells when it is needed no longer",
        ),
        (
            "#[ignore",
            "run the test or delete it: an ignored test proves nothing",
        ),
        (
            "#[should_panic",
            "return the error and match it: any panic satisfies should_panic",
        ),
        (
            "todo!(",
            "finish it, or return an error that says what is not offered",
        ),
        (
            "unimplemented!(",
            "finish it, or return an error that says what is not offered",
        ),
        ("dbg!(", "remove the print, or log it with tracing"),
    ];
    for (word, advice) in BANNED {
        if line.contains(word) {
            out.push(Violation::new(path, index + 1, *advice));
        }
    }
    // In tests `super::*` is the file itself, and proptest is made to be taken whole.
    let excused =
        in_tests && (line.contains("use super::*;") || line.contains("use proptest::prelude::*;"));
    if line.contains("::*") && !excused {
        out.push(Violation::new(
            path,
            index + 1,
            "name what you import instead of a glob",
        ));
    }
}

/// An exception to a lint says why it is one.
fn check_exception(path: &str, index: usize, text: &str, line: &str, out: &mut Vec<Violation>) {
    const ATTRIBUTE_LINES_MAX: usize = 8;
    if !(line.contains("#[expect(") || line.contains("#![expect(")) {
        return;
    }
    let mut attribute = String::new();
    for line in text.lines().skip(index).take(ATTRIBUTE_LINES_MAX) {
        attribute += line;
        if line.contains(")]") {
            break;
        }
    }
    if !attribute.contains("reason") {
        let advice = "say why the lint does not hold here: #[expect(…, reason = \"…\")]";
        out.push(Violation::new(path, index + 1, advice));
    }
}

#[cfg(test)]
mod tests;
