//! Wiring of `portolan agent`: starts every stage, owns every task and channel, and ends them in order.

pub mod allocator;
pub mod descriptor_limit;
mod heartbeat;
mod kubernetes_sinks;
mod otlp_export;
mod reload;
mod scan_time;
mod servers;
mod sources;
pub mod stage_options;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portolan_engine::Engine;
use portolan_engine::model::connection::ConnectionFact;
use portolan_engine::model::identity::NetnsId;
use portolan_engine::model::input::Input;
use portolan_engine::model::netns::NetnsFacts;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::agent::heartbeat::Heartbeat;
use crate::agent::scan_time::Timed;
use crate::agent::sources::{SourceChange, follow_rings, start_sources};
use crate::config::{AgentConfig, ListenAddress, MetadataSource};
use crate::pipeline::Pipeline;
use crate::sink::http::query::{Query, answer};
use crate::sink::http::{Health, HttpState};
use crate::sink::metrics::Metrics;
use crate::sink::stream::publish::Publisher;
use crate::sink::stream::stdout::LineSink;
use crate::sink::stream::watch_log::WatchLog;
use crate::source::kernel::{Capabilities, KernelHooks, KernelRefusal, NetnsPrograms, root_cgroup};
use crate::source::netns::budget::Budget;
use crate::source::netns::look::Interface;
use crate::source::netns::{self, NetnsActor, NetnsHandle};
use crate::source::node_access;
use crate::source::pods::SourceState;
use crate::source::{clock, conntrack, sighup};

/// Facts that may wait for the engine; a full queue makes the sources wait, and the rings in the kernel take the rest.
const INPUT_QUEUE: usize = 4096;
/// Facts that the engine takes in one go.
const INPUT_BATCH: usize = 256;
/// Batches of connections that may wait for the engine; as above.
const CONNECTION_QUEUE: usize = 4;
/// Questions of the HTTP API that may wait.
const QUERY_QUEUE: usize = 64;
/// Lines that may wait for stdout.
const STDOUT_QUEUE: usize = 16_384;
/// Lines that followers of the HTTP API can catch up on.
const WATCH_LOG: usize = 1024;
/// The kernel's counters are drained once in this time.
const DRAIN_EVERY: Duration = Duration::from_secs(1);
/// The gauges are set once in this many drains.
const MEASURE_EVERY: u32 = 5;
/// Free memory is given back once in this many drains.
const GIVE_BACK_EVERY: u32 = 10;
/// How long the last lines may take at the end.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Why the agent did not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Exit code 4.
    #[error("{0}")]
    Refused(#[from] KernelRefusal),
    /// Exit code 2.
    #[error("{option} {address}: {reason}{}", in_use(.reason))]
    Address { option: &'static str, address: String, reason: io::Error },
    /// Exit code 4.
    #[error("cannot start {what}: {reason}")]
    Start { what: &'static str, reason: io::Error },
    /// Something is missing without which nothing can be seen, or what is seen is wrong. Exit code 4.
    #[error("this node does not allow it: {}. `portolan doctor` says more", .0.join("; "))]
    Blind(Vec<String>),
    /// Exit code 3.
    #[error("the thread that looks at network namespaces has ended; nothing is observed without it")]
    NetnsEnded,
}

fn in_use(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::AddrInUse => " (by another agent? give this one another address, or `off`)",
        _ => "",
    }
}

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When the node does not allow it, an address is taken, or a thread cannot be started. Later only the end of the netns
/// thread ends the agent.
pub async fn run(config: AgentConfig) -> Result<(), AgentError> {
    let started = |what| move |reason| AgentError::Start { what, reason };
    let mut terminate = signal(SignalKind::terminate()).map_err(started("signal handling"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(started("signal handling"))?;
    let (again, hangups) = sighup::start().map_err(started("signal handling"))?;

    let (mut kernel, attach) = load_kernel(&config)?;
    let rings = kernel.as_mut().and_then(KernelHooks::take_rings);
    let kernel_log = kernel.as_mut().and_then(KernelHooks::take_log);
    let (inputs, facts) = mpsc::channel(INPUT_QUEUE);
    let (recorded, connections) = mpsc::channel(CONNECTION_QUEUE);
    let (queries, questions) = mpsc::channel(QUERY_QUEUE);
    let (sources, source_changes) = mpsc::channel(64);
    let (shutdown, ended) = watch::channel(false);
    let health = Arc::new(Health::default());
    let watch_log = Arc::new(WatchLog::new(clock::now().0, WATCH_LOG));
    let mut pipeline = pipeline(&config, kernel, Arc::clone(&watch_log))?;
    let export = otlp_export::start(&config, &mut pipeline, &sources);

    let state = HttpState {
        queries,
        watch_log,
        metrics: Arc::clone(&pipeline.metrics),
        health: Arc::clone(&health),
        shutdown: ended.clone(),
    };
    let servers = servers::start(&config, &state, &ended).await?;
    let metadata = stage_options::agent_metadata(&config);
    warn_of(&config, &metadata);
    let waits_for_metadata = !metadata.is_empty();
    let options = netns_options(&config, &metadata);
    let mut tasks = kubernetes_sinks::start(&config, &metadata, &mut pipeline, &sources);
    tasks.extend(start_sources(&config, metadata, &inputs, &sources, &again));
    tasks.extend(hangups);
    if let Some(rings) = rings {
        let followed = follow_rings(rings, &inputs, recorded, &sources, CONNECTION_QUEUE);
        tasks.extend(followed.map_err(started("the thread for connection tracking"))?);
    }
    tasks.extend(kernel_log.map(|log| tokio::spawn(log.forward())));
    let netns =
        netns::start(options, actor(attach, &state.metrics), inputs).map_err(started("the netns thread"))?;
    health.live.store(true, Ordering::Relaxed);
    let heartbeat = Heartbeat::default();
    tasks.push(tokio::spawn(heartbeat.clone().watch(Arc::clone(&health))));

    let upkeep = Upkeep { waits_for_metadata, heartbeat, ..Upkeep::default() };
    let mut station =
        Station { pipeline, netns, health, facts, connections, questions, source_changes, upkeep };
    let outcome = tokio::select! {
        () = station.observe() => Err(AgentError::NetnsEnded),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    let _ = shutdown.send(true);
    tasks.iter().for_each(JoinHandle::abort);
    station.end();
    otlp_export::finish(export).await;
    servers::finish(servers).await;
    outcome
}

/// The running agent: the pipeline, and what feeds it.
struct Station {
    pipeline: Pipeline,
    netns: NetnsHandle,
    health: Arc<Health>,
    facts: mpsc::Receiver<Input>,
    connections: mpsc::Receiver<Vec<ConnectionFact>>,
    questions: mpsc::Receiver<Query>,
    source_changes: mpsc::Receiver<SourceChange>,
    upkeep: Upkeep,
}

/// What is to be looked after beside the flow of facts.
#[derive(Default)]
struct Upkeep {
    /// The host's own netns.
    host: Option<NetnsId>,
    /// A socket opened there whose process is not known.
    unsure_of_host: bool,
    /// Ticket of the scan that mends what was lost.
    recovering: Option<u64>,
    drains: u32,
    /// The netns thread has looked at what there is, and could.
    is_observing: bool,
    /// No source of metadata has told its pods yet, and there are some.
    waits_for_metadata: bool,
    heartbeat: Heartbeat,
}

impl Station {
    /// Ends when the netns thread does.
    async fn observe(&mut self) {
        let mut drain = interval(DRAIN_EVERY);
        drain.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut progress = self.netns.progress();
        let mut batch = Vec::with_capacity(INPUT_BATCH);
        loop {
            self.upkeep.heartbeat.beat();
            let deadline = self.until_deadline();
            tokio::select! {
                taken = self.facts.recv_many(&mut batch, INPUT_BATCH) => {
                    if taken == 0 { return }
                    for input in batch.drain(..) { self.take(input) }
                }
                Some(facts) = self.connections.recv() => self.take(Input::Connections(facts)),
                () = sleep(deadline) => self.pipeline.tick(),
                _ = drain.tick() => self.drain(),
                Some(query) = self.questions.recv() => self.reply(query),
                Some((name, state)) = self.source_changes.recv() => self.told_by_source(&name, state),
                changed = progress.changed() => {
                    let now = progress.borrow_and_update().clone();
                    self.scanned(&now);
                    if changed.is_err() {
                        return self.pipeline.source("netns", SourceState::of(Some("its thread has ended".to_owned())));
                    }
                }
            }
        }
    }

    fn take(&mut self, input: Input) {
        if let Input::SocketOpened(socket) = &input
            && !self.pipeline.engine.knows_netns(socket.port.netns)
        {
            self.netns.discover(socket.port.netns);
        }
        // The hooks cannot see IPV6_V6ONLY: the kernel's own list tells.
        if let Input::SocketOpened(socket) = &input
            && socket.v6_only.is_none()
            && socket.address.is_ipv6()
        {
            self.netns.scan(socket.port.netns);
        }
        if let Input::NetnsSeen { facts, .. } = &input
            && facts.is_host
        {
            self.upkeep.host = Some(facts.netns);
        }
        // There a pod is known by its process's cgroup alone. A server that forks into the background was gone before it
        // could be looked up; the list tells who holds the socket now.
        if let Input::SocketOpened(socket) = &input
            && self.upkeep.host == Some(socket.port.netns)
            && socket.process.as_ref().is_none_or(|process| process.cgroup.is_none())
        {
            self.upkeep.unsure_of_host = true;
        }
        self.pipeline.count_event(&input);
        self.pipeline.apply(input);
    }

    fn drain(&mut self) {
        if self.pipeline.drain() {
            self.upkeep.recovering = Some(self.netns.scan_all());
        }
        if std::mem::take(&mut self.upkeep.unsure_of_host)
            && let Some(host) = self.upkeep.host
        {
            self.netns.scan(host);
        }
        self.pipeline.tell_status();
        self.pipeline.settle_cluster_sinks();
        // Counting looks at every port.
        self.upkeep.drains = self.upkeep.drains.wrapping_add(1);
        if self.upkeep.drains.is_multiple_of(MEASURE_EVERY) {
            self.pipeline.measure();
        }
        if self.upkeep.drains.is_multiple_of(GIVE_BACK_EVERY) {
            allocator::give_back();
        }
    }

    fn told_by_source(&mut self, name: &str, state: SourceState) {
        // What follows objects of other kinds, or is a sink, is named by the kind as well.
        let tells_pods = !name.starts_with("kubernetes/")
            && !name.starts_with("sink/")
            && !otlp_export::is_sink(name)
            && ![conntrack::SOURCE, reload::SOURCE].contains(&name);
        self.upkeep.waits_for_metadata &= !(state.up && tells_pods);
        self.pipeline.source(name, state);
        self.check_ready();
    }

    /// Ready once: what there is was looked at, and somebody has told which pods there are.
    fn check_ready(&mut self) {
        let is_ready = self.upkeep.is_observing && !self.upkeep.waits_for_metadata;
        if is_ready && !self.health.ready.swap(true, Ordering::Relaxed) {
            tracing::info!(namespaces = self.netns.progress().borrow().netns, "observing");
        }
    }

    fn scanned(&mut self, progress: &netns::Progress) {
        if progress.first_scan_done {
            self.pipeline.source("netns", SourceState::of(progress.blind.clone()));
        }
        self.upkeep.is_observing |= progress.is_observing();
        self.check_ready();
        if self.upkeep.recovering.is_some_and(|ticket| progress.scans_done >= ticket) {
            self.upkeep.recovering = None;
            self.pipeline.recovered();
        }
    }

    fn reply(&mut self, query: Query) {
        answer(query, &self.pipeline);
    }

    fn until_deadline(&self) -> Duration {
        let far = Duration::from_secs(3600);
        self.pipeline.engine.next_deadline().map_or(far, |at| at.since(clock::now()).min(far))
    }

    /// Detaches, lets the last lines out, and ends.
    fn end(mut self) {
        self.facts.close();
        self.connections.close();
        self.netns.shutdown();
        let Pipeline { publisher, kernel, .. } = self.pipeline;
        drop(kernel);
        if !publisher.finish(LAST_LINES) {
            tracing::warn!("stdout is blocked: its last lines were dropped");
        }
    }
}

/// Attaches this netns's programs while the netns thread is inside.
struct Attach {
    programs: NetnsPrograms,
    hears_of_sockets: bool,
}

impl NetnsActor for Attach {
    fn enter(&mut self, facts: &NetnsFacts, interfaces: &[Interface]) -> bool {
        self.programs.begin(facts.netns, interfaces)
    }

    fn act(&mut self, netns: NetnsId) -> bool {
        self.programs.attach_next(netns)
    }

    fn hears_of_sockets(&self) -> bool {
        self.hears_of_sockets
    }

    fn gone(&mut self, netns: NetnsId) {
        self.programs.detach(netns);
    }

    fn leave(&mut self, netns: NetnsId) {
        self.programs.remove_filters(netns);
    }
}

/// What happens inside each netns: attaching where there are programs, and measuring how long a scan takes.
fn actor(attach: Option<Attach>, metrics: &Metrics) -> Box<dyn NetnsActor> {
    let actor: Box<dyn NetnsActor> = match attach {
        Some(attach) => Box::new(attach),
        None => Box::new(netns::OnlyLook),
    };
    Box::new(Timed::new(actor, metrics.scan_duration.clone()))
}

/// Everything that this node or this pod's manifest keeps from the agent, at once.
fn missing(config: &AgentConfig) -> Vec<String> {
    let own = Capabilities::own();
    let mut missing = if config.scan_only { own.missing_to_enter() } else { own.missing() };
    let metadata = stage_options::agent_metadata(config);
    missing.extend(node_access::missing(&stage_options::node_access(&config.netns_dirs, &metadata)));
    if !config.scan_only {
        missing.extend(root_cgroup().err().into_iter().flat_map(|refusal| refusal.missing));
    }
    missing
}

fn load_kernel(config: &AgentConfig) -> Result<(Option<KernelHooks>, Option<Attach>), AgentError> {
    let missing = missing(config);
    if !missing.is_empty() {
        return Err(AgentError::Blind(missing));
    }
    if config.scan_only {
        return Ok((None, None));
    }
    let (hooks, programs) = KernelHooks::load(&stage_options::kernel(config))?;
    let attach = Attach { programs, hears_of_sockets: hooks.hears_of_sockets() };
    Ok((Some(hooks), Some(attach)))
}

fn pipeline(
    config: &AgentConfig,
    kernel: Option<KernelHooks>,
    watch_log: Arc<WatchLog>,
) -> Result<Pipeline, AgentError> {
    let lines = LineSink::start(io::stdout(), STDOUT_QUEUE)
        .map_err(|reason| AgentError::Start { what: "the stdout thread", reason })?;
    let publisher = Publisher::new(lines, config.output.clone(), watch_log);
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let node = config.node_name.clone().unwrap_or_else(|| uname.nodename().to_string_lossy().into_owned());
    let mut pipeline = Pipeline::new(
        Engine::new(stage_options::engine(config, kernel.is_some())),
        kernel,
        publisher,
        Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), release.clone())),
        node.into(),
        release,
    );
    // Before anything is judged.
    pipeline.apply(Input::Exceptions(stage_options::rules(&config.exceptions)));
    Ok(pipeline)
}

fn netns_options(config: &AgentConfig, metadata: &[MetadataSource]) -> netns::NetnsOptions {
    let mut options = stage_options::netns(config.netns_dirs.clone(), config.include_host, metadata);
    if config.scan_only {
        options.budget = Budget::LOOKS_ALONE;
    }
    options
}

/// What is allowed and seldom meant.
fn warn_of(config: &AgentConfig, metadata: &[MetadataSource]) {
    if metadata.is_empty() {
        tracing::warn!(
            "no source of metadata is given (--metadata): nothing tells which pods there are, so every port \
             will be `unattributed`"
        );
    }
    if let ListenAddress::Tcp(address) = &config.api
        && !address.ip().is_loopback()
    {
        tracing::warn!(
            %address,
            "--api is open to other hosts and asks nobody who they are: whoever reaches it reads every finding"
        );
    }
}
