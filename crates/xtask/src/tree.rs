//! The working tree as the tasks see it: where it is, which packages it has, which files are ours.
//!
//! Everything comes from `cargo metadata --no-deps` and a walk of the folder, so that the tasks
//! work in an exported tree without git and without a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// What `cargo metadata` says about the workspace.
#[derive(Deserialize)]
pub(crate) struct Tree {
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One crate of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a crate's dependency tables.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Cargo's own word: absent for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// A text file of the tree, with its path relative to the root and `/` as separator.
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Tree {
    /// Asks cargo about the workspace of the current folder.
    pub(crate) fn load() -> Result<Self> {
        let output = Command::new("cargo")
            .args([
                "metadata",
                "--no-deps",
                "--offline",
                "--format-version",
                "1",
            ])
            .output()
            .context("cargo could not be started; is it on the PATH?")?;
        if !output.status.success() {
            bail!(
                "cargo metadata failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        serde_json::from_slice(&output.stdout).context("cargo metadata is not the JSON we know")
    }

    /// `path` as it is written in reports: relative to the root.
    pub(crate) fn relative(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        path.to_string_lossy().replace('\\', "/")
    }

    /// All text files that are ours, sorted by path. Files that are not UTF-8 are left out.
    pub(crate) fn text_files(&self) -> Result<Vec<TextFile>> {
        let ignore_path = self.root.join(".gitignore");
        let ignore_text = fs::read_to_string(&ignore_path)
            .with_context(|| format!("{} cannot be read", ignore_path.display()))?;
        let ignored = Ignored::parse(&ignore_text)?;
        let mut files = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)
                .with_context(|| format!("{} cannot be listed", folder.display()))?
            {
                let entry = entry?;
                let path = entry.path();
                let relative = self.relative(&path);
                if ignored.contains(&relative) {
                    continue;
                }
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    // Cargo marks its target folders so; one may lie in the tree under any name.
                    if !path.join("CACHEDIR.TAG").exists() {
                        folders.push(path);
                    }
                } else if kind.is_file()
                    && let Ok(text) = fs::read_to_string(&path)
                {
                    files.push(TextFile {
                        path: relative,
                        text,
                    });
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }
}

/// The root `.gitignore`, in the small language we allow it: `/path` at the root, or a plain name.
struct Ignored {
    rooted: Vec<String>,
    names: Vec<String>,
}

impl Ignored {
    fn parse(text: &str) -> Result<Self> {
        let mut ignored = Self {
            rooted: Vec::new(),
            names: vec![".git".to_owned()],
        };
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.trim_start_matches('/').trim_end_matches('/');
            if name.contains(['*', '?', '[', '!']) {
                bail!(".gitignore: write {line:?} as a plain name; tidy reads no patterns");
            }
            if line.starts_with('/') {
                ignored.rooted.push(name.to_owned());
            } else {
                ignored.names.push(name.to_owned());
            }
        }
        Ok(ignored)
    }

    fn contains(&self, relative: &str) -> bool {
        let name = relative.rsplit('/').next().unwrap_or(relative);
        self.rooted.iter().any(|rooted| rooted == relative) || self.names.iter().any(|n| n == name)
    }
}

#[cfg(test)]
mod tests {
    //! Shows that the ignore file is understood, and that what it cannot say is refused.

    use super::Ignored;

    #[test]
    fn names_match_anywhere_and_rooted_paths_only_at_the_root() {
        let ignored = Ignored::parse("# ours\n/target\nnode_modules/\n").unwrap();
        assert!(ignored.contains("target"));
        assert!(!ignored.contains("crates/target"));
        assert!(ignored.contains("console/node_modules"));
        assert!(ignored.contains(".git"));
        assert!(!ignored.contains(".gitignore"));
    }

    #[test]
    fn a_pattern_is_refused() {
        assert!(Ignored::parse("*.log").is_err());
    }
}
