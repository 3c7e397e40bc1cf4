//! Text on a terminal: how wide it is, how it is cut, and what must never be printed as it is.

use std::collections::HashMap;

use serde_json::value::RawValue;

/// The cells of a row: its JSON object by column, as text for people.
pub(super) fn cells<'a>(json: &str, columns: impl Iterator<Item = &'a str>) -> Vec<String> {
    let fields: HashMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    let cell = |name: &str| {
        fields
            .get(name)
            .map_or_else(String::new, |raw| cell(raw.get()))
    };
    columns.map(cell).collect()
}

fn cell(raw: &str) -> String {
    match serde_json::from_str::<String>(raw) {
        Ok(text) => printable(&text),
        Err(_) if raw == "null" => "∅".to_owned(),
        Err(_) => printable(raw),
    }
}

/// Rows hold what anyone wrote into a table. A control character in them could move the cursor or worse,
/// so none reaches the terminal.
pub(super) fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => '⏎',
        '\t' => ' ',
        c if c.is_control() => '·',
        // They turn the writing direction of what follows.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '·',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// Columns of the terminal that a text takes. Good for most scripts; a terminal may disagree on new
/// emoji, which costs a crooked line and nothing else.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}'
        | '\u{200b}'..='\u{200d}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f900}'..='\u{1f9ff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// The side that cells of a column stand at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A text in exactly `columns` columns: filled with blanks, or cut and marked so.
pub(super) fn fit(text: &str, columns: usize, side: Side) -> String {
    let taken = width(text);
    if taken <= columns {
        let blanks = " ".repeat(columns - taken);
        return match side {
            Side::Left => format!("{text}{blanks}"),
            Side::Right => format!("{blanks}{text}"),
        };
    }
    let mut out = String::new();
    let mut room = columns.saturating_sub(1);
    for c in text.chars() {
        let wide = char_width(c);
        if wide > room {
            break;
        }
        room -= wide;
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out.extend(std::iter::repeat_n(' ', room));
    out
}

#[cfg(test)]
mod tests {
    //! Shows that cells keep their width whatever is in them, and that nothing in them commands.

    use super::{Side, cells, fit, printable, width};

    /// A cell is as wide as its column: filled, cut, and never cut through a wide character.
    #[test]
    fn cells_have_their_width() {
        assert_eq!(fit("ab", 4, Side::Left), "ab  ");
        assert_eq!(fit("ab", 4, Side::Right), "  ab");
        assert_eq!(fit("abcdef", 4, Side::Left), "abc…");
        assert_eq!(fit("日本語", 6, Side::Left), "日本語");
        assert_eq!(fit("日本語", 5, Side::Left), "日本…");
        assert_eq!(fit("日本語", 4, Side::Left), "日… ");
        assert_eq!(fit("e\u{301}e", 2, Side::Left), "e\u{301}e");
        assert_eq!(fit("abc", 0, Side::Left), "");
        for columns in 0..9 {
            for text in ["", "a", "日本語日本語", "a日b本c", "🦀🦀🦀🦀🦀"] {
                assert_eq!(
                    width(&fit(text, columns, Side::Right)),
                    columns,
                    "{text} {columns}"
                );
            }
        }
    }

    /// Escape sequences, line ends and direction marks are shown, not obeyed.
    #[test]
    fn nothing_commands_the_terminal() {
        assert_eq!(printable("\u{1b}[2Jx\r\n\u{9b}\u{202e}"), "·[2Jx·⏎··");
        let row = r#"{"a":"\u001b]0;x\u0007","b":null,"c":1.50,"d":{"k":[1]},"f":"日"}"#;
        let shown = cells(row, ["a", "b", "c", "d", "e", "f"].into_iter());
        assert_eq!(shown, ["·]0;x·", "∅", "1.50", "{\"k\":[1]}", "", "日"]);
        assert_eq!(cells("no row", ["a"].into_iter()), [""]);
    }
}
