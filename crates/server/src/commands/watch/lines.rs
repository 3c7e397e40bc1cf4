//! Updates as JSON lines, for pipes: one update, one line.

use tidegate_client::{PageChange, Update};

/// The line of an update, with its end. An error has none: it ends the program.
pub(super) fn line(update: &Update) -> String {
    let mut line = match update {
        Update::Snapshot(snapshot) => {
            let rows: Vec<&str> = snapshot.rows.iter().map(|row| &*row.json).collect();
            format!(
                r#"{{"kind":"snapshot","position":{},"reason":{},"rows":[{}]}}"#,
                quoted(snapshot.position.as_str()),
                quoted(snapshot.reason.name()),
                rows.join(",")
            )
        }
        Update::Resumed { position, .. } => {
            let position = quoted(position.as_str());
            format!(r#"{{"kind":"resumed","position":{position}}}"#)
        }
        Update::Diff(diff) => {
            let changes: Vec<String> = diff.changes.iter().map(change).collect();
            format!(
                r#"{{"kind":"diff","position":{},"changes":[{}]}}"#,
                quoted(diff.position.as_str()),
                changes.join(",")
            )
        }
        Update::Error(_) => return String::new(),
    };
    // In JSON a line break can only stand between tokens; the row is as good without.
    if line.contains(['\n', '\r']) {
        line = line.replace(['\n', '\r'], " ");
    }
    line.push('\n');
    line
}

fn change(change: &PageChange) -> String {
    match change {
        PageChange::Removed { pk, from } => {
            format!(r#"{{"kind":"removed","pk":{},"from":{from}}}"#, quoted(pk))
        }
        PageChange::Added { pos, row } => format!(
            r#"{{"kind":"added","pk":{},"pos":{pos},"row":{}}}"#,
            quoted(&row.pk),
            row.json
        ),
        PageChange::Modified { from, pos, row } => format!(
            r#"{{"kind":"modified","pk":{},"from":{from},"pos":{pos},"row":{}}}"#,
            quoted(&row.pk),
            row.json
        ),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    //! Shows that every update is one line of JSON that holds its rows as they came.

    use std::sync::Arc;

    use tidegate_client::{
        PageChange, PageDiff, PagePosition, PageRow, PageSnapshot, SnapshotReason, Update,
    };

    use super::line;

    #[test]
    fn updates_are_lines() {
        let snapshot = Update::Snapshot(Arc::new(PageSnapshot {
            rows: vec![
                PageRow::new("1", "{\"n\":1.10,\n\"t\":\"a\\nb\"}"),
                PageRow::new("2", "{}"),
            ],
            position: PagePosition::new("7-0"),
            lsn: None,
            reason: SnapshotReason::Subscribe,
        }));
        let expect = r#"{"kind":"snapshot","position":"7-0","reason":"subscribe","rows":[{"n":1.10, "t":"a\nb"},{}]}"#;
        assert_eq!(line(&snapshot), format!("{expect}\n"));

        let diff = Update::Diff(PageDiff {
            changes: vec![
                PageChange::Removed {
                    pk: "[1,\"a\"]".into(),
                    from: 3,
                },
                PageChange::Added {
                    pos: 0,
                    row: PageRow::new("5", "{\"id\":5}"),
                },
                PageChange::Modified {
                    from: 1,
                    pos: 2,
                    row: PageRow::new("6", "{}"),
                },
            ],
            position: PagePosition::new("7-1"),
            lsn: None,
        });
        let expect = concat!(
            r#"{"kind":"diff","position":"7-1","changes":[{"kind":"removed","pk":"[1,\"a\"]","from":3},"#,
            r#"{"kind":"added","pk":"5","pos":0,"row":{"id":5}},"#,
            r#"{"kind":"modified","pk":"6","from":1,"pos":2,"row":{}}]}"#,
        );
        assert_eq!(line(&diff), format!("{expect}\n"));

        let resumed = Update::Resumed {
            position: PagePosition::new("7-1"),
            lsn: None,
        };
        assert_eq!(
            line(&resumed),
            "{\"kind\":\"resumed\",\"position\":\"7-1\"}\n"
        );
    }
}
