//! PostgreSQL, from the system's package, as a source of logical changes.
//!
//! Its databases sort text by a language and not by bytes, as most real ones do: SQL that forgets
//! its `COLLATE "C"` shows.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::process::{Process, bound_to_us};
use crate::{Launch, Place, ports, programs};

/// Where Debian keeps the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The user it runs as when we are root, which it refuses to be.
const USER: &str = "postgres";

/// The ids that the next transaction gets, step by step: no step is as far as half of all ids.
const NEXT_IDS: [u32; 3] = [1_400_000_000, 2_800_000_000, u32::MAX - 3_000];

/// How the server keeps what became of transactions: in files of this many, two bits for each.
const IDS_PER_SEGMENT: u32 = 1 << 20;
const SEGMENT_BYTES: &str = "262144";

const INITDB_MAX: Duration = Duration::from_secs(120);
const READY_MAX: Duration = Duration::from_secs(60);

const INITDB: &[&str] = &[
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--locale-provider=icu",
    "--icu-locale=en-US",
    // The files die with the tests; only what the server itself writes is flushed.
    "--no-sync",
];

/// Settings beside the port: logical replication for many slots, and as safe as a real one.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "wal_level=logical",
    "max_replication_slots=40",
    "max_wal_senders=40",
    "max_connections=200",
    "max_prepared_transactions=40",
    "fsync=on",
    "synchronous_commit=on",
    "log_min_messages=warning",
    "log_min_error_statement=panic",
];

/// A server on a free port, over data of its own.
pub(super) fn prepare(place: &Place) -> Result<Launch> {
    programs::ensure("PostgreSQL", "postgresql", || programs_folder().is_some())?;
    make_data(place)?;
    let bin = programs_folder().context("it was just there")?;
    let user = user()?;
    let [port] = ports::free()?;
    let (data, programs) = (place.data(), bin.clone());
    let command = move || {
        let mut server = as_user(user);
        let server_arguments = arguments(port, &data);
        server.arg(programs.join("postgres")).args(server_arguments);
        server
    };
    Ok(Launch {
        address: format!("postgres://postgres@127.0.0.1:{port}/postgres"),
        name: "postgres",
        command: Box::new(command),
        // Children of the server leave its group, so it must end them itself: QUIT, not KILL.
        stop: Signal::QUIT,
        is_ready: Box::new(move || accepts(&bin, port)),
        ready_max: READY_MAX,
    })
}

/// Makes a cluster in an empty folder.
pub(super) fn make_data(place: &Place) -> Result<()> {
    let bin = programs_folder().context("PostgreSQL is not installed")?;
    let user = user()?;
    let data = place.data();
    if let Some(user) = user {
        crate::prepare(Command::new("chown").arg(user).arg(&data))?;
    }
    let mut initdb = as_user(user);
    initdb.arg(bin.join("initdb")).args(INITDB).arg(&data);
    Process::start("initdb", initdb, Signal::KILL, &place.log("initdb"))?
        .finish(INITDB_MAX)
        .context("if it may not reach its folder, choose a target folder that all may enter")?;
    bring_near_the_wrap(&bin, user, &data)
}

/// Lets transaction ids begin shortly before they wrap around, as those of an old server do: who
/// compares them by their lower half is found out within a test.
///
/// They are moved on in steps that the server still takes for the future, and after each step all
/// rows are marked as older than any transaction.
fn bring_near_the_wrap(bin: &Path, user: Option<&str>, data: &Path) -> Result<()> {
    let single = |database: &str, sql: &str| {
        let mut server = as_user(user);
        server.arg(bin.join("postgres")).arg("--single");
        server
            .arg("-D")
            .arg(data)
            .args(["-c", "fsync=off", database]);
        server
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut server = server.spawn().context("postgres could not be started")?;
        let mut input = server.stdin.take().context("it was just made")?;
        writeln!(input, "{sql}")?;
        drop(input);
        match server.wait()?.success() {
            true => Ok(()),
            false => bail!("{sql} did not work"),
        }
    };
    let closed = "UPDATE pg_database SET datallowconn = ";
    let template = "WHERE datname = 'template0'";
    single("postgres", &format!("{closed} true {template}"))?;
    let mut oldest = 3;
    for next in NEXT_IDS {
        let mut reset = as_user(user);
        reset.arg(bin.join("pg_resetwal")).arg("-D").arg(data);
        reset.args(["-x", &next.to_string(), "-u", &oldest.to_string()]);
        crate::prepare(&mut reset)?;
        // Says of the ids around here that none has committed.
        let mut zeros = as_user(user);
        let segment = data.join(format!("pg_xact/{:04X}", next / IDS_PER_SEGMENT));
        zeros
            .args(["truncate", "--size", SEGMENT_BYTES])
            .arg(segment);
        crate::prepare(&mut zeros)?;
        for database in ["template0", "template1", "postgres"] {
            single(database, "VACUUM FREEZE")?;
        }
        oldest = next;
    }
    single("postgres", &format!("{closed} false {template}"))?;
    single("postgres", "VACUUM FREEZE pg_database")
}

/// Whom it runs as, when not as us.
fn user() -> Result<Option<&'static str>> {
    Ok(programs::is_root()?.then_some(USER))
}

fn as_user(user: Option<&str>) -> Command {
    let mut command = bound_to_us("QUIT");
    if let Some(user) = user {
        command.args(["--reuid", user, "--regid", user, "--init-groups"]);
    }
    // The server wants a folder it may enter, and ours may be closed to its user.
    command.current_dir("/");
    command
}

fn arguments(port: u16, data: &Path) -> Vec<OsString> {
    let mut arguments = vec!["-D".into(), data.into()];
    arguments.extend(["-c".into(), format!("port={port}").into()]);
    for setting in SETTINGS {
        arguments.extend(["-c".into(), (*setting).into()]);
    }
    arguments
}

fn accepts(bin: &Path, port: u16) -> bool {
    let port = port.to_string();
    let status = Command::new(bin.join("psql"))
        .args(["--host=127.0.0.1", "--username=postgres", "--no-psqlrc"])
        .args(["--port", &port, "--command=SELECT 1", "postgres"])
        .env("PGCONNECT_TIMEOUT", "5")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// The programs of the newest version that has a server.
fn programs_folder() -> Option<PathBuf> {
    let versions = fs::read_dir(VERSIONS).ok()?;
    let names = versions.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    newest_first(names.collect())
        .into_iter()
        .map(|version| Path::new(VERSIONS).join(version).join("bin"))
        .find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
}

fn newest_first(names: Vec<String>) -> Vec<String> {
    let mut versions: Vec<(u32, String)> = names
        .into_iter()
        .filter_map(|name| Some((name.parse().ok()?, name)))
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    //! Shows the command line, and that versions are compared as numbers.

    use std::path::Path;

    use super::{arguments, as_user, newest_first};

    #[test]
    fn the_newest_version_comes_first_and_other_folders_not_at_all() {
        let names = ["9", "15", "old", "16"].map(str::to_owned).to_vec();
        assert_eq!(newest_first(names), ["16", "15", "9"]);
    }

    #[test]
    fn the_server_is_told_its_folder_port_and_settings() {
        let line: Vec<String> = arguments(4321, Path::new("/data"))
            .into_iter()
            .map(|argument| argument.into_string().unwrap())
            .collect();
        let line = line.join(" ");
        assert!(line.starts_with("-D /data -c port=4321 -c listen_addresses=127.0.0.1"));
        assert!(line.contains("-c wal_level=logical"), "{line}");
        assert!(line.contains("-c fsync=on"), "{line}");
    }

    #[test]
    fn only_root_changes_the_user() {
        let count = |user| as_user(user).get_args().count();
        assert_eq!(count(None), 2);
        assert_eq!(count(Some("postgres")), 7);
    }
}
