//! Creates pods through CRI as kubelet does, with its labels, annotations and cgroups.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use portolan::source::pods::cri::messages::{
    ContainerMetadata, ImageSpec, MODE_NODE, NamespaceOption, PodSandboxMetadata, PodSandboxStatusRequest,
    PodSandboxStatusResponse,
};
use prost::Message;

use super::containerd::Node;
use super::image;
use super::messages::{
    ContainerConfig, ContainerSecurity, CreateContainer, Id, LinuxContainer, LinuxSandbox, RunSandbox,
    SandboxConfig, SandboxSecurity,
};

pub const NAMESPACE: &str = "shop";

/// A running pod, removed when dropped.
pub struct Pod {
    pub name: String,
    pub uid: String,
    id: String,
    config: SandboxConfig,
}

/// Description of a pod to create.
pub struct Wanted {
    name: String,
    uid: String,
    host_network: bool,
    host_pid: bool,
    privileged: bool,
    labels: HashMap<String, String>,
    annotations: HashMap<String, String>,
}

impl Wanted {
    pub fn pod(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let uid = format!("0dc1f2b4-7a51-4c3e-9d60-{:08x}{next:04x}", std::process::id());
        let annotations = [("kubernetes.io/config.source", "api"), ("prometheus.io/port", "9100")];
        Self {
            name: name.to_owned(),
            uid,
            host_network: false,
            host_pid: false,
            privileged: false,
            labels: [("app".to_owned(), name.to_owned())].into(),
            annotations: annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    }

    /// Describes a pod as kubelet creates it from a file on the node: its UID is a hash.
    pub fn static_pod(name: &str) -> Self {
        let mut wanted = Self::pod(name);
        wanted.uid = wanted.uid.replace('-', "");
        wanted.annotations.insert("kubernetes.io/config.source".to_owned(), "file".to_owned());
        wanted.annotations.insert("kubernetes.io/config.hash".to_owned(), wanted.uid.clone());
        wanted
    }

    pub fn host_network(mut self) -> Self {
        self.host_network = true;
        self
    }

    /// Gives the pod the node's pid namespace.
    pub fn host_pid(mut self) -> Self {
        self.host_pid = true;
        self
    }

    /// Lets its containers run privileged.
    pub fn privileged(mut self, privileged: bool) -> Self {
        self.privileged = privileged;
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Runs the sandbox.
    pub fn run(mut self) -> Pod {
        Node::with(Node::ensure);
        for (key, value) in [("name", self.name.as_str()), ("namespace", NAMESPACE), ("uid", &self.uid)] {
            self.labels.insert(format!("io.kubernetes.pod.{key}"), value.to_owned());
        }
        let config = SandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: self.name.clone(),
                uid: self.uid.clone(),
                namespace: NAMESPACE.to_owned(),
                attempt: 0,
            }),
            hostname: if self.host_network { String::new() } else { self.name.clone() },
            log_directory: Node::with(|node| node.path("logs")).display().to_string(),
            labels: self.labels,
            annotations: self.annotations,
            linux: Some(LinuxSandbox {
                cgroup_parent: format!("/{}/kubepods/besteffort/pod{}", Node::cgroup(), self.uid),
                security_context: Some(SandboxSecurity {
                    namespace_options: Some(namespaces(self.host_network, self.host_pid)),
                    privileged: self.privileged,
                }),
            }),
        };
        let request = RunSandbox { config: Some(config.clone()) };
        let id = call("/runtime.v1.RuntimeService/RunPodSandbox", &request).id;
        Pod { name: self.name, uid: self.uid, id, config }
    }
}

impl Pod {
    /// Runs a shell script in a container that declares these ports. Returns the container's id.
    pub fn container(&self, name: &str, ports: &str, script: &str) -> String {
        let mut config = self.container_config(name, ports);
        config.command = ["/bin/sh", "-c", script].map(str::to_owned).into();
        self.start(config)
    }

    /// Creates and starts the container. Returns its id.
    pub fn start(&self, config: ContainerConfig) -> String {
        let request = CreateContainer {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let made = call("/runtime.v1.RuntimeService/CreateContainer", &request);
        call("/runtime.v1.RuntimeService/StartContainer", &made);
        made.id
    }

    /// Returns the configuration of a container as kubelet sends it, with the tier's own image.
    pub fn container_config(&self, name: &str, ports: &str) -> ContainerConfig {
        let labels = ["io.kubernetes.pod.name", "io.kubernetes.pod.namespace", "io.kubernetes.pod.uid"];
        let mut labels: HashMap<String, String> =
            labels.iter().map(|key| ((*key).to_owned(), self.config.labels[*key].clone())).collect();
        labels.insert("io.kubernetes.container.name".to_owned(), name.to_owned());
        let mut annotations: HashMap<String, String> =
            [("io.kubernetes.container.restartCount".to_owned(), "0".to_owned())].into();
        if !ports.is_empty() {
            annotations.insert("io.kubernetes.container.ports".to_owned(), ports.to_owned());
        }
        let linux = self.config.linux.as_ref().and_then(|linux| linux.security_context.clone());
        ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            image: Some(ImageSpec { image: image::BOX.to_owned(), ..ImageSpec::default() }),
            labels,
            annotations,
            linux: Some(LinuxContainer {
                security_context: Some(ContainerSecurity {
                    namespace_options: linux.and_then(|context| context.namespace_options),
                    ..ContainerSecurity::default()
                }),
            }),
            ..ContainerConfig::default()
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let id = Id { id: self.id.clone() };
        for path in
            ["/runtime.v1.RuntimeService/StopPodSandbox", "/runtime.v1.RuntimeService/RemovePodSandbox"]
        {
            // What cannot be removed here is removed with the node.
            if let Err(error) = Node::with(|node| node.call(path, &id)) {
                eprintln!("{error}");
            }
        }
    }
}

fn call(path: &'static str, request: &impl Message) -> Id {
    Node::with(|node| node.call(path, request).unwrap_or_else(|error| panic!("{error}\n{}", node.log())))
}

fn namespaces(host_network: bool, host_pid: bool) -> NamespaceOption {
    let of_node = |wanted, otherwise| if wanted { MODE_NODE } else { otherwise };
    // The pid namespace is the container's own, as kubelet requests.
    NamespaceOption { network: of_node(host_network, 0), pid: of_node(host_pid, 1), ipc: 0 }
}

/// Returns the pod's address according to the runtime.
pub fn address(pod: &Pod) -> std::net::IpAddr {
    let asked = PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: false };
    let answer = Node::with(|node| node.ask("/runtime.v1.RuntimeService/PodSandboxStatus", &asked));
    let answer = PodSandboxStatusResponse::decode(answer.expect("a status")).expect("a status");
    answer.status.unwrap().network.unwrap().ip.parse().expect("an address")
}
