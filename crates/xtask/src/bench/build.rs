//! Builds the program and everything that measures it, once.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::tree::Tree;

/// Where the built programs are.
pub(super) struct Programs {
    /// The server.
    pub(super) server: PathBuf,
    /// The load tool.
    pub(super) load: PathBuf,
    /// The bench of fan-out.
    pub(super) fanout: PathBuf,
    /// The bench of pages.
    pub(super) page: PathBuf,
}

/// Whether the server has adapters for the engines of a cluster, which take their time to build.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Adapters {
    None,
    Cluster,
}

impl Adapters {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Cluster => &["--features", "tidegate/cluster"],
        }
    }
}

impl Programs {
    /// One command for all, so that they agree on the features of what they share.
    pub(super) fn build(tree: &Tree, adapters: Adapters) -> Result<Self> {
        let mut cargo = Command::new("cargo")
            .current_dir(&tree.root)
            .args(["build", "--release", "--message-format"])
            .arg("json-render-diagnostics")
            .args(["--package", "tidegate", "--bin", "tidegate"])
            .args(adapters.flags())
            .args(["--package", "tidegate-client", "--example", "load"])
            .args(["--package", "tidegate-gateway", "--bench", "fanout"])
            .args(["--package", "tidegate-view", "--bench", "page"])
            .stdout(Stdio::piped())
            .spawn()
            .context("cargo could not be started; is it on the PATH?")?;
        let output = cargo.stdout.take().expect("asked for above");
        let mut built = Vec::new();
        for line in BufReader::new(output).lines() {
            built.extend(executable(&line?));
        }
        if !cargo.wait()?.success() {
            bail!("the programs to measure do not build");
        }
        let find = |name: &str| {
            let found = built.iter().find(|(built, _)| built == name);
            let (_, path) = found.with_context(|| format!("cargo built no {name}"))?;
            Ok::<_, anyhow::Error>(path.clone())
        };
        Ok(Self {
            server: find("tidegate")?,
            load: find("load")?,
            fanout: find("fanout")?,
            page: find("page")?,
        })
    }
}

/// The name and place of the program that a line of cargo's tells of, if it does.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let name = message["target"]["name"].as_str()?;
    let path = message["executable"].as_str()?;
    Some((name.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    //! Shows that programs are found among the other things cargo says.

    use super::executable;

    #[test]
    fn only_programs_are_found() {
        let program =
            r#"{"reason":"compiler-artifact","target":{"name":"load"},"executable":"/t/load"}"#;
        let library =
            r#"{"reason":"compiler-artifact","target":{"name":"core"},"executable":null}"#;
        assert_eq!(
            executable(program),
            Some(("load".to_owned(), "/t/load".into()))
        );
        assert_eq!(executable(library), None);
        assert_eq!(
            executable(r#"{"reason":"build-finished","success":true}"#),
            None
        );
        assert_eq!(executable("warning"), None);
    }
}
