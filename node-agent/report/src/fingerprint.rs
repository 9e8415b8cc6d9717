//! Fingerprint of a workload's port: equal in all replicas, on all nodes and after each rollout, unlike the id of one pod's port.
//!
//! Pods choose the names that go in. So that no pod can imitate the fingerprint of another namespace, it is a cryptographic hash
//! (SHA-256, the first 128 bits) of length-prefixed parts.

use sha2::{Digest, Sha256};

use crate::wire::{Pod, Workload};

/// Number of bytes of the hash that are kept.
const LENGTH: usize = 16;
/// Digits that the CronJob controller appends to the names of Jobs: the minutes since 1970, in old releases the seconds.
const SCHEDULE_DIGITS: std::ops::RangeInclusive<usize> = 8..=10;

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
        Some(Workload { kind, name }) if kind == "Job" => {
            cron_job(name).map_or((kind.as_str(), name.as_str()), |name| ("CronJob", name))
        }
        Some(Workload { kind, name }) if kind != "Node" => (kind, name),
        _ => {
            let mirrored = pod.name.strip_suffix(node).and_then(|name| name.strip_suffix('-'));
            ("Pod", mirrored.filter(|name| !name.is_empty()).unwrap_or(&pod.name))
        }
    }
}

/// Returns the name of the CronJob that made a Job of this name.
fn cron_job(job: &str) -> Option<&str> {
    let (name, time) = job.rsplit_once('-')?;
    let is_time = SCHEDULE_DIGITS.contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit());
    (is_time && !name.is_empty()).then_some(name)
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
            (("etcd-a", None, "a"), ("etcd-b", None, "b")),
        ] {
            let of = |(name, workload, node)| of(&pod(name, workload), "app", node);
            assert_eq!(of(one), of(other), "{one:?} {other:?}");
        }
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
