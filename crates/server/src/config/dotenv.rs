//! Reads a `.env` file: names, values, and the line each stands on.
//!
//! It is our own reader because an error sentence names the line, which the usual crate does not
//! tell, and because the process environment is never changed: what the file says is a layer of its
//! own.

/// One assignment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) line: usize,
}

/// Reads all assignments, or says on which line it could not go on, and why.
///
/// A value may be bare (ends at ` #` or the line's end), in single quotes (as it stands) or in
/// double quotes (with `\n`, `\t`, `\"`, `\\` and `\$`). Quoted values may run over several lines.
pub(super) fn parse(text: &str) -> Result<Vec<Assignment>, (usize, &'static str)> {
    let mut assignments = Vec::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let first = rest[..end].trim();
        if first.is_empty() || first.starts_with('#') {
            line += 1;
            rest = &rest[end..];
            continue;
        }
        let (name, after) = rest.split_once('=').ok_or((line, NOT_AN_ASSIGNMENT))?;
        let name = name.trim();
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        if !is_name(name) {
            return Err((line, NOT_AN_ASSIGNMENT));
        }
        let (value, left) = value(after).ok_or((line, "has a quote that nothing closes"))?;
        assignments.push(Assignment {
            name: name.to_owned(),
            value,
            line,
        });
        let read = rest.len() - left.len();
        line += rest[..read].matches('\n').count();
        rest = left;
    }
    Ok(assignments)
}

const NOT_AN_ASSIGNMENT: &str = "is not NAME=value";

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    !name.is_empty() && name.bytes().all(plain)
}

/// The value that `text` begins with, and what is left after its line.
fn value(text: &str) -> Option<(String, &str)> {
    let start = text.trim_start_matches([' ', '\t']);
    let (value, left) = match start.chars().next() {
        Some('\'') => {
            let (value, left) = start[1..].split_once('\'')?;
            (value.to_owned(), left)
        }
        Some('"') => double_quoted(&start[1..])?,
        _ => {
            let (bare, left) = start.split_once('\n').unwrap_or((start, ""));
            let bare = bare.split(" #").next().unwrap_or_default();
            return Some((bare.trim().to_owned(), left));
        }
    };
    // After the closing quote only a comment could stand; it is no part of the value.
    let left = left.split_once('\n').map_or("", |(_, left)| left);
    Some((value, left))
}

fn double_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    //! Shows what is read from each way of writing a value, and that the line is the right one.

    use super::parse;

    fn check(text: &str, expect: &[(&str, &str, usize)]) {
        let read = parse(text).expect("well formed");
        let read: Vec<_> = read
            .iter()
            .map(|one| (one.name.as_str(), one.value.as_str(), one.line))
            .collect();
        assert_eq!(read, expect, "{text:?}");
    }

    #[test]
    fn values_are_read_as_written() {
        check("", &[]);
        check("# only a comment\n\n", &[]);
        check(
            "A=1\n\nB = two words \n",
            &[("A", "1", 1), ("B", "two words", 3)],
        );
        check("export A=1 # why\nB=x#y", &[("A", "1", 1), ("B", "x#y", 2)]);
        check(
            "A='a # b'\r\nB=\"c\\\"d\" # e\n",
            &[("A", "a # b", 1), ("B", "c\"d", 2)],
        );
        check(
            "A=\"one\ntwo\"\nB=3",
            &[("A", "one\ntwo", 1), ("B", "3", 3)],
        );
        check("A=\nB=''", &[("A", "", 1), ("B", "", 2)]);
    }

    #[test]
    fn what_is_no_assignment_is_refused_with_its_line() {
        assert_eq!(parse("A=1\nnonsense\n").unwrap_err().0, 2);
        assert_eq!(parse("A=1\n\nB=\"open\n").unwrap_err().0, 3);
        assert_eq!(parse("two words=1").unwrap_err().0, 1);
    }
}
