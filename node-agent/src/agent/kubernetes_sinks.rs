//! Wiring of the sinks that write objects to the API server: Reports and Events, each only if the configuration asks for it.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::config::{AgentConfig, MetadataSource};
use crate::kubernetes_api::access::ApiAccess;
use crate::kubernetes_api::timings::ApiTimings;
use crate::pipeline::Pipeline;
use crate::sink::convert::Wall;
use crate::sink::kubernetes::ClusterSinks;
use crate::sink::kubernetes::pending_writes::WriteTimings;
use crate::sink::kubernetes::writer::WriterContext;
use crate::source::clock;
use crate::source::kubernetes::Switch;
use crate::state::StateFeed;

/// Starts the writers that the configuration asks for. Without reports, removes those of an earlier agent.
pub fn start(
    config: &AgentConfig,
    metadata: &[MetadataSource],
    pipeline: &mut Pipeline,
    feed: &StateFeed,
) -> Vec<JoinHandle<()>> {
    let is_on = |switch| switch == Switch::On;
    if !metadata.contains(&MetadataSource::Kubernetes) {
        if !is_on(config.reports) && !is_on(config.events) {
            return Vec::new();
        }
        tracing::warn!(
            "--reports and --events write nothing: the API server is no source of pods (--metadata)"
        );
    }
    let context = WriterContext {
        access: Arc::new(ApiAccess::new(config.kubeconfig.clone())),
        agent: pipeline.agent.clone(),
        now: clock::now,
        wall: || Wall { unix_ns_at_boot: clock::booted_at().as_nanos() },
        timings: WriteTimings::default(),
        api_timings: ApiTimings::default(),
    };
    let mut tasks = Vec::new();
    if is_on(config.reports) {
        tasks.push(pipeline.cluster.start_reports(&context, feed));
    } else {
        tasks.push(ClusterSinks::remove_reports(&context));
    }
    if is_on(config.events) {
        tasks.push(pipeline.cluster.start_events(&context, feed));
    }
    tasks
}
