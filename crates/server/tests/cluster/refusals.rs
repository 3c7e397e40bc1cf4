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

/// The doctor finds what is wrong and what to do, makes topics when it is told to, and is content
/// when all is well.
#[test]
fn the_doctor_says_what_is_wrong() {
    let folder = Folder::new();
    let doctor = |more: &[&str]| {
        let said = [
            format!("--bus=kafka://{}", address("TIDEGATE_TEST_KAFKA")),
            format!("--cache={}", address("TIDEGATE_TEST_REDIS")),
            format!("--database={}", address("TIDEGATE_TEST_POSTGRES")),
            format!("--kafka-topic-prefix={}.", std::process::id()),
        ];
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        let output = run(folder.path(), &[&["doctor"], &said[..], more].concat());
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        (output.status.code(), stdout, stderr)
    };
    let (code, stdout, stderr) = doctor(&[]);
    assert_eq!(code, Some(78), "{stdout}{stderr}");
    assert!(stdout.contains("NOT  bus"), "{stdout}");
    assert!(
        stdout.contains("ok   cache") && stdout.contains("ok   database"),
        "{stdout}"
    );
    let (code, stdout, stderr) = doctor(&["--create-topics", "--partitions=3"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("with 3 partitions"), "{stdout}");
    let (code, stdout, stderr) = doctor(&["--partitions=4"]);
    assert_eq!(code, Some(78), "{stdout}{stderr}");
    assert!(stderr.contains('3') && stderr.contains('4'), "{stderr}");
}
