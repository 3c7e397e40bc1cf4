//! Lives, and servers that are not there or not as they should be.

use std::collections::HashSet;

use tidegate_core::{Command, Tenancy};
use tidegate_ports::{Database, DatabaseError, PortError};
use tidegate_postgres::{PostgresConfig, PostgresDatabase};

use crate::harness::{Site, number, one, table, tenant};

/// Every life is given once, whoever asks, and each is higher than those given before.
#[tokio::test]
async fn lives_rise() {
    let site = Site::new().await;
    let other = PostgresDatabase::new(PostgresConfig::new(&site.address, Tenancy::Single)).unwrap();
    let (a, b, c) = tokio::join!(site.db.next_life(), other.next_life(), site.db.next_life());
    let mut lives: Vec<u32> = [a, b, c].map(|life| life.unwrap().get()).to_vec();
    for _ in 0..3 {
        let next = other.next_life().await.unwrap().get();
        assert!(lives.iter().all(|life| *life < next));
        lives.push(next);
    }
    let distinct: HashSet<&u32> = lives.iter().collect();
    assert_eq!(distinct.len(), lives.len());
    // Nothing of ours is among the tables.
    let tables = site.run(Command::ListTables).await.unwrap();
    assert_eq!(tables.outcome, tidegate_core::Outcome::Tables(Vec::new()));
}

/// Nobody listens: every call says so, and that it may be tried again.
#[tokio::test]
async fn unreachable_server() {
    let address = "postgres://me:s3cret@127.0.0.1:1/none";
    let db = PostgresDatabase::new(PostgresConfig::new(address, Tenancy::Single)).unwrap();
    let check = |error: &PortError| {
        assert!(error.is_retryable(), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("s3cret"));
    };
    check(&db.next_life().await.unwrap_err());
    check(&db.changes().await.unwrap_err());
    match db.describe(&tenant(), &table("t")).await {
        Err(DatabaseError::Port(error)) => check(&error),
        other => panic!("{other:?}"),
    }
}

/// A database that is not there is not waited for, and neither are addresses that make no sense.
#[tokio::test]
async fn wrong_addresses() {
    let site = Site::new().await;
    let db = PostgresDatabase::new(PostgresConfig::new(
        format!("{}_none", site.address),
        Tenancy::Single,
    ))
    .unwrap();
    match db.changes().await {
        Err(PortError::Rejected { why, .. }) => assert!(why.contains("does not exist"), "{why}"),
        other => panic!("{other:?}"),
    }
    for address in ["", "mysql://x", "postgres://a,b/c", "postgres://host:x/c"] {
        let refused = PostgresDatabase::new(PostgresConfig::new(address, Tenancy::Single));
        assert!(
            matches!(refused, Err(PortError::Rejected { .. })),
            "{address}"
        );
    }
    let mut config = PostgresConfig::new(&site.address, Tenancy::Single);
    config.slot_prefix = "No; good".to_owned();
    assert!(PostgresDatabase::new(config).is_err());
}

/// Connections that the server ended are replaced: the next call works.
#[tokio::test]
async fn ended_connections_are_replaced() {
    let site = Site::with(|config| config.connections = 2).await;
    site.sql("CREATE TABLE t(id integer PRIMARY KEY)").await;
    site.add("t", &[("id", number("1"))]).await.unwrap();
    let other = site.foreign().await;
    let kill = "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    one(&other, kill).await;
    let mut tries = 0;
    while let Err(error) = site.add("t", &[("id", number("2"))]).await {
        // The end may not have come through yet.
        assert!(
            matches!(&error, DatabaseError::Port(error) if error.is_retryable()),
            "{error:?}"
        );
        tries += 1;
        assert!(tries < 5);
    }
    // And heartbeats go on.
    site.describe("t").await;
    let mut stream = site.db.changes().await.unwrap();
    for _ in 0..3 {
        crate::harness::next(&mut stream).await;
    }
}
