//! Command-line options of `agent`. Doc comments of fields are the text of `--help`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Options of `agent`. An option that is `None` or empty was not typed: the configuration file or the default decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct AgentArgs {
    /// YAML file with the same settings (camelCase: --node-name is nodeName); the command line wins. Changes of its
    /// `exceptions` apply while the agent runs, changes of other settings at the next start
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Objects whose annotations portolan.dev/allow-ports and portolan.dev/allow-reason make exceptions: none, namespaces,
    /// or namespaces and pods [default: namespace]
    #[arg(long, value_name = "WHOSE")]
    pub exception_annotations: Option<ExceptionAnnotations>,
    /// Sources of pods and their declared ports, at most one of each kind: cri[=SOCKET] (the container runtime; without
    /// SOCKET the first usual socket that answers), kubernetes (the API server), file=PATH (a file or directory of
    /// manifests; read again when they change) [default: cri if a runtime is there and, in a pod that knows NODE_NAME,
    /// kubernetes]
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    pub metadata: Vec<String>,
    /// Name of this node in every object [default: the host name]; --metadata kubernetes needs the node's name in the
    /// cluster
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Name of the cluster in every object, for outputs that collect several clusters [default: none]
    #[arg(long, env = "CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Credentials for the API server [default: KUBECONFIG, else the pod's service account, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Watch Services, which can explain undeclared ports [default: true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub services: Option<bool>,
    /// Watch NetworkPolicies, which can block ports [default: true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub policies: Option<bool>,
    /// Write an OpenReports `Report` for each pod with findings into the pod's namespace, at most once a minute per pod;
    /// needs --metadata kubernetes and the right to create, patch and list reports.openreports.io. Off: reports of an
    /// earlier run on this node are removed, with the right to list and delete them [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub reports: Option<bool>,
    /// Report new findings of high and critical severity as Kubernetes Events about the pod; needs --metadata kubernetes
    /// and the right to create events.events.k8s.io [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub events: Option<bool>,
    /// Address of the HTTP API: ADDR:PORT, unix:PATH or off [default: 127.0.0.1:9470]
    #[arg(long, value_name = "ADDR")]
    pub api: Option<String>,
    /// Address of /metrics, /livez and /readyz: ADDR:PORT or off [default: 0.0.0.0:9471]
    #[arg(long, value_name = "ADDR")]
    pub telemetry: Option<String>,
    /// Traffic to count: packets and connections, connections only, or nothing [default: full]
    #[arg(long)]
    pub traffic: Option<TrafficMode>,
    /// Connections to record as objects: those to undeclared ports that do not come over loopback, all, or none [default:
    /// undeclared]
    #[arg(long)]
    pub record: Option<RecordMode>,
    /// Format of the output on stdout [default: ndjson]
    #[arg(long)]
    pub output: Option<OutputMode>,
    /// Kinds of objects to write to stdout [default: all]
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub kinds: Vec<Kind>,
    /// Include the listeners of the host's own network namespace
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub include_host: Option<bool>,
    /// How long a port must be open before it becomes a finding, such as 5s, 500ms or 1m [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub grace: Option<String>,
    /// How long a declared port may have no listener before it becomes a stale-declaration [default: 1m]
    #[arg(long, value_name = "DURATION")]
    pub stale_grace: Option<String>,
    /// Interval at which an open finding is written again, although nothing changed; 0 for never [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub repeat_findings: Option<String>,
    /// Load no kernel program and scan periodically instead. Finds listeners, but no traffic and no short-lived ports
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub scan_only: Option<bool>,
    /// Address range of pods; other addresses count as external. Repeatable [default: every private address]
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub pod_cidr: Vec<String>,
    /// Address range of nodes. Repeatable [default: learned from this node]
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub node_cidr: Vec<String>,
    /// Directory in which the container runtime mounts network namespaces. Repeatable [default: /run/netns]
    #[arg(long, value_name = "DIR")]
    pub netns_dir: Vec<PathBuf>,
    /// Directory of this node for a small file with the open findings, so that after a restart they keep their firstSeen and
    /// the severity that traffic gave them; an absolute path, or off [default: off]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// Log level of the kernel programs, on stderr; for debugging [default: off]
    #[arg(long, value_name = "LEVEL")]
    pub kernel_log: Option<KernelLog>,
    #[command(flatten)]
    pub otlp: OtlpArgs,
    /// Maximum number of listening sockets [default: 65536]
    #[arg(long, value_name = "N")]
    pub max_listeners: Option<u32>,
    /// Maximum number of peers of all ports together [default: 65536]
    #[arg(long, value_name = "N")]
    pub max_peers: Option<u32>,
    /// Maximum number of peers of one port [default: 64]
    #[arg(long, value_name = "N")]
    pub max_peers_per_port: Option<u32>,
    /// Maximum number of undeclared ports in a pod that are findings of their own; more become one finding, a port-storm
    /// [default: 64]
    #[arg(long, value_name = "N")]
    pub max_findings_per_pod: Option<u32>,
    /// Maximum number of recorded connections [default: 4096]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<u32>,
    /// Maximum number of connections to one port that are recorded in a second; further ones are only counted, and a loss
    /// reports their number [default: 200]
    #[arg(long, value_name = "N")]
    pub max_records_per_second: Option<u32>,
    /// Maximum number of connections to one port that are written to stdout and /v1/watch in a second; further ones are only
    /// counted, and are in /v1/connections [default: 10]
    #[arg(long, value_name = "N")]
    pub max_connection_lines: Option<u32>,
    /// Bytes of the kernel's ring of listener records; a small ring shows how the agent recovers from losses
    #[arg(long, value_name = "BYTES", hide = true, value_parser = clap::value_parser!(u32).range(4096..=1 << 28))]
    pub listener_ring_bytes: Option<u32>,
}

/// Options of the export to OpenTelemetry; `otlp` in the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct OtlpArgs {
    /// Send findings and metrics to the OpenTelemetry receiver at this base URL: OTLP/HTTP with protobuf, such as
    /// http://HOST:4318 [default: off]
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// Headers of each export, such as a token: KEY=VALUE,KEY=VALUE, percent-encoded. Other users can read a command line:
    /// prefer the variable
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true, value_name = "HEADERS")]
    pub otlp_headers: Option<String>,
    /// Signals to export: findings as log records, and metrics [default: logs,metrics]
    #[arg(long, value_name = "SIGNAL", value_delimiter = ',')]
    pub otlp_signals: Vec<OtlpSignal>,
    /// Interval at which metrics are exported [default: 1m]
    #[arg(long, value_name = "DURATION")]
    pub otlp_interval: Option<String>,
    /// PEM file of the certificate authorities to trust if the URL is https [default: those of this machine; an image
    /// without any needs this file]
    #[arg(long, value_name = "FILE")]
    pub otlp_ca: Option<PathBuf>,
}

/// Signals that can be exported by OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtlpSignal {
    Logs,
    Metrics,
}

/// Objects whose annotations make exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExceptionAnnotations {
    Off,
    Namespace,
    Pod,
}

/// Extent of traffic counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrafficMode {
    Full,
    Connections,
    Off,
}

/// Connections that are recorded as objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordMode {
    Undeclared,
    All,
    None,
}

/// Format of stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    Ndjson,
    Text,
    None,
}

/// Kinds of objects on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Finding,
    Listener,
    Connection,
    Loss,
    Status,
}

/// Log level of the kernel programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelLog {
    Off,
    Error,
    Warn,
    Info,
    Debug,
}
