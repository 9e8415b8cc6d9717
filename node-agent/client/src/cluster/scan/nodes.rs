//! Which nodes a scan looks at, and why it cannot look at the others.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use crate::cluster::node_kind;

/// Annotation in which kubeadm keeps the socket of the node's runtime.
const KUBEADM_SOCKET: &str = "kubeadm.alpha.kubernetes.io/cri-socket";
/// Label that MicroK8s gives its nodes.
const MICROK8S: &str = "microk8s.io/cluster";

/// A place of the node in which the socket of its container runtime is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RuntimePath {
    /// Directory of the socket, which is found again after the runtime has restarted.
    Directory(String),
    /// The socket itself, where its directory has too much else to be mounted.
    Socket(String),
}

/// A node that can be scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Name of the node.
    pub(super) node: String,
    /// Where the socket of its container runtime is looked for.
    pub(super) runtime_paths: Vec<RuntimePath>,
}

/// The nodes that were chosen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Nodes to scan, sorted by name.
    pub(super) targets: Vec<Target>,
    /// Nodes that cannot be scanned, with the reason.
    pub(super) missing: Vec<(String, String)>,
}

/// Chooses among the nodes that the server listed. `names` are those of `--node`; none stand for all nodes.
pub(super) fn choose(listed: &[Node], names: &[String]) -> Chosen {
    let by_name: BTreeMap<String, &Node> = listed.iter().map(|node| (node.name_any(), node)).collect();
    let mut asked: Vec<String> =
        if names.is_empty() { by_name.keys().cloned().collect() } else { names.to_vec() };
    asked.sort();
    asked.dedup();
    let mut chosen = Chosen::default();
    for name in asked {
        let obstacle = match by_name.get(&name) {
            None => Some("no such node is in the list of the API server".to_owned()),
            Some(node) => obstacle(node),
        };
        match (obstacle, by_name.get(&name)) {
            (None, Some(node)) => {
                chosen.targets.push(Target { node: name, runtime_paths: runtime_paths(node) });
            }
            (obstacle, _) => chosen.missing.push((name, obstacle.unwrap_or_default())),
        }
    }
    chosen
}

/// Returns why no pod can run on the node.
fn obstacle(node: &Node) -> Option<String> {
    let status = node.status.as_ref();
    let facts = status.and_then(|status| status.node_info.as_ref());
    let system = facts.map_or("", |facts| facts.operating_system.as_str());
    if !system.is_empty() && system != "linux" {
        return Some(node_kind::of_system(system));
    }
    if let Some(reason) = node_kind::without_agents(node.labels()) {
        return Some(reason);
    }
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready")?;
    if ready.status == "True" {
        return None;
    }
    let reason = ready.reason.as_deref().filter(|reason| !reason.is_empty());
    Some(match reason {
        Some(reason) => format!("the node is not ready ({reason})"),
        None => "the node is not ready".to_owned(),
    })
}

/// Returns where the socket of the node's runtime can be: only that is mounted.
fn runtime_paths(node: &Node) -> Vec<RuntimePath> {
    let of_kubeadm = node.annotations().get(KUBEADM_SOCKET);
    if let Some(path) = of_kubeadm.and_then(|socket| runtime_path(socket)) {
        return vec![path];
    }
    let facts = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    let (kubelet, runtime) = facts
        .map_or(("", ""), |facts| (facts.kubelet_version.as_str(), facts.container_runtime_version.as_str()));
    let directories: &[&str] = match runtime.split_once("://").map_or("", |(name, _)| name) {
        "cri-o" => &["/run/crio"],
        _ if kubelet.contains("+k3s") || kubelet.contains("+rke2") => &["/run/k3s/containerd"],
        _ if kubelet.contains("+k0s") => &["/run/k0s"],
        _ if node.labels().contains_key(MICROK8S) => &["/var/snap/microk8s/common/run"],
        "docker" => return vec![RuntimePath::Socket("/run/cri-dockerd.sock".to_owned())],
        "containerd" => &["/run/containerd"],
        _ => &["/run/containerd", "/run/crio", "/run/k3s/containerd"],
    };
    directories.iter().map(|&directory| RuntimePath::Directory(directory.to_owned())).collect()
}

/// Returns what to mount for a socket of kubeadm's annotation, which may be written as `unix:///var/run/…`.
fn runtime_path(socket: &str) -> Option<RuntimePath> {
    let path = socket.strip_prefix("unix://").unwrap_or(socket);
    let path = path.strip_prefix("/var/run/").map_or_else(|| path.to_owned(), |rest| format!("/run/{rest}"));
    path.starts_with('/').then(|| of_socket(&path))
}

/// Returns what to mount for a socket: its directory. `/run` itself has too much else to be mounted.
pub(super) fn of_socket(path: &str) -> RuntimePath {
    match path.rsplit_once('/') {
        Some((directory, _)) if !["", "/run", "/var/run"].contains(&directory) => {
            RuntimePath::Directory(directory.to_owned())
        }
        _ => RuntimePath::Socket(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    use super::{RuntimePath, Target, choose, runtime_path};

    fn node(name: &str, ready: &str, system: &str, kubelet: &str, runtime: &str) -> Node {
        let node = json!({
            "metadata": {"name": name},
            "status": {
                "conditions": [{"type": "Ready", "status": ready, "reason": "KubeletNotReady"}],
                "nodeInfo": {
                    "operatingSystem": system, "kubeletVersion": kubelet, "containerRuntimeVersion": runtime,
                    "architecture": "", "bootID": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "",
                    "osImage": "", "systemUUID": "",
                },
            },
        });
        serde_json::from_value(node).expect("a node")
    }

    #[test]
    fn nodes_without_a_chance_are_named_with_the_reason() {
        let nodes = [
            node("c", "True", "linux", "v1.36.2", "containerd://2.1"),
            node("a", "True", "linux", "v1.36.2+k3s1", "containerd://2.1"),
            node("lost", "Unknown", "linux", "v1.36.2", "containerd://2.1"),
            node("win", "True", "windows", "v1.36.2", "containerd://2.1"),
        ];
        let chosen = choose(&nodes, &[]);
        let target = |node: &str, directory: &str| Target {
            node: node.to_owned(),
            runtime_paths: vec![RuntimePath::Directory(directory.to_owned())],
        };
        assert_eq!(chosen.targets, [target("a", "/run/k3s/containerd"), target("c", "/run/containerd")]);
        let reasons: Vec<_> = chosen.missing.iter().map(|(node, why)| format!("{node}: {why}")).collect();
        assert_eq!(reasons[0], "lost: the node is not ready (KubeletNotReady)");
        assert!(reasons[1].starts_with("win: runs windows"), "{reasons:?}");
        let asked = choose(&nodes, &["c".to_owned(), "d".to_owned(), "c".to_owned()]);
        assert_eq!((asked.targets.len(), asked.missing.len()), (1, 1));
        assert!(asked.missing[0].1.contains("no such node"), "{asked:?}");
    }

    #[test]
    fn the_directory_of_a_socket_is_mounted_unless_it_is_run_itself() {
        let directory = |path: &str| Some(RuntimePath::Directory(path.to_owned()));
        let socket = |path: &str| Some(RuntimePath::Socket(path.to_owned()));
        for (given, mounted) in [
            ("unix:///var/run/containerd/containerd.sock", directory("/run/containerd")),
            ("/run/crio/crio.sock", directory("/run/crio")),
            ("unix:///var/run/cri-dockerd.sock", socket("/run/cri-dockerd.sock")),
            ("tcp:", None),
        ] {
            assert_eq!(runtime_path(given), mounted, "{given}");
        }
    }

    #[test]
    fn docker_and_microk8s_have_their_own_sockets() {
        let docker = node("docker", "True", "linux", "v1.36.2", "docker://29.1.0");
        let mut microk8s = node("microk8s", "True", "linux", "v1.36.2", "containerd://2.1");
        microk8s.metadata.labels = Some([("microk8s.io/cluster".to_owned(), "true".to_owned())].into());
        let chosen = choose(&[docker, microk8s], &[]);
        let paths: Vec<_> = chosen.targets.iter().flat_map(|target| &target.runtime_paths).collect();
        let then = [
            RuntimePath::Socket("/run/cri-dockerd.sock".to_owned()),
            RuntimePath::Directory("/var/snap/microk8s/common/run".to_owned()),
        ];
        assert_eq!(paths, then.iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_fargate_node_is_named_with_the_reason() {
        let mut fargate = node("fargate", "True", "linux", "v1.36.2-eks", "containerd://2.1");
        let label = ("eks.amazonaws.com/compute-type".to_owned(), "fargate".to_owned());
        fargate.metadata.labels = Some([label].into());
        let chosen = choose(&[fargate], &[]);
        assert_eq!(chosen.targets, []);
        assert!(chosen.missing[0].1.starts_with("is a Fargate node"), "{chosen:?}");
    }
}
