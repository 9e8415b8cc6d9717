//! The server: made once, it can go away and come back at the same address, with what it knew.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::api_server::access::{Authority, ClientFiles};
use crate::api_server::answer::{HEAD_WITHIN, answer};
use crate::api_server::fault::{Fault, Faults, On, Rule, StreamedLists};
use crate::api_server::log::{Log, Request};
use crate::api_server::resource::Resource;
use crate::api_server::store::Store;

/// How the server behaves when nothing is wrong.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Refused without it.
    pub token: Option<String>,
    pub streamed_lists: StreamedLists,
    /// Groups that the server does not have, as where their kinds are not installed.
    pub absent_groups: Vec<&'static str>,
    /// The real one sends one a minute.
    pub bookmark_every: Duration,
    /// Watches end after this at the latest.
    pub watches_last: Option<Duration>,
    /// Where a pod's port really is, for port-forward; a pod's other ports are refused.
    pub forwards: BTreeMap<(String, u16), SocketAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token: None,
            streamed_lists: StreamedLists::Served,
            absent_groups: Vec::new(),
            bookmark_every: Duration::from_secs(60),
            watches_last: None,
            forwards: BTreeMap::new(),
        }
    }
}

/// Whether the server speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    Tls,
}

/// What every request sees.
pub struct Inner {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    settings: Mutex<Settings>,
    news: watch::Sender<u64>,
    pub(crate) log: Log,
}

impl Inner {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("not poisoned")
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("not poisoned")
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings.lock().expect("not poisoned").clone()
    }

    pub(crate) fn tell(&self, revision: u64) {
        self.news.send_replace(revision);
    }

    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}

/// A server on 127.0.0.1; gone when it is dropped.
pub struct Server {
    inner: Arc<Inner>,
    address: SocketAddr,
    authority: Mutex<Option<Authority>>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Starts on a free port. Needs a tokio runtime.
    ///
    /// # Panics
    /// Where no port can be had.
    pub async fn start(transport: Transport, settings: Settings) -> Self {
        let inner = Inner {
            store: Mutex::default(),
            faults: Mutex::default(),
            settings: Mutex::new(settings),
            news: watch::Sender::new(0),
            log: Log::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = Self {
            inner: Arc::new(inner),
            address: listener.local_addr().expect("an address"),
            authority: Mutex::new((transport == Transport::Tls).then(Authority::new)),
            serving: Mutex::new(None),
        };
        server.serve(listener);
        server
    }

    fn serve(&self, listener: TcpListener) {
        let authority = self.authority.lock().expect("not poisoned").clone();
        let task = tokio::spawn(accept(listener, Arc::clone(&self.inner), authority));
        if let Some(before) = self.serving.lock().expect("not poisoned").replace(task) {
            before.abort();
        }
    }

    /// Goes away: the port is closed, and so is every connection.
    pub async fn go_away(&self) {
        let serving = self.serving.lock().expect("not poisoned").take();
        if let Some(task) = serving {
            task.abort();
            let _ = task.await;
        }
    }

    /// Goes away, and counts in the log who comes: each connection is closed at once, as by a balancer without servers.
    ///
    /// # Panics
    /// Where the port was taken meanwhile.
    pub async fn turn_away(&self) {
        self.go_away().await;
        let listener = TcpListener::bind(self.address).await.expect("the same port");
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move {
            loop {
                if listener.accept().await.is_ok() {
                    inner.log.add(Request { at: inner.log.elapsed(), ..Request::default() });
                }
            }
        });
        *self.serving.lock().expect("not poisoned") = Some(task);
    }

    /// Comes back at the same address, knowing what it knew.
    ///
    /// # Panics
    /// Where the port was taken meanwhile.
    pub async fn come_back(&self) {
        self.go_away().await;
        let listener = TcpListener::bind(self.address).await.expect("the same port");
        self.serve(listener);
    }

    /// Breaks every connection, and takes new ones at once.
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

    /// Writes what a client needs into a directory.
    #[must_use]
    pub fn client_files(&self, directory: &Path) -> ClientFiles {
        let token = self.inner.settings().token.unwrap_or_else(|| "none".to_owned());
        let authority =
            self.authority.lock().expect("not poisoned").as_ref().map(|authority| authority.pem.clone());
        ClientFiles::write(directory, &self.url(), &token, authority.as_deref())
    }

    /// Takes a new authority and certificate, and breaks every connection; gives the authority.
    pub async fn rotate_authority(&self) -> String {
        let fresh = Authority::new();
        let pem = fresh.pem.clone();
        *self.authority.lock().expect("not poisoned") = Some(fresh);
        self.cut_connections().await;
        pem
    }

    /// Changes how the server behaves from the next request on.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.inner.settings.lock().expect("not poisoned"));
    }

    /// Makes or replaces an object of a kind, by its plural; gives its revision.
    ///
    /// # Panics
    /// Where the kind is not served.
    pub fn put(&self, plural: &str, object: Value) -> u64 {
        let revision = self.inner.store().put(Resource::of(plural).expect("a kind that is served"), object);
        self.inner.news.send_replace(revision);
        revision
    }

    /// Deletes an object.
    ///
    /// # Panics
    /// Where it is not there.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let resource = Resource::of(plural).expect("a kind that is served");
        let revision = self.inner.store().delete(resource, namespace, name).expect("it is there");
        self.inner.news.send_replace(revision);
    }

    /// The objects of a kind as they are, by namespace and name.
    #[must_use]
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        self.inner.store().objects(plural).map(|(_, version)| version.value.clone()).collect()
    }

    /// Forgets the history up to now.
    pub fn compact(&self) {
        self.inner.store().compact();
    }

    /// Forgets everything and begins again below where it stood, as a restored backup does.
    pub fn restore_backup(&self, objects: impl IntoIterator<Item = (&'static str, Value)>) {
        let mut store = Store::beginning_at(10);
        for (plural, object) in objects {
            store.put(Resource::of(plural).expect("a kind that is served"), object);
        }
        *self.inner.store() = store;
    }

    pub fn fail(&self, on: On, fault: Fault) {
        self.inner.faults().add(Rule { on, fault, times: None });
    }

    pub fn fail_times(&self, times: u32, on: On, fault: Fault) {
        self.inner.faults().add(Rule { on, fault, times: Some(times) });
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.inner.faults().heal();
    }

    #[must_use]
    pub fn log(&self) -> &Log {
        &self.inner.log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = self.serving.lock().expect("not poisoned").take() {
            task.abort();
        }
    }
}

/// Takes connections until it is aborted, and them with it.
async fn accept(listener: TcpListener, inner: Arc<Inner>, authority: Option<Authority>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                let (inner, authority) = (Arc::clone(&inner), authority.clone());
                connections.spawn(async move {
                    match authority {
                        None => serve_connection(stream, inner).await,
                        Some(authority) => {
                            if let Ok(stream) = authority.acceptor.accept(stream).await {
                                serve_connection(stream, inner).await;
                            }
                        }
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, inner: Arc<Inner>) {
    let service = service_fn(move |request| {
        let inner = Arc::clone(&inner);
        async move { Ok::<_, std::convert::Infallible>(answer(inner, request).await) }
    });
    // A client that goes, goes.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}
