//! Regular expressions, as Postgres understands them under `COLLATE "C"`.
//!
//! A pattern is kept as it was written; the database reads it itself. A part of the language means
//! the same everywhere, and only that is translated for the engine: literals, `.`, classes, groups,
//! alternatives, repetition, `^`, `$`, `\d \w \s` and escaped punctuation. What is left out (back
//! references, looking ahead, `\y \m \M`, options) is not guessed at: it has no matcher.
//!
//! Only whether a text matches is asked, never where, so greed does not matter.

use std::fmt;
use std::sync::Arc;

use crate::filter::Folding;

/// Whether letters of another case match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Case {
    /// They do not.
    Counts,
    /// They do; the letters A to Z only, unless the database decides.
    Ignored,
}

/// Longest pattern that gets a matcher, in bytes.
const MATCHER_BYTES_MAX: usize = 1_000;

/// Memory of one matcher, in bytes. A pattern that needs more has none.
const MATCHER_SIZE_MAX: usize = 1 << 20;

/// Highest count of a repetition in Postgres.
const REPEAT_MAX: u32 = 255;

/// Groups inside groups.
const GROUPS_MAX: usize = 50;

/// What a pattern says at its beginning when case does not count.
const IGNORED: &str = "(?i)";

/// A regular expression.
#[derive(Clone)]
pub struct Pattern {
    source: Arc<str>,
    case: Case,
    matcher: Option<regex::Regex>,
}

impl Pattern {
    /// A pattern as it was written.
    #[must_use]
    pub fn new(source: &str, case: Case) -> Self {
        let matcher = translate(source, case).and_then(|text| {
            let mut builder = regex::RegexBuilder::new(&text);
            builder.size_limit(MATCHER_SIZE_MAX).build().ok()
        });
        Self {
            source: source.into(),
            case,
            matcher,
        }
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// Whether case counts.
    #[must_use]
    pub fn case(&self) -> Case {
        self.case
    }

    /// Who decides which letters are the same but for their case.
    #[must_use]
    pub fn folding(&self) -> Folding {
        let is_ignored = self.case == Case::Ignored || self.source.starts_with(IGNORED);
        match is_ignored && !self.source.is_ascii() {
            true => Folding::Database,
            false => Folding::Ascii,
        }
    }

    /// Whether the engine's answer is certain to be that of Postgres.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.matcher.is_some()
    }

    /// Whether it matches somewhere in a text. `None` when only the database can say.
    #[must_use]
    pub fn matches(&self, text: &str) -> Option<bool> {
        Some(self.matcher.as_ref()?.is_match(text))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, self.case) == (&other.source, other.case)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({:?})", self.source, self.case)
    }
}

/// The same pattern in the words of the `regex` crate; `None` when it may mean something else.
fn translate(source: &str, case: Case) -> Option<String> {
    if source.len() > MATCHER_BYTES_MAX {
        return None;
    }
    let (source, case) = match source.strip_prefix(IGNORED) {
        Some(rest) => (rest, Case::Ignored),
        None => (source, case),
    };
    // Beyond ASCII the database's rules for case decide, not ours.
    if case == Case::Ignored && !source.is_ascii() {
        return None;
    }
    // A director (`***=`), or a second set of options.
    if source.starts_with("***") || source.starts_with(IGNORED) {
        return None;
    }
    let mut translator = Translator {
        source: source.chars().peekable(),
        case,
        out: String::with_capacity(source.len() * 2),
        groups: 0,
    };
    translator.alternatives()?;
    translator.source.peek().is_none().then_some(translator.out)
}

struct Translator<'a> {
    source: std::iter::Peekable<std::str::Chars<'a>>,
    case: Case,
    out: String,
    groups: usize,
}

impl Translator<'_> {
    /// Branches up to the end, or to the parenthesis that closes them.
    fn alternatives(&mut self) -> Option<()> {
        // What a repetition sign would repeat.
        let mut repeatable = false;
        while let Some(c) = self.source.peek().copied() {
            match c {
                ')' if self.groups > 0 => return Some(()),
                ')' => return None,
                '|' => {
                    self.next();
                    self.out.push('|');
                    repeatable = false;
                }
                '*' | '+' | '?' | '{' => {
                    if !repeatable {
                        return None;
                    }
                    self.repetition()?;
                    repeatable = false;
                }
                _ => repeatable = self.atom()?,
            }
        }
        (self.groups == 0).then_some(())
    }

    fn next(&mut self) -> Option<char> {
        self.source.next()
    }

    fn skip(&mut self, c: char) -> bool {
        self.source.next_if_eq(&c).is_some()
    }

    /// One atom or anchor. Says whether it can be repeated.
    fn atom(&mut self) -> Option<bool> {
        match self.next()? {
            // Without the options for lines, both mean the ends of the whole text.
            '^' => self.out.push_str(r"\A"),
            '$' => self.out.push_str(r"\z"),
            '.' => {
                self.out.push_str("(?s:.)");
                return Some(true);
            }
            '(' => {
                self.group()?;
                return Some(true);
            }
            '[' => {
                self.class()?;
                return Some(true);
            }
            '\\' => {
                self.escape()?;
                return Some(true);
            }
            c => {
                self.literal(c);
                return Some(true);
            }
        }
        Some(false)
    }

    fn group(&mut self) -> Option<()> {
        if self.skip('?') && !self.skip(':') {
            return None;
        }
        self.groups += 1;
        if self.groups > GROUPS_MAX {
            return None;
        }
        self.out.push_str("(?:");
        self.alternatives()?;
        if !self.skip(')') {
            return None;
        }
        self.groups -= 1;
        self.out.push(')');
        Some(())
    }

    fn repetition(&mut self) -> Option<()> {
        match self.next()? {
            '{' => {
                let low = self.count()?;
                let high = match self.skip(',') {
                    false => Some(low),
                    true if self.source.peek() == Some(&'}') => None,
                    true => Some(self.count()?),
                };
                if !self.skip('}') || high.is_some_and(|high| high < low) {
                    return None;
                }
                self.out.push_str(&match high {
                    Some(high) => format!("{{{low},{high}}}"),
                    None => format!("{{{low},}}"),
                });
            }
            c => self.out.push(c),
        }
        // Says to take as little as will do, which is as good.
        self.skip('?');
        // Two in a row are an error of Postgres.
        (!matches!(self.source.peek(), Some('*' | '+' | '?' | '{'))).then_some(())
    }

    fn count(&mut self) -> Option<u32> {
        let mut digits = String::new();
        while let Some(digit) = self.source.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        digits.parse().ok().filter(|count| *count <= REPEAT_MAX)
    }

    fn escape(&mut self) -> Option<()> {
        let c = self.next()?;
        match shorthand(c) {
            Some((members, false)) => self.out.push_str(&format!("[{members}]")),
            Some((members, true)) => self.out.push_str(&format!("[^{members}]")),
            None => {
                let c = escaped(c)?;
                self.literal(c);
            }
        }
        Some(())
    }

    fn literal(&mut self, c: char) {
        match (self.case, c.is_ascii_alphabetic()) {
            (Case::Ignored, true) => {
                let (lower, upper) = (c.to_ascii_lowercase(), c.to_ascii_uppercase());
                self.out.push_str(&format!("[{lower}{upper}]"));
            }
            _ => push_literal(&mut self.out, c),
        }
    }

    /// The rest of a bracket expression.
    fn class(&mut self) -> Option<()> {
        let is_negated = self.skip('^');
        self.out.push_str(if is_negated { "[^" } else { "[" });
        let mut is_first = true;
        loop {
            let c = self.next()?;
            match c {
                ']' if !is_first => break,
                '[' => match self.source.peek() {
                    Some(':') => self.named_class()?,
                    // Collating elements and equivalence classes, or something odd.
                    _ => return None,
                },
                '\\' => {
                    let c = self.next()?;
                    match shorthand(c) {
                        Some((members, false)) => self.out.push_str(members),
                        Some((_, true)) => return None,
                        None => {
                            let low = escaped(c)?;
                            self.range(low)?;
                        }
                    }
                    // A shorthand is no end of a range.
                    if shorthand(c).is_some() && self.source.peek() == Some(&'-') {
                        return None;
                    }
                }
                low => self.range(low)?,
            }
            is_first = false;
        }
        self.out.push(']');
        Some(())
    }

    /// A character of a class, or the range that it begins.
    fn range(&mut self, low: char) -> Option<()> {
        let mut high = low;
        if self.source.peek() == Some(&'-') {
            let mut ahead = self.source.clone();
            ahead.next();
            match ahead.peek() {
                // The last hyphen is one.
                Some(']') => {}
                Some('[') | None => return None,
                Some(_) => {
                    self.next();
                    high = match self.next()? {
                        '\\' => {
                            let c = self.next()?;
                            if shorthand(c).is_some() {
                                return None;
                            }
                            escaped(c)?
                        }
                        c => c,
                    };
                    // `a-b-c` is an error of Postgres, and `--x` a riddle.
                    if low == '-' || high == '-' || high < low || self.source.peek() == Some(&'-') {
                        return None;
                    }
                }
            }
        }
        self.members(low, high);
        Some(())
    }

    fn members(&mut self, low: char, high: char) {
        let push = |out: &mut String, low: char, high: char| {
            push_literal(out, low);
            if high > low {
                out.push('-');
                push_literal(out, high);
            }
        };
        push(&mut self.out, low, high);
        if self.case == Case::Counts {
            return;
        }
        let mut other_case = |first: char, last: char, turn: fn(&char) -> char| {
            let (from, to) = (low.max(first), high.min(last));
            if from <= to {
                push(&mut self.out, turn(&from), turn(&to));
            }
        };
        other_case('a', 'z', char::to_ascii_uppercase);
        other_case('A', 'Z', char::to_ascii_lowercase);
    }

    /// `[:alpha:]` within a class.
    fn named_class(&mut self) -> Option<()> {
        self.next();
        let mut name = String::new();
        while let Some(c) = self.source.next_if(char::is_ascii_lowercase) {
            name.push(c);
        }
        if !self.skip(':') || !self.skip(']') {
            return None;
        }
        let ignored = self.case == Case::Ignored;
        self.out.push_str(match name.as_str() {
            "lower" | "upper" if ignored => "a-zA-Z",
            "alpha" => "a-zA-Z",
            "alnum" => "a-zA-Z0-9",
            "digit" => "0-9",
            "lower" => "a-z",
            "upper" => "A-Z",
            "space" => SPACE,
            "xdigit" => "0-9a-fA-F",
            "punct" => r"!-/:-@\[-`\{-~",
            _ => return None,
        });
        (self.source.peek() != Some(&'-')).then_some(())
    }
}

const SPACE: &str = r"\t\n\x0B\x0C\r ";

/// The members of a class that has a letter of its own, and whether all others are meant.
fn shorthand(c: char) -> Option<(&'static str, bool)> {
    Some(match c {
        'd' => ("0-9", false),
        'w' => ("a-zA-Z0-9_", false),
        's' => (SPACE, false),
        'D' => ("0-9", true),
        'W' => ("a-zA-Z0-9_", true),
        'S' => (SPACE, true),
        _ => return None,
    })
}

/// The character that an escape stands for.
fn escaped(c: char) -> Option<char> {
    Some(match c {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'f' => '\u{c}',
        'v' => '\u{b}',
        c if c.is_ascii_alphanumeric() || !c.is_ascii() => return None,
        c => c,
    })
}

fn push_literal(out: &mut String, c: char) {
    match c {
        c if c.is_ascii_alphanumeric() || !c.is_ascii() => out.push(c),
        c => out.push_str(&format!("\\x{:02X}", u32::from(c))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The common part of the language matches as Postgres says it does.
    #[test]
    fn matches_as_postgres() {
        let check = |source: &str, case: Case, text: &str, expected: bool| {
            let found = Pattern::new(source, case).matches(text);
            assert_eq!(found, Some(expected), "{source:?} in {text:?}");
        };
        let counts = |source, text, expected| check(source, Case::Counts, text, expected);
        counts("^b.*[0-9]+$", "beta\n12", true);
        counts("^b.*[0-9]+$", "beta 12\n", false);
        counts("(?i)\\d", "a1", true);
        counts("", "", true);
        counts("a|", "b", true);
        counts("[]a]", "]", true);
        counts("[^]a]", "]", false);
        counts("[a-]", "-", true);
        counts("(ab){2}", "abab", true);
        counts("^a{0,2}$", "aaa", false);
        counts("\\w", "é", false);
        counts(".", "é", true);
        counts("^[[:alpha:]_]+$", "a_B", true);
        counts("\\.x", "ax", false);
        let ignored = |source, text, expected| check(source, Case::Ignored, text, expected);
        ignored("beta", "BETA 1", true);
        ignored("^[a-c]+$", "AbC", true);
        ignored("[^a]", "A", false);
        ignored("[X-b]", "B", true);
        // The Kelvin sign is no letter of ASCII.
        ignored("k", "\u{212a}", false);
    }

    /// What means something else elsewhere, or nothing, has no matcher.
    #[test]
    fn leaves_the_rest_to_the_database() {
        for source in [
            "\\bx", "(a)\\1", "(?=a)", "(?!a)", "\\mx", "\\yx", "a**", "*a", "a{256}", "a{2,1}",
            "^*", "(?n)a", "***=a", "[[.a.]]", "[[=a=]]", "[z-a]", "[a", "(a", "a)", "a{x", "\\",
            "[\\W]", "\\x41", "a{,2}", "[a-\\d]",
        ] {
            let pattern = Pattern::new(source, Case::Counts);
            assert!(!pattern.is_exact(), "{source:?}");
        }
        assert!(!Pattern::new("ü", Case::Ignored).is_exact());
        assert!(Pattern::new("ü", Case::Counts).is_exact());
        let long = "a".repeat(MATCHER_BYTES_MAX + 1);
        assert!(!Pattern::new(&long, Case::Counts).is_exact());
    }
}
