//! Operators on documents, patterns and text without its case: SQLite asks the engine, and gives
//! the rows that the engine shows.

use tidegate_core::{
    Command, CommandError, FilterSpec, LimitRule, Literal, ModifierSpec, Operator, Query,
    QueryError, QuerySpec, Selection, Value,
};
use tidegate_ports::DatabaseError;
use tidegate_sqlite::SqliteDatabase;
use tidegate_view::matches;

use crate::harness::{Folder, config, describe, foreign, rows, run, snapshot, table, text};

const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, title TEXT, doc JSON, odd POINT);
    INSERT INTO t VALUES
      (1, 'Alpha 1', '{\"k\":1,\"s\":\"v1\",\"deep\":{\"a\":[1,2]}}', 'x'),
      (2, 'beta 2', '[1,\"two\",null]', 'y'),
      (3, 'Gr\u{fc}\u{df}e' || char(10) || 'x', '{\"s\":null,\"k\":1.0}', NULL),
      (4, NULL, NULL, NULL),
      (5, 'nul' || char(0) || 'A', 7, NULL),
      (6, '', '{\"k\":0,\"k\":1}', NULL)";

fn spec(column: &str, operator: Operator, value: Literal, modifier: ModifierSpec) -> QuerySpec {
    QuerySpec {
        filter: Some(FilterSpec::Test {
            column: column.to_owned(),
            operator,
            value: Some(value),
            modifier,
        }),
        ..QuerySpec::default()
    }
}

async fn selected(db: &SqliteDatabase, query: QuerySpec) -> Result<Vec<i64>, DatabaseError> {
    let selection = Selection { query, offset: 0 };
    let reply = run(db, Command::GetData(table("t"), selection)).await?;
    let id = |value: &Value| match value {
        Value::Int(id) => *id,
        other => panic!("{other:?}"),
    };
    Ok(rows(&reply).iter().map(|row| id(&row[0])).collect())
}

/// An operator on a column with a value and a modifier, and the ids of the rows that it selects.
type Case = (
    &'static str,
    Operator,
    Literal,
    ModifierSpec,
    &'static [i64],
);

fn cases() -> Vec<Case> {
    let plain = ModifierSpec::default();
    let ignoring = ModifierSpec {
        case_insensitive: true,
        ..plain
    };
    let distinct = ModifierSpec {
        distinct: true,
        ..plain
    };
    let list = |members: &[&str]| Literal::List(members.iter().map(|m| text(m)).collect());
    use Operator::{
        Contains, EndsWith, Equals, InList, JsonContainedBy, JsonContains, JsonGetField,
        JsonGetFieldAsText, JsonHasAllKeys, JsonHasAnyKey, JsonHasKey, NotContains, NotEquals,
        NotRegex, Regex, StartsWith,
    };
    vec![
        ("title", Regex, text("^[a-z]+ [0-9]$"), plain, &[2]),
        ("title", Regex, text("^alpha"), ignoring, &[1]),
        ("title", NotRegex, text("[0-9]$"), plain, &[3, 5, 6]),
        ("title", Equals, text("ALPHA 1"), ignoring, &[1]),
        ("title", NotEquals, text("ALPHA 1"), ignoring, &[2, 3, 5, 6]),
        (
            "title",
            InList,
            list(&["BETA 2", "alpha 1"]),
            ignoring,
            &[1, 2],
        ),
        ("title", StartsWith, text("GR"), ignoring, &[3]),
        ("title", StartsWith, text(""), ignoring, &[1, 2, 3, 5, 6]),
        ("title", EndsWith, text("a"), ignoring, &[5]),
        ("title", Contains, text("TA"), ignoring, &[2]),
        ("title", NotContains, text("TA"), ignoring, &[1, 3, 5, 6]),
        (
            "title",
            NotEquals,
            text("beta 2"),
            distinct,
            &[1, 3, 4, 5, 6],
        ),
        ("doc", JsonContains, text("{\"k\":1}"), plain, &[1, 3, 6]),
        ("doc", JsonContains, text("7"), plain, &[5]),
        (
            "doc",
            JsonContainedBy,
            text("{\"k\":1,\"s\":null}"),
            plain,
            &[3, 6],
        ),
        ("doc", JsonHasKey, text("two"), plain, &[2]),
        ("doc", JsonHasAnyKey, list(&["deep", "two"]), plain, &[1, 2]),
        ("doc", JsonHasAllKeys, list(&["s", "k"]), plain, &[1, 3]),
        ("doc", JsonGetField, text("s"), plain, &[1, 3]),
        ("doc", JsonGetField, list(&["k", "1.00"]), plain, &[1, 3, 6]),
        ("doc", JsonGetFieldAsText, text("s"), plain, &[1]),
        ("doc", JsonGetFieldAsText, list(&["s", "v1"]), plain, &[1]),
    ]
}

/// Rows read are those that the engine would show, and those that they should be.
#[tokio::test]
async fn answers_are_the_engine_s() {
    let folder = Folder::new();
    foreign(&folder.file()).execute_batch(TABLE).unwrap();
    let db = SqliteDatabase::open(config(&folder.file())).unwrap();
    let schema = describe(&db, "t").await;
    let all = snapshot(&db, &schema).await.unwrap().rows;
    for (column, operator, value, modifier, expected) in cases() {
        let spec = spec(column, operator, value.clone(), modifier);
        let query = Query::live_from_spec(&spec, &schema, LimitRule::SUBSCRIPTION).unwrap();
        let shown: Vec<i64> = (1..)
            .zip(&all)
            .filter(|(_, row)| matches(query.filter(), row))
            .map(|(id, _)| id)
            .collect();
        let told = format!("{operator:?} {value:?}");
        assert_eq!(shown, expected, "shown: {told}");
        assert_eq!(selected(&db, spec).await.unwrap(), expected, "read: {told}");
    }
}

/// What only Postgres can decide is refused, in reads too.
#[tokio::test]
async fn refused() {
    let folder = Folder::new();
    foreign(&folder.file()).execute_batch(TABLE).unwrap();
    let db = SqliteDatabase::open(config(&folder.file())).unwrap();
    let plain = ModifierSpec::default();
    let ignoring = ModifierSpec {
        case_insensitive: true,
        ..plain
    };
    for (column, operator, value, modifier) in [
        ("title", Operator::Regex, "(a)\\1", plain),
        ("title", Operator::Equals, "é", ignoring),
        ("odd", Operator::Equals, "x", plain),
        ("title", Operator::ArrayContains, "x", plain),
        ("id", Operator::RangeContains, "1", plain),
    ] {
        let refused = selected(&db, spec(column, operator, text(value), modifier)).await;
        let is_operator = matches!(
            refused,
            Err(DatabaseError::Command(CommandError::Query(
                QueryError::UnsupportedOperator(_)
            )))
        );
        assert!(is_operator, "{operator:?}: {refused:?}");
    }
}
