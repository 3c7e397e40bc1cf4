//! Connections behind TLS, to a server whose certificate the test made. Built with `tls` only.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tidegate_core::Tenancy;
use tidegate_ports::{Database, PortError};
use tidegate_postgres::{PostgresConfig, PostgresDatabase, PostgresTls};
use tokio_postgres::Client;

use crate::harness::{Site, connect, one, server};

/// Certificates in a folder that is removed when dropped: `ours` signed the one for `localhost`,
/// `theirs` signed nothing.
struct Certificates(PathBuf);

impl Certificates {
    fn make() -> Self {
        let folder = std::env::temp_dir().join(format!("tidegate-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["ours", "theirs"] {
            let subject = format!("/CN={name}");
            openssl(
                &folder,
                &[
                    "req",
                    "-x509",
                    "-newkey",
                    "rsa:2048",
                    "-nodes",
                    "-days",
                    "2",
                    "-subj",
                    &subject,
                    "-keyout",
                    &format!("{name}.key"),
                    "-out",
                    &format!("{name}.pem"),
                ],
            );
        }
        std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost").unwrap();
        openssl(
            &folder,
            &[
                "req",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                "/CN=localhost",
                "-keyout",
                "server.key",
                "-out",
                "server.csr",
            ],
        );
        openssl(
            &folder,
            &[
                "x509",
                "-req",
                "-in",
                "server.csr",
                "-CA",
                "ours.pem",
                "-CAkey",
                "ours.key",
                "-CAcreateserial",
                "-days",
                "2",
                "-extfile",
                "names",
                "-out",
                "server.pem",
            ],
        );
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(arguments);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "{arguments:?}");
}

/// Tells the server to speak TLS with this certificate, or not to, and waits until it does so.
async fn switch(admin: &Client, on: bool) {
    let word = if on { "on" } else { "off" };
    // Each is a statement of its own: it may not be in a transaction.
    for sql in [
        &format!("ALTER SYSTEM SET ssl = {word}"),
        "SELECT pg_reload_conf()",
    ] {
        admin.batch_execute(sql).await.unwrap();
    }
    while one(&connect(&server()).await, "SHOW ssl").await != word {
        tokio::task::yield_now().await;
    }
}

/// Puts the certificate where the server finds it, as files of the server's user.
async fn install(admin: &Client, certificates: &Certificates) {
    let data = PathBuf::from(one(admin, "SHOW data_directory").await);
    let owner = std::fs::metadata(&data).unwrap();
    for (from, to) in [("server.pem", "server.crt"), ("server.key", "server.key")] {
        let to = data.join(to);
        std::fs::copy(certificates.file(from), &to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&to, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}

fn database(address: &str, tls: PostgresTls) -> Result<PostgresDatabase, PortError> {
    PostgresDatabase::new(PostgresConfig {
        tls,
        ..PostgresConfig::new(address, Tenancy::Single)
    })
}

/// Why neither kind of connection comes about.
async fn refused(address: &str, tls: PostgresTls) -> String {
    let db = match database(address, tls) {
        Ok(db) => db,
        Err(error) => return error.to_string(),
    };
    let checked = db.check().await.unwrap_err();
    let streamed = db.changes().await.unwrap_err();
    for error in [&checked, &streamed] {
        assert!(matches!(error, PortError::Rejected { .. }), "{error:?}");
    }
    checked.to_string()
}

/// Whoever asks for encryption gets it, on every connection, with whom it trusts; or a sentence.
#[tokio::test]
async fn nothing_is_sent_in_the_clear() {
    let certificates = Certificates::make();
    let site = Site::new().await;
    let named = site.address.replacen("127.0.0.1", "localhost", 1);
    let admin = connect(&server()).await;
    install(&admin, &certificates).await;
    switch(&admin, true).await;
    let ours = PostgresTls::VerifyFull(Some(certificates.file("ours.pem")));
    for tls in [PostgresTls::Prefer, PostgresTls::Require, ours.clone()] {
        let db = database(&named, tls.clone()).unwrap();
        let _stream = db.changes().await.unwrap();
        let others = "SELECT count(*) FILTER (WHERE ssl)::text || ' of ' || count(*)::text \
            FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let counted = one(&site.foreign().await, others).await;
        let (encrypted, all) = counted.split_once(" of ").unwrap();
        assert_eq!(encrypted, all, "{tls:?}");
        assert!(
            encrypted.parse::<u32>().unwrap() >= 3,
            "pool, stream and heartbeats: {counted}"
        );
    }
    let theirs = PostgresTls::VerifyFull(Some(certificates.file("theirs.pem")));
    let why = refused(&named, theirs).await;
    assert!(why.contains("nobody who is trusted signed"), "{why}");
    let why = refused(&named, PostgresTls::VerifyFull(None)).await;
    assert!(why.contains("nobody who is trusted signed"), "{why}");
    let why = refused(&site.address, ours.clone()).await;
    assert!(why.contains("for another name"), "{why}");
    let absent = PostgresTls::VerifyFull(Some(certificates.file("absent")));
    let why = refused(&named, absent).await;
    assert!(why.contains("absent cannot be read"), "{why}");
    switch(&admin, false).await;
    for tls in [PostgresTls::Require, ours] {
        let why = refused(&named, tls).await;
        assert!(why.contains("set ssl = on there"), "{why}");
    }
    database(&named, PostgresTls::Prefer)
        .unwrap()
        .check()
        .await
        .unwrap();
}
