//! Shows that each rule for Rust files catches its violation, at its line, and nothing beside it.

use super::{check, is_generated};
use crate::tree::TextFile;

fn file(path: &str, text: &str) -> TextFile {
    TextFile {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

/// Line and advice of every violation in a file of a crate without documentation duty.
fn violations(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    check(&file("crates/gateway/src/shard.rs", text), &mut out);
    out.into_iter()
        .map(|violation| (violation.line, violation.advice))
        .collect()
}

#[track_caller]
fn clean(text: &str) {
    let found = violations(text);
    assert!(found.is_empty(), "{found:?}");
}

#[track_caller]
fn caught(text: &str, line: usize, expect: &str) {
    let found = violations(text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, line);
    assert!(found[0].1.contains(expect), "{found:?}");
}

/// A function of exactly `lines` lines, whose text holds a brace that is not one.
fn function(lines: usize) -> String {
    format!("fn f() {{\n{}}}\n", "    g(\"}\");\n".repeat(lines - 2))
}

#[test]
fn a_file_opens_with_its_purpose() {
    clean("//! Why.\nfn f() {}\n");
    clean("#![warn(missing_docs)]\n\n//! Why.\n");
    caught("use a::b;\n//! Late.\n", 1, "//! comment");
    caught("", 1, "//! comment");
}

#[test]
fn a_function_has_at_most_seventy_lines() {
    clean(&format!("//! Why.\n{}", function(70)));
    caught(&format!("//! Why.\n\n{}", function(71)), 3, "71 lines");
}

#[test]
fn a_trait_method_without_a_body_ends_at_its_semicolon() {
    let filler = "// x\n".repeat(80);
    clean(&format!(
        "//! Why.\ntrait T {{\n    fn f(x: [u8; 4]);\n{filler}}}\n"
    ));
    clean(&format!("//! Why.\ntype F = fn(u8) -> u8;\n{filler}"));
}

#[test]
fn a_nested_function_counts_for_itself_and_its_parent() {
    let text = format!("//! Why.\nfn outer() {{\n{}}}\n", function(71));
    let lines: Vec<usize> = violations(&text)
        .into_iter()
        .map(|(line, _)| line)
        .collect();
    assert_eq!(lines, [2, 3]);
}

#[test]
fn a_file_has_at_most_seven_hundred_lines_without_its_tests() {
    let head = "//! Why.\n";
    clean(&format!("{head}{}", "const A: u8 = 1;\n".repeat(699)));
    caught(
        &format!("{head}{}", "const A: u8 = 1;\n".repeat(700)),
        1,
        "701 lines",
    );
    let tests = format!(
        "#[cfg(test)]\nmod tests {{\n{}}}\n",
        "    const A: u8 = 1;\n".repeat(900)
    );
    clean(&format!("{head}{tests}"));
    // What follows the tests counts again.
    caught(
        &format!("{head}{tests}{}", "const A: u8 = 1;\n".repeat(700)),
        1,
        "701 lines",
    );
    // A module that is declared only is one line, not the rest of the file.
    let declared = "#[cfg(test)]\nmod tests;\n";
    caught(
        &format!("{head}{declared}{}", "const A: u8 = 1;\n".repeat(700)),
        1,
        "701 lines",
    );
}

#[test]
fn a_test_file_may_be_long() {
    let mut out = Vec::new();
    let text = format!("//! Why.\n{}", "const A: u8 = 1;\n".repeat(900));
    check(&file("crates/view/src/page/tests.rs", &text), &mut out);
    assert!(out.is_empty(), "{out:?}");
}

#[test]
fn a_line_has_a_hundred_columns_unless_a_break_would_spoil_it() {
    let long = "x".repeat(90);
    clean(&format!("//! Why.\n// {}\n", "é".repeat(97)));
    caught(&format!("//! Why.\n// {}\n", "é".repeat(98)), 2, "columns");
    caught(&format!("//! Why.\nconst {long}: u8 = 1;\n"), 2, "columns");
    clean(&format!("//! Why.\nconst A: &str = \"{long}\";\n"));
    clean(&format!("//! See https://example.org/{long}\n"));
}

#[test]
fn public_crates_warn_about_missing_docs() {
    let text = "//! Why.\n";
    let check_path = |path: &str, text: &str| {
        let mut out = Vec::new();
        check(&file(path, text), &mut out);
        out.len()
    };
    assert_eq!(check_path("crates/core/src/lib.rs", text), 1);
    assert_eq!(
        check_path(
            "crates/core/src/lib.rs",
            "//! Why.\n#![warn(missing_docs)]\n"
        ),
        0
    );
    assert_eq!(check_path("crates/gateway/src/lib.rs", text), 0);
}

#[test]
fn words_of_the_language_we_do_without() {
    caught("//! Why.\n#[allow(dead_code)]\nfn f() {}\n", 2, "expect");
    caught("//! Why.\nfn f() {\n    todo!()\n}\n", 3, "finish");
    caught("//! Why.\nfn f() {\n    dbg!(1);\n}\n", 3, "print");
    caught("//! Why.\n#[ignore]\nfn f() {}\n", 2, "ignored");
    caught("//! Why.\n#[should_panic]\nfn f() {}\n", 2, "match it");
    clean("//! Why.\n// Not dbg!( here.\nconst A: &str = \"todo!()\";\n");
}

#[test]
fn globs_are_named_imports_instead() {
    caught("//! Why.\nuse a::b::*;\n", 2, "glob");
    caught("//! Why.\nuse a::{b::*, c};\n", 2, "glob");
    caught("//! Why.\nuse super::*;\n", 2, "glob");
    clean("//! Why.\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n");
    caught(
        "//! Why.\n#[cfg(test)]\nmod tests {\n    use crate::*;\n}\n",
        4,
        "glob",
    );
}

#[test]
fn an_exception_says_why() {
    caught("//! Why.\n#[expect(dead_code)]\nfn f() {}\n", 2, "say why");
    clean("//! Why.\n#[expect(dead_code, reason = \"so\")]\nfn f() {}\n");
    clean("//! Why.\n#[expect(\n    dead_code,\n    reason = \"so\"\n)]\nfn f() {}\n");
    // The reason of the next one does not count.
    let second = "#[expect(unused, reason = \"so\")]\nfn g() {}\n";
    caught(
        &format!("//! Why.\n#[expect(dead_code)]\nfn f() {{}}\n{second}"),
        2,
        "say why",
    );
}

#[test]
fn generated_files_are_told_by_folder_or_head() {
    assert!(is_generated(&file(
        "crates/protocol/src/generated/sql.rs",
        ""
    )));
    assert!(is_generated(&file(
        "a.rs",
        "// automatically generated by a compiler\n"
    )));
    assert!(is_generated(&file("a.rs", "// @generated\n")));
    assert!(!is_generated(&file(
        "crates/protocol/src/frames.rs",
        "//! Frames.\n"
    )));
}
