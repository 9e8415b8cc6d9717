//! What was typed. What it means, and whether it makes sense, is decided in `config`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

mod local;

pub use local::{DoctorArgs, DoctorFormat, ScanArgs};
use portolan_client::args::{
    BaselineArgs, ExplainArgs, FindingsArgs, ListArgs, NodeTopArgs, PolicyArgs, StatusArgs,
};

/// Shows every port that a node's pods really listen on, which of them no manifest declares, and the traffic that
/// reaches them.
#[derive(Debug, Parser)]
#[command(name = "portolan", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe this node: NDJSON on stdout, diagnostics on stderr, HTTP for the commands below
    #[command(after_help = AGENT_EXAMPLES)]
    Agent(Box<AgentArgs>),
    /// Look once at every network namespace of this machine, compare with the manifests, and exit; loads nothing
    #[command(after_help = SCAN_EXAMPLES)]
    Scan(ScanArgs),
    /// Show ports that are not as their manifests say
    #[command(after_help = FINDINGS_EXAMPLES)]
    Findings(FindingsArgs),
    /// Show every port that is listened on, declared or not
    Listeners(ListArgs),
    /// Show single connections of recorded ports
    Connections(ListArgs),
    /// Say who serves a pod's port, a Service or a NodePort, which way traffic comes in, and what came
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Print today's open findings as exceptions for the file of `agent --config`
    #[command(after_help = BASELINE_EXAMPLES)]
    Baseline(BaselineArgs),
    /// Print a NetworkPolicy that admits what a pod or workload declares, and names what it leaves out
    #[command(after_help = POLICY_EXAMPLES)]
    Policy(PolicyArgs),
    /// Show the ports with the most traffic, the pods of a workload taken together
    Top(NodeTopArgs),
    /// Show how the agent is doing: hooks, sources, limits, and what was lost
    Status(StatusArgs),
    /// Say what this node lets portolan do, and what is missing
    Doctor(DoctorArgs),
    /// Print the completion script of a shell
    #[command(after_help = "Example:\n  portolan completion bash > /etc/bash_completion.d/portolan")]
    Completion { shell: Shell },
}

const AGENT_EXAMPLES: &str = "\
Examples:
  portolan agent --metadata cri
  portolan agent --metadata cri=/run/k3s/containerd/containerd.sock
  portolan agent --metadata cri,kubernetes --node-name node-1
  portolan agent --metadata file=/etc/portolan/pods.yaml
  portolan agent --metadata file=pods.yaml --output text --grace 1s
  portolan agent --metadata file=pods.yaml --api unix:/run/portolan.sock --telemetry off
  portolan agent --metadata cri,kubernetes --otlp http://otel-collector.monitoring:4318
  portolan agent --metadata file=pods.yaml | jq 'select(.kind == \"Finding\")'

Signals: SIGTERM and SIGINT end it; SIGHUP, unless it was started from a terminal, lets it read the configuration file and the manifests again at once.

Exit codes: 0 ended as asked, 2 wrong use or configuration, 4 this node does not allow it (stderr says what is missing).";

const SCAN_EXAMPLES: &str = "\
Examples:
  portolan scan --metadata cri
  portolan scan --metadata file=pods.yaml
  portolan scan --metadata file=pods.yaml -n shop -o wide
  portolan scan --metadata file=pods.yaml --fail-on high -o json

Exit codes: 0 fine, 1 findings at or above --fail-on, 2 wrong use, 3 the answer is partial, 4 this node does not allow it.";

const FINDINGS_EXAMPLES: &str = "\
Examples:
  portolan findings
  portolan findings -n shop --severity critical,high
  portolan findings --code undeclared-active -o json
  portolan findings --watch
  portolan findings --fail-on high        # for scripts: exit code 1 if there is one";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  portolan explain :32264                 # netstat on the node does not show port 32264: who serves it?
  portolan explain shop/web-5d4f8c7b9-x   # every port of a pod
  portolan explain shop/web-5d4f8c7b9-x:9090
  portolan explain dns-0:53/UDP -n shop
  portolan explain svc/shop/web           # or service/shop/web
  portolan explain svc/web:http -n shop -o json

A name that is only digits is a port of the node: pod/8080 is the pod of that name.

Exit codes: 0 fine, 2 wrong use, or no such target on this node, 3 the answer is partial (stderr says why).";
const BASELINE_EXAMPLES: &str = "\
Examples:
  portolan baseline --reason 'in place before portolan; team shop looks into it' --expires 2027-03-31 > exceptions.yaml
  portolan baseline -n legacy --severity low,info --reason 'accepted by operations'

One rule per workload and code: a pod's new name does not matter, and a port that gets worse opens again.
Exit codes: 0 fine, 2 wrong use, 3 the answer is partial.";

const POLICY_EXAMPLES: &str = "\
Examples:
  portolan policy shop/web-6d4b75cb6d-x7k2p
  portolan policy deployment/web -n shop > web-policy.yaml
  portolan policy statefulset/db --observed
  portolan policy sts/db -o json | kubectl apply --dry-run=server -f -

The policy means all pods of the workload. What one node sees is what it can say: ask the agents of all nodes before you rely on --observed. Read the comments before you apply it.

Exit codes: 0 fine, 2 wrong use, or no policy can mean these pods, 3 this node has no such pod, or the answer is partial.";

/// Options of `agent`. `None` and empty mean: not typed, so the file or the default decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct AgentArgs {
    /// YAML file with the same settings (camelCase: --node-name is nodeName); the command line wins. Its `exceptions`
    /// are taken over whenever the file changes, the other settings at the next start
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Whose annotations portolan.dev/allow-ports and portolan.dev/allow-reason make exceptions: nobody's, those of
    /// namespaces, or those of namespaces and pods [default: namespace]
    #[arg(long, value_name = "WHOSE")]
    pub exception_annotations: Option<ExceptionAnnotations>,
    /// Where pods and their declared ports come from, one of each kind: cri[=SOCKET] (the container runtime; without
    /// SOCKET the first of the usual ones that answers), kubernetes (the API server), file=PATH (manifests, or a directory
    /// of them; re-read when they change) [default: what is there of cri and, in a pod that knows NODE_NAME, kubernetes]
    #[arg(long, value_name = "SOURCE", value_delimiter = ',')]
    pub metadata: Vec<String>,
    /// Name of this node in every object [default: the host name]; --metadata kubernetes needs it as the cluster knows it
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Credentials for the API server [default: KUBECONFIG, else the pod's service account, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Watch Services, for ports that they explain [default: true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub services: Option<bool>,
    /// Watch NetworkPolicies, for ports that they block [default: true]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub policies: Option<bool>,
    /// Keep an OpenReports `Report` for each pod with findings, in the pod's namespace: at most one write per pod and minute;
    /// needs --metadata kubernetes and the right to create, patch and list reports.openreports.io [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub reports: Option<bool>,
    /// Tell of new findings of high and critical severity by Kubernetes Events about the pod; needs --metadata kubernetes
    /// and the right to create events.events.k8s.io [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub events: Option<bool>,
    /// Address of the HTTP API: ADDR:PORT, unix:PATH or off [default: 127.0.0.1:9470]
    #[arg(long, value_name = "ADDR")]
    pub api: Option<String>,
    /// Address of /metrics, /livez and /readyz: ADDR:PORT or off [default: 0.0.0.0:9471]
    #[arg(long, value_name = "ADDR")]
    pub telemetry: Option<String>,
    /// What is counted: packets and connections, connections only, or nothing [default: full]
    #[arg(long)]
    pub traffic: Option<TrafficMode>,
    /// Which connections get an object of their own: those to undeclared ports, all, or none [default: undeclared]
    #[arg(long)]
    pub record: Option<RecordMode>,
    /// What stdout carries [default: ndjson]
    #[arg(long)]
    pub output: Option<OutputMode>,
    /// Which kinds stdout carries [default: all]
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub kinds: Vec<Kind>,
    /// Judge the listeners of the host's own network namespace too
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub include_host: Option<bool>,
    /// How long a port must be open before it becomes a finding, such as 5s, 500ms or 1m [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub grace: Option<String>,
    /// How long a declared port may stay silent before it becomes a stale-declaration [default: 1m]
    #[arg(long, value_name = "DURATION")]
    pub stale_grace: Option<String>,
    /// Load no program: only scan, again and again. Sees listeners, but no traffic and nothing short-lived
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub scan_only: Option<bool>,
    /// Address range of pods, for telling them from the outside. Repeatable [default: every private address]
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub pod_cidr: Vec<String>,
    /// Address range of nodes. Repeatable [default: learned from this node]
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub node_cidr: Vec<String>,
    /// Directory in which the container runtime mounts network namespaces. Repeatable [default: /run/netns]
    #[arg(long, value_name = "DIR")]
    pub netns_dir: Vec<PathBuf>,
    /// Log of the kernel programs themselves, on stderr; for finding faults [default: off]
    #[arg(long, value_name = "LEVEL")]
    pub kernel_log: Option<KernelLog>,
    #[command(flatten)]
    pub otlp: OtlpArgs,
    /// Listening sockets that are held at most [default: 65536]
    #[arg(long, value_name = "N")]
    pub max_listeners: Option<u32>,
    /// Peers that are held at most, over all ports [default: 65536]
    #[arg(long, value_name = "N")]
    pub max_peers: Option<u32>,
    /// Peers that are held at most for one port [default: 64]
    #[arg(long, value_name = "N")]
    pub max_peers_per_port: Option<u32>,
    /// Undeclared ports in one pod above which they become one finding, a port-storm [default: 64]
    #[arg(long, value_name = "N")]
    pub max_findings_per_pod: Option<u32>,
    /// Recorded connections that are held at most [default: 4096]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<u32>,
    /// Connections of one port in a second that get an object of their own at most; the others are only counted, and a
    /// loss says how many [default: 8000]
    #[arg(long, value_name = "N")]
    pub max_records_per_second: Option<u32>,
    /// Bytes of the kernel's ring of listener records; a small one shows how losses are mended
    #[arg(long, value_name = "BYTES", hide = true, value_parser = clap::value_parser!(u32).range(4096..=1 << 28))]
    pub listener_ring_bytes: Option<u32>,
}

/// The export to OpenTelemetry; in the file under `otlp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct OtlpArgs {
    /// Send findings and metrics to the OpenTelemetry receiver at this base URL: OTLP/HTTP with protobuf, such as
    /// http://HOST:4318 [default: off]
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// Headers of each export, such as a token: KEY=VALUE,KEY=VALUE, percent-encoded. Others can read a command line: better in
    /// the variable
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true, value_name = "HEADERS")]
    pub otlp_headers: Option<String>,
    /// What is exported: findings as log records, and metrics [default: logs,metrics]
    #[arg(long, value_name = "SIGNAL", value_delimiter = ',')]
    pub otlp_signals: Vec<OtlpSignal>,
    /// How often metrics are exported [default: 1m]
    #[arg(long, value_name = "DURATION")]
    pub otlp_interval: Option<String>,
    /// PEM file of the authorities to trust where the URL is https [default: those of this machine; an image without any
    /// needs it]
    #[arg(long, value_name = "FILE")]
    pub otlp_ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtlpSignal {
    Logs,
    Metrics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExceptionAnnotations {
    Off,
    Namespace,
    Pod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrafficMode {
    Full,
    Connections,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordMode {
    Undeclared,
    All,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    Ndjson,
    Text,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Finding,
    Listener,
    Connection,
    Loss,
    Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelLog {
    Off,
    Error,
    Warn,
    Info,
    Debug,
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
