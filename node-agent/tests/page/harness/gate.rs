//! A gate between browser and server: it leads from a port of loopback to where the server listens, and notes each request.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// Maximum size of a request's head in bytes. The page sends none that is longer.
const MAX_HEAD: usize = 64 << 10;

/// Where the requests go.
#[derive(Clone, Debug)]
pub enum Beyond {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A request that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Path and query.
    pub target: String,
    /// Value of `Last-Event-ID`.
    pub resumed_after: Option<String>,
}

/// A listener on loopback whose connections are passed on to a server.
pub struct Gate {
    address: SocketAddr,
    passed: Arc<Mutex<Vec<Passed>>>,
}

impl Gate {
    pub async fn before(beyond: Beyond) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let passed = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(accept(listener, beyond, Arc::clone(&passed)));
        Self { address, passed }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns all requests so far whose target begins so.
    pub fn passed(&self, beginning: &str) -> Vec<Passed> {
        let passed = self.passed.lock().expect("not poisoned");
        passed.iter().filter(|one| one.target.starts_with(beginning)).cloned().collect()
    }
}

async fn accept(listener: TcpListener, beyond: Beyond, passed: Arc<Mutex<Vec<Passed>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(pass(stream, beyond.clone(), Arc::clone(&passed)));
    }
}

async fn pass(near: TcpStream, beyond: Beyond, passed: Arc<Mutex<Vec<Passed>>>) {
    match beyond {
        Beyond::Tcp(address) => {
            if let Ok(far) = TcpStream::connect(address).await {
                join(near, far, &address.to_string(), passed).await;
            }
        }
        Beyond::Unix(path) => {
            if let Ok(far) = UnixStream::connect(path).await {
                join(near, far, "localhost", passed).await;
            }
        }
    }
}

async fn join(
    near: TcpStream,
    far: impl AsyncRead + AsyncWrite,
    host: &str,
    passed: Arc<Mutex<Vec<Passed>>>,
) {
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = tokio::io::split(far);
    tokio::select! {
        _ = tokio::io::copy(&mut far_read, &mut near_write) => {}
        _ = requests(&mut near_read, &mut far_write, host, &passed) => {}
    }
}

/// Passes requests on. The host that a server checks is its own, not the gate's.
async fn requests(
    near: &mut (impl AsyncRead + Unpin),
    far: &mut (impl AsyncWrite + Unpin),
    host: &str,
    passed: &Mutex<Vec<Passed>>,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        while let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            let (head, request) = rewritten(&String::from_utf8_lossy(&head), host);
            passed.lock().expect("not poisoned").push(request);
            far.write_all(head.as_bytes()).await?;
        }
        let mut piece = [0; 4096];
        let read = near.read(&mut piece).await?;
        if read == 0 || buffer.len() > MAX_HEAD {
            return Ok(());
        }
        buffer.extend_from_slice(&piece[..read]);
    }
}

fn rewritten(head: &str, host: &str) -> (String, Passed) {
    let mut request = Passed { target: String::new(), resumed_after: None };
    let mut text = String::new();
    for (number, line) in head.trim_end().lines().enumerate() {
        match line.split_once(':') {
            _ if number == 0 => {
                request.target = line.split(' ').nth(1).unwrap_or_default().to_owned();
                text += line;
            }
            Some((name, _)) if name.eq_ignore_ascii_case("host") => text += &format!("Host: {host}"),
            // The page's own address, as it would be without the gate.
            Some((name, _)) if name.eq_ignore_ascii_case("origin") => {
                text += &format!("Origin: http://{host}");
            }
            Some((name, value)) => {
                if name.eq_ignore_ascii_case("last-event-id") {
                    request.resumed_after = Some(value.trim().to_owned());
                }
                text += line;
            }
            None => text += line,
        }
        text += "\r\n";
    }
    (text + "\r\n", request)
}
