//! The HTTP endpoint: bounded in connections, header sizes, times and questions, so that no client can stall another or
//! the agent.

mod description;
mod events;
mod guests;
pub mod host;
mod openapi;
mod page;
mod params;
mod problem;
pub mod question;
mod routes;
pub mod serving;
mod stall;
pub mod unix;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::metrics::Metrics;
use super::stream::watch_log::WatchLog;
use host::HostCheck;
use question::Query;
use unix::OwnedSocket;

/// Connections to one listener at once.
pub const MAX_CONNECTIONS: usize = 64;

/// How long and how many clients are borne with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once. One more takes the place of the oldest that waits for a request.
    pub connections: usize,
    /// Those of one address; the same holds for them.
    pub per_source: usize,
    /// A client that sends no headers, or takes no bytes, for this long is cut off.
    pub patience: Duration,
    /// A client that takes longer than this for what is written to it is cut off, however steadily it reads.
    pub answer: Duration,
    /// More than one request per connection.
    pub keep_alive: bool,
}

impl Bounds {
    /// Of `--api`, which few may reach.
    pub const API: Self = Self {
        connections: MAX_CONNECTIONS,
        per_source: MAX_CONNECTIONS,
        patience: Duration::from_secs(10),
        answer: Duration::from_secs(60),
        keep_alive: true,
    };
    /// Of `--telemetry`, which every pod may reach, and where kubelet's probes must get through.
    pub const TELEMETRY: Self = Self {
        connections: MAX_CONNECTIONS,
        per_source: 8,
        patience: Duration::from_secs(2),
        answer: Duration::from_secs(5),
        keep_alive: false,
    };
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
    Unix(OwnedSocket),
}

/// The routes of `--api`. On TCP the Host header must name this machine, against DNS rebinding.
pub fn api_router(state: HttpState, host: HostCheck) -> Router {
    routes::api(state, host)
}

/// The routes of `--telemetry`: /metrics, /livez, /readyz.
pub fn telemetry_router(state: HttpState) -> Router {
    routes::telemetry(state)
}
