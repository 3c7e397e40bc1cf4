//! Operators that are live over Postgres, and those that are not, as a client meets them.

use serde_json::{Value as Json, json};

use crate::engines::Site;
use crate::harness::{Served, Socket};

fn subscribe(socket: &mut Socket, label: &str, column: &str, operator: &str, value: &Json) {
    let test = json!({ "field_name": column, "filter_type": operator, "value": value });
    let query = json!({
        "wrapper": { "filter_wrapper_type": "and", "filters": [test] },
        "order": [{ "field": "id", "sort": "ASC_DEFAULT" }],
    });
    let frame = json!({ "op": "subscribe", "table": "notes", "hashId": label, "query": query });
    socket.send(&frame.to_string());
}

/// The next frame that says this of a subscription.
fn next(socket: &mut Socket, op: &str, label: &str) -> Json {
    loop {
        let text = socket.text_with(&format!("\"op\":\"{op}\""));
        let frame: Json = serde_json::from_str(&text).unwrap();
        if frame["hashId"] == label {
            return frame;
        }
    }
}

/// Arrays, documents, ranges, patterns and text of any case are kept live; a pattern that only
/// Postgres understands is refused by its code, and read all the same.
#[test]
fn operators_are_live_where_they_are_certain() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (site, database) = runtime.block_on(async {
        let mut site = Site::new().await;
        let database = site.connect().await;
        let table = "CREATE TABLE demo_notes(id INTEGER PRIMARY KEY, title TEXT, tags TEXT[], \
                     doc JSONB, span INT4RANGE, clock TIME)";
        database.batch_execute(table).await.unwrap();
        (site, database)
    });
    let served = Served::start(&["--database", &site.url]);
    let mut socket = served.connect("demo", "ada");
    let text = |text: &str| json!({ "StringValue": { "value": text } });
    for (label, column, operator, value) in [
        ("tags", "tags", "arrayContains", text("new")),
        ("doc", "doc", "jsonContains", text("{\"a\":[1]}")),
        (
            "span",
            "span",
            "rangeContains",
            json!({ "NumberValue": { "value": 5 } }),
        ),
        ("title", "title", "regex", text("(?i)^re: .*[0-9]$")),
    ] {
        subscribe(&mut socket, label, column, operator, &value);
        let snapshot = next(&mut socket, "snapshot", label);
        assert_eq!(snapshot["rows"], json!([]), "{label}");
        let insert = "INSERT INTO demo_notes VALUES \
             (1, 'Re: it 7', '{new,NULL}', '{\"a\":[2,1.0]}', '[1,6)', '12:00'), \
             (2, 'none', '{}', '[]', 'empty', NULL)";
        runtime.block_on(database.batch_execute(insert)).unwrap();
        let diff = next(&mut socket, "diff", label);
        let row = json!({ "id": 1, "title": "Re: it 7", "tags": ["new", null],
            "doc": { "a": [2, 1.0] }, "span": "[1,6)", "clock": "12:00:00" });
        let added = json!([{ "kind": "added", "pk": "1", "pos": 0, "row": row }]);
        assert_eq!(diff["changes"], added, "{label}");
        let empty = "DELETE FROM demo_notes";
        runtime.block_on(database.batch_execute(empty)).unwrap();
        let diff = next(&mut socket, "diff", label);
        assert_eq!(diff["changes"][0]["kind"], "removed", "{label}");
    }
    for (column, operator, value) in [
        ("title", "regex", text("(.)\\1")),
        ("clock", "lessThan", text("13:00")),
    ] {
        subscribe(&mut socket, "odd", column, operator, &value);
        let error = next(&mut socket, "error", "odd");
        assert_eq!(
            (&error["code"], &error["retry"]),
            (&json!("not_live"), &json!(false))
        );
        assert!(
            error["message"].as_str().unwrap().contains(column),
            "{error}"
        );
        let test = json!({ "field_name": column, "filter_type": operator, "value": value });
        let payload = json!({ "wrapper": { "filter_wrapper_type": "and", "filters": [test] } });
        let call =
            json!({ "op": "rpc", "method": "GET_DATA", "table": "notes", "payload": payload });
        socket.send(&call.to_string());
        let reply: Json = serde_json::from_str(&socket.text_with("rpcResult")).unwrap();
        assert_eq!(
            (&reply["ok"], &reply["data"]["rows"]),
            (&json!(true), &json!([]))
        );
    }
}
