//! Readers of the agent's HTTP interface that come and go: lists, the chart, metrics, and streams of which one is never read.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bench::agent::Agent;
use crate::demo::agent::get;
use crate::stopwatch::Stopwatch;

const WATCH: &str = "/v1/watch?kind=Finding,Listener,Connection,Loss,AgentStatus,Traffic";
/// Time for which a stream is read, in turns.
const READ: [Duration; 3] = [Duration::from_millis(300), Duration::from_secs(2), Duration::from_secs(5)];
/// Time between two requests.
const PAUSE: Duration = Duration::from_millis(250);

/// Running readers.
pub struct Readers {
    stop: Arc<AtomicBool>,
    requests: JoinHandle<Result<Answers>>,
    streams: JoinHandle<Result<u64>>,
}

/// Number of requests that were answered, and of those that were not answered in time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers {
    pub came: u64,
    pub late: u64,
}

impl Readers {
    pub fn start(agent: &Agent) -> Self {
        let (api, telemetry) = (agent.api(), agent.telemetry());
        let stop = Arc::new(AtomicBool::new(false));
        let (first, second) = (Arc::clone(&stop), Arc::clone(&stop));
        Self {
            requests: std::thread::spawn(move || requests(api, telemetry, &first)),
            streams: std::thread::spawn(move || streams(api, &second)),
            stop,
        }
    }

    /// Ends the readers. Returns the answers and the number of streams.
    ///
    /// # Errors
    /// If one of them was refused.
    pub fn end(self) -> Result<(Answers, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        let (requests, streams) = (self.requests.join(), self.streams.join());
        let failed = || anyhow::anyhow!("a reader of the HTTP interface failed");
        Ok((requests.map_err(|_| failed())??, streams.map_err(|_| failed())??))
    }
}

/// Asks for one thing after the other. A busy machine may be too slow for an answer; a refusal is an error.
fn requests(api: SocketAddr, telemetry: SocketAddr, stop: &AtomicBool) -> Result<Answers> {
    let paths = [
        (api, "/v1/findings"),
        (api, "/v1/chart"),
        (telemetry, "/metrics"),
        (api, "/v1/listeners?limit=7"),
        (api, "/v1/connections"),
        (api, "/v1/findings?state=resolved&limit=20"),
        (api, "/v1/pods"),
    ];
    let mut answers = Answers::default();
    for (address, path) in paths.into_iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match get(address, path) {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => answers.came += 1,
            Ok(answer) => bail!("{path}: {}", answer.lines().next().unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                answers.late += 1
            }
            Err(error) => return Err(error).with_context(|| format!("no answer to {path}")),
        }
        std::thread::sleep(PAUSE);
    }
    Ok(answers)
}

/// Reads one stream after the other, beside one that nobody reads. Returns the number of streams.
fn streams(api: SocketAddr, stop: &AtomicBool) -> Result<u64> {
    let _unread = watch(api)?;
    let mut streams = 1;
    for length in READ.into_iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        read(&mut watch(api)?, length, stop)?;
        streams += 1;
    }
    Ok(streams)
}

fn watch(api: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(api).context("no connection for a stream")?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    write!(stream, "GET {WATCH} HTTP/1.1\r\nHost: {api}\r\n\r\n")?;
    Ok(stream)
}

fn read(stream: &mut TcpStream, length: Duration, stop: &AtomicBool) -> Result<()> {
    let since = Stopwatch::start();
    let mut block = vec![0; 16 * 1024];
    let mut is_first = true;
    while since.elapsed() < length && !stop.load(Ordering::Relaxed) {
        match stream.read(&mut block) {
            Ok(0) => bail!("the agent ended a stream"),
            Ok(read) => {
                let begin = block.get(..read).unwrap_or_default();
                if std::mem::take(&mut is_first) && !begin.starts_with(b"HTTP/1.1 200") {
                    bail!("{WATCH}: {}", String::from_utf8_lossy(begin).lines().next().unwrap_or_default());
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("a stream broke off"),
        }
    }
    Ok(())
}
