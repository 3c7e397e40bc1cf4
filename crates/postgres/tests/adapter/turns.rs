//! Relays of one bus take turns.

use tidegate_core::Tenancy;
use tidegate_ports::{ChangeStream, Database, PortError};
use tidegate_postgres::{PostgresConfig, PostgresDatabase, Streams};

use crate::harness::{Site, next, one};

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
