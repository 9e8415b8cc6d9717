//! Wiring of the sinks that write objects to the API server: reports and Events, each only where it is asked for.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::{AgentConfig, MetadataSource};
use crate::kubernetes_api::access::ApiAccess;
use crate::kubernetes_api::timings::ApiTimings;
use crate::pipeline::Pipeline;
use crate::sink::convert::Wall;
use crate::sink::kubernetes::RunningWriter;
use crate::sink::kubernetes::pending_writes::WriteTimings;
use crate::sink::kubernetes::writer::WriterContext;
use crate::source::clock;
use crate::source::kubernetes::Switch;
use crate::source::pods::SourceState;

/// Starts what is asked for; how each sink does is told like a source's state.
pub fn start(
    config: &AgentConfig,
    metadata: &[MetadataSource],
    pipeline: &mut Pipeline,
    states: &mpsc::Sender<(String, SourceState)>,
) -> Vec<JoinHandle<()>> {
    let is_on = |switch| switch == Switch::On;
    if !is_on(config.reports) && !is_on(config.events) {
        return Vec::new();
    }
    if !metadata.contains(&MetadataSource::Kubernetes) {
        tracing::warn!(
            "--reports and --events write nothing: the API server is no source of pods (--metadata)"
        );
    }
    let context = WriterContext {
        access: Arc::new(ApiAccess::new(config.kubeconfig.clone())),
        node: Arc::clone(&pipeline.node),
        now: clock::now,
        wall: || Wall { unix_ns_at_boot: clock::booted_at().as_nanos() },
        timings: WriteTimings::default(),
        api_timings: ApiTimings::default(),
    };
    let mut writing = Vec::new();
    if is_on(config.reports) {
        writing.push(pipeline.cluster.start_reports(&context));
    }
    if is_on(config.events) {
        writing.push(pipeline.cluster.start_events(&context));
    }
    for one in &writing {
        pipeline.source(one.name, SourceState::of(None));
    }
    writing.into_iter().flat_map(|one| follow(one, states.clone())).collect()
}

/// Passes every change on.
fn follow(writing: RunningWriter, states: mpsc::Sender<(String, SourceState)>) -> [JoinHandle<()>; 2] {
    let RunningWriter { name, states: mut reasons, task } = writing;
    let telling = tokio::spawn(async move {
        while reasons.changed().await.is_ok() {
            let reason = reasons.borrow_and_update().clone();
            let state = SourceState { up: reason.is_none(), reason };
            if states.send((name.to_owned(), state)).await.is_err() {
                return;
            }
        }
    });
    [task, telling]
}

impl Pipeline {
    /// Tells the sinks which pods the API server knows, and again what they could not keep. Call it about once a second.
    pub fn settle_cluster_sinks(&self) {
        let now = clock::now();
        self.cluster.settle(&|uid| self.engine.at_server(uid), now);
        for finding in self.cluster.wanted().iter().filter_map(|id| self.engine.finding(id)) {
            self.cluster.note(&finding, now);
        }
    }
}
