//! What the configuration means for each stage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portolan_engine::model::exception::Rule;
use portolan_engine::model::options::{AnnotationSource, EngineOptions, RecordMode};

use crate::args::{ExceptionAnnotations, KernelLog as LogArg, RecordMode as RecordArg, TrafficMode};
use crate::config::exceptions::Exception;
use crate::config::{AgentConfig, MetadataSource};
use crate::kubernetes_api::access::is_in_cluster;
use crate::kubernetes_api::timings::ApiTimings;
use crate::source::clock;
use crate::source::kernel::{KernelLogLevel, KernelOptions, TrafficLevel};
use crate::source::kubernetes::KubernetesOptions;
use crate::source::netns::{HostNetns, NetnsOptions};
use crate::source::node_access::Wanted;
use crate::source::pods::cri;

/// The engine's part.
#[must_use]
pub fn engine(config: &AgentConfig, traffic_drained: bool) -> EngineOptions {
    let size = |cap: u32| usize::try_from(cap).unwrap_or(usize::MAX);
    EngineOptions {
        grace: config.grace,
        stale_grace: config.stale_grace,
        storm_ports: size(config.caps.findings_per_pod),
        max_peers_per_listener: size(config.caps.peers_per_port),
        max_peers: size(config.caps.peers),
        max_listeners: size(config.caps.listeners),
        max_connections: size(config.caps.connections),
        pod_ranges: config.pod_cidrs.clone(),
        node_ranges: config.node_cidrs.clone(),
        record: match config.record {
            RecordArg::Undeclared => RecordMode::Undeclared,
            RecordArg::All => RecordMode::All,
            RecordArg::None => RecordMode::None,
        },
        exception_annotations: annotations(config.exception_annotations),
        include_host: config.include_host,
        traffic_drained,
        ..EngineOptions::default()
    }
}

/// Whose annotations make exceptions.
#[must_use]
pub const fn annotations(given: ExceptionAnnotations) -> AnnotationSource {
    match given {
        ExceptionAnnotations::Off => AnnotationSource::Off,
        ExceptionAnnotations::Namespace => AnnotationSource::Namespace,
        ExceptionAnnotations::Pod => AnnotationSource::Pod,
    }
}

/// The operator's exceptions, as the clocks stand now.
#[must_use]
pub fn rules(exceptions: &[Exception]) -> Vec<Arc<Rule>> {
    exceptions.iter().map(|exception| Arc::new(exception.rule(clock::to_boot))).collect()
}

/// The kernel side's part.
#[must_use]
pub fn kernel(config: &AgentConfig) -> KernelOptions {
    KernelOptions {
        traffic: match config.traffic {
            TrafficMode::Full => TrafficLevel::Full,
            TrafficMode::Connections => TrafficLevel::Connections,
            TrafficMode::Off => TrafficLevel::Off,
        },
        max_listeners: config.caps.listeners,
        max_peers: config.caps.peers,
        listener_ring_bytes: config.caps.listener_ring_bytes,
        connection_ring_bytes: config.caps.connection_ring_bytes,
        records_per_second: config.caps.records_per_second,
        log: match config.kernel_log {
            LogArg::Off => KernelLogLevel::Off,
            LogArg::Error => KernelLogLevel::Error,
            LogArg::Warn => KernelLogLevel::Warn,
            LogArg::Info => KernelLogLevel::Info,
            LogArg::Debug => KernelLogLevel::Debug,
        },
    }
}

/// The sources of pods: those that were asked for, else what is there.
#[must_use]
pub fn metadata(asked: &[MetadataSource]) -> Vec<MetadataSource> {
    if asked.is_empty() && cri::socket::is_any() {
        return vec![MetadataSource::Cri(None)];
    }
    asked.to_vec()
}

/// The same for the agent, which may follow the API server too: in a pod that knows its node's name.
#[must_use]
pub fn agent_metadata(config: &AgentConfig) -> Vec<MetadataSource> {
    let mut sources = metadata(&config.metadata);
    if config.metadata.is_empty() && config.node_name.is_some() && is_in_cluster() {
        sources.push(MetadataSource::Kubernetes);
    }
    sources
}

/// What the agent needs to see of the node for that.
#[must_use]
pub fn node_access<'a>(netns_dirs: &'a [PathBuf], sources: &'a [MetadataSource]) -> Wanted<'a> {
    let runtime = sources.iter().find_map(|source| match source {
        MetadataSource::Cri(socket) => Some(socket.as_deref()),
        MetadataSource::File(_) | MetadataSource::Kubernetes => None,
    });
    Wanted { netns_dirs, runtime, proc_root: Path::new("/proc") }
}

/// A source's name, as it is typed.
#[must_use]
pub fn source_name(source: &MetadataSource) -> String {
    match source {
        MetadataSource::File(path) => format!("file={}", path.display()),
        MetadataSource::Cri(None) => "cri".to_owned(),
        MetadataSource::Cri(Some(socket)) => format!("cri={}", socket.display()),
        MetadataSource::Kubernetes => "kubernetes".to_owned(),
    }
}

/// The API server's part.
#[must_use]
pub fn kubernetes(config: &AgentConfig) -> KubernetesOptions {
    KubernetesOptions {
        node_name: config.node_name.clone().unwrap_or_default(),
        kubeconfig: config.kubeconfig.clone(),
        services: config.services,
        policies: config.policies,
        pace: ApiTimings::default(),
    }
}

/// The netns thread's part.
#[must_use]
pub fn netns(dirs: Vec<PathBuf>, include_host: bool, sources: &[MetadataSource]) -> NetnsOptions {
    // Only what knows cgroups can tell a pod's sockets in the host's netns from the host's own.
    let knows_cgroups = sources.iter().any(|source| !matches!(source, MetadataSource::File(_)));
    let host = match (include_host, knows_cgroups) {
        (true, _) => HostNetns::Scanned,
        (false, true) => HostNetns::Listed,
        (false, false) => HostNetns::FactsOnly,
    };
    NetnsOptions { dirs, host, ..NetnsOptions::default() }
}
