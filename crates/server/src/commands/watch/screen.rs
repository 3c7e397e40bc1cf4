//! The picture of a live page: a header, a table, and marks on what just changed.
//!
//! It is drawn over the old one from the top left, line by line, so it does not flicker and needs
//! no second screen; each line clears what was right of it, and the last one what was below.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use tidegate_client::{PageRow, TableShape};

use super::text::{Column, Set, cells, fit, printable, width};

/// Hides the cursor and clears the window.
pub(super) const ENTER: &str = "\x1b[?25l\x1b[2J\x1b[H";

/// Ends all colours, shows the cursor, and goes to a new line below the picture.
pub(super) const LEAVE: &str = "\x1b[0m\x1b[?25h\r\n";

/// How long a change is marked: long enough to catch the eye, too short to pile up.
const MARK_TIME: Duration = Duration::from_millis(1_200);

/// No column is wider while others could use the room.
const COLUMN_WIDTH_MAX: usize = 40;

/// Less than this shows too little of a cell: then better fewer columns. It is what a time of day
/// takes with its mark.
const COLUMN_WIDTH_MIN: usize = 9;

const GAP: &str = "  ";

/// Stands after the names when columns are left out.
const MORE: &str = " …";

/// Header, column names, and the line that tells of rows below the window.
const LINES_BESIDE_ROWS: usize = 4;

/// Columns and rows of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// How the page is fed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    Loading,
    Live,
    Lost(String),
}

/// What stands above the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) title: &'a str,
    pub(super) link: Link,
    pub(super) position: Option<&'a str>,
    pub(super) since_change: Option<Duration>,
}

/// A row as it is shown, and until when each of its cells is marked.
struct ShownRow {
    pk: Arc<str>,
    json: Arc<str>,
    cells: Vec<String>,
    marked_until: Vec<Duration>,
}

/// The rows on the screen.
pub(super) struct Screen {
    columns: Vec<Column>,
    rows: Vec<ShownRow>,
    /// The first page is news as a whole; marking all of it would mark nothing.
    had_page: bool,
}

impl Screen {
    pub(super) fn new(table: &TableShape) -> Self {
        let columns = table.columns.iter().map(|column| Column {
            name: column.name.clone(),
            set: match column.kind.as_str() {
                "smallint" | "integer" | "bigint" | "real" | "double" | "numeric" => Set::Right,
                "timestamp" => Set::Time,
                _ => Set::Left,
            },
        });
        Self {
            columns: columns.collect(),
            rows: Vec::new(),
            had_page: false,
        }
    }

    /// Takes the page's rows; `now` counts from any start, as long as it is always the same.
    pub(super) fn show(&mut self, rows: &[PageRow], now: Duration) {
        let old = std::mem::take(&mut self.rows);
        let mut known: HashMap<Arc<str>, ShownRow> =
            old.into_iter().map(|row| (row.pk.clone(), row)).collect();
        let until = if self.had_page {
            now + MARK_TIME
        } else {
            Duration::ZERO
        };
        let shown = rows.iter().map(|row| match known.remove(&row.pk) {
            Some(old) if old.json == row.json => old,
            old => self.shown(row, old, until),
        });
        self.rows = shown.collect();
        self.had_page = true;
    }

    fn shown(&self, row: &PageRow, old: Option<ShownRow>, until: Duration) -> ShownRow {
        let cells = cells(&row.json, &self.columns);
        let marked_until = match &old {
            None => vec![until; cells.len()],
            Some(old) => {
                let both = cells.iter().zip(&old.cells).zip(&old.marked_until);
                both.map(|((new, old), marked)| if new == old { *marked } else { until })
                    .collect()
            }
        };
        ShownRow {
            pk: row.pk.clone(),
            json: row.json.clone(),
            cells,
            marked_until,
        }
    }

    /// The table alone, in plain text.
    pub(super) fn table(&self, columns: usize) -> String {
        let widths = self.widths(columns);
        let mut out = format!("{}\n", self.names(&widths).trim_end());
        for row in &self.rows {
            let cells = row.cells.iter().zip(&self.columns).zip(&widths);
            let cells: Vec<String> = cells
                .map(|((cell, column), width)| fit(cell, *width, column.set))
                .collect();
            out.push_str(cells.join(GAP).trim_end());
            out.push('\n');
        }
        out
    }

    /// The whole picture, to be drawn over the last one.
    pub(super) fn picture(&self, header: &Header<'_>, size: Size, now: Duration) -> String {
        let mut out = String::from("\x1b[H");
        // The last line stays empty: a line end there would scroll the picture away.
        let room = size.rows.saturating_sub(LINES_BESIDE_ROWS).max(1);
        let widths = self.widths(size.columns);
        line(&mut out, &self.header(header, size.columns));
        line(&mut out, &format!("\x1b[1m{}\x1b[0m", self.names(&widths)));
        for row in self.rows.iter().take(room) {
            line(&mut out, &self.row(row, &widths, now));
        }
        if let Some(below) = self.rows.len().checked_sub(room).filter(|below| *below > 0) {
            let more = fit_to(&format!("… {below} more rows"), size.columns);
            line(&mut out, &format!("\x1b[2m{more}\x1b[0m"));
        }
        out.push_str("\x1b[J");
        out
    }

    fn header(&self, header: &Header<'_>, columns: usize) -> String {
        let (colour, link) = match &header.link {
            Link::Loading => ("33", "loading".to_owned()),
            Link::Live => ("32", "live".to_owned()),
            Link::Lost(why) => ("31", printable(why)),
        };
        let mut text = format!("{}  ", printable(header.title));
        let row_count = self.rows.len();
        let plural = if row_count == 1 { "" } else { "s" };
        let mut rest = format!("  {row_count} row{plural}");
        if let Some(position) = header.position {
            // Writing to a text cannot fail.
            let _ = write!(rest, "  at {}", printable(position));
        }
        if let Some(since) = header.since_change {
            let _ = write!(rest, "  changed {} ago", age(since));
        }
        // The state comes before the numbers: when the window is narrow, it is what must stay.
        text = fit_to(&text, columns);
        let link_room = columns.saturating_sub(width(&text));
        let link = fit_to(&format!("● {link}"), link_room);
        let rest_room = link_room.saturating_sub(width(&link));
        format!(
            "{text}\x1b[{colour}m{link}\x1b[0m{}",
            fit_to(&rest, rest_room)
        )
    }

    fn names(&self, widths: &[usize]) -> String {
        let names = self.columns.iter().zip(widths);
        let names = names.map(|(column, width)| {
            // A name says most at its beginning, whatever the cells below do.
            let set = match column.set {
                Set::Left | Set::Time => Set::Left,
                Set::Right => Set::Right,
            };
            fit(&printable(&column.name), *width, set)
        });
        let names = names.collect::<Vec<_>>().join(GAP);
        let is_whole = widths.len() == self.columns.len();
        names + if is_whole { "" } else { MORE }
    }

    fn row(&self, row: &ShownRow, widths: &[usize], now: Duration) -> String {
        let cells = row.cells.iter().zip(&row.marked_until);
        let cells = cells.zip(&self.columns).zip(widths);
        let cells = cells.map(|(((cell, marked_until), column), width)| {
            let text = fit(cell, *width, column.set);
            if *marked_until > now {
                format!("\x1b[30;43m{text}\x1b[0m")
            } else {
                text
            }
        });
        cells.collect::<Vec<_>>().join(GAP)
    }

    /// The width of each column: as wide as its content, the widest ones narrowed until all fit.
    /// Columns at the right that do not fit even at their narrowest are left out.
    fn widths(&self, columns: usize) -> Vec<usize> {
        let content = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.cells.get(at));
            let widest = cells.map(|cell| width(cell)).max().unwrap_or(0);
            let name = width(&printable(&self.columns[at].name));
            widest.max(name).clamp(1, COLUMN_WIDTH_MAX)
        };
        let mut widths: Vec<usize> = (0..self.columns.len()).map(content).collect();
        let total = |widths: &[usize]| {
            widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
        };
        let all = widths.len();
        loop {
            let count = widths.len();
            let mark = if count < all { width(MORE) } else { 0 };
            let room = columns.saturating_sub(mark);
            if total(&widths) <= room {
                break;
            }
            match widths.iter_mut().max() {
                Some(widest) if *widest > COLUMN_WIDTH_MIN => *widest -= 1,
                Some(_) if count > 1 => widths.truncate(count - 1),
                Some(only) if *only > room => *only = room,
                Some(_) | None => break,
            }
        }
        widths
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push_str("\x1b[K\r\n");
}

/// A text cut to a width, but not filled.
fn fit_to(text: &str, columns: usize) -> String {
    fit(text, columns.min(width(text)), Set::Left)
}

fn age(since: Duration) -> String {
    match since.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests;
