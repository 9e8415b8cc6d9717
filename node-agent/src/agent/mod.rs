//! Wiring of `portolan agent`: starts every stage, owns every task and channel, and ends them in order.

pub mod allocator;
pub mod descriptor_limit;
pub mod error;
mod event_loop;
mod heartbeat;
mod kubernetes_sinks;
mod netns_actor;
mod otlp_export;
pub mod program_pages;
mod reload;
mod scan_time;
mod servers;
mod sources;
pub mod stage_options;
mod start;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::agent::error::AgentError;
use crate::agent::event_loop::{EventLoop, Upkeep};
use crate::agent::heartbeat::Heartbeat;
use crate::agent::sources::{follow_rings, start_sources};
use crate::config::AgentConfig;
use crate::sink::http::Health;
use crate::sink::stream::watch_log::WatchLog;
use crate::source::kernel::KernelHooks;
use crate::source::{clock, netns, sighup};
use crate::state::{Source, StateFeed};

/// Maximum number of facts that wait for the engine. A full queue blocks the sources, and the kernel's rings fill instead.
const INPUT_QUEUE: usize = 4096;
/// Maximum number of batches of connections that wait for the engine; a full queue has the same effect.
const CONNECTION_QUEUE: usize = 4;
/// Maximum number of HTTP queries that wait for the engine.
const QUERY_QUEUE: usize = 64;
/// Number of lines that `/v1/watch` can replay.
const WATCH_LOG: usize = 1024;

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When the node does not allow it, an address is taken, or a thread cannot be started. Later only the end of the netns
/// thread ends the agent.
pub async fn run(config: AgentConfig) -> Result<(), AgentError> {
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let (reloads, sighup_task) = sighup::start().map_err(AgentError::start("signal handling"))?;
    let feed = StateFeed::default();
    let (mut kernel, attach) = start::load_kernel(&config, &feed)?;
    let rings = kernel.as_mut().and_then(KernelHooks::take_rings);
    let kernel_log = kernel.as_mut().and_then(KernelHooks::take_log);
    let (inputs, facts) = mpsc::channel(INPUT_QUEUE);
    let (recorded, connections) = mpsc::channel(CONNECTION_QUEUE);
    let (ask, queries) = mpsc::channel(QUERY_QUEUE);
    let (shutdown, ended) = watch::channel(false);
    let health = Arc::new(Health::default());
    let heartbeat = Heartbeat::default();
    let watch_log = Arc::new(WatchLog::new(clock::now().0, WATCH_LOG));
    let mut pipeline = start::pipeline(&config, kernel, Arc::clone(&watch_log), &feed)?;
    let metrics = Arc::clone(&pipeline.metrics);
    let scan_durations = metrics.scan_duration.clone();
    let export = otlp_export::start(&config, &mut pipeline, &feed);
    let http = servers::state(ask, watch_log, metrics, &health, &ended);
    let servers = servers::start(&config, &http, &ended).await?;
    let metadata = stage_options::agent_metadata(&config);
    start::warn_of(&config, &metadata);
    let netns_options = stage_options::agent_netns(&config, &metadata);
    let netns_state = feed.reporter(Source::Netns);
    let mut tasks = kubernetes_sinks::start(&config, &metadata, &mut pipeline, &feed);
    tasks.extend(start_sources(&config, metadata, &inputs, &feed, &reloads));
    tasks.extend(sighup_task);
    if let Some(rings) = rings {
        let followed = follow_rings(rings, &inputs, recorded, &feed, CONNECTION_QUEUE);
        tasks.push(followed.map_err(AgentError::start("the thread for connection tracking"))?);
    }
    tasks.extend(kernel_log.map(|log| tokio::spawn(log.forward())));
    let netns = netns::start(netns_options, netns_actor::actor(attach, scan_durations), inputs)
        .map_err(AgentError::start("the netns thread"))?;
    health.live.store(true, Ordering::Relaxed);
    tasks.push(tokio::spawn(heartbeat.clone().watch(Arc::clone(&health))));
    let (states, upkeep) = (feed.subscribe(), Upkeep::default());
    #[rustfmt::skip]
    let mut event_loop = EventLoop {
        pipeline, netns, netns_state, health, heartbeat, facts, connections, queries, states, upkeep,
    };
    let outcome = tokio::select! {
        () = event_loop.run() => Err(AgentError::NetnsEnded),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    let _ = shutdown.send(true);
    tasks.iter().for_each(JoinHandle::abort);
    event_loop.end();
    otlp_export::finish(export).await;
    servers::finish(servers).await;
    outcome
}

fn on(kind: SignalKind) -> Result<Signal, AgentError> {
    signal(kind).map_err(AgentError::start("signal handling"))
}
