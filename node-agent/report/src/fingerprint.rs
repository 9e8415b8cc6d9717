//! Fingerprint of a workload's port: equal in all replicas, on all nodes and after each rollout, unlike the id of one pod's port.
//!
//! Pods choose the names that go in. So that no pod can imitate the fingerprint of another namespace, it is a cryptographic hash
//! (SHA-256, the first 128 bits) of length-prefixed parts.

use portolan_engine::model::owner::lasting;
use sha2::{Digest, Sha256};

use crate::wire::{Pod, Workload};

/// Number of bytes of the hash that are kept.
const LENGTH: usize = 16;
/// Hexadecimal digits of the UID that kubelet makes of a static pod's manifest. UIDs of the API server have dashes.
const STATIC_UID_DIGITS: usize = 32;

/// What a fingerprint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A port that is, or was, served.
    Port {
        /// `TCP`, `UDP` or `SCTP`.
        protocol: &'a str,
        /// Port number.
        port: u16,
    },
    /// A port about which a finding says that nothing serves it.
    Unserved {
        /// Code of the finding.
        code: &'a str,
        /// `TCP`, `UDP` or `SCTP`.
        protocol: &'a str,
        /// Port number.
        port: u16,
    },
    /// A finding without a port number: about a whole pod, or about the name of a port.
    Pod {
        /// Code of the finding.
        code: &'a str,
        /// What tells several findings of one code and pod apart; empty if there is nothing.
        about: &'a str,
    },
}

/// Where the port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A pod and its container.
    Pod {
        /// The pod.
        pod: &'a Pod,
        /// Name of the container; empty if it is unknown.
        container: &'a str,
        /// Name of the node. Kubelet appends it to the names of static pods.
        node: &'a str,
    },
    /// A network namespace without a known pod.
    Netns {
        /// Name of the node.
        node: &'a str,
        /// Name of the network namespace; empty if it has none.
        netns: &'a str,
        /// Name of the process that serves the port; empty if it is unknown.
        process: &'a str,
    },
}

/// Returns the fingerprint: 32 lower-case hexadecimal digits.
#[must_use]
pub fn fingerprint(place: Place<'_>, subject: Subject<'_>) -> String {
    let mut parts = Parts::default();
    match place {
        Place::Pod { pod, container, node } => {
            let (kind, name) = owner(pod, node);
            parts.add(["pod", &pod.namespace, kind, name, container]);
        }
        Place::Netns { node, netns, process } => parts.add(["netns", node, netns, process, ""]),
    }
    match subject {
        Subject::Port { protocol, port } => parts.add(["port", "", protocol, &port.to_string(), ""]),
        Subject::Unserved { code, protocol, port } => {
            parts.add(["unserved", code, protocol, &port.to_string(), ""]);
        }
        Subject::Pod { code, about } => parts.add(["pod", code, "", "", about]),
    }
    let hash = parts.0.finalize();
    hash.iter().take(LENGTH).map(|byte| format!("{byte:02x}")).collect()
}

/// Parts of a fingerprint. Each is preceded by its length, so that no two lists of parts look the same.
#[derive(Default)]
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, parts: [&str; 5]) {
        for part in parts {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part.as_bytes());
        }
    }
}

/// Returns kind and name of what keeps its name when the pod is replaced: the workload, the CronJob of a Job, or the pod itself.
#[must_use]
pub fn owner<'a>(pod: &'a Pod, node: &str) -> (&'a str, &'a str) {
    match &pod.workload {
        Some(Workload { kind, name }) if kind != "Node" => lasting(kind, name),
        owner if owner.is_some() || has_static_uid(pod) => {
            let mirrored = pod.name.strip_suffix(node).and_then(|name| name.strip_suffix('-'));
            ("Pod", mirrored.filter(|name| !name.is_empty()).unwrap_or(&pod.name))
        }
        _ => ("Pod", &pod.name),
    }
}

/// Returns true for a static pod, which the runtime names without its owner: kubelet made its UID.
fn has_static_uid(pod: &Pod) -> bool {
    pod.uid.len() == STATIC_UID_DIGITS && pod.uid.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, workload: Option<(&str, &str)>) -> Pod {
        Pod {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
            workload: workload.map(|(kind, name)| Workload { kind: kind.to_owned(), name: name.to_owned() }),
            host_network: false,
            labels: None,
        }
    }

    fn of(pod: &Pod, container: &str, node: &str) -> String {
        let place = Place::Pod { pod, container, node };
        fingerprint(place, Subject::Port { protocol: "TCP", port: 9090 })
    }

    #[test]
    fn it_stays_the_same_between_releases() {
        let pod = pod("web-6d4b75cb6d-x2x4z", Some(("Deployment", "web")));
        assert_eq!(of(&pod, "app", "node-1"), "e782accd677a5d093b1ef0e9df16cf6e");
    }

    #[test]
    fn replicas_nodes_and_rollouts_share_it() {
        for (one, other) in [
            (("web-1", Some(("Deployment", "web")), "a"), ("web-2", Some(("Deployment", "web")), "b")),
            (("b-1", Some(("Job", "b-29901234")), "a"), ("b-2", Some(("Job", "b-29901235")), "a")),
            (("etcd-a", Some(("Node", "a")), "a"), ("etcd-b", Some(("Node", "b")), "b")),
        ] {
            let of = |(name, workload, node)| of(&pod(name, workload), "app", node);
            assert_eq!(of(one), of(other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn a_static_pod_that_only_the_runtime_knows_shares_it_with_those_of_other_nodes_and_a_bare_pod_does_not()
    {
        let with_uid = |name: &str, uid: &str| Pod { uid: uid.to_owned(), ..pod(name, None) };
        let (hash, uuid) = ("0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(of(&with_uid("etcd-a", hash), "app", "a"), of(&with_uid("etcd-b", hash), "app", "b"));
        assert_ne!(of(&with_uid("probe-a", uuid), "app", "a"), of(&with_uid("probe-b", uuid), "app", "b"));
    }

    #[test]
    fn different_ports_have_different_ones() {
        let web = pod("web-1", Some(("Deployment", "web")));
        let place = Place::Pod { pod: &web, container: "app", node: "a" };
        let code = "stale-declaration";
        let all = [
            of(&web, "app", "a"),
            of(&web, "sidecar", "a"),
            of(&web, "", "a"),
            of(&pod("web-1", Some(("StatefulSet", "web"))), "app", "a"),
            of(&pod("web-1", None), "app", "a"),
            of(&pod("web-2", None), "app", "a"),
            of(&pod("b-1", Some(("Job", "b-1"))), "app", "a"),
            of(&pod("b-1", Some(("Job", "b-2"))), "app", "a"),
            fingerprint(place, Subject::Port { protocol: "UDP", port: 9090 }),
            fingerprint(place, Subject::Port { protocol: "TCP", port: 9091 }),
            fingerprint(place, Subject::Unserved { code, protocol: "TCP", port: 9090 }),
            fingerprint(place, Subject::Pod { code: "port-storm", about: "" }),
            fingerprint(place, Subject::Pod { code: "port-storm", about: "x" }),
            fingerprint(
                Place::Netns { node: "a", netns: "", process: "x" },
                Subject::Port { protocol: "TCP", port: 9090 },
            ),
        ];
        let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
    }
}
