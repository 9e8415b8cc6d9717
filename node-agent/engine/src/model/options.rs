//! Settings of the engine: grace times, caps and address ranges.

use std::time::Duration;

use ipnet::IpNet;

/// Undeclared ports of one pod above which one finding stands for all, where nothing else is configured.
pub const STORM_PORTS: u32 = 64;

/// Which connections get a record of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordMode {
    /// Those on ports that are not declared.
    #[default]
    Undeclared,
    All,
    None,
}

/// Settings of the engine; the defaults are those of the command line.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How long a listener must live before it becomes a finding.
    pub grace: Duration,
    /// Undeclared ports of one pod above which one `port-storm` stands for all of them.
    pub storm_ports: usize,
    pub max_peers_per_listener: usize,
    pub max_peers: usize,
    /// Ports that are kept; one netns may take half of them, so that one pod cannot blind the agent to the others.
    pub max_listeners: usize,
    /// Recorded connections that are kept.
    pub max_connections: usize,
    /// How long the line of a connection waits for its end, so that a short connection is one line.
    pub connection_hold: Duration,
    /// How long a declared port may be silent before it is a `stale-declaration`.
    pub stale_grace: Duration,
    /// How long to wait for a pod before a listener is reported without one.
    pub attribution_hold: Duration,
    pub pod_ranges: Vec<IpNet>,
    pub node_ranges: Vec<IpNet>,
    pub record: RecordMode,
    /// Whose annotations may make exceptions.
    pub exception_annotations: AnnotationSource,
    /// Report the node's own listeners too.
    pub include_host: bool,
    /// A kernel source drains counters: a close waits for the drain after it, so that its traffic is complete.
    pub traffic_drained: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(5),
            storm_ports: STORM_PORTS as usize,
            max_peers_per_listener: 64,
            max_peers: 65_536,
            max_listeners: 65_536,
            max_connections: 4_096,
            connection_hold: Duration::from_millis(100),
            stale_grace: Duration::from_secs(60),
            attribution_hold: Duration::from_secs(3),
            pod_ranges: Vec::new(),
            node_ranges: Vec::new(),
            record: RecordMode::Undeclared,
            exception_annotations: AnnotationSource::default(),
            include_host: false,
            traffic_drained: false,
        }
    }
}

/// Whose annotations count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnnotationSource {
    Off,
    /// Namespaces'.
    #[default]
    Namespace,
    /// Namespaces' and pods'.
    Pod,
}
