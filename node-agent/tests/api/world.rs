//! A stand-in API server, the agent's watchers, and the facts that the engine would have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use portolan::kubernetes_api::timings::ApiTimings;
use portolan::source::kubernetes::{self, KubernetesOptions, Switch};
use portolan::state::{Source, State, StateFeed, States};
use portolan_engine::model::input::Input;
use portolan_engine::model::listing::Listing;
use portolan_engine::model::namespace::Namespace;
use portolan_engine::model::network_policy::NetworkPolicy;
use portolan_engine::model::pod::Pod;
use portolan_engine::model::service::Service;
use portolan_testing::api_server::access::ClientFiles;
use portolan_testing::api_server::log::Request;
use portolan_testing::api_server::server::{Server, Settings, Transport};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Name of the node whose agent is tested.
pub const NODE: &str = "node-1";
/// Timeout of all waits, far longer than any step takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Timings of the watchers, about a hundred times shorter than in production.
pub const FAST: ApiTimings = ApiTimings {
    start_within: Duration::ZERO,
    first: Duration::from_millis(20),
    most: Duration::from_millis(400),
    seldom: Duration::from_millis(400),
    answer_within: Duration::from_millis(600),
    quiet: Duration::from_millis(500),
    watch_for: Duration::from_secs(300),
    short: Duration::from_millis(30),
};

/// The facts that the engine would have.
#[derive(Debug, Default)]
pub struct Known {
    pub pods: BTreeMap<String, Pod>,
    /// `None` if unavailable.
    pub services: Option<BTreeMap<String, Service>>,
    pub policies: Option<BTreeMap<String, NetworkPolicy>>,
    pub namespaces: Option<BTreeMap<String, Namespace>>,
    /// Number of full lists of pods.
    pub pod_lists: usize,
    /// Number of reports that a kind is unavailable.
    pub unavailable: usize,
    pub lost: BTreeMap<&'static str, u64>,
}

pub struct World {
    pub server: Server,
    pub files: ClientFiles,
    pub known: Known,
    states: watch::Receiver<States>,
    tasks: Vec<JoinHandle<()>>,
    inputs: mpsc::Receiver<Input>,
    directory: PathBuf,
}

impl World {
    /// Starts a server without TLS that serves all kinds.
    pub async fn new(objects: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self::with(Transport::Plain, Settings::default(), FAST, objects).await
    }

    pub async fn with_settings(
        settings: Settings,
        objects: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        Self::with(Transport::Plain, settings, FAST, objects).await
    }

    pub async fn with(
        transport: Transport,
        settings: Settings,
        pace: ApiTimings,
        objects: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        let server = Server::start(transport, settings).await;
        for (plural, object) in objects {
            server.put(plural, object);
        }
        Self::of(server, pace)
    }

    /// Starts watchers of a server that may already inject faults.
    pub fn of(server: Server, pace: ApiTimings) -> Self {
        let directory = scratch();
        let files = server.client_files(&directory);
        let (sender, inputs) = mpsc::channel(64);
        let options = KubernetesOptions {
            node_name: NODE.to_owned(),
            kubeconfig: Some(files.kubeconfig.clone()),
            services: Switch::On,
            policies: Switch::On,
            pace,
        };
        let feed = StateFeed::default();
        let tasks = kubernetes::start(&options, &sender, &feed);
        let states = feed.subscribe();
        Self { server, files, known: Known::default(), states, tasks, inputs, directory }
    }

    /// Takes inputs until the condition holds.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Known) -> bool) {
        let known = timeout(PATIENCE, async {
            while !holds(&self.known) {
                let input = self.inputs.recv().await.expect("the watchers live");
                self.known.take(input);
            }
        });
        if known.await.is_err() {
            panic!(
                "not in time: {what}; known: {:?}\nsources: {:#?}\nrequests: {:#?}",
                self.known,
                self.states.borrow(),
                self.last_requests()
            );
        }
    }

    /// Takes inputs until every kind was listed once.
    pub async fn listed(&mut self) {
        self.until("everything is listed", |known| {
            known.pod_lists > 0
                && known.services.is_some()
                && known.policies.is_some()
                && known.namespaces.is_some()
        })
        .await;
    }

    pub async fn pods_are(&mut self, names: &[&str]) {
        self.until(&format!("the pods are {names:?}"), |known| {
            known.pod_lists > 0 && known.pods.values().map(|pod| pod.name.as_str()).eq(names.iter().copied())
        })
        .await;
    }

    /// Takes inputs for this time, to check that something does not happen.
    pub async fn for_a_while(&mut self, time: Duration) {
        let _ = timeout(time, async {
            while let Some(input) = self.inputs.recv().await {
                self.known.take(input);
            }
        })
        .await;
    }

    /// Waits until a source is as it should be, taking what is told meanwhile.
    pub async fn source(&mut self, source: Source, holds: impl Fn(&State) -> bool) -> State {
        let mut states = self.states.clone();
        let reached = async {
            loop {
                tokio::select! {
                    states = states.wait_for(|states| holds(&states.of(source.clone()))) => {
                        return states.expect("the watcher lives").of(source.clone());
                    }
                    input = self.inputs.recv() => self.known.take(input.expect("the watchers live")),
                }
            }
        };
        let state = timeout(PATIENCE, reached).await;
        state.unwrap_or_else(|_| panic!("{source} is not so: {:?}", self.state(source.clone())))
    }

    pub fn state(&self, source: Source) -> State {
        self.states.borrow().of(source)
    }

    /// Returns the requests for a kind, oldest first.
    pub fn requests(&self, plural: &str) -> Vec<Request> {
        let all = self.server.log().all();
        all.into_iter().filter(|request| request.path.ends_with(plural)).collect()
    }

    fn last_requests(&self) -> Vec<String> {
        let all = self.server.log().all();
        let last = all.iter().rev().take(12);
        last.map(|request| format!("{} {}?{}", request.status, request.path, request.query)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Known {
    fn take(&mut self, input: Input) {
        self.unavailable += usize::from(matches!(
            input,
            Input::Services(Listing::Unavailable)
                | Input::NetworkPolicies(Listing::Unavailable)
                | Input::Namespaces(Listing::Unavailable)
        ));
        match input {
            Input::Pods { pods, .. } => {
                self.pod_lists += 1;
                self.pods = pods.into_iter().map(|pod| (pod.uid.0.clone(), pod)).collect();
            }
            Input::PodChanged { pod, .. } => drop(self.pods.insert(pod.uid.0.clone(), *pod)),
            Input::PodGone { uid, .. } => drop(self.pods.remove(&uid.0)),
            Input::Services(listing) => {
                fold(&mut self.services, listing, |item| key(&item.namespace, &item.name))
            }
            Input::NetworkPolicies(listing) => {
                fold(&mut self.policies, listing, |item| key(&item.namespace, &item.name));
            }
            Input::Namespaces(listing) => fold(&mut self.namespaces, listing, |item| key("", &item.name)),
            Input::Lost { reason, count, .. } => *self.lost.entry(reason).or_default() += count,
            other => panic!("not a source's: {other:?}"),
        }
    }
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

fn fold<T>(known: &mut Option<BTreeMap<String, T>>, listing: Listing<T>, key_of: impl Fn(&T) -> String) {
    match listing {
        Listing::All(items) => *known = Some(items.into_iter().map(|item| (key_of(&item), item)).collect()),
        Listing::Changed(item) => drop(known.as_mut().expect("listed before").insert(key_of(&item), *item)),
        Listing::Gone { namespace, name } => {
            drop(known.as_mut().expect("listed before").remove(&key(&namespace, &name)));
        }
        Listing::Unavailable => *known = None,
    }
}

/// Creates a directory for one test.
pub fn scratch() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("portolan-api-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&directory).expect("a directory");
    directory
}

/// Returns a small pod of a node. Its UID equals its name.
pub fn pod(name: &str, node: &str) -> (&'static str, Value) {
    let object = json!({
        "metadata": {"namespace": "shop", "name": name, "uid": name},
        "spec": {"nodeName": node, "containers": [{"name": "main", "ports": [{"containerPort": 80}]}]},
        "status": {"phase": "Running"},
    });
    ("pods", object)
}

pub fn namespace(name: &str) -> (&'static str, Value) {
    ("namespaces", json!({"metadata": {"name": name}}))
}

pub fn service(name: &str) -> (&'static str, Value) {
    let object = json!({
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"selector": {"app": name}, "clusterIP": "10.96.0.1", "ports": [{"port": 80, "targetPort": "http"}]},
    });
    ("services", object)
}

pub fn policy(name: &str) -> (&'static str, Value) {
    let object = json!({
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 80}]}]},
    });
    ("networkpolicies", object)
}
