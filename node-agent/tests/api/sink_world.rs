//! A stand-in API server, the sinks that write to it, and the findings that the engine would have.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portolan::kubernetes_api::access::ApiAccess;
use portolan::sink::convert::Wall;
use portolan::sink::kubernetes::ClusterSinks;
use portolan::sink::kubernetes::pending_writes::WriteTimings;
use portolan::sink::kubernetes::writer::WriterContext;
use portolan::source::clock;
use portolan::state::{StateFeed, States};
use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::{NetnsId, PodUid, PortId, Protocol};
use portolan_engine::model::listener::{
    Declaration, DeclarationStatus, Exposure, Listener, ListenerState, ServedBy,
};
use portolan_engine::model::netns::NetnsRef;
use portolan_engine::model::pod::PodRef;
use portolan_engine::model::policy::Policy;
use portolan_engine::model::process::Process;
use portolan_engine::model::traffic::Traffic;
use portolan_testing::api_server::log::Request;
use portolan_testing::api_server::server::{Server, Settings, Transport};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::world::{FAST, NODE, PATIENCE, scratch};

/// Timings of the sinks, about a hundred times shorter than in production.
pub const SOON: WriteTimings = WriteTimings {
    start_within: Duration::ZERO,
    gather: Duration::from_millis(20),
    between: Duration::from_millis(600),
    refresh: Duration::from_secs(3600),
    renew: Duration::from_secs(3600),
    event_repeat: Duration::from_secs(3600),
    seldom: Duration::from_millis(300),
    report_every: Duration::from_millis(5),
    event_every: Duration::from_millis(5),
    burst: 10,
};

/// Which sinks are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Reports,
    Events,
    Nothing,
    /// Reports are off, and those of an earlier agent are removed.
    Removal,
}

pub struct SinkWorld {
    pub server: Server,
    pub sinks: ClusterSinks,
    states: watch::Receiver<States>,
    writer: Option<JoinHandle<()>>,
    /// Pods at the API server, with their UIDs there.
    pods: BTreeMap<PodUid, (Arc<PodRef>, PodUid)>,
    /// Findings of the engine.
    findings: Mutex<BTreeMap<String, Finding>>,
    directory: PathBuf,
}

impl SinkWorld {
    pub async fn new(on: On) -> Self {
        Self::with(on, Settings::default(), SOON, |_| {}).await
    }

    /// Prepares the server before anything is written.
    pub async fn with(
        on: On,
        settings: Settings,
        times: WriteTimings,
        prepare: impl FnOnce(&Server),
    ) -> Self {
        let server = Server::start(Transport::Plain, settings).await;
        prepare(&server);
        let directory = scratch();
        let files = server.client_files(&directory);
        let context = WriterContext {
            access: Arc::new(ApiAccess::new(Some(files.kubeconfig))),
            agent: NODE.into(),
            now: clock::now,
            wall: || Wall { unix_ns_at_boot: clock::booted_at().as_nanos() },
            timings: times,
            api_timings: FAST,
        };
        let mut sinks = ClusterSinks::default();
        let feed = StateFeed::default();
        let writer = match on {
            On::Reports => Some(sinks.start_reports(&context, &feed)),
            On::Events => Some(sinks.start_events(&context, &feed)),
            On::Nothing => None,
            On::Removal => Some(ClusterSinks::remove_reports(&context)),
        };
        let (states, pods) = (feed.subscribe(), BTreeMap::new());
        Self { server, sinks, states, writer, pods, findings: Mutex::default(), directory }
    }

    /// Adds a pod to the API server.
    pub fn knows(&mut self, name: &str) {
        self.knows_as(name, name);
    }

    /// Adds a pod to the API server with another UID.
    pub fn knows_as(&mut self, name: &str, uid: &str) {
        let known = (Arc::new(pod(name)), PodUid(uid.to_owned()));
        self.pods.insert(PodUid(uid.to_owned()), known.clone());
        self.pods.insert(PodUid(name.to_owned()), known);
    }

    pub fn forgets(&mut self, name: &str) {
        self.pods.remove(&PodUid(name.to_owned()));
        self.settle();
    }

    pub fn note(&self, finding: &Finding) {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        match finding.state {
            FindingState::Resolved => findings.remove(&finding.id),
            _ => findings.insert(finding.id.clone(), finding.clone()),
        };
        self.sinks.note(finding, clock::now());
    }

    fn settle(&self) {
        self.sinks.settle(&|uid| self.pods.get(uid).cloned(), clock::now());
        let findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        for finding in self.sinks.wanted().iter().filter_map(|id| findings.get(id)) {
            self.sinks.note(finding, clock::now());
        }
    }

    /// Updates the sinks, as the agent does each second, until the condition holds.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let reached = timeout(PATIENCE, async {
            while !holds(self) {
                self.settle();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        if reached.await.is_err() {
            panic!(
                "not in time: {what}; status: {:?}, done: {:?}\nreports: {:#?}\nrequests: {:#?}",
                self.reason(),
                self.sinks.totals(),
                self.server.objects("reports"),
                self.server.log().all()
            );
        }
    }

    /// Updates the sinks for this time, to check that something does not happen.
    pub async fn for_a_while(&self, time: Duration) {
        let _ = timeout(time, self.until("nothing", |_| false)).await;
    }

    /// Returns why the sink fails.
    pub fn reason(&self) -> Option<String> {
        let states = self.states.borrow();
        states.sources().find_map(|(_, entry)| entry.state.reason().map(str::to_owned))
    }

    /// Returns all requests that write.
    pub fn writes(&self) -> Vec<Request> {
        let all = self.server.log().all();
        all.into_iter().filter(|request| request.method != "GET").collect()
    }

    /// Returns the report of a pod, by its UID at the server.
    pub fn report(&self, uid: &str) -> Option<Value> {
        let all = self.server.objects("reports");
        all.into_iter().find(|report| report["metadata"]["name"] == format!("portolan-{uid}"))
    }

    /// Returns the counts of a report's summary: pass, fail, warn, skip.
    pub fn summary(&self, uid: &str) -> Option<[u64; 4]> {
        let report = self.report(uid)?;
        let count = |field: &str| report["summary"][field].as_u64().expect("a count");
        Some([count("pass"), count("fail"), count("warn"), count("skip")])
    }
}

impl Drop for SinkWorld {
    fn drop(&mut self) {
        self.writer.iter().for_each(JoinHandle::abort);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Returns a pod whose UID equals its name.
pub fn pod(name: &str) -> PodRef {
    PodRef {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: PodUid(name.to_owned()),
        workload: None,
        host_network: false,
        labels: Arc::default(),
        sole_container: None,
    }
}

/// Moves the pod of a finding to another namespace.
pub fn within(namespace: &str, finding: Finding) -> Finding {
    let pod = finding.pod.map(|pod| PodRef { namespace: namespace.to_owned(), ..pod });
    Finding { pod, ..finding }
}

/// Suppresses a finding, as an exception does.
pub fn suppressed(finding: Finding) -> Finding {
    Finding { state: FindingState::Suppressed, ..finding }
}

/// Returns an open finding about a port of a pod.
pub fn finding(name: &str, port: u16, code: FindingCode) -> Finding {
    let port = NonZeroU16::new(port).expect("not 0");
    let declaration = Declaration {
        status: DeclarationStatus::Undeclared,
        declared_by: Vec::new(),
        explained_by: Vec::new(),
    };
    let listener = Listener {
        id: format!("{name}-{port}"),
        port: PortId { netns: NetnsId(7), protocol: Protocol::Tcp, port },
        addresses: Vec::new(),
        v6_only: false,
        sockets: 1,
        netns: NetnsRef { inode: 7, name: None },
        served_by: ServedBy::Process,
        other_processes: Vec::new(),
        forwarded_to: None,
        unproven: false,
        in_storm: false,
        process: Some(Process { pid: 7, name: "python3".to_owned(), executable: None, cgroup: None }),
        opened_at: None,
        state: ListenerState::Open,
        pod: Some(pod(name)),
        container: None,
        declaration: declaration.clone(),
        exposure: Exposure::Pod,
        traffic: Traffic::default(),
    };
    Finding {
        id: format!("{name}-{port}"),
        state: FindingState::Open,
        code,
        message: format!("port {port}/TCP is served but not declared"),
        first_seen: clock::now(),
        last_seen: clock::now(),
        pod: Some(pod(name)),
        container: None,
        listener: Some(Arc::new(listener)),
        protocol: Some(Protocol::Tcp),
        port: Some(port),
        declaration,
        exposure: Exposure::Pod,
        policy: Policy::default(),
        traffic: Traffic { connections: 3, ..Traffic::default() },
        suppressed_by: None,
        changed_at: None,
        previous_code: None,
        opened_at: None,
    }
}

/// Resolves a finding.
pub fn resolved(finding: &Finding) -> Finding {
    Finding { state: FindingState::Resolved, ..finding.clone() }
}
