//! Wiring of the HTTP servers: binds the addresses of `--api` and `--telemetry`, and waits for the servers at the end.

use std::sync::Arc;
use std::time::Duration;

use portolan_client::query::remedies::remedies;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::agent::error::AgentError;
use crate::config::{AgentConfig, ListenAddress};
use crate::sink::http::host::HostCheck;
use crate::sink::http::query::Query;
use crate::sink::http::serving::serve;
use crate::sink::http::unix::OwnedSocket;
use crate::sink::http::{Bounds, Endpoint, Health, HttpState, api_router, telemetry_router};
use crate::sink::metrics::Metrics;
use crate::sink::stream::watch_log::WatchLog;

/// Time for one server to finish its last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Returns the state that all routes of both servers share.
#[must_use]
pub fn state(
    queries: mpsc::Sender<Query>,
    watch_log: Arc<WatchLog>,
    metrics: Arc<Metrics>,
    health: &Arc<Health>,
    ended: &watch::Receiver<bool>,
) -> HttpState {
    HttpState {
        queries,
        watch_log,
        metrics,
        health: Arc::clone(health),
        draft_remedies: remedies,
        chart_turn: Arc::new(Semaphore::new(1)),
        traffic: Arc::default(),
        shutdown: ended.clone(),
    }
}

/// Binds the configured addresses and starts a server on each.
///
/// # Errors
/// When an address cannot be bound.
pub async fn start(
    config: &AgentConfig,
    state: &HttpState,
    ended: &watch::Receiver<bool>,
) -> Result<Vec<JoinHandle<()>>, AgentError> {
    let mut servers = Vec::new();
    if let Some(endpoint) = bind("--api", &config.api).await? {
        let check = match &endpoint {
            Endpoint::Tcp(listener) => listener.local_addr().map_or(HostCheck::Off, HostCheck::Bound),
            Endpoint::Unix(_) => HostCheck::Off,
        };
        let router = api_router(state.clone(), check);
        servers.push(tokio::spawn(serve(endpoint, router, Bounds::API, ended.clone())));
    }
    if let Some(endpoint) = bind("--telemetry", &config.telemetry).await? {
        let router = telemetry_router(state.clone());
        servers.push(tokio::spawn(serve(endpoint, router, Bounds::TELEMETRY, ended.clone())));
    }
    Ok(servers)
}

/// Waits for the servers, which end on the shutdown signal.
pub async fn finish(servers: Vec<JoinHandle<()>>) {
    for server in servers {
        let _ = tokio::time::timeout(LAST_ANSWERS, server).await;
    }
}

async fn bind(option: &'static str, address: &ListenAddress) -> Result<Option<Endpoint>, AgentError> {
    let failed = |address: String| move |reason| AgentError::Address { option, address, reason };
    match address {
        ListenAddress::Tcp(address) => {
            let listener = TcpListener::bind(address).await.map_err(failed(address.to_string()))?;
            Ok(Some(Endpoint::Tcp(listener)))
        }
        ListenAddress::Unix(path) => {
            let socket = OwnedSocket::bind(path).await.map_err(failed(format!("unix:{}", path.display())))?;
            Ok(Some(Endpoint::Unix(socket)))
        }
        ListenAddress::Off => Ok(None),
    }
}
