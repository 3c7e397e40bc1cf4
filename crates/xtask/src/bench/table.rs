//! Tables as Markdown, and figures from JSON.

use anyhow::{Context, Result};
use serde_json::Value;

/// A table under its title.
pub(super) struct Table {
    text: String,
}

impl Table {
    pub(super) fn new(title: &str, columns: &[&str]) -> Self {
        let mut table = Self {
            text: format!("\n{title}\n\n"),
        };
        table.line(columns);
        table.text += &"|---".repeat(columns.len());
        table.text += "|\n";
        table
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.line(&cells);
    }

    /// A row whose number of cells is known only here.
    pub(super) fn cells(&mut self, cells: &[String]) {
        self.line(cells);
    }

    pub(super) fn print(&self) {
        println!("{}", self.text);
    }

    fn line(&mut self, cells: &[impl AsRef<str>]) {
        for cell in cells {
            self.text += "| ";
            self.text += cell.as_ref();
            self.text += " ";
        }
        self.text += "|\n";
    }
}

/// A figure of an object.
pub(super) fn number(object: &Value, name: &str) -> Result<f64> {
    object[name]
        .as_f64()
        .with_context(|| format!("the tool said no number {name} in {object}"))
}

#[cfg(test)]
mod tests {
    //! Shows that a table is Markdown, and that a figure which is missing is an error and not zero.

    use serde_json::json;

    use super::{Table, number};

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new("title", &["a", "b"]);
        table.row(["1".to_owned(), "2".to_owned()]);
        assert_eq!(table.text, "\ntitle\n\n| a | b |\n|---|---|\n| 1 | 2 |\n");
    }

    #[test]
    fn a_missing_figure_is_an_error() {
        let object = json!({ "p50_ms": 1.5, "p99_ms": null });
        assert_eq!(number(&object, "p50_ms").unwrap(), 1.5);
        assert!(number(&object, "p99_ms").is_err());
        assert!(number(&object, "p999_ms").is_err());
    }
}
