//! When a stream of changes can begin: relays of one bus take turns, and transactions that are open
//! hold it up.

use std::path::Path;
use std::time::Duration;

use tidegate_core::Tenancy;
use tidegate_engines::{Kind, Services};
use tidegate_ports::{ChangeStream, Database, PortError};
use tidegate_postgres::{PostgresConfig, PostgresDatabase, Streams};

use crate::harness::{Site, connect, next, one};

fn database(site: &Site, streams: Streams) -> PostgresDatabase {
    PostgresDatabase::new(PostgresConfig {
        streams,
        ..PostgresConfig::new(&site.address, Tenancy::Single)
    })
    .unwrap()
}

fn of(bus: &str) -> Streams {
    Streams::OneOf(bus.to_owned())
}

/// Until the server has noticed that the one before is gone.
async fn turn_of(database: &PostgresDatabase) -> ChangeStream {
    loop {
        match database.changes().await {
            Ok(stream) => return stream,
            Err(PortError::Taken { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Of those with one name the second has to wait until the first one's stream has ended, by itself
/// or by the server. Others do not wait for them.
#[tokio::test]
async fn one_of_a_name_streams_at_a_time() {
    let site = Site::new().await;
    let [first, second] = [(); 2].map(|()| database(&site, of("a bus")));
    let mut stream = first.changes().await.unwrap();
    next(&mut stream).await;
    for _ in 0..2 {
        let refused = second.changes().await;
        assert!(
            matches!(refused, Err(PortError::Taken { .. })),
            "{refused:?}"
        );
    }
    let other = database(&site, of("another bus"));
    drop(other.changes().await.unwrap());
    drop(database(&site, Streams::Many).changes().await.unwrap());
    drop(stream);
    let mut stream = turn_of(&second).await;
    next(&mut stream).await;

    // The server cuts the connection: with it go stream and turn, and never only one of them.
    let cut = "SELECT count(pg_terminate_backend(active_pid))::text FROM pg_replication_slots \
               WHERE database = current_database()";
    assert_eq!(one(&site.foreign().await, cut).await, "1");
    let mut taken = turn_of(&first).await;
    next(&mut taken).await;
    loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break assert!(error.is_retryable(), "{error}"),
            None => break,
        }
    }
    let refused = second.changes().await;
    assert!(
        matches!(refused, Err(PortError::Taken { .. })),
        "{refused:?}"
    );
}

/// Why a stream cannot begin is told, with what to do, and nothing is given up: a session that is
/// in a transaction, a prepared transaction that was left behind, slots that are all taken. On a
/// server of its own, for others would be held up as well.
#[tokio::test]
async fn who_holds_a_stream_up_is_told() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = folder.parent().unwrap();
    let services = Services::start(target, &[Kind::Postgres]).unwrap();
    let address = services.address(Kind::Postgres);
    let db = PostgresDatabase::new(PostgresConfig {
        start_timeout: Duration::from_millis(500),
        ..PostgresConfig::new(address, Tenancy::Single)
    })
    .unwrap();
    let refused = async |words: &[&str]| {
        let error = db.changes().await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        let told = error.with_causes().to_string();
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
    };
    let other = connect(address).await;
    let open = "CREATE TABLE t (id integer PRIMARY KEY); SET application_name = 'nightly'; \
                BEGIN; INSERT INTO t VALUES (1)";
    other.batch_execute(open).await.unwrap();
    refused(&[
        "(nightly) is in a transaction since",
        "pg_terminate_backend",
    ])
    .await;
    let prepare = "PREPARE TRANSACTION 'left behind'";
    other.batch_execute(prepare).await.unwrap();
    refused(&["'left behind'", "ROLLBACK PREPARED"]).await;
    let rollback = "ROLLBACK PREPARED 'left behind'";
    other.batch_execute(rollback).await.unwrap();

    let take = "SELECT count(pg_create_physical_replication_slot('taken_' || n))::text \
                FROM generate_series(1, current_setting('max_replication_slots')::integer) AS n";
    one(&other, take).await;
    refused(&["all replication slots are in use", "max_replication_slots"]).await;
    let drop_one = "SELECT pg_drop_replication_slot('taken_1')::text";
    one(&other, drop_one).await;
    let mut stream = turn_of(&db).await;
    next(&mut stream).await;
}
