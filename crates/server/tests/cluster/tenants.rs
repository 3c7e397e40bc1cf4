//! Two tenants with live pages over one table, while rows move between them.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};
use tidegate_client::{Client, Options, Payload, QueryBuilder, Subscribe, Subscription, Update};
use tidegate_core::{Literal, Lsn, Operator, Sort};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::engines::{Site, address};
use crate::harness::Served;

const TENANTS: [&str; 2] = ["acme", "beta"];
const KEYS: i64 = 20;
const TRANSACTIONS: usize = 150;

/// Whose a row is stands in it once more, under a name that clients know, and is changed with it.
const TABLE: &str = "CREATE TABLE things(id bigint PRIMARY KEY, tenant_id text, owner text, \
     n integer); ALTER TABLE things REPLICA IDENTITY FULL";

/// Pages of different kinds, and the end of the SQL that answers each.
fn queries() -> [(QueryBuilder, &'static str); 3] {
    let things = || QueryBuilder::table("things");
    let below = Literal::Number("50".to_owned());
    [
        (things().limit(100), "ORDER BY id"),
        (
            things().order("n", Sort::AscDefault).limit(3),
            "ORDER BY n, id LIMIT 3",
        ),
        (
            things().filter("n", Operator::LessThan, below).limit(100),
            "AND n < 50 ORDER BY id",
        ),
    ]
}

/// No page of a tenant shows a row of the other at any moment, and each ends as SQL says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_move_leave_one_tenant_and_reach_the_other() {
    let mut site = Site::at(&address("TIDEGATE_TEST_POSTGRES"), &[]).await;
    let mut database = site.connect().await;
    database.batch_execute(TABLE).await.expect("it is new");
    let served = Served::start(&["--database", &site.url, "--tenancy", "column"]);
    let mut clients = Vec::new();
    let mut watching = JoinSet::new();
    let (finish, finished) = watch::channel(None);
    for tenant in TENANTS {
        let options = Options::new(&served.ws_url(tenant, "watcher"));
        let client = Client::connect(options).await.expect("the server is up");
        for (query, _) in queries() {
            let text = query.to_json();
            let subscribe = Subscribe::from_json("things", &text).expect("it is JSON");
            let page = client.subscribe(subscribe).await.expect("it lives");
            let finished = finished.clone();
            watching.spawn(async move { (tenant, text, watch_page(tenant, page, finished).await) });
        }
        clients.push(client);
    }
    let mut random = StdRng::seed_from_u64(7);
    for step in 0..TRANSACTIONS {
        let transaction = database.transaction().await.expect("it is up");
        if step == TRANSACTIONS / 2 {
            let empty = transaction.batch_execute("TRUNCATE things").await;
            empty.expect("it is there");
        }
        for _ in 0..random.random_range(1..5) {
            let statement = statement(&mut random);
            transaction.batch_execute(&statement).await.expect("SQL");
        }
        transaction.commit().await.expect("it is up");
    }
    let mut last = Lsn::ZERO;
    for (client, (tenant, id)) in clients.iter().zip(TENANTS.iter().zip(1_000..)) {
        let row = json!({"row": {"id": id.to_string(), "n": 1, "owner": tenant}}).to_string();
        let payload = Payload::parse(&row).expect("JSON");
        let reply = client.rpc("ADD_SINGLE", Some("things"), payload).await;
        last = last.max(reply.expect("it is allowed").lsn.expect("it wrote"));
    }
    finish.send_replace(Some(last));
    for (tenant, text, shown) in watching.join_all().await {
        let ends = queries().map(|(query, end)| (query.to_json(), end));
        let (_, end) = ends
            .iter()
            .find(|(query, _)| *query == text)
            .expect("asked");
        let sql = format!("SELECT id::text AS key FROM things WHERE tenant_id = '{tenant}' {end}");
        let rows = database.query(&sql, &[]).await.expect("SQL");
        let answer: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(shown, answer, "{tenant}: {text}");
        assert!(!shown.is_empty(), "its own last row at least");
    }
    drop(served);
}

fn statement(random: &mut StdRng) -> String {
    let tenant = match random.random_range(0..9) {
        0 => "NULL".to_owned(),
        roll => format!("'{}'", TENANTS[roll % 2]),
    };
    let (id, n) = (random.random_range(0..KEYS), random.random_range(0..100));
    match random.random_range(0..6) {
        0 | 1 => format!(
            "INSERT INTO things VALUES ({id}, {tenant}, {tenant}, {n}) ON CONFLICT (id)
             DO UPDATE SET tenant_id = {tenant}, owner = {tenant}, n = {n}"
        ),
        2 => format!("UPDATE things SET n = {n} WHERE id = {id}"),
        3 => format!("UPDATE things SET tenant_id = {tenant}, owner = {tenant} WHERE id = {id}"),
        // All at once.
        4 => format!(
            "UPDATE things SET tenant_id = {tenant}, owner = {tenant} WHERE id % 3 = {}",
            id % 3
        ),
        _ => format!("DELETE FROM things WHERE id = {id}"),
    }
}

/// Keeps a page until it has passed the last commit; gives the keys that it shows then.
async fn watch_page(
    tenant: &str,
    mut page: Subscription,
    mut finished: watch::Receiver<Option<Lsn>>,
) -> Vec<String> {
    let last = loop {
        tokio::select! {
            last = finished.wait_for(Option::is_some) => {
                break last.expect("the test lives").expect("waited for");
            }
            update = page.next() => check(tenant, &page, update.expect("it goes on")),
        }
    };
    let point = page.sync_point(last).await.expect("it is not busy");
    while !page.has_passed(point) {
        let update = page.next().await.expect("it goes on");
        check(tenant, &page, update);
    }
    rows(&page)
        .map(|row| row["id"].as_str().expect("a key").to_owned())
        .collect()
}

fn rows(page: &Subscription) -> impl Iterator<Item = Json> {
    page.rows()
        .map(|row| serde_json::from_str(row).expect("rows are JSON"))
}

/// Every row on a page is its tenant's, and none says so by a column that clients do not know.
fn check(tenant: &str, page: &Subscription, update: Update) {
    if let Update::Error(fault) = update {
        panic!("a subscription ended: {fault}");
    }
    for row in rows(page) {
        assert_eq!(row["owner"], tenant, "{row}");
        assert_eq!(row.get("tenant_id"), None, "{row}");
    }
}
