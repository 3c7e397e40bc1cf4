//! The address of the database comes to mean another one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tidegate_client::{Client, Options, Subscribe, Subscription, Update};
use tidegate_engines::{Kind, Services};

use crate::engines::{Site, TENANT};
use crate::harness::Served;
use crate::queries::RandomQuery;
use crate::watchers::{answers, is_same};
use crate::writers::last_write;

const QUERIES: usize = 8;
/// Some ten times what it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
const DATABASE: &str = "shop";
const ROWS: &str =
    "INSERT INTO demo_things (id, n) SELECT id, id % 5 FROM generate_series(1, 30) AS id";

/// Whatever the server is exchanged for, every client is told that its page's history is over, gets
/// what is there now, and can wait for what it writes there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_database_is_another_life() {
    let exchanged = tokio::time::timeout(PATIENCE, exchange()).await;
    exchanged.expect("the server lives and the pages come");
}

async fn exchange() {
    // The server ends with the thread that starts it, so it has to be this one.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = folder.parent().expect("it is below the target folder");
    let mut services = Services::start(target, &[Kind::Postgres]).expect("it starts");
    let server = services.address(Kind::Postgres).to_owned();
    let mut site = Site::named(&server, DATABASE, &[TENANT]).await;
    write(&mut site, ROWS).await;
    let served = Served::start(&["--database", &site.url]);
    let mut pages = Pages::open(&served).await;
    pages.check(&mut site, Some("subscribe")).await;

    // An earlier state of the same server: it counts on from where it was, and so would we.
    let data = services.data(Kind::Postgres);
    let copy = data.with_extension("copy");
    services.kill(Kind::Postgres).expect("it runs");
    copy_folder(&data, &copy);
    services.restart(Kind::Postgres).expect("it comes back");
    write(
        &mut site,
        "UPDATE demo_things SET n = n + 1; DELETE FROM demo_things WHERE id > 20",
    )
    .await;
    // Much log, so that the earlier state does not reach the same position soon.
    write(
        &mut site,
        "CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 9999)",
    )
    .await;
    pages.check(&mut site, None).await;
    services.kill(Kind::Postgres).expect("it runs");
    std::fs::remove_dir_all(&data).expect("it is ours");
    std::fs::rename(&copy, &data).expect("it is ours");
    services.restart(Kind::Postgres).expect("it comes back");
    pages.check(&mut site, Some("epoch")).await;

    // The same rows on a new timeline: a standby that is promoted when it has been found to be one.
    services.kill(Kind::Postgres).expect("it runs");
    std::fs::write(data.join("standby.signal"), "").expect("it is ours");
    let settings = data.join("postgresql.auto.conf");
    std::fs::write(settings, "restore_command = 'false'\n").expect("it is ours");
    services.restart(Kind::Postgres).expect("it comes back");
    promote(&mut site).await;
    pages.check(&mut site, Some("epoch")).await;

    // Another server, with a table of the same name. One that lacks the database would be refused.
    served.signal("STOP");
    services.kill(Kind::Postgres).expect("it runs");
    services.renew_postgres().expect("it can be made");
    services.restart(Kind::Postgres).expect("it comes up");
    let mut site = Site::named(&server, DATABASE, &[TENANT]).await;
    write(&mut site, &ROWS.replace("30", "40")).await;
    served.signal("CONT");
    pages.check(&mut site, Some("epoch")).await;
    drop(served);
}

async fn write(site: &mut Site, sql: &str) {
    let database = site.connect().await;
    database.batch_execute(sql).await.expect("it is SQL");
}

/// Waits until somebody else has come to the standby, and makes it the primary.
async fn promote(site: &mut Site) {
    let database = site.connect().await;
    let others = "SELECT count(*) FROM pg_stat_activity \
                  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    loop {
        let found = database.query_one(others, &[]).await.expect("it reads");
        if found.get::<_, i64>(0) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let promoted = database.query_one("SELECT pg_promote()", &[]).await;
    assert!(promoted.expect("it answers").get::<_, bool>(0));
}

/// With owners and times, as a server wants its folder to be.
fn copy_folder(from: &Path, to: &PathBuf) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("there is a cp").success());
}

struct Pages {
    client: Client,
    queries: Vec<RandomQuery>,
    pages: Vec<Subscription>,
}

impl Pages {
    async fn open(served: &Served) -> Self {
        let options = Options::new(&served.ws_url(TENANT, "history"));
        let client = Client::connect(options).await.expect("the server is up");
        let mut random = StdRng::seed_from_u64(3);
        let queries: Vec<RandomQuery> = (0..QUERIES)
            .map(|_| RandomQuery::new(&mut random))
            .collect();
        let mut pages = Vec::new();
        for query in &queries {
            let subscribe = Subscribe::from_json("things", &query.json).expect("it is JSON");
            pages.push(client.subscribe(subscribe).await.expect("the client lives"));
        }
        Self {
            client,
            queries,
            pages,
        }
    }

    /// Waits until each page was begun anew for this reason, if there is one. Then writes a row,
    /// waits until every page has passed that, and holds them against SQL; nothing is begun anew
    /// meanwhile.
    ///
    /// Until the stream of changes has found the other database, a position of it means nothing.
    async fn check(&mut self, site: &mut Site, reason: Option<&str>) {
        for page in &mut self.pages {
            while let Some(reason) = reason {
                match page.next().await.expect("it goes on") {
                    Update::Snapshot(snapshot) => {
                        assert_eq!(snapshot.reason.name(), reason);
                        break;
                    }
                    Update::Diff(_) | Update::Resumed { .. } => {}
                    Update::Error(fault) => panic!("a subscription ended: {fault}"),
                }
            }
        }
        let last = last_write(&self.client).await;
        let database = site.connect().await;
        let answers = answers(&database, &self.queries).await;
        for ((page, query), answer) in self.pages.iter_mut().zip(&self.queries).zip(&answers) {
            let point = loop {
                match page.sync_point(last).await {
                    Ok(point) => break point,
                    Err(fault) => assert!(fault.retry, "{fault}"),
                }
            };
            while !page.has_passed(point) {
                let update = page.next().await.expect("it goes on");
                assert!(matches!(update, Update::Diff(_)), "{update:?}");
            }
            let shown = format!("[{}]", page.rows().collect::<Vec<_>>().join(","));
            let json = &query.json;
            assert!(is_same(&shown, answer), "{json}\n{shown}\n{answer}");
        }
    }
}
