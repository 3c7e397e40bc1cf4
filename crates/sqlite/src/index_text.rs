//! Cuts the terms and the condition out of the text of `CREATE INDEX`.
//!
//! SQLite keeps the text as it was written and has parsed it already, so only the places of
//! parentheses, commas and the word `WHERE` outside of strings, names and comments matter.

/// The parts of an index definition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexText {
    /// Without `ASC` and `DESC`.
    pub(crate) terms: Vec<String>,
    pub(crate) condition: Option<String>,
}

/// Cuts it; `None` when the text is not of the expected form.
pub(crate) fn cut(text: &str) -> Option<IndexText> {
    let tokens = tokens(text)?;
    let mut depth = 0_usize;
    let mut terms = Vec::new();
    let mut start = None;
    let mut rest = tokens.iter();
    for token in rest.by_ref() {
        match &text[token.clone()] {
            "(" => {
                depth += 1;
                if depth == 1 {
                    start = Some(token.end);
                }
            }
            ")" => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    terms.push(term(&text[start?..token.start]));
                    break;
                }
            }
            "," if depth == 1 => {
                terms.push(term(&text[start?..token.start]));
                start = Some(token.end);
            }
            _ => {}
        }
    }
    let condition = match rest.next() {
        None => None,
        Some(word) if text[word.clone()].eq_ignore_ascii_case("WHERE") => {
            let last = tokens.last()?;
            Some(text[word.end..last.end].trim().to_owned())
        }
        Some(_) => return None,
    };
    (!terms.is_empty()).then_some(IndexText { terms, condition })
}

/// A term without its direction. A trailing comment would swallow what is written after it, so the
/// term ends where its last token does.
fn term(text: &str) -> String {
    let Some(mut tokens) = tokens(text) else {
        return text.to_owned();
    };
    if let Some(last) = tokens.last() {
        let word = &text[last.clone()];
        if word.eq_ignore_ascii_case("ASC") || word.eq_ignore_ascii_case("DESC") {
            tokens.pop();
        }
    }
    let end = tokens.last().map_or(0, |token| token.end);
    text[..end].trim().to_owned()
}

/// The places of all tokens: strings and names in quotes, words, and single other characters.
fn tokens(text: &str) -> Option<Vec<std::ops::Range<usize>>> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        at = match bytes[at] {
            b'\'' | b'"' | b'`' => quoted_end(bytes, at, bytes[at])?,
            b'[' => at + 1 + bytes[at + 1..].iter().position(|b| *b == b']')? + 1,
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                let rest = &bytes[at..];
                at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at += text[at + 2..]
                    .find("*/")
                    .map_or(text.len() - at, |end| end + 4);
                continue;
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            byte if is_word(byte) => {
                let word = bytes[at..].iter().take_while(|b| is_word(**b)).count();
                at + word
            }
            _ => at + 1,
        };
        tokens.push(start..at);
    }
    Some(tokens)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// One past the closing quote; a doubled quote is one of the content.
fn quoted_end(bytes: &[u8], open: usize, quote: u8) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += bytes[at..].iter().position(|byte| *byte == quote)? + 1;
        if bytes.get(at) != Some(&quote) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, terms: &[&str], condition: Option<&str>) {
        let cut = cut(text).unwrap_or_else(|| panic!("{text} is read"));
        assert_eq!(cut.terms, terms, "{text}");
        assert_eq!(cut.condition.as_deref(), condition, "{text}");
    }

    /// Terms and conditions are found whatever stands in strings, names and comments around them.
    #[test]
    fn cuts_terms_and_condition() {
        check("CREATE UNIQUE INDEX i ON t(a)", &["a"], None);
        check(
            "CREATE UNIQUE INDEX \"a(\" ON [t (]( lower(a) COLLATE NOCASE DESC , b asc) where b > ')' -- x",
            &["lower(a) COLLATE NOCASE", "b"],
            Some("b > ')'"),
        );
        check(
            "CREATE UNIQUE INDEX i ON t /* ( */ (coalesce(a, ''), b -- last\n) WHERE a IS NOT NULL",
            &["coalesce(a, '')", "b"],
            Some("a IS NOT NULL"),
        );
    }

    /// What is no index definition is not guessed at.
    #[test]
    fn refuses_other_texts() {
        for bad in ["", "CREATE INDEX i ON t", "x (a) y", "x ('"] {
            assert_eq!(cut(bad), None, "{bad}");
        }
    }
}
