//! The API on real sockets, served from a read model and stopped at the end of the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portolan::sink::http::host::HostCheck;
use portolan::sink::http::query::answer;
use portolan::sink::http::serving::serve;
use portolan::sink::http::unix::OwnedSocket;
use portolan::sink::http::{Bounds, Endpoint, Health, HttpState, api_router, telemetry_router};
use portolan::sink::metrics::Metrics;
use portolan::sink::stream::ndjson::ndjson;
use portolan::sink::stream::watch_log::WatchLog;
use portolan_report::wire::Report;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::model::Node;

/// A running server, stopped on drop.
pub struct Served {
    pub address: SocketAddr,
    pub telemetry: SocketAddr,
    pub log: Arc<WatchLog>,
    pub health: Arc<Health>,
    shutdown: watch::Sender<bool>,
    state: HttpState,
}

/// Epoch of the watch log, which distinguishes runs.
pub const EPOCH: u64 = 0xabc;

impl Served {
    pub async fn start(node: Node) -> Self {
        Self::start_within(node, Bounds::API, 1024, EPOCH).await
    }

    pub async fn start_within(node: Node, bounds: Bounds, capacity: usize, epoch: u64) -> Self {
        let (queries, mut asked) = mpsc::channel(16);
        let (shutdown, down) = watch::channel(false);
        let state = HttpState {
            queries,
            watch_log: Arc::new(WatchLog::new(epoch, capacity)),
            metrics: Arc::new(Metrics::new("0.1.0", "6.12.0".to_owned())),
            health: Arc::new(Health::default()),
            draft_remedies: portolan_client::query::remedies::remedies,
            chart_turn: Arc::new(Semaphore::new(1)),
            traffic: Arc::default(),
            shutdown: down.clone(),
        };
        state.health.live.store(true, Ordering::Relaxed);
        state.health.ready.store(true, Ordering::Relaxed);
        tokio::spawn(async move {
            while let Some(query) = asked.recv().await {
                answer(query, &node);
            }
        });
        let api = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let telemetry = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = api.local_addr().expect("address");
        let served = Self {
            address,
            telemetry: telemetry.local_addr().expect("address"),
            log: Arc::clone(&state.watch_log),
            health: Arc::clone(&state.health),
            shutdown,
            state: state.clone(),
        };
        let router = api_router(state.clone(), HostCheck::Bound(address));
        tokio::spawn(serve(Endpoint::Tcp(api), router, bounds, down.clone()));
        tokio::spawn(serve(Endpoint::Tcp(telemetry), telemetry_router(state), Bounds::TELEMETRY, down));
        served
    }

    /// Also serves on a unix socket.
    pub async fn also_on(&self, path: &Path) {
        let endpoint = Endpoint::Unix(OwnedSocket::bind(path).await.expect("binds"));
        let router = api_router(self.state.clone(), HostCheck::Off);
        tokio::spawn(serve(endpoint, router, Bounds::API, self.shutdown.subscribe()));
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn publish(&self, report: &Report) {
        self.log.publish(report, &ndjson(report).expect("short"));
    }

    pub fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// A directory that is removed on drop.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portolan-http-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until `is_so`, and fails the test after ten seconds.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok(), "never: {what}");
}
