//! Settings of the engine: grace times, caps and address ranges.

use std::time::Duration;

use ipnet::IpNet;

/// Default of [`EngineOptions::storm_ports`].
pub const STORM_PORTS: u32 = 64;

/// Which connections are recorded one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordMode {
    /// Connections on undeclared ports, and on explained ones once somebody beyond their audience called.
    #[default]
    Undeclared,
    /// Connections on every port.
    All,
    /// No connections.
    None,
}

/// Settings of the engine. The defaults equal those of the command line.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Minimum age of a listener before it becomes a finding.
    pub grace: Duration,
    /// Number of undeclared ports of one pod above which one `port-storm` replaces their findings.
    pub storm_ports: usize,
    /// Maximum number of peers kept per port.
    pub max_peers_per_listener: usize,
    /// Maximum number of peers of all ports together.
    pub max_peers: usize,
    /// Maximum number of ports. One netns may occupy half of them, so that one pod cannot hide the others.
    pub max_listeners: usize,
    /// Maximum number of recorded connections kept.
    pub max_connections: usize,
    /// How long the report of an open connection waits for its end, so that a short connection is reported once.
    pub connection_hold: Duration,
    /// How long a declared port may be unserved before it becomes a `stale-declaration`.
    pub stale_grace: Duration,
    /// How long a listener waits for its pod before it is reported without one.
    pub attribution_hold: Duration,
    /// Address ranges of pods. Empty: private addresses may be pods.
    pub pod_ranges: Vec<IpNet>,
    /// Address ranges of nodes, besides the addresses of this node.
    pub node_ranges: Vec<IpNet>,
    /// Which connections are recorded.
    pub record: RecordMode,
    /// Which objects' annotations may make exceptions.
    pub exception_annotations: AnnotationSource,
    /// True: report the node's own listeners too.
    pub include_host: bool,
    /// True if a kernel source drains counters. A close then waits for the next drain, so that its traffic is
    /// complete.
    pub traffic_drained: bool,
    /// True if traffic is counted at all.
    pub counts_traffic: bool,
    /// True if the kernel side observes which UDP peers a port addressed first. False where no program does: then a call
    /// cannot be told from an answer.
    pub knows_direction: bool,
    /// Interval after which an open finding that was not reported since is reported again; zero: never.
    pub repeat_findings: Duration,
    /// True if callers read the listeners and findings among the changes that calls return. False saves rendering them, for
    /// callers that only ask queries.
    pub emits_reports: bool,
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
            counts_traffic: true,
            knows_direction: true,
            repeat_findings: Duration::from_secs(600),
            emits_reports: true,
        }
    }
}

/// Which objects' annotations may make exceptions; ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnnotationSource {
    /// None.
    Off,
    /// Namespaces.
    #[default]
    Namespace,
    /// Namespaces and pods.
    Pod,
}
