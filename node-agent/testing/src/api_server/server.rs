//! The server: listens on one address, can be stopped and restarted there, and keeps its objects across restarts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, JoinSet};

use crate::api_server::access::{Authority, ClientFiles};
use crate::api_server::answer::{HEAD_WITHIN, answer};
use crate::api_server::fault::{Fault, FaultRule, On};
use crate::api_server::log::{Log, Request};
use crate::api_server::resource::Resource;
// Whoever starts a server chooses its settings.
pub use crate::api_server::settings::Settings;
use crate::api_server::state::ServerState;
use crate::api_server::store::Store;

/// Whether the server speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    Tls,
}

/// A server on 127.0.0.1, which stops when it is dropped.
pub struct Server {
    state: Arc<ServerState>,
    address: SocketAddr,
    /// Bound to the address and never listening: while the server is away, calls are refused, and no connection of the machine
    /// gets its port.
    _reserved: TcpSocket,
    authority: Mutex<Option<Authority>>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Starts on a free port. Needs a tokio runtime.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(transport: Transport, settings: Settings) -> Self {
        let reserved = TcpSocket::new_v4().expect("a socket");
        reserved.set_reuseaddr(true).expect("an option of every socket");
        reserved.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = reserved.local_addr().expect("an address");
        let listener = TcpListener::bind(address).await.expect("the same port");
        let server = Self {
            state: Arc::new(ServerState::new(settings)),
            address,
            _reserved: reserved,
            authority: Mutex::new((transport == Transport::Tls).then(Authority::new)),
            serving: Mutex::new(None),
        };
        server.serve(listener);
        server
    }

    fn serve(&self, listener: TcpListener) {
        let authority = self.authority.lock().expect("not poisoned").clone();
        let task = tokio::spawn(accept(listener, Arc::clone(&self.state), authority));
        if let Some(before) = self.serving.lock().expect("not poisoned").replace(task) {
            before.abort();
        }
    }

    /// Stops: closes the port and every connection.
    pub async fn go_away(&self) {
        let serving = self.serving.lock().expect("not poisoned").take();
        if let Some(task) = serving {
            task.abort();
            let _ = task.await;
        }
    }

    /// Stops serving, but accepts connections, logs each as a request and closes it at once, as a load balancer without
    /// servers does.
    ///
    /// # Panics
    /// If the port was taken meanwhile.
    pub async fn turn_away(&self) {
        self.go_away().await;
        let listener = listen_again(self.address).await;
        let state = Arc::clone(&self.state);
        let task = tokio::spawn(async move {
            loop {
                if listener.accept().await.is_ok() {
                    state.log.add(Request { at: state.log.elapsed(), ..Request::default() });
                }
            }
        });
        *self.serving.lock().expect("not poisoned") = Some(task);
    }

    /// Serves again at the same address, with the same objects.
    ///
    /// # Panics
    /// If the port was taken meanwhile.
    pub async fn come_back(&self) {
        self.go_away().await;
        let listener = listen_again(self.address).await;
        self.serve(listener);
    }

    /// Closes every connection, and accepts new ones at once.
    pub async fn cut_connections(&self) {
        self.go_away().await;
        self.come_back().await;
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn url(&self) -> String {
        let tls = self.authority.lock().expect("not poisoned").is_some();
        format!("{}://{}", if tls { "https" } else { "http" }, self.address)
    }

    /// Writes kubeconfig, token and authority of a client into a directory.
    #[must_use]
    pub fn client_files(&self, directory: &Path) -> ClientFiles {
        let token = self.state.settings().token.unwrap_or_else(|| "none".to_owned());
        let authority =
            self.authority.lock().expect("not poisoned").as_ref().map(|authority| authority.pem.clone());
        ClientFiles::write(directory, &self.url(), &token, authority.as_deref())
    }

    /// Replaces authority and certificate, and closes every connection. Returns the new authority's certificate as PEM.
    pub async fn rotate_authority(&self) -> String {
        let fresh = Authority::new();
        let pem = fresh.pem.clone();
        *self.authority.lock().expect("not poisoned") = Some(fresh);
        self.cut_connections().await;
        pem
    }

    /// Changes the settings from the next request on.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        self.state.change_settings(change);
    }

    /// Creates or replaces an object of the kind with this plural. Returns its revision.
    ///
    /// # Panics
    /// If the kind is not served.
    pub fn put(&self, plural: &str, object: Value) -> u64 {
        let revision = self.state.store().put(Resource::of(plural).expect("a kind that is served"), object);
        self.state.notify_watches(revision);
        revision
    }

    /// Deletes an object.
    ///
    /// # Panics
    /// If the object does not exist.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let resource = Resource::of(plural).expect("a kind that is served");
        let revision = self.state.store().delete(resource, namespace, name).expect("it is there");
        self.state.notify_watches(revision);
    }

    /// Returns the objects of a kind, ordered by namespace and name.
    #[must_use]
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        self.state.store().objects(plural).map(|(_, version)| version.value.clone()).collect()
    }

    /// Drops the history of all changes, as etcd's compaction does.
    pub fn compact(&self) {
        self.state.store().compact();
    }

    /// Replaces all objects, and starts at a lower revision, as a restored backup does.
    pub fn restore_backup(&self, objects: impl IntoIterator<Item = (&'static str, Value)>) {
        let mut store = Store::beginning_at(10);
        for (plural, object) in objects {
            store.put(Resource::of(plural).expect("a kind that is served"), object);
        }
        *self.state.store() = store;
    }

    /// Injects a fault until [`Self::heal`].
    pub fn fail(&self, on: On, fault: Fault) {
        self.state.faults().add(FaultRule { on, fault, times: None });
    }

    /// Injects a fault into the next `times` requests that match.
    pub fn fail_times(&self, times: u32, on: On, fault: Fault) {
        self.state.faults().add(FaultRule { on, fault, times: Some(times) });
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.state.faults().heal();
    }

    #[must_use]
    pub fn log(&self) -> &Log {
        &self.state.log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.serving.lock().expect("not poisoned").take() {
            task.abort();
        }
    }
}

/// Listens again at an address. A process that another test is starting may hold the old listener for a moment.
async fn listen_again(address: SocketAddr) -> TcpListener {
    let mut attempts = 0;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if attempts == 200 => panic!("the same port: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        attempts += 1;
    }
}

/// Accepts connections until this task is aborted, which closes them too.
async fn accept(listener: TcpListener, state: Arc<ServerState>, authority: Option<Authority>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let (state, authority) = (Arc::clone(&state), authority.clone());
                connections.spawn(async move {
                    match authority {
                        None => serve_connection(stream, state).await,
                        Some(authority) => {
                            if let Ok(stream) = authority.acceptor.accept(stream).await {
                                serve_connection(stream, state).await;
                            }
                        }
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    state: Arc<ServerState>,
) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, std::convert::Infallible>(answer(state, request).await) }
    });
    // An error here means that the client closed the connection.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}
