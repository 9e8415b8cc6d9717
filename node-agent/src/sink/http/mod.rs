//! The HTTP endpoint: bounded in connections, header sizes, times and questions, so that no client can stall another or
//! the agent.

mod events;
pub mod host;
mod params;
mod problem;
pub mod question;
mod routes;
mod stall;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::metrics::Metrics;
use super::watch_log::WatchLog;
use host::HostCheck;
use question::Query;
use stall::StallGuard;

/// Connections to one listener at once.
pub const MAX_CONNECTIONS: usize = 64;
/// Bytes of a request's line and headers.
const MAX_HEADER_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// How long and how many clients are borne with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// A client that sends no headers, or takes no bytes, for this long is cut off.
    pub patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: MAX_CONNECTIONS, patience: Duration::from_secs(10) }
    }
}

/// Whether the agent lives and is ready; set by `agent`, read by /livez and /readyz.
#[derive(Debug, Default)]
pub struct Health {
    pub live: AtomicBool,
    pub ready: AtomicBool,
}

impl Health {
    fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }
}

/// What the routes need.
#[derive(Clone, Debug)]
pub struct HttpState {
    pub queries: mpsc::Sender<Query>,
    pub watch_log: Arc<WatchLog>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    /// Becomes true when the agent ends: followers are let go.
    pub shutdown: watch::Receiver<bool>,
}

/// A listening socket.
#[derive(Debug)]
pub enum Endpoint {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Endpoint {
    /// Listens on a unix socket that only its owner may use; takes the place of a dead agent's.
    ///
    /// # Errors
    /// When the path is in use by a live agent or cannot be bound.
    pub async fn unix(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        if tokio::net::UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self::Unix(listener))
    }
}

/// The routes of `--api`. On TCP the Host header must name this machine, against DNS rebinding.
pub fn api_router(state: HttpState, host: HostCheck) -> Router {
    routes::api(state, host)
}

/// The routes of `--telemetry`: /metrics, /livez, /readyz.
pub fn telemetry_router(state: HttpState) -> Router {
    routes::telemetry(state)
}

/// Serves until `shutdown` becomes true.
pub async fn serve(endpoint: Endpoint, router: Router, bounds: Bounds, mut shutdown: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let accept_all = async {
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            if !accept(&endpoint, &router, bounds.patience, slot).await {
                // Out of descriptors, most likely: give others time to close some.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    tokio::select! {
        () = accept_all => {}
        _ = shutdown.wait_for(|down| *down) => {}
    }
}

async fn accept(
    endpoint: &Endpoint,
    router: &Router,
    patience: Duration,
    slot: OwnedSemaphorePermit,
) -> bool {
    match endpoint {
        Endpoint::Tcp(listener) => match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, router.clone(), patience, slot));
                true
            }
            Err(_) => false,
        },
        Endpoint::Unix(listener) => match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, router.clone(), patience, slot));
                true
            }
            Err(_) => false,
        },
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    patience: Duration,
    slot: OwnedSemaphorePermit,
) {
    let io = TokioIo::new(StallGuard::new(stream, patience));
    // An error here is the client's: a broken request, a closed or stalled connection.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(io, TowerToHyperService::new(router))
        .await;
    drop(slot);
}
