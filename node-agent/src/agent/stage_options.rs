//! Translates the configuration into the options of each stage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portolan_engine::model::exception::Rule;
use portolan_engine::model::options::{AnnotationSource, EngineOptions, RecordMode};

use crate::args::agent::{ExceptionAnnotations, KernelLog as LogArg, RecordMode as RecordArg, TrafficMode};
use crate::config::exceptions::Exception;
use crate::config::{AgentConfig, MetadataSource};
use crate::kubernetes_api::access::is_in_cluster;
use crate::kubernetes_api::timings::ApiTimings;
use crate::source::clock;
use crate::source::kernel::{KernelHooks, KernelLogLevel, KernelOptions, TrafficLevel};
use crate::source::kubernetes::KubernetesOptions;
use crate::source::netns::budget::Budget;
use crate::source::netns::{HostNetns, NetnsOptions};
use crate::source::node_access::Wanted;
use crate::source::pods::cri;

/// Returns the options of the engine. `kernel`: the programs that count traffic, if there are any.
#[must_use]
pub fn engine(config: &AgentConfig, kernel: Option<&KernelHooks>) -> EngineOptions {
    let size = |cap: u32| usize::try_from(cap).unwrap_or(usize::MAX);
    EngineOptions {
        grace: config.grace,
        stale_grace: config.stale_grace,
        repeat_findings: config.repeat_findings,
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
        traffic_drained: kernel.is_some(),
        counts_traffic: kernel.is_some() && config.traffic != TrafficMode::Off,
        knows_direction: kernel.is_some_and(KernelHooks::knows_direction),
        ..EngineOptions::default()
    }
}

/// Returns the objects whose annotations make exceptions.
#[must_use]
pub const fn annotations(given: ExceptionAnnotations) -> AnnotationSource {
    match given {
        ExceptionAnnotations::Off => AnnotationSource::Off,
        ExceptionAnnotations::Namespace => AnnotationSource::Namespace,
        ExceptionAnnotations::Pod => AnnotationSource::Pod,
    }
}

/// Returns the rules of the configuration file, with expiry times on the boot clock as it stands now.
#[must_use]
pub fn rules(exceptions: &[Exception]) -> Vec<Arc<Rule>> {
    exceptions.iter().map(|exception| Arc::new(exception.rule(clock::to_boot))).collect()
}

/// Returns the options of the kernel side.
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
        record_by_default: config.record != RecordArg::None,
        log: match config.kernel_log {
            LogArg::Off => KernelLogLevel::Off,
            LogArg::Error => KernelLogLevel::Error,
            LogArg::Warn => KernelLogLevel::Warn,
            LogArg::Info => KernelLogLevel::Info,
            LogArg::Debug => KernelLogLevel::Debug,
        },
    }
}

/// Returns the sources of pods: the configured ones, else the container runtime if there is one.
#[must_use]
pub fn metadata(asked: &[MetadataSource]) -> Vec<MetadataSource> {
    if asked.is_empty() && cri::socket::is_any() {
        return vec![MetadataSource::Cri(None)];
    }
    asked.to_vec()
}

/// Returns the sources of pods of `portolan agent`. Without configured ones, the API server is added in a pod that knows the
/// name of its node.
#[must_use]
pub fn agent_metadata(config: &AgentConfig) -> Vec<MetadataSource> {
    let mut sources = metadata(&config.metadata);
    if config.metadata.is_empty() && config.node_name.is_some() && is_in_cluster() {
        sources.push(MetadataSource::Kubernetes);
    }
    sources
}

/// Returns the parts of the node that the agent must be able to read for these sources.
#[must_use]
pub fn node_access<'a>(netns_dirs: &'a [PathBuf], sources: &'a [MetadataSource]) -> Wanted<'a> {
    let runtime = sources.iter().find_map(|source| match source {
        MetadataSource::Cri(socket) => Some(socket.as_deref()),
        MetadataSource::File(_) | MetadataSource::Kubernetes => None,
    });
    Wanted { netns_dirs, runtime, proc_root: Path::new("/proc") }
}

/// Returns the options of the watchers of the API server.
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

/// Returns the options of the netns thread for `portolan agent`.
#[must_use]
pub fn agent_netns(config: &AgentConfig, metadata: &[MetadataSource]) -> NetnsOptions {
    let mut options = netns(config.netns_dirs.clone(), config.include_host, metadata);
    if config.scan_only {
        options.budget = Budget::SCAN_ONLY;
    }
    options
}

/// Returns the options of the netns thread.
#[must_use]
pub fn netns(dirs: Vec<PathBuf>, include_host: bool, sources: &[MetadataSource]) -> NetnsOptions {
    // In the host's netns only cgroups distinguish the sockets of pods from those of the host; manifests have no cgroups.
    let knows_cgroups = sources.iter().any(|source| !matches!(source, MetadataSource::File(_)));
    let host = match (include_host, knows_cgroups) {
        (true, _) => HostNetns::Scanned,
        (false, true) => HostNetns::Listed,
        (false, false) => HostNetns::FactsOnly,
    };
    NetnsOptions { dirs, host, ..NetnsOptions::default() }
}
