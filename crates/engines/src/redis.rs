//! Redis, from the system's package.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use crate::process::bound_to_us;
use crate::{Launch, Place, ports, programs};

const READY_MAX: Duration = Duration::from_secs(20);

/// How long one probe may wait for an answer.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// Redis as a cache on a free port.
pub(super) fn prepare(place: &Place) -> Result<Launch> {
    programs::ensure("redis-server", "redis-server", || {
        programs::starts("redis-server", "--version")
    })?;
    let [port] = ports::free()?;
    let data = place.data();
    let command = move || {
        let mut command = bound_to_us("KILL");
        command.arg("redis-server").args(arguments(port, &data));
        command
    };
    Ok(Launch {
        address: format!("redis://127.0.0.1:{port}"),
        name: "redis",
        command: Box::new(command),
        // What it holds dies with it, so it need not end in order.
        stop: Signal::KILL,
        is_ready: Box::new(move || answers_ping(port)),
        ready_max: READY_MAX,
    })
}

/// Redis as a cache: nothing is written to disk.
fn arguments(port: u16, data: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["--bind", "127.0.0.1", "--daemonize", "no"]
        .into_iter()
        .chain(["--save", "", "--appendonly", "no", "--dir"])
        .map(OsString::from)
        .collect();
    arguments.push(data.into());
    arguments.push("--port".into());
    arguments.push(port.to_string().into());
    arguments
}

fn answers_ping(port: u16) -> bool {
    let ping = || -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, PROBE_MAX)?;
        stream.set_read_timeout(Some(PROBE_MAX))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG\r\n")
    };
    ping().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    //! Shows the command line, and that a port without Redis is not taken for ready.

    use std::path::Path;

    use super::{answers_ping, arguments};
    use crate::ports;

    #[test]
    fn it_listens_on_loopback_only_and_keeps_nothing() {
        let line: Vec<String> = arguments(4321, Path::new("/data"))
            .into_iter()
            .map(|argument| argument.into_string().unwrap())
            .collect();
        let line = line.join(" ");
        let expect =
            "--bind 127.0.0.1 --daemonize no --save  --appendonly no --dir /data --port 4321";
        assert_eq!(line, expect);
    }

    #[test]
    fn nobody_there_is_not_ready() {
        let [port] = ports::free().unwrap();
        assert!(!answers_ping(port));
    }
}
