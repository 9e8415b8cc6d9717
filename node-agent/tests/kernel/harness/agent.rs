//! Runs the agent binary as an operator would. A thread reads its output stream, and its HTTP endpoint is queried over
//! the unix socket.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use jsonschema::Validator;
use portolan_report::wire::{AgentStatus, Connection, Finding, Listener, Report};
use portolan_testing::waiting::Deadline;
use rustix::process::{Pid, Signal};

use super::http;
use super::timeouts::{TIMEOUT, eventually};

/// Grace time of every agent of the tier.
pub const GRACE: Duration = Duration::from_millis(300);
/// Options that shrink the ring of listener events so far that a burst overflows it.
pub const TINY_LISTENER_RING: [&str; 2] = ["--listener-ring-bytes", "4096"];

/// Returns the path of the binary under test, which differs in a virtual machine.
pub fn binary() -> OsString {
    std::env::var_os("PORTOLAN_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_portolan").into())
}

/// The schema that every line must match.
const SCHEMA: &str = include_str!("../../../../docs/schema.json");
/// Maximum length of a line in bytes.
const MAX_LINE: usize = 16 << 10;

/// The ranges of the harness's pods. With them, an address elsewhere is outside the cluster.
const POD_RANGES: [&str; 4] = ["--pod-cidr", "10.77.0.0/24", "--pod-cidr", "fd00::/8"];

/// How the agent's stdout is treated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    Read,
    /// A pipe that is not read.
    Blocked,
    /// A pipe whose reader has closed it.
    Closed,
    /// A file on a full disk.
    Full,
}

/// A running agent, ended when dropped.
pub struct Agent {
    child: Child,
    socket: PathBuf,
    lines: Arc<Lines>,
    /// Ends with the stream; `None` if the stream is not read.
    reader: Option<JoinHandle<()>>,
    /// Kept open if the stream is not read.
    _blocked: Option<ChildStdout>,
}

#[derive(Default)]
struct Lines {
    reports: Mutex<Vec<Report>>,
    grown: Condvar,
    diagnostics: Mutex<String>,
    /// Errors of lines, in order of arrival.
    broken: Mutex<Vec<String>>,
}

impl Agent {
    /// Starts an agent and waits until it is ready and counts the packets of every existing interface.
    pub fn start(metadata: &Path, socket: PathBuf, options: &[&str], stdout: Stdout) -> Self {
        let mut agent = Self::start_unready(metadata, socket, options, stdout);
        agent.wait_ready();
        agent.wait_attached();
        agent
    }

    /// Starts an agent without waiting.
    pub fn start_unready(metadata: &Path, socket: PathBuf, options: &[&str], stdout: Stdout) -> Self {
        Self::start_on(&format!("file={}", metadata.display()), socket, options, stdout)
    }

    /// Starts an agent with pods of any source, without waiting.
    pub fn start_on(metadata: &str, socket: PathBuf, options: &[&str], stdout: Stdout) -> Self {
        let command = command(&[], metadata, &socket, options);
        Self::spawn(command, socket, stdout)
    }

    /// Starts an agent that is not told the ranges of the pods' addresses, and waits as [`Self::start`] does.
    pub fn start_without_ranges(metadata: &Path, socket: PathBuf) -> Self {
        let metadata = format!("file={}", metadata.display());
        let mut command = command_without_ranges(&[], &metadata, &socket);
        command.args(short_grace());
        let mut agent = Self::spawn(command, socket, Stdout::Read);
        agent.wait_ready();
        agent.wait_attached();
        agent
    }

    /// Starts an agent like a service, without a terminal that could end, and waits until it is ready.
    pub fn start_as_service(metadata: &Path, socket: PathBuf) -> Self {
        let metadata = format!("file={}", metadata.display());
        let mut agent =
            Self::spawn(command(&["setsid".to_owned()], &metadata, &socket, &[]), socket, Stdout::Read);
        agent.wait_ready();
        agent
    }

    /// Starts an agent in a netns that it takes for the node's own, and waits until it is ready.
    pub fn start_on_node(netns: &str, metadata: &Path, socket: PathBuf) -> Self {
        let mut enter =
            vec!["nsenter".to_owned(), format!("--net={}", Path::new("/run/netns").join(netns).display())];
        // The netns of process 1 is the node's, so process 1 is a shell in this netns, and the agent is its child.
        enter.extend(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"].map(str::to_owned));
        enter.extend(["sh", "-c", r#""$0" "$@" & wait"#].map(str::to_owned));
        let command = command(&enter, &format!("file={}", metadata.display()), &socket, &[]);
        let mut agent = Self::spawn(command, socket, Stdout::Read);
        agent.wait_ready();
        agent.wait_attached();
        agent
    }

    fn spawn(mut command: Command, socket: PathBuf, stdout: Stdout) -> Self {
        let _ = std::fs::remove_file(&socket);
        if stdout == Stdout::Full {
            command.stdout(File::options().write(true).open("/dev/full").expect("a full device"));
        }
        let mut child = command.spawn().expect("start the agent");
        let lines = Arc::new(Lines::default());
        let (mut blocked, mut reader) = (None, None);
        match (stdout, child.stdout.take()) {
            (Stdout::Read, Some(out)) => reader = Some(read_reports(out, Arc::clone(&lines))),
            (Stdout::Blocked, out) => blocked = out,
            _ => {}
        }
        read_diagnostics(child.stderr.take().expect("piped"), Arc::clone(&lines));
        Self { child, socket, lines, reader, _blocked: blocked }
    }

    pub fn wait_ready(&mut self) {
        // The first scan takes longer the more netns other tests have on this machine.
        eventually(TIMEOUT * 6, "the agent is ready", || match http::get(&self.socket, "/readyz") {
            Ok((200, _)) => Ok(()),
            _ if matches!(self.child.try_wait(), Ok(Some(_))) => {
                panic!("the agent has ended: {}", self.diagnostics())
            }
            other => Err(format!("{other:?}; stderr: {}", self.diagnostics())),
        });
    }

    /// Waits until all interfaces are attached, which happens one by one after the agent is ready.
    pub fn wait_attached(&self) {
        eventually(TIMEOUT * 6, "no interface waits for its program", || {
            let waiting = self.status().hooks.into_iter().find(|hook| hook.state == "attaching");
            waiting.map_or(Ok(()), |hook| Err(format!("{hook:?}")))
        });
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what the agent wrote to stderr.
    pub fn diagnostics(&self) -> String {
        self.lines.diagnostics.lock().expect("not poisoned").clone()
    }

    pub fn listeners(&self) -> Result<Vec<Listener>, String> {
        http::list(&self.socket, "/v1/listeners")
    }

    pub fn findings(&self) -> Result<Vec<Finding>, String> {
        http::list(&self.socket, "/v1/findings")
    }

    pub fn connections(&self) -> Result<Vec<Connection>, String> {
        http::list(&self.socket, "/v1/connections")
    }

    pub fn status(&self) -> AgentStatus {
        let (code, body) = http::get(&self.socket, "/v1/status").expect("GET /v1/status");
        assert_eq!(code, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("/v1/status: {error}: {}", String::from_utf8_lossy(&body)))
    }

    /// Waits for the first report of the stream, old or new, for which `pick` returns something.
    pub fn wait_report<T>(&self, what: &str, mut pick: impl FnMut(&Report) -> Option<T>) -> T {
        let deadline = Deadline::after(TIMEOUT);
        let mut reports = self.lines.reports.lock().expect("not poisoned");
        let mut seen = 0;
        loop {
            if let Some(found) = reports[seen..].iter().find_map(&mut pick) {
                return found;
            }
            seen = reports.len();
            let left = deadline.remaining();
            if left.is_zero() {
                let last: Vec<_> = reports.iter().rev().take(5).collect();
                panic!("no line for: {what}; {seen} lines, last {last:#?}\nstderr: {}", self.diagnostics());
            }
            reports = self.lines.grown.wait_timeout(reports, left).expect("not poisoned").0;
        }
    }

    /// Fails the case if a line was too long or does not match docs/schema.json.
    pub fn assert_lines(&self) {
        let broken = self.lines.broken.lock().expect("not poisoned");
        assert!(broken.is_empty(), "{} lines are wrong; the first: {}", broken.len(), broken[0]);
    }

    /// Returns every report of the stream so far.
    pub fn reports(&self) -> Vec<Report> {
        self.lines.reports.lock().expect("not poisoned").clone()
    }

    /// Sends SIGKILL to the agent.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM to the agent and returns its exit status.
    pub fn stop(mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM).expect("signal the agent");
        eventually(TIMEOUT, "the agent ends", || {
            self.child.try_wait().expect("wait for the agent").ok_or_else(|| "still runs".into())
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let ended = self.reader.take().is_none_or(|reader| reader.join().is_ok());
        if !std::thread::panicking() {
            assert!(ended, "the reader of the stream panicked");
            self.assert_lines();
        }
    }
}

fn command(enter: &[String], metadata: &str, socket: &Path, options: &[&str]) -> Command {
    let mut command = command_without_ranges(enter, metadata, socket);
    command.args(POD_RANGES).args(options);
    if !options.iter().any(|option| option.starts_with("--grace")) {
        command.args(short_grace());
    }
    command
}

fn short_grace() -> [String; 2] {
    ["--grace".to_owned(), format!("{}ms", GRACE.as_millis())]
}

fn command_without_ranges(enter: &[String], metadata: &str, socket: &Path) -> Command {
    // The agent dies with the thread that started it, so that none is left when a whole run is killed.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).args(enter).arg(binary()).arg("agent");
    command.args(["--metadata", metadata]).arg("--api").arg(format!("unix:{}", socket.display()));
    command.args(["--telemetry", "off", "--output", "ndjson", "--node-name", "tier-node"]);
    command.args(["--stale-grace", "1s"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn read_reports(out: ChildStdout, lines: Arc<Lines>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let schema = serde_json::from_str(SCHEMA).expect("json");
        let schema = jsonschema::validator_for(&schema).expect("a schema");
        let mut out = BufReader::new(out);
        loop {
            let mut line = String::new();
            // A line without an end was cut off when the agent was killed.
            if out.read_line(&mut line).is_err() || line.pop() != Some('\n') {
                break;
            }
            match understood(&schema, &line) {
                Ok(report) => lines.reports.lock().expect("not poisoned").push(report),
                Err(what) => lines.broken.lock().expect("not poisoned").push(format!("{what}: {line}")),
            }
            lines.grown.notify_all();
        }
    })
}

/// Parses a line as a report; `Err` says what is wrong with the line.
fn understood(schema: &Validator, line: &str) -> Result<Report, String> {
    if line.len() >= MAX_LINE {
        return Err(format!("a line of {} bytes", line.len()));
    }
    let value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    schema.validate(&value).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn read_diagnostics(mut err: ChildStderr, lines: Arc<Lines>) {
    std::thread::spawn(move || {
        let mut buffer = [0u8; 4096];
        while let Ok(length @ 1..) = err.read(&mut buffer) {
            lines.note(&String::from_utf8_lossy(&buffer[..length]));
        }
    });
}

impl Lines {
    fn note(&self, text: &str) {
        self.diagnostics.lock().expect("not poisoned").push_str(text);
    }
}
