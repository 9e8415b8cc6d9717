//! Wiring of the sinks that leave the node: starts them, shows in status how they are doing, and lets them end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::config::AgentConfig;
use crate::pipeline::Pipeline;
use crate::sink::otlp::backlog::BacklogLimits;
use crate::sink::otlp::{self, Export, ExportTimings, OtlpOptions, SenderState};
use crate::source::clock;
use crate::source::pods::SourceState;

/// How long the last records may take at the end.
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// Starts the export where one was asked for.
pub fn start(
    config: &AgentConfig,
    pipeline: &mut Pipeline,
    sources: &mpsc::Sender<(String, SourceState)>,
) -> Option<Export> {
    let otlp = config.otlp.clone()?;
    if otlp.looks_like_grpc() {
        tracing::warn!(endpoint = %otlp.endpoint, "--otlp: port 4317 is usually that of gRPC; this speaks OTLP/HTTP, usually on 4318");
    }
    let options = OtlpOptions {
        config: otlp,
        node: Arc::clone(&pipeline.node),
        clock: clock::wall_now,
        timings: ExportTimings::DEFAULT,
        limits: BacklogLimits::DEFAULT,
    };
    let mut export = otlp::start(options, Arc::clone(&pipeline.metrics));
    pipeline.publisher.export_to(export.records.clone());
    for (name, states) in std::mem::take(&mut export.states) {
        tokio::spawn(tell_states(name, states, sources.clone()));
    }
    Some(export)
}

/// Sends what waits, for a bounded time.
pub async fn finish(export: Option<Export>) {
    let Some(export) = export else { return };
    let unsent = export.finish(LAST_RECORDS).await;
    if unsent > 0 {
        tracing::warn!(unsent, "the OTLP receiver did not take the last findings");
    }
}

/// Whether this source, as status calls it, is one of ours and tells nothing about pods.
#[must_use]
pub fn is_sink(name: &str) -> bool {
    name.starts_with("otlp/")
}

/// Ends with the sender.
async fn tell_states(
    name: &'static str,
    mut states: watch::Receiver<SenderState>,
    sources: mpsc::Sender<(String, SourceState)>,
) {
    while states.changed().await.is_ok() {
        let Some(state) = states.borrow_and_update().clone() else { continue };
        let state = SourceState { up: state.is_ok(), reason: state.err() };
        if sources.send((name.to_owned(), state)).await.is_err() {
            return;
        }
    }
}
