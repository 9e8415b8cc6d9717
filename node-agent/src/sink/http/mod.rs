//! HTTP endpoint of the agent. Connections, header sizes, timeouts and queued queries are bounded, so that no client can
//! block another client or the agent.

mod advice;
mod chart;
mod connection_limit;
mod event_stream;
mod handling;
pub mod host;
mod openapi;
mod page;
mod params;
mod patterns;
mod problem;
pub mod query;
mod route_table;
mod routes;
pub mod serving;
pub mod traffic_feed;
pub mod unix;
mod write_timeout;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use portolan_report::chart::Remedies;
use portolan_report::policy_basis::PolicyBasis;
use portolan_report::wire::Finding;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};

use super::metrics::Metrics;
use super::stream::watch_log::WatchLog;
use host::HostCheck;
use query::Query;
use traffic_feed::TrafficFeed;
use unix::OwnedSocket;

/// Maximum number of connections to one endpoint.
pub const MAX_CONNECTIONS: usize = 64;

/// Limits of one endpoint's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum number of connections. One more evicts the oldest idle connection.
    pub connections: usize,
    /// Maximum number of connections of one address, with the same eviction.
    pub per_source: usize,
    /// Time after which a client that sends no headers, or reads no bytes, is disconnected.
    pub stall_timeout: Duration,
    /// Time after which a client that has not read all written bytes is disconnected, even if it reads steadily.
    pub answer_timeout: Duration,
    /// True if a connection can serve more than one request.
    pub keep_alive: bool,
}

impl Bounds {
    /// Bounds of `--api`, which only local clients reach by default.
    pub const API: Self = Self {
        connections: MAX_CONNECTIONS,
        per_source: MAX_CONNECTIONS,
        stall_timeout: Duration::from_secs(10),
        answer_timeout: Duration::from_secs(60),
        keep_alive: true,
    };
    /// Bounds of `--telemetry`, which every pod can reach, and on which kubelet's probes must succeed.
    pub const TELEMETRY: Self = Self {
        connections: MAX_CONNECTIONS,
        per_source: 8,
        stall_timeout: Duration::from_secs(2),
        answer_timeout: Duration::from_secs(5),
        keep_alive: false,
    };
}

/// Health of the agent, set by `agent` and read by /livez and /readyz.
#[derive(Debug, Default)]
pub struct Health {
    /// True while the engine's loop runs.
    pub live: AtomicBool,
    /// True once the first scan is done and one source of metadata, if there are any, has delivered.
    pub ready: AtomicBool,
}

impl Health {
    fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }
}

/// State that all routes share.
#[derive(Clone, Debug)]
pub struct HttpState {
    pub queries: mpsc::Sender<Query>,
    pub watch_log: Arc<WatchLog>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    /// Drafts what can be done about a finding, from what is known of the pods of its workload.
    pub draft_remedies: fn(&Finding, Option<&PolicyBasis>) -> Remedies,
    /// One chart is made at a time.
    pub chart_turn: Arc<Semaphore>,
    /// Counts for the followers of traffic.
    pub traffic: Arc<TrafficFeed>,
    /// Becomes true when the agent ends, which ends all event streams.
    pub shutdown: watch::Receiver<bool>,
}

/// A listening socket of the endpoint.
#[derive(Debug)]
pub enum Endpoint {
    Tcp(TcpListener),
    Unix(OwnedSocket),
}

/// Returns the routes of `--api`. On TCP the Host header must name this machine, against DNS rebinding.
pub fn api_router(state: HttpState, host: HostCheck) -> Router {
    routes::api(state, host)
}

/// Returns the routes of `--telemetry`: /metrics, /livez, /readyz.
pub fn telemetry_router(state: HttpState) -> Router {
    routes::telemetry(state)
}
