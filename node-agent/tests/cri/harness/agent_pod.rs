//! Runs the agent's image in a pod with what the chart's own values grant.

use std::fs;

use portolan::source::pods::cri::messages::ImageSpec;
use portolan_report::wire::Report;
use prost::Message;

use super::containerd::Node;
use super::messages::{
    CapabilitySet, ContainerSecurity, ContainerStatusResponse, EXITED, HOST_TO_CONTAINER, Id, Mount,
    SecurityProfile,
};
use super::pod::{Pod, Wanted};
use super::timeouts::{TIMEOUT, eventually};

/// The chart's default values.
const VALUES: &str = include_str!("../../../../charts/portolan/values.yaml");
/// Environment variables with archive and name of the image under test.
const ARCHIVE: &str = "PORTOLAN_IMAGE";
const NAME: &str = "PORTOLAN_IMAGE_NAME";
/// Paths that kubelet masks or makes read-only for containers that are not privileged.
const MASKED: [&str; 9] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Returns true if there is an image to test.
pub fn is_given() -> bool {
    std::env::var_os(ARCHIVE).is_some()
}

/// Returns what is at a position of the chart's values.
fn value<T: serde::de::DeserializeOwned>(pointer: &str) -> T {
    let values: serde_json::Value = serde_saphyr::from_str(VALUES).expect("the chart's values");
    let found = values.pointer(pointer).unwrap_or_else(|| panic!("{pointer} in the chart's values"));
    serde_json::from_value(found.clone()).expect("a value of this type")
}

fn texts(pointer: &str) -> Vec<String> {
    value(pointer)
}

fn text(pointer: &str) -> String {
    value(pointer)
}

/// Returns the capabilities that the chart grants, without `CAP_`.
pub fn capabilities() -> Vec<String> {
    texts("/securityContext/capabilities/add")
}

/// What a pod of the agent is granted.
pub struct Given {
    pub capabilities: Vec<String>,
    pub mounts: Vec<Mount>,
    pub host_pid: bool,
    pub privileged: bool,
    /// Type 0, the runtime's default, in the chart.
    pub seccomp: SecurityProfile,
}

impl Given {
    /// Returns what the chart grants.
    pub fn by_the_chart() -> Self {
        Self {
            capabilities: capabilities(),
            mounts: mounts(),
            host_pid: true,
            privileged: false,
            seccomp: SecurityProfile::default(),
        }
    }

    pub fn without_capability(mut self, name: &str) -> Self {
        let before = self.capabilities.len();
        self.capabilities.retain(|capability| capability != name);
        assert_eq!(self.capabilities.len(), before - 1, "{name}");
        self
    }

    pub fn without_mount(mut self, container_path: &str) -> Self {
        let before = self.mounts.len();
        self.mounts.retain(|mount| mount.container_path != container_path);
        assert_eq!(self.mounts.len(), before - 1);
        self
    }

    /// Runs the agent, which reports a finding again whenever its traffic grew.
    pub fn run(self) -> AgentPod {
        let metadata = runtime();
        let state = state_directory();
        let telemetry = ["--telemetry", "0.0.0.0:9471", "--state-dir", &state];
        self.run_command(
            &[&["agent", "--metadata", &metadata, "--repeat-findings", "1s"], &telemetry[..]].concat(),
        )
    }

    /// Runs the image with these arguments.
    pub fn run_command(self, arguments: &[&str]) -> AgentPod {
        let image = std::env::var(NAME).expect("the name of the image");
        Node::with(|node| node.import(std::env::var_os(ARCHIVE).expect("an image").as_ref()));
        let wanted = Wanted::pod("portolan").privileged(self.privileged);
        let pod = if self.host_pid { wanted.host_pid() } else { wanted }.run();
        let mut config = pod.container_config("agent", r#"[{"name":"telemetry","containerPort":9471}]"#);
        config.image = Some(ImageSpec { image, ..ImageSpec::default() });
        config.args = arguments.iter().map(|word| (*word).to_owned()).collect();
        config.log_path = format!("{}.log", pod.uid);
        config.mounts = self.mounts;
        let security = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()).expect("one");
        let namespace_options = security.namespace_options.take();
        *security = ContainerSecurity {
            namespace_options,
            ..context(self.privileged, self.capabilities, self.seccomp)
        };
        let log = Node::with(|node| node.path("logs")).join(&config.log_path);
        let id = pod.start(config);
        AgentPod { id, log, _pod: pod }
    }
}

/// Returns the security context that kubelet derives from a container's `securityContext`.
fn context(privileged: bool, add: Vec<String>, seccomp: SecurityProfile) -> ContainerSecurity {
    let base = ContainerSecurity { privileged, readonly_rootfs: true, ..ContainerSecurity::default() };
    if privileged {
        return base;
    }
    ContainerSecurity {
        capabilities: Some(CapabilitySet { add, drop: texts("/securityContext/capabilities/drop") }),
        no_new_privs: true,
        masked_paths: MASKED.map(str::to_owned).into(),
        readonly_paths: READ_ONLY.map(str::to_owned).into(),
        seccomp: Some(seccomp),
        ..base
    }
}

/// Returns `--metadata` for an agent that sees the runtime at the node's path.
pub fn runtime() -> String {
    Node::with(|node| format!("cri={}", node.socket().display()))
}

/// Returns the directory of the runtime's socket.
pub fn runtime_dir() -> String {
    Node::with(|node| node.path("run")).display().to_string()
}

/// Returns the path of the agent's state in its container.
pub fn state_directory() -> String {
    text("/state/hostPath")
}

/// Returns the chart's `hostMounts`: names of network namespaces, cgroups, the runtime's socket and the agent's state, nothing
/// else.
fn mounts() -> Vec<Mount> {
    let mount = |path: String, propagation| Mount {
        container_path: path.clone(),
        host_path: path,
        readonly: true,
        propagation,
    };
    let mut mounts: Vec<Mount> =
        texts("/agent/netnsDirs").into_iter().map(|path| mount(path, HOST_TO_CONTAINER)).collect();
    // The test's runtime is in a temporary directory, on a mount that need not be shared.
    mounts.extend([mount("/sys/fs/cgroup".to_owned(), 0), mount(runtime_dir(), 0)]);
    // kubelet creates the state directory; the test's is temporary too.
    let state = Node::with(|node| node.path("state"));
    fs::create_dir_all(&state).expect("a directory");
    mounts.push(Mount {
        container_path: state_directory(),
        host_path: state.display().to_string(),
        readonly: false,
        propagation: 0,
    });
    mounts
}

/// The image as a running or ended container, removed when dropped.
pub struct AgentPod {
    id: String,
    log: std::path::PathBuf,
    _pod: Pod,
}

impl AgentPod {
    /// Returns what the container wrote so far to `stdout` or `stderr`.
    pub fn output(&self, stream: &str) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        // The runtime writes: time, stream, F for a whole line, the line.
        let mark = format!(" {stream} F ");
        let lines = text.lines().filter_map(|line| line.split_once(&mark));
        lines.map(|(_, line)| format!("{line}\n")).collect()
    }

    /// Waits for a report for which `pick` returns something.
    pub fn wait_report<T>(&self, what: &str, mut pick: impl FnMut(&Report) -> Option<T>) -> T {
        eventually(TIMEOUT * 3, what, || {
            let said = self.output("stdout");
            let reports = said.lines().map(|line| serde_json::from_str::<Report>(line).expect("a report"));
            let found = reports.filter_map(|report| pick(&report)).next();
            found.ok_or_else(|| {
                let last: Vec<&str> = said.lines().rev().take(3).collect();
                format!("{} lines, the last {last:#?}; {}", said.lines().count(), self.output("stderr"))
            })
        })
    }

    /// Waits until the container ends and returns its exit code.
    pub fn exit_code(&self) -> i32 {
        eventually(TIMEOUT * 3, "the agent ends", || {
            let asked = Id { id: self.id.clone() };
            let answer = Node::with(|node| node.ask("/runtime.v1.RuntimeService/ContainerStatus", &asked))?;
            let status = ContainerStatusResponse::decode(answer).map_err(|error| error.to_string())?.status;
            match status {
                Some(status) if status.state == EXITED => Ok(status.exit_code),
                other => Err(format!("{other:?}; {}{}", self.output("stderr"), self.output("stdout"))),
            }
        })
    }
}
