//! Relative links in Markdown lead somewhere: to a file of the tree, and to a heading of it.
//!
//! Only what GitHub renders as a link is one, so code blocks and code spans are left alone.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use crate::tree::TextFile;

/// The headings of each Markdown file and the paths of all, against which links are resolved.
struct Index<'a> {
    headings: BTreeMap<&'a str, BTreeSet<String>>,
    /// Files, and the folders they lie in.
    paths: BTreeSet<&'a str>,
}

/// Checks the links of every Markdown file.
pub(super) fn check(files: &[TextFile], out: &mut Vec<Violation>) {
    let index = Index::new(files);
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line_index, line) in prose_lines(&file.text) {
            for target in targets(&line) {
                if let Err(advice) = index.resolve(&file.path, target) {
                    out.push(Violation::new(&file.path, line_index + 1, advice));
                }
            }
        }
    }
}

impl<'a> Index<'a> {
    fn new(files: &'a [TextFile]) -> Self {
        let mut index = Self {
            headings: BTreeMap::new(),
            paths: BTreeSet::new(),
        };
        for file in files {
            let mut path = file.path.as_str();
            index.paths.insert(path);
            while let Some((folder, _)) = path.rsplit_once('/') {
                index.paths.insert(folder);
                path = folder;
            }
            if file.path.ends_with(".md") {
                index.headings.insert(&file.path, anchors(&file.text));
            }
        }
        index
    }

    fn resolve(&self, from: &str, target: &str) -> Result<(), String> {
        if target.contains("://") || target.starts_with("mailto:") {
            return Ok(());
        }
        if target.starts_with('/') {
            return Err(format!("write the link relative to this file: {target}"));
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let path = if path.is_empty() {
            Some(from.to_owned())
        } else {
            join(from, path)
        };
        let Some(path) = path else {
            return Err(format!("the link leaves the repository: {target}"));
        };
        if !path.is_empty() && !self.paths.contains(path.as_str()) {
            return Err(format!("the link leads nowhere: there is no {path}"));
        }
        let headings = self.headings.get(path.as_str());
        if !anchor.is_empty() && headings.is_some_and(|headings| !headings.contains(anchor)) {
            return Err(format!(
                "the link leads nowhere: {path} has no heading #{anchor}"
            ));
        }
        Ok(())
    }
}

/// `target` as seen from the file `from`, or nothing when it climbs out of the tree.
fn join(from: &str, target: &str) -> Option<String> {
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The lines outside of code blocks, with their index and without their code spans.
fn prose_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            lines.push((index, without_code_spans(line)));
        }
    }
    lines
}

/// Every second piece between backticks is code, but for an opening one that nothing closes.
fn without_code_spans(line: &str) -> String {
    let pieces: Vec<&str> = line.split('`').collect();
    let last = pieces.len() - 1;
    let is_prose = |index: usize| index.is_multiple_of(2) || index == last;
    (0..pieces.len())
        .filter(|&index| is_prose(index))
        .map(|index| pieces[index])
        .collect()
}

/// The targets of `[text](target)` and of `[label]: target`.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("](") {
        let rest = &line[at + 2..];
        if let Some(end) = rest.find(')') {
            found.extend(rest[..end].split_whitespace().next());
        }
    }
    if line.starts_with('[')
        && let Some((label, target)) = line.split_once("]: ")
        && !label.contains(']')
    {
        found.extend(target.split_whitespace().next());
    }
    found
}

/// The anchors GitHub makes of the headings; a repeated one gets a number.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        let title = line.trim_start_matches('#');
        if in_block || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let slug = slug(title.trim());
        let numbered = (1..).map(|number| format!("{slug}-{number}"));
        let free = [slug.clone()]
            .into_iter()
            .chain(numbered)
            .find(|s| !anchors.contains(s));
        anchors.extend(free);
    }
    anchors
}

fn slug(title: &str) -> String {
    let keep = |c: char| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c),
        _ => None,
    };
    title.to_lowercase().chars().filter_map(keep).collect()
}

#[cfg(test)]
mod tests {
    //! Shows that dead links are caught at their line, and that live ones and code pass.

    use super::check;
    use crate::tree::TextFile;

    const NONE: [usize; 0] = [];

    /// The lines with violations in `docs/A.md`, beside a file with headings and a source file.
    fn dead_lines(text: &str) -> Vec<usize> {
        let other = "# Title\n\n## The `lag`, told\n\n## Twice\n\n## Twice\n";
        let files = [
            ("docs/A.md", text),
            ("docs/B.md", other),
            ("crates/core/src/lib.rs", ""),
        ]
        .map(|(path, text)| TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        });
        let mut out = Vec::new();
        check(&files, &mut out);
        assert!(out.iter().all(|violation| violation.path == "docs/A.md"));
        out.into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn live_links_pass() {
        assert_eq!(
            dead_lines("[b](B.md) [c](../crates/core/src/lib.rs \"title\")\n"),
            NONE
        );
        assert_eq!(dead_lines("[folder](../crates/core/) [root](..)\n"), NONE);
        assert_eq!(
            dead_lines("[w](https://example.org/x) [m](mailto:a@b.example)\n"),
            NONE
        );
        assert_eq!(dead_lines("[b]: B.md\n"), NONE);
    }

    #[test]
    fn dead_links_are_caught() {
        assert_eq!(dead_lines("fine\n\n[b](C.md)\n"), [3]);
        assert_eq!(dead_lines("[b](B.md) ![picture](picture.png)\n"), [1]);
        assert_eq!(dead_lines("[b]: C.md\n"), [1]);
        assert_eq!(dead_lines("[b](../../B.md)\n"), [1]);
        assert_eq!(dead_lines("[b](/docs/B.md)\n"), [1]);
    }

    #[test]
    fn anchors_follow_the_headings() {
        assert_eq!(
            dead_lines("# Here\n[h](#here) [b](B.md#the-lag-told)\n"),
            NONE
        );
        assert_eq!(dead_lines("[b](B.md#twice) [b](B.md#twice-1)\n"), NONE);
        assert_eq!(dead_lines("[b](B.md#twice-2)\n"), [1]);
        assert_eq!(dead_lines("[h](#gone)\n"), [1]);
    }

    #[test]
    fn code_is_not_a_link() {
        assert_eq!(dead_lines("`[b](C.md)`\n\n```\n[b](C.md)\n```\n"), NONE);
        assert_eq!(dead_lines("it`s [b](C.md)\n"), [1]);
    }
}
