//! Wiring of the OTLP export: starts the senders, and gives them time to send the last records at the end.

use std::sync::Arc;
use std::time::Duration;

use crate::config::AgentConfig;
use crate::pipeline::Pipeline;
use crate::sink::otlp::backlog::BacklogLimits;
use crate::sink::otlp::{self, Export, ExportTimings, OtlpOptions};
use crate::source::clock;
use crate::state::StateFeed;

/// Time for the last records to reach the receiver at the end.
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// Starts the export if the configuration asks for it.
pub fn start(config: &AgentConfig, pipeline: &mut Pipeline, feed: &StateFeed) -> Option<Export> {
    let otlp = config.otlp.clone()?;
    if otlp.looks_like_grpc() {
        tracing::warn!(endpoint = %otlp.endpoint, "--otlp: port 4317 is usually that of gRPC; this speaks OTLP/HTTP, usually on 4318");
    }
    let options = OtlpOptions {
        config: otlp,
        agent: pipeline.agent.clone(),
        clock: clock::wall_now,
        timings: ExportTimings::DEFAULT,
        limits: BacklogLimits::DEFAULT,
    };
    let export = otlp::start(options, Arc::clone(&pipeline.metrics), feed);
    pipeline.publisher.export_to(export.records.clone());
    Some(export)
}

/// Sends the records that wait, for at most [`LAST_RECORDS`].
pub async fn finish(export: Option<Export>) {
    let Some(export) = export else { return };
    let unsent = export.finish(LAST_RECORDS).await;
    if unsent > 0 {
        tracing::warn!(unsent, "the OTLP receiver did not take the last findings");
    }
}
