//! Engines that are down or refuse, as whoever starts the program sees them.

use std::net::TcpListener;
use std::process::Stdio;

use crate::engines::address;
use crate::harness::{Folder, get, run, tidegate};

/// A database that is not there is waited for, and `/ready` says so; the process stays.
#[test]
fn an_engine_that_is_down_is_waited_for() {
    let free = || {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        taken.local_addr().expect("it is bound")
    };
    let (admin, nobody) = (free(), free());
    let folder = Folder::new();
    let database = format!("--database=postgres://me@{nobody}/shop");
    let mut child = tidegate(folder.path())
        .args(["serve", "--listen=127.0.0.1:0", &database])
        .arg(format!("--admin={admin}"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let log = std::io::BufReader::new(child.stderr.take().expect("it is piped"));
    let mut lines = std::io::BufRead::lines(log).map_while(Result::ok);
    let tries = lines
        .by_ref()
        .filter(|line| line.contains("the database is not there yet"));
    assert_eq!(tries.take(2).count(), 2, "it tries again");
    let ready = get(admin, "/ready");
    assert_eq!(ready.status, 503);
    for part in ["\"bus\":true", "\"database\":false", "\"gateway\":false"] {
        assert!(ready.body.contains(part), "{}", ready.body);
    }
    assert_eq!(get(admin, "/health").status, 200);
    child.kill().expect("it runs");
    child.wait().expect("it is our child");
}

/// A database that is there and says no ends the process, with its sentence and a code of its own.
#[test]
fn an_engine_that_refuses_is_code_78() {
    let server = address("TIDEGATE_TEST_POSTGRES");
    let (base, _) = server
        .rsplit_once('/')
        .expect("the address names a database");
    let folder = Folder::new();
    let database = format!("--database={base}/no_such_database");
    let output = run(folder.path(), &["serve", "--listen=127.0.0.1:0", &database]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    assert!(stderr.contains("no_such_database"), "{stderr}");
}
