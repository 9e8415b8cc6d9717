//! What the configuration means for each stage.

use std::path::PathBuf;

use crate::args::{KernelLog as LogArg, RecordMode as RecordArg, TrafficMode};
use crate::config::AgentConfig;
use crate::engine::options::{EngineOptions, RecordMode};
use crate::source::kernel::{KernelLogLevel, KernelOptions, TrafficLevel};
use crate::source::kubernetes::KubernetesOptions;
use crate::source::kubernetes::backoff::Pace;
use crate::source::netns::{HostNetns, NetnsOptions};

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
        include_host: config.include_host,
        traffic_drained,
        ..EngineOptions::default()
    }
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

/// The API server's part.
#[must_use]
pub fn kubernetes(config: &AgentConfig) -> KubernetesOptions {
    KubernetesOptions {
        node_name: config.node_name.clone().unwrap_or_default(),
        kubeconfig: config.kubeconfig.clone(),
        services: config.services,
        policies: config.policies,
        pace: Pace::default(),
    }
}

/// The netns thread's part.
#[must_use]
pub fn netns(dirs: Vec<PathBuf>, include_host: bool) -> NetnsOptions {
    let host = if include_host { HostNetns::Scanned } else { HostNetns::FactsOnly };
    NetnsOptions { dirs, host, ..NetnsOptions::default() }
}
