//! Text on a terminal: how wide it is, how it is cut, and what must never be printed as it is.

use std::collections::HashMap;

use serde_json::value::RawValue;

/// A column of a table: its name, and how its cells are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) set: Set,
}

/// How the cells of a column are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    /// At the left; what does not fit is cut at the end.
    Left,
    /// At the right; what does not fit is cut at the end.
    Right,
    /// A point in time: to the second, and cut at its beginning, for rows that are shown together
    /// differ at the end.
    Time,
}

/// The cells of a row: its JSON object by column, as text for people.
pub(super) fn cells(json: &str, columns: &[Column]) -> Vec<String> {
    let fields: HashMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    let cell = |column: &Column| {
        let raw = fields.get(&column.name);
        let text = raw.map_or_else(String::new, |raw| cell(raw.get()));
        match column.set {
            Set::Left | Set::Right => text,
            Set::Time => seconds(&text),
        }
    };
    columns.iter().map(cell).collect()
}

/// `2026-01-02T03:04:05.678901Z` as `2026-01-02 03:04:05`; any other text as it is.
fn seconds(text: &str) -> String {
    match (text.get(..10), text.get(10..11), text.get(11..19)) {
        (Some(date), Some("T"), Some(time)) => format!("{date} {time}"),
        _ => text.to_owned(),
    }
}

fn cell(raw: &str) -> String {
    match serde_json::from_str::<String>(raw) {
        Ok(text) => printable(&text),
        Err(_) if raw == "null" => "∅".to_owned(),
        Err(_) => printable(raw),
    }
}

/// Rows hold what anyone wrote into a table. A control character in them could move the cursor or
/// worse, so none reaches the terminal.
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

/// A text in exactly `columns` columns: filled with blanks, or cut and marked so.
pub(super) fn fit(text: &str, columns: usize, set: Set) -> String {
    let taken = width(text);
    if taken <= columns {
        let blanks = " ".repeat(columns - taken);
        return match set {
            Set::Left | Set::Time => format!("{text}{blanks}"),
            Set::Right => format!("{blanks}{text}"),
        };
    }
    if columns == 0 {
        return String::new();
    }
    match set {
        Set::Left | Set::Right => {
            let (kept, blanks) = cut(text.chars(), columns - 1);
            format!("{}…{blanks}", String::from_iter(kept))
        }
        Set::Time => {
            let (kept, blanks) = cut(text.chars().rev(), columns - 1);
            format!("…{}{blanks}", String::from_iter(kept.iter().rev()))
        }
    }
}

/// As many characters as fit, and blanks for what a wide one would not have fitted.
fn cut(chars: impl Iterator<Item = char>, columns: usize) -> (Vec<char>, String) {
    let mut room = columns;
    let mut kept = Vec::new();
    for c in chars {
        let wide = char_width(c);
        if wide > room {
            break;
        }
        room -= wide;
        kept.push(c);
    }
    (kept, " ".repeat(room))
}

#[cfg(test)]
mod tests {
    //! Shows that cells keep their width whatever is in them, and that nothing in them commands.

    use super::{Column, Set, cells, fit, printable, width};

    /// A cell is as wide as its column: filled, cut, and never cut through a wide character.
    #[test]
    fn cells_have_their_width() {
        assert_eq!(fit("ab", 4, Set::Left), "ab  ");
        assert_eq!(fit("ab", 4, Set::Right), "  ab");
        assert_eq!(fit("abcdef", 4, Set::Left), "abc…");
        assert_eq!(fit("日本語", 6, Set::Left), "日本語");
        assert_eq!(fit("日本語", 5, Set::Left), "日本…");
        assert_eq!(fit("日本語", 4, Set::Left), "日… ");
        assert_eq!(fit("e\u{301}e", 2, Set::Left), "e\u{301}e");
        assert_eq!(fit("abc", 0, Set::Left), "");
        for columns in 0..9 {
            for text in ["", "a", "日本語日本語", "a日b本c", "🦀🦀🦀🦀🦀"] {
                for set in [Set::Left, Set::Right, Set::Time] {
                    let fitted = fit(text, columns, set);
                    assert_eq!(width(&fitted), columns, "{text} {columns} {set:?}");
                }
            }
        }
    }

    /// Escape sequences, line ends and direction marks are shown, not obeyed.
    #[test]
    fn nothing_commands_the_terminal() {
        assert_eq!(printable("\u{1b}[2Jx\r\n\u{9b}\u{202e}"), "·[2Jx·⏎··");
        let row = r#"{"a":"\u001b]0;x\u0007","b":null,"c":1.50,"d":{"k":[1]},"f":"日"}"#;
        let columns = columns(&["a", "b", "c", "d", "e", "f"], Set::Left);
        let shown = cells(row, &columns);
        assert_eq!(shown, ["·]0;x·", "∅", "1.50", "{\"k\":[1]}", "", "日"]);
        assert_eq!(cells("no row", &columns[..1]), [""]);
    }

    /// Times are shown to the second, and cut where they are all the same.
    #[test]
    fn times_are_short() {
        let row =
            r#"{"a":"2026-01-02T03:04:05.678901Z","b":null,"c":"x","d":"日本日本日本日本日本"}"#;
        let shown = cells(row, &columns(&["a", "b", "c", "d"], Set::Time));
        assert_eq!(
            shown,
            ["2026-01-02 03:04:05", "∅", "x", "日本日本日本日本日本"]
        );
        assert_eq!(fit(&shown[0], 19, Set::Time), "2026-01-02 03:04:05");
        assert_eq!(fit(&shown[0], 9, Set::Time), "…03:04:05");
        assert_eq!(fit(&shown[0], 21, Set::Time), "2026-01-02 03:04:05  ");
    }

    fn columns(names: &[&str], set: Set) -> Vec<Column> {
        let columns = names.iter().map(|name| Column {
            name: (*name).to_owned(),
            set,
        });
        columns.collect()
    }
}
