//! Configuration of the agent: command line and configuration file, merged and validated. Each stage gets its part of
//! [`AgentConfig`]. An error is one line that names the setting, where it is and what was expected; the exit code is 2.

pub mod exceptions;
pub mod file;
pub mod nearest_name;
pub mod otlp;
pub mod value;
pub mod yaml_error;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::args::agent::{
    AgentArgs, ExceptionAnnotations, KernelLog, Kind, OutputMode, RecordMode, TrafficMode,
};
use crate::source::kubernetes::Switch;
use exceptions::Exception;
use file::FileConfig;
use otlp::OtlpConfig;
use portolan_engine::model::options::STORM_PORTS;

/// An error in the command line or the configuration file. Exit code 2.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error("{option}: {given:?} is not valid: expected {expected}")]
    BadValue { option: String, given: String, expected: &'static str },
    #[error(
        "--metadata kubernetes needs this node's name: give --node-name or set NODE_NAME (in a pod: from spec.nodeName)"
    )]
    NodeNameMissing,
    #[error("{option} needs the API server as a source of pods: add `kubernetes` to --metadata")]
    ApiServerNotASource { option: &'static str },
    #[error("cannot read configuration file {path}: {reason}")]
    Unreadable { path: String, reason: String },
    #[error("{path}:{line}: {reason}")]
    InFile { path: String, line: u64, reason: String },
    #[error("{first} and {second} are both {address}: give one of them another port, or `off`")]
    SameAddress { first: &'static str, second: &'static str, address: SocketAddr },
}

/// A source of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataSource {
    /// A file of Kubernetes manifests.
    File(PathBuf),
    /// The container runtime at this socket, or at the first usual socket that answers.
    Cri(Option<PathBuf>),
    /// The API server.
    Kubernetes,
}

/// Address of a server of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Off,
}

/// Default of `--max-connection-lines`.
pub const CONNECTION_LINES: u32 = 10;
/// Default of `--grace`.
const GRACE: Duration = Duration::from_secs(5);
/// Default of `--stale-grace`.
const STALE_GRACE: Duration = Duration::from_secs(60);
/// Default of `--repeat-findings`.
const REPEAT_FINDINGS: Duration = Duration::from_secs(600);

/// Output on stdout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputConfig {
    pub mode: OutputMode,
    /// Kinds of objects; empty for all.
    pub kinds: Vec<Kind>,
    /// Maximum number of connections to one port that get a line in a second.
    pub connection_lines: u32,
}

/// Limits that bound the memory of the agent, also against hostile pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    pub listeners: u32,
    pub peers: u32,
    pub peers_per_port: u32,
    pub findings_per_pod: u32,
    pub connections: u32,
    /// Maximum number of connections to one port that are recorded in a second.
    pub records_per_second: u32,
    /// Size of the ring of listener records, in bytes: a power of two, at least a page.
    pub listener_ring_bytes: u32,
    /// Size of the ring of connection records, in bytes: a power of two, at least a page.
    pub connection_ring_bytes: u32,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            listeners: 65_536,
            peers: 65_536,
            peers_per_port: 64,
            findings_per_pod: STORM_PORTS,
            connections: 4_096,
            records_per_second: 200,
            listener_ring_bytes: 1 << 20,
            connection_ring_bytes: 1 << 19,
        }
    }
}

/// Settings of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    pub metadata: Vec<MetadataSource>,
    /// Name of this node; `None` for the host name.
    pub node_name: Option<String>,
    /// Name of the cluster in every object; `None`: objects name no cluster.
    pub cluster_name: Option<String>,
    /// Credentials for the API server; `None` for KUBECONFIG, else the pod's service account, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// Whether Services are watched if the API server is a source.
    pub services: Switch,
    /// Whether NetworkPolicies are watched if the API server is a source.
    pub policies: Switch,
    /// Whether reports are written to the API server.
    pub reports: Switch,
    /// Whether Events are written to the API server.
    pub events: Switch,
    pub api: ListenAddress,
    pub telemetry: ListenAddress,
    pub traffic: TrafficMode,
    pub record: RecordMode,
    pub output: OutputConfig,
    pub include_host: bool,
    pub grace: Duration,
    pub stale_grace: Duration,
    /// How long an open finding is not repeated; zero for ever.
    pub repeat_findings: Duration,
    pub scan_only: bool,
    pub pod_cidrs: Vec<IpNet>,
    pub node_cidrs: Vec<IpNet>,
    pub netns_dirs: Vec<PathBuf>,
    /// Directory of the state file; `None`: no state is kept.
    pub state_dir: Option<PathBuf>,
    pub kernel_log: KernelLog,
    /// `None` if nothing is exported.
    pub otlp: Option<OtlpConfig>,
    pub caps: Caps,
    pub exception_annotations: ExceptionAnnotations,
    /// The only setting that is reloaded while the agent runs.
    pub exceptions: Vec<Exception>,
    /// The command line, if it names a configuration file: needed to reload the settings.
    pub typed: Option<Box<AgentArgs>>,
}

impl AgentConfig {
    /// Reads the file of `--config`, if given, merges it with the command line, which takes precedence, and validates the
    /// result.
    ///
    /// # Errors
    /// The first error.
    pub fn load(args: &AgentArgs) -> Result<Self, ConfigError> {
        let Some(path) = &args.config else { return Self::resolve(args, FileConfig::default()) };
        let mut file = file::read(path)?;
        let written = file.exceptions.take().unwrap_or_default();
        let exceptions = exceptions::check(&path.display().to_string(), &written)?;
        let typed = Some(Box::new(args.clone()));
        Ok(Self { exceptions, typed, ..Self::resolve(args, file)? })
    }

    /// Reads only the exceptions and `exceptionAnnotations` of a file, for `scan`.
    ///
    /// # Errors
    /// The first error.
    pub fn exceptions_of(path: &Path) -> Result<(Vec<Exception>, ExceptionAnnotations), ConfigError> {
        let mut file = file::read(path)?;
        let written = file.exceptions.take().unwrap_or_default();
        let source = file.exception_annotations.unwrap_or(ExceptionAnnotations::Namespace);
        Ok((exceptions::check(&path.display().to_string(), &written)?, source))
    }

    /// True if a setting differs that takes effect only at the next start.
    #[must_use]
    pub fn differs_beyond_exceptions(&self, other: &Self) -> bool {
        let bare = |config: &Self| Self { exceptions: Vec::new(), ..config.clone() };
        bare(self) != bare(other)
    }

    fn resolve(args: &AgentArgs, file: FileConfig) -> Result<Self, ConfigError> {
        let metadata = either(&args.metadata, file.metadata);
        let limits = file.limits.unwrap_or_default();
        let caps = resolve_caps(args, &limits)?;
        let config = Self {
            metadata: metadata_sources(&metadata)?,
            node_name: args.node_name.clone().or(file.node_name).filter(|name| !name.is_empty()),
            cluster_name: cluster_name(args.cluster_name.as_ref().or(file.cluster_name.as_ref()))?,
            kubeconfig: args.kubeconfig.clone().or(file.kubeconfig),
            services: Switch::of(args.services.or(file.services)),
            policies: Switch::of(args.policies.or(file.policies)),
            reports: Switch::of(Some(args.reports.or(file.reports).unwrap_or(false))),
            events: Switch::of(Some(args.events.or(file.events).unwrap_or(false))),
            api: value::address("--api", args.api.as_ref().or(file.api.as_ref()), "127.0.0.1:9470", true)?,
            telemetry: value::address(
                "--telemetry",
                args.telemetry.as_ref().or(file.telemetry.as_ref()),
                "0.0.0.0:9471",
                false,
            )?,
            traffic: args.traffic.or(file.traffic).unwrap_or(TrafficMode::Full),
            record: args.record.or(file.record).unwrap_or(RecordMode::Undeclared),
            output: OutputConfig {
                mode: args.output.or(file.output).unwrap_or(OutputMode::Ndjson),
                kinds: either(&args.kinds, file.kinds),
                connection_lines: value::cap(
                    "--max-connection-lines",
                    args.max_connection_lines.or(limits.connection_lines).unwrap_or(CONNECTION_LINES),
                    1 << 20,
                )?,
            },
            include_host: args.include_host.or(file.include_host).unwrap_or(false),
            grace: duration("--grace", &args.grace, &file.grace, GRACE)?,
            stale_grace: duration("--stale-grace", &args.stale_grace, &file.stale_grace, STALE_GRACE)?,
            repeat_findings: duration(
                "--repeat-findings",
                &args.repeat_findings,
                &file.repeat_findings,
                REPEAT_FINDINGS,
            )?,
            scan_only: args.scan_only.or(file.scan_only).unwrap_or(false),
            pod_cidrs: value::networks("--pod-cidr", &either(&args.pod_cidr, file.pod_cidrs))?,
            node_cidrs: value::networks("--node-cidr", &either(&args.node_cidr, file.node_cidrs))?,
            netns_dirs: netns_dirs(either(&args.netns_dir, file.netns_dirs)),
            state_dir: value::state_dir(args.state_dir.as_ref().or(file.state_dir.as_ref()))?,
            kernel_log: args.kernel_log.or(file.kernel_log).unwrap_or(KernelLog::Off),
            otlp: OtlpConfig::resolve(&args.otlp, file.otlp.unwrap_or_default())?,
            caps,
            exception_annotations: args
                .exception_annotations
                .or(file.exception_annotations)
                .unwrap_or(ExceptionAnnotations::Namespace),
            exceptions: Vec::new(),
            typed: None,
        };
        config.check_addresses()?;
        config.check_node_name()?;
        config.check_cluster_sinks()?;
        Ok(config)
    }

    /// Requires a valid node name if the API server is a source: the agent lists the pods of the node with that name.
    fn check_node_name(&self) -> Result<(), ConfigError> {
        if !self.metadata.contains(&MetadataSource::Kubernetes) {
            return Ok(());
        }
        let name = self.node_name.as_ref().ok_or(ConfigError::NodeNameMissing)?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        if name.len() <= 253 && name.chars().all(is_name) {
            return Ok(());
        }
        Err(ConfigError::BadValue {
            option: "--node-name".to_owned(),
            given: name.chars().take(300).collect(),
            expected: "the node's name in Kubernetes: lower-case letters, digits, `-` and `.`",
        })
    }

    /// Requires the API server as a source of pods for reports and Events, which refer to a pod by its UID there.
    fn check_cluster_sinks(&self) -> Result<(), ConfigError> {
        let switches = [("--reports", self.reports), ("--events", self.events)];
        let option = switches.into_iter().find(|(_, switch)| *switch == Switch::On);
        match option {
            // Without --metadata the API server is a source in a pod.
            Some((option, _))
                if !self.metadata.is_empty() && !self.metadata.contains(&MetadataSource::Kubernetes) =>
            {
                Err(ConfigError::ApiServerNotASource { option })
            }
            _ => Ok(()),
        }
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        if let (ListenAddress::Tcp(api), ListenAddress::Tcp(telemetry)) = (&self.api, &self.telemetry)
            && api == telemetry
            && api.port() != 0
        {
            return Err(ConfigError::SameAddress { first: "--api", second: "--telemetry", address: *api });
        }
        Ok(())
    }
}

/// Returns the directories to search for network namespaces: those given, else /run/netns.
#[must_use]
pub fn netns_dirs(given: Vec<PathBuf>) -> Vec<PathBuf> {
    if given.is_empty() { vec![PathBuf::from("/run/netns")] } else { given }
}

/// Checks the name of `--cluster-name`. An empty name is none.
///
/// # Errors
/// If it is too long or has control characters.
pub fn cluster_name(given: Option<&String>) -> Result<Option<String>, ConfigError> {
    value::cluster_name("--cluster-name", given)
}

/// Parses the sources of `--metadata`.
///
/// # Errors
/// If a source is unknown, or two are of one kind.
pub fn metadata_sources(given: &[String]) -> Result<Vec<MetadataSource>, ConfigError> {
    let mut sources: Vec<MetadataSource> = Vec::new();
    for text in given {
        let bad = |expected| ConfigError::BadValue {
            option: "--metadata".to_owned(),
            given: text.clone(),
            expected,
        };
        let source = metadata_source(text).ok_or_else(|| bad("cri, cri=SOCKET, kubernetes or file=PATH"))?;
        // Each source lists all of its pods, so two of one kind would replace each other's pods in turn.
        if sources.iter().any(|known| std::mem::discriminant(known) == std::mem::discriminant(&source)) {
            return Err(bad("one source of each kind; the PATH of file may be a directory of manifests"));
        }
        sources.push(source);
    }
    Ok(sources)
}

fn metadata_source(text: &str) -> Option<MetadataSource> {
    let (name, rest) = text.split_once('=').unwrap_or((text, ""));
    match name {
        "file" if !rest.is_empty() => Some(MetadataSource::File(PathBuf::from(rest))),
        "cri" if text == "cri" => Some(MetadataSource::Cri(None)),
        "cri" => {
            // kubelet and crictl write the socket with this scheme.
            let path = PathBuf::from(rest.strip_prefix("unix://").unwrap_or(rest));
            path.is_absolute().then_some(MetadataSource::Cri(Some(path)))
        }
        "kubernetes" if text == "kubernetes" => Some(MetadataSource::Kubernetes),
        _ => None,
    }
}

fn resolve_caps(args: &AgentArgs, file: &file::FileLimits) -> Result<Caps, ConfigError> {
    let default = Caps::default();
    let cap = |option, typed: Option<u32>, written: Option<u32>, default, most| {
        value::cap(option, typed.or(written).unwrap_or(default), most)
    };
    Ok(Caps {
        listeners: cap("--max-listeners", args.max_listeners, file.listeners, default.listeners, 1 << 22)?,
        peers: cap("--max-peers", args.max_peers, file.peers, default.peers, 1 << 22)?,
        peers_per_port: cap(
            "--max-peers-per-port",
            args.max_peers_per_port,
            file.peers_per_port,
            default.peers_per_port,
            65_536,
        )?,
        findings_per_pod: cap(
            "--max-findings-per-pod",
            args.max_findings_per_pod,
            file.findings_per_pod,
            default.findings_per_pod,
            65_536,
        )?,
        connections: cap(
            "--max-connections",
            args.max_connections,
            file.connections,
            default.connections,
            1 << 20,
        )?,
        records_per_second: cap(
            "--max-records-per-second",
            args.max_records_per_second,
            file.records_per_second,
            default.records_per_second,
            1 << 20,
        )?,
        listener_ring_bytes: args
            .listener_ring_bytes
            .unwrap_or(default.listener_ring_bytes)
            .next_power_of_two(),
        connection_ring_bytes: default.connection_ring_bytes,
    })
}

/// The typed duration, else the one of the file, else the default.
fn duration(
    option: &str,
    typed: &Option<String>,
    written: &Option<String>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    typed.as_ref().or(written.as_ref()).map_or(Ok(default), |text| value::duration(option, text))
}

/// The typed values, or those of the file if none were typed.
fn either<T: Clone>(typed: &[T], written: Option<Vec<T>>) -> Vec<T> {
    if typed.is_empty() { written.unwrap_or_default() } else { typed.to_vec() }
}

#[cfg(test)]
mod tests;
