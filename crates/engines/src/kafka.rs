//! Apache Kafka: one node, broker and controller at once, its jars from Maven Central.
//!
//! `kafka/pom.xml` beside this crate's code names the version. The jars are fetched once per target
//! folder.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::process::{Process, bound_to_us};
use crate::{Launch, Place, ports, programs};

/// Any 16 bytes in Kafka's base64 serve: every run has a cluster of its own.
const CLUSTER: &str = "dGlkZWdhdGUtdGVzdHMhIQ";

const FETCH_MAX: Duration = Duration::from_secs(900);
const FORMAT_MAX: Duration = Duration::from_secs(60);
const READY_MAX: Duration = Duration::from_secs(90);

/// How long one probe may wait for an answer.
const PROBE_MAX: Duration = Duration::from_secs(2);

/// Small, and without the threads of a collector that a test run does not need.
const JVM: &[&str] = &["-Xmx512m", "-XX:+UseSerialGC"];

/// A broker on free ports, over a log of its own.
pub(super) fn prepare(place: &Place) -> Result<Launch> {
    programs::ensure("java", "default-jre-headless", || {
        programs::starts("java", "-version")
    })?;
    let jars = jars(place)?;
    let [broker, controller] = ports::free()?;
    let properties = place.folder.join("server.properties");
    fs::write(
        &properties,
        server_properties(broker, controller, &place.data()),
    )
    .with_context(|| format!("{} cannot be written", properties.display()))?;

    let format = ["format", "-t", CLUSTER, "-c"].map(OsStr::new);
    let format = [&format[..], &[properties.as_os_str()]].concat();
    let format = java(&jars, "kafka.tools.StorageTool", &format);
    Process::start("kafka's format", format, Signal::KILL, &place.log("format"))?
        .finish(FORMAT_MAX)?;

    let command = move || java(&jars, "kafka.Kafka", &[properties.as_os_str()]);
    Ok(Launch {
        address: format!("127.0.0.1:{broker}"),
        name: "kafka",
        command: Box::new(command),
        stop: Signal::KILL,
        is_ready: Box::new(move || brokers(broker).is_some_and(|count| count > 0)),
        ready_max: READY_MAX,
    })
}

fn java(jars: &Path, class: &str, arguments: &[&OsStr]) -> Command {
    let mut setting = OsString::from("-Dlog4j2.configurationFile=");
    setting.push(own_file("log4j2.xml"));
    let mut command = bound_to_us("KILL");
    command.arg("java").args(JVM);
    command.arg(setting).arg("-cp").arg(jars.join("*"));
    command.arg(class).args(arguments);
    command
}

/// A file that lies beside this crate's code.
fn own_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("kafka")
        .join(name)
}

/// The folder with the jars, fetched when it is not there yet.
fn jars(place: &Place) -> Result<PathBuf> {
    let pom = own_file("pom.xml");
    let text =
        fs::read_to_string(&pom).with_context(|| format!("{} cannot be read", pom.display()))?;
    let version = version(&text).context("kafka's pom.xml names no version")?;
    let jars = place.store.join(format!("kafka-{version}"));
    if jars.exists() {
        return Ok(jars);
    }
    programs::ensure("mvn", "maven", || programs::starts("mvn", "--version"))?;
    // Renamed only when it is whole, so that a fetch which was cut off is not taken for one.
    let part = place.folder.join("jars");
    let mut command = maven(&pom, &part);
    command.current_dir(&place.folder);
    Process::start("mvn", command, Signal::TERM, &place.log("mvn"))?
        .finish(FETCH_MAX)
        .context("kafka's jars could not be fetched from Maven Central")?;
    if let Err(error) = fs::rename(&part, &jars)
        && !jars.exists()
    {
        return Err(error).with_context(|| format!("{} cannot be made", jars.display()));
    }
    Ok(jars)
}

fn maven(pom: &Path, part: &Path) -> Command {
    let mut output = OsString::from("-DoutputDirectory=");
    output.push(part);
    let mut command = bound_to_us("TERM");
    command
        .args(["mvn", "--batch-mode", "--no-transfer-progress", "--file"])
        .arg(pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(output);
    command
}

/// The version of Kafka that the file names.
fn version(pom: &str) -> Option<&str> {
    let (_, rest) = pom.split_once("<artifactId>kafka_2.13</artifactId>")?;
    let (_, rest) = rest.split_once("<version>")?;
    Some(rest.split_once("</version>")?.0)
}

/// A broker that was killed may come back when its session has ended, which is soon.
fn server_properties(broker: u16, controller: u16, data: &Path) -> String {
    let data = data.display();
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=250
log.cleaner.dedupe.buffer.size=4194304
"
    )
}

/// How many brokers the cluster has by its own account, asked in Kafka's protocol.
///
/// A port that is open is not enough: a broker listens before it may serve.
fn brokers(port: u16) -> Option<u32> {
    let ask = || -> std::io::Result<u32> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, PROBE_MAX)?;
        stream.set_read_timeout(Some(PROBE_MAX))?;
        stream.write_all(&metadata_request())?;
        // Length, correlation, throttle time, and the length of the array of brokers.
        let mut answer = [0; 16];
        stream.read_exact(&mut answer)?;
        let [.., a, b, c, d] = answer;
        Ok(u32::from_be_bytes([a, b, c, d]))
    };
    ask().ok()
}

/// Metadata, version 4, of no topic.
fn metadata_request() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(3_i16.to_be_bytes()); // Metadata
    body.extend(4_i16.to_be_bytes()); // its version
    body.extend(1_i32.to_be_bytes()); // correlation
    body.extend((-1_i16).to_be_bytes()); // no client id
    body.extend(0_i32.to_be_bytes()); // no topics
    body.push(0); // create none
    let length = i32::try_from(body.len()).expect("a few bytes");
    [&length.to_be_bytes()[..], &body].concat()
}

#[cfg(test)]
mod tests {
    //! Shows the settings, the command lines, and the bytes of the probe.

    use std::path::Path;

    use super::{brokers, maven, metadata_request, server_properties, version};
    use crate::ports;

    #[test]
    fn the_server_is_one_node_on_loopback_that_makes_no_topics_by_itself() {
        let text = server_properties(1111, 2222, Path::new("/data"));
        for line in [
            "listeners=PLAINTEXT://127.0.0.1:1111,CONTROLLER://127.0.0.1:2222",
            "controller.quorum.voters=1@127.0.0.1:2222",
            "auto.create.topics.enable=false",
            "log.dirs=/data",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_version_is_that_of_the_checked_in_file() {
        let pom = include_str!("../kafka/pom.xml");
        assert_eq!(version(pom), Some("4.1.1"));
        assert_eq!(version("<project/>"), None);
    }

    #[test]
    fn maven_copies_what_runs() {
        let command = maven(Path::new("/pom.xml"), Path::new("/jars"));
        let line: Vec<_> = command.get_args().filter_map(|a| a.to_str()).collect();
        assert_eq!(
            line[2..].join(" "),
            "mvn --batch-mode --no-transfer-progress --file /pom.xml \
             dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=/jars"
        );
    }

    #[test]
    fn the_probe_is_a_whole_request_and_an_empty_port_no_answer() {
        let request = metadata_request();
        assert_eq!(request.len(), 4 + 15);
        assert_eq!(request[..8], [0, 0, 0, 15, 0, 3, 0, 4]);
        let [port] = ports::free().unwrap();
        assert_eq!(brokers(port), None);
    }
}
