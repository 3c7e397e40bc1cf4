//! A real `tidegate serve` on a free port over a folder of its own, for tests that need the whole
//! program.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

/// Long enough for a debug build on a busy machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Subscribes to the page that the demo's writer keeps moving.
pub(crate) const OPEN_TICKETS: &str = r#"{"op":"subscribe","table":"tickets","hashId":"open","query":{
    "wrapper":{"filter_wrapper_type":"and","filters":[
        {"field_name":"status","filter_type":"equals","value":{"StringValue":{"value":"open"}}}]},
    "order":[{"field":"id","sort":"DESC_DEFAULT"}],"limit":20}}"#;

/// The program, with none of the settings of the process that runs the tests.
pub(crate) fn tidegate(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(folder).env_clear();
    command
}

/// Runs the program to its end.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = tidegate(folder).args(arguments).output();
    output.expect("the program starts")
}

/// A folder that is removed with the value, except after a failure.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{}-{count}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("the target folder is writable");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // What is left behind lies in the target folder and harms nobody.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A server that is up. Dropping it kills it.
pub(crate) struct Served {
    child: Child,
    address: SocketAddr,
    /// What it said on standard output until it was ready.
    pub(crate) greeting: String,
    arguments: Vec<String>,
    folder: Option<Folder>,
}

impl Served {
    /// Starts the server in a new folder.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(Folder::new(), arguments)
    }

    /// Starts the server in a folder, and waits until it says that it is ready.
    pub(crate) fn start_in(folder: Folder, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&one| one.to_owned()).collect();
        Self::start_owned(folder, "127.0.0.1:0", arguments)
    }

    fn start_owned(folder: Folder, listen: &str, arguments: Vec<String>) -> Self {
        let log = folder.path().join("log");
        let log = File::options().create(true).append(true).open(log);
        let mut command = tidegate(folder.path());
        command.args(["serve", "--listen", listen]);
        let child = command
            .args(&arguments)
            .stdout(Stdio::piped())
            .stderr(log.expect("the folder is writable"))
            .spawn();
        let mut child = child.expect("the program starts");
        let output = child.stdout.take().expect("it is piped");
        let Some((address, greeting)) = wait_until_ready(output) else {
            let _ = child.kill();
            let status = child.wait();
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            panic!("the server did not become ready ({status:?}):\n{log}");
        };
        Self {
            child,
            address,
            greeting,
            arguments,
            folder: Some(folder),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for WebSockets, with who is asking.
    pub(crate) fn ws_url(&self, tenant: &str, user: &str) -> String {
        format!("ws://{}/?tenant={tenant}&user={user}", self.address)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.as_ref().expect("until it is taken").path()
    }

    /// What the server has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks over HTTP.
    pub(crate) fn get(&self, path: &str) -> Answer {
        get(self.address, path)
    }

    /// Opens a WebSocket that blocks.
    pub(crate) fn connect(&self, tenant: &str, user: &str) -> Socket {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_nodelay(true).expect("it is a socket");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("it is a socket");
        let url = self.ws_url(tenant, user);
        let (socket, _) = tungstenite::client(url, stream).expect("any path upgrades");
        Socket(socket)
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid)
            .status();
        assert!(status.expect("there is a kill").success());
    }

    /// Waits for the end, which somebody must have brought about.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it is our child")
    }

    /// Kills the server as `kill -9` does, and starts it again on the same data.
    pub(crate) fn crash_and_restart(mut self) -> Self {
        self.child.kill().expect("it runs");
        self.wait();
        self.start_again()
    }

    /// Starts it again, on the same data and the same address, after it has ended.
    pub(crate) fn start_again(mut self) -> Self {
        let folder = self.folder.take().expect("until it is taken");
        let listen = self.address.to_string();
        Self::start_owned(folder, &listen, std::mem::take(&mut self.arguments))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() && self.folder.is_some() {
            eprintln!("log of the server:\n{}", self.log());
        }
    }
}

/// Reads standard output until the address line, and goes on reading so that the server can go on
/// writing.
fn wait_until_ready(output: impl Read + Send + 'static) -> Option<(SocketAddr, String)> {
    let (sender, lines) = mpsc::sync_channel(64);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody listens any more once the address is known.
            let _ = sender.try_send(line);
        }
    });
    let mut greeting = String::new();
    loop {
        let line = lines.recv_timeout(PATIENCE).ok()?;
        greeting.push_str(&line);
        greeting.push('\n');
        if let Some((_, rest)) = line.split_once("http://") {
            let address = rest.split_whitespace().next()?.trim_end_matches('/');
            return Some((address.parse().ok()?, greeting));
        }
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Whether a header line stands in the head, whatever the case of its letters.
    pub(crate) fn has_header(&self, line: &str) -> bool {
        self.head.lines().any(|one| one.eq_ignore_ascii_case(line))
    }
}

/// One request, one answer, one connection.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nconnection: close\r\n"),
    )
}

/// The same with a request line and headers of one's own.
pub(crate) fn ask(address: SocketAddr, head: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("it is a socket");
    let request = format!("{head}host: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .expect("it answers and closes");
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole answer");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer {
        status: status.expect("a status line"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// A WebSocket that blocks.
pub(crate) struct Socket(WebSocket<TcpStream>);

impl Socket {
    pub(crate) fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).expect("it is open");
    }

    /// The next text frame that holds this text.
    pub(crate) fn text_with(&mut self, needle: &str) -> String {
        loop {
            match self.0.read().expect("it is open") {
                Message::Text(text) if text.contains(needle) => return text.to_string(),
                Message::Close(frame) => panic!("closed with {frame:?} before {needle}"),
                _ => {}
            }
        }
    }

    /// All text frames before the one that holds this text.
    pub(crate) fn texts_until(&mut self, needle: &str) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            match self.0.read().expect("it is open") {
                Message::Text(text) if text.contains(needle) => return texts,
                Message::Text(text) => texts.push(text.to_string()),
                Message::Close(frame) => panic!("closed with {frame:?} before {needle}"),
                _ => {}
            }
        }
    }

    /// The code of the close frame, after whatever else still comes.
    pub(crate) fn close_code(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.0.read().expect("it closes with a frame") {
                return frame.expect("the frame has a code").code.into();
            }
        }
    }
}
