//! Tells the code of a Rust file from its comments and literals, as far as tidy needs it.
//!
//! A full parser would bring its own dependencies into every build of the tasks. All our rules
//! need is that a brace in a string is not a brace, so this knows comments (nested), strings (raw
//! ones too), characters and lifetimes, and nothing else. Input that does not lex ends the last
//! literal at the end of the file: rustc will have more to say about it.

/// What a character of a source file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Code,
    Comment,
    Literal,
}

/// A source file, character by character, with its lines.
pub(super) struct Source {
    pub(super) lines: Vec<Line>,
}

/// One line, without its line break.
pub(super) struct Line {
    pub(super) text: Vec<char>,
    pub(super) classes: Vec<Class>,
}

impl Source {
    /// Classifies a whole file.
    pub(super) fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let classes = classify(&chars);
        let mut lines = Vec::new();
        let mut start = 0;
        for end in (0..chars.len())
            .filter(|&at| chars[at] == '\n')
            .chain([chars.len()])
        {
            if start < end || end < chars.len() {
                let text = chars[start..end].to_vec();
                lines.push(Line {
                    text,
                    classes: classes[start..end].to_vec(),
                });
            }
            start = end + 1;
        }
        Self { lines }
    }
}

impl Line {
    /// The line with everything but code blanked, so that columns stay where they are.
    pub(super) fn code(&self) -> String {
        let keep = |(&c, &class): (&char, &Class)| if class == Class::Code { c } else { ' ' };
        self.text.iter().zip(&self.classes).map(keep).collect()
    }
}

fn classify(chars: &[char]) -> Vec<Class> {
    let mut classes = Vec::with_capacity(chars.len());
    while classes.len() < chars.len() {
        let at = classes.len();
        let (class, length) = token(chars, at);
        // Never beyond the end, and always at least one further.
        let end = (at + length.max(1)).min(chars.len());
        classes.resize(end, class);
    }
    classes
}

/// The class of what begins at `at`, and its length.
fn token(chars: &[char], at: usize) -> (Class, usize) {
    let rest = &chars[at..];
    match rest {
        ['/', '/', ..] => (Class::Comment, line_length(rest)),
        ['/', '*', ..] => (Class::Comment, block_comment_length(rest)),
        ['"', ..] => (Class::Literal, quoted_length(rest, '"')),
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => (Class::Literal, quoted_length(rest, '\'')),
        ['r' | 'b' | 'c', ..] if !continues_word(chars, at) => match raw_string_length(rest) {
            Some(length) => (Class::Literal, length),
            None => (Class::Code, 1),
        },
        _ => (Class::Code, 1),
    }
}

fn continues_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn line_length(rest: &[char]) -> usize {
    rest.iter().position(|&c| c == '\n').unwrap_or(rest.len())
}

fn block_comment_length(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted_length(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of `r"…"`, `r#"…"#` and their byte and C kin, if one begins here.
fn raw_string_length(rest: &[char]) -> Option<usize> {
    let prefix = if matches!(rest, ['b' | 'c', 'r', ..]) {
        2
    } else {
        1
    };
    if rest.get(prefix - 1) != Some(&'r') {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|&&c| c == '#').count();
    let body = prefix + hashes + 1;
    if rest.get(body - 1) != Some(&'"') {
        return None;
    }
    let closes = |at: usize| {
        rest[at] == '"' && rest[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    let end = (body..rest.len())
        .find(|&at| closes(at))
        .map(|at| at + 1 + hashes);
    Some(end.unwrap_or(rest.len()))
}

#[cfg(test)]
mod tests {
    //! Shows that braces and quotes in comments and literals do not count as code.

    use super::Source;

    /// Compares what is left as code, with each run of blanks as one; columns must not move.
    #[track_caller]
    fn check(text: &str, code: &str) {
        let source = Source::new(text);
        for (line, given) in source.lines.iter().zip(text.lines()) {
            assert_eq!(line.code().chars().count(), given.chars().count());
        }
        let words = |line: String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = source.lines.iter().map(|line| words(line.code())).collect();
        assert_eq!(lines.join("\n"), code);
    }

    #[test]
    fn comments_are_not_code() {
        check("a // { \"\nb", "a\nb");
        check("a /* { /* } */ \" */ b", "a b");
    }

    #[test]
    fn literals_are_not_code() {
        check(r#"f("}\"{") + 1"#, "f( ) + 1");
        check(r##"f(r#"}"{"#, br"\") }"##, "f( , ) }");
        check(r"('{', '\'', '\u{7d}')", "( , , )");
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("r#type + bar\"x\"", "r#type + bar");
    }

    #[test]
    fn a_string_runs_over_lines_and_an_open_one_to_the_end() {
        check("\"a\n}\" b", "\nb");
        check("a \"{\n", "a");
        check("a '\\", "a");
        check("a \"\\", "a");
        check("/*", "");
    }
}
