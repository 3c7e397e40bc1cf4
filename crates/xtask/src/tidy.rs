//! `cargo xtask tidy`: the house rules that a machine can check.
//!
//! Each rule is a function from text to violations, so that its tests need no files. A violation
//! names a place and says what to do; the rules themselves are told in `docs/STYLE.md` and
//! `docs/ARCHITECTURE.md`, and this is what keeps the two true.

mod arrows;
mod documents;
mod lexer;
mod links;
mod rust_files;
mod words;

use std::fmt;

use anyhow::{Result, bail};

use crate::codegen;
use crate::tree::Tree;

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    path: String,
    line: usize,
    /// A sentence that says what to do.
    advice: String,
}

impl Violation {
    fn new(path: &str, line: usize, advice: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            advice: advice.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.advice)
    }
}

/// Checks every rule and prints every violation before it fails.
pub(crate) fn run(tree: &Tree) -> Result<()> {
    let files = tree.text_files()?;
    let mut violations = arrows::check(tree)?;
    for file in &files {
        words::check(file, &mut violations);
        if file.path.ends_with(".rs") && !rust_files::is_generated(file) {
            rust_files::check(file, &mut violations);
        }
    }
    documents::check(&files, &mut violations);
    links::check(&files, &mut violations);
    violations.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for violation in &violations {
        println!("{violation}");
    }
    let generated = codegen::generated_is_current();
    if !violations.is_empty() {
        // The generated code's verdict must not be lost behind ours.
        if let Err(error) = generated {
            println!("{error:#}");
        }
        bail!("{} places break the house rules", violations.len());
    }
    generated
}
