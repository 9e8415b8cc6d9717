//! Details of a sandbox that only the verbose status has: netns, addresses, use of the node's network, and the kind of
//! runtime. Requested once for each sandbox.

use std::collections::HashMap;
use std::net::IpAddr;

use portolan_engine::model::netns::canonical;
use portolan_engine::model::pod::hides_sockets;
use serde::Deserialize;

use super::messages::{MODE_NODE, PodSandboxStatusResponse};

/// Key of the runtime's own JSON; the same in containerd and CRI-O.
const INFO: &str = "info";
/// Maximum length of a path, in bytes.
const MAX_PATH: usize = 4096;
/// Maximum number of addresses of a pod.
const MAX_ADDRESSES: usize = 16;

/// Details of a sandbox beside the list entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Details {
    pub host_network: bool,
    pub netns_path: Option<String>,
    pub addresses: Vec<IpAddr>,
    /// Type of the runtime, such as `io.containerd.runc.v2`.
    pub runtime_type: String,
}

/// The fields of the runtime's JSON that are read, out of hundreds.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    runtime_type: Option<String>,
    runtime_spec: Option<Spec>,
}

#[derive(Default, Deserialize)]
struct Spec {
    linux: Option<Linux>,
}

#[derive(Default, Deserialize)]
struct Linux {
    namespaces: Option<Vec<Namespace>>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: Option<String>,
    path: Option<String>,
}

impl Details {
    /// Parses a status. The flag is true if the runtime's JSON is invalid.
    pub fn of(answer: &PodSandboxStatusResponse) -> (Self, bool) {
        let info = answer.info.get(INFO).map(|text| serde_json::from_str::<Info>(text));
        let invalid = matches!(info, Some(Err(_)));
        let info = info.and_then(Result::ok).unwrap_or_default();
        let namespaces = info.runtime_spec.and_then(|spec| spec.linux).and_then(|linux| linux.namespaces);
        let network = namespaces
            .as_ref()
            .map(|all| all.iter().find(|namespace| namespace.kind.as_deref() == Some("network")));
        let status = answer.status.clone().unwrap_or_default();
        let options = status.linux.and_then(|linux| linux.namespaces).and_then(|all| all.options);
        let host_network = match options {
            Some(options) => options.network == MODE_NODE,
            // A sandbox without a netns of its own is in the node's netns.
            None => matches!(network, Some(None)),
        };
        let path = network.flatten().and_then(|namespace| namespace.path.as_deref());
        let path = path.filter(|path| path.starts_with('/') && path.len() <= MAX_PATH);
        let own = status.network.unwrap_or_default();
        let texts = [own.ip].into_iter().chain(own.additional_ips.into_iter().map(|ip| ip.ip));
        let details = Self {
            host_network,
            netns_path: path.filter(|_| !host_network).map(|path| canonical(path).to_owned()),
            // The addresses of the node are not those of the pod.
            addresses: addresses(texts, host_network),
            runtime_type: info.runtime_type.unwrap_or_default().chars().take(128).collect(),
        };
        (details, invalid)
    }

    /// Returns the name of the runtime if the sandbox's sockets are not in this kernel.
    pub fn opaque_runtime(&self, handler: &str) -> Option<String> {
        let name = [handler, &self.runtime_type].into_iter().find(|name| hides_sockets(name))?;
        Some(name.chars().take(128).collect())
    }
}

fn addresses(texts: impl Iterator<Item = String>, host_network: bool) -> Vec<IpAddr> {
    if host_network {
        return Vec::new();
    }
    let mut addresses: Vec<IpAddr> = texts.filter_map(|text| text.parse().ok()).take(MAX_ADDRESSES).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// Details by sandbox, and the number of failed requests.
#[derive(Debug, Default)]
pub(super) struct KnownDetails {
    by_id: HashMap<String, Details>,
    failures: HashMap<String, u32>,
}

/// Failures after which a pod is sent without details, and the details are requested less often.
const PATIENCE: u32 = 3;
/// Skipped attempts between two later requests.
const SELDOM: u32 = 16;

impl KnownDetails {
    pub fn get(&self, id: &str) -> Option<&Details> {
        self.by_id.get(id)
    }

    pub fn learn(&mut self, id: &str, details: Details) {
        self.failures.remove(id);
        self.by_id.insert(id.to_owned(), details);
    }

    /// True if the details are known, or the pod is sent without them.
    pub fn is_settled(&self, id: &str) -> bool {
        self.by_id.contains_key(id) || self.failures.get(id).is_some_and(|count| *count >= PATIENCE)
    }

    /// Records a failed request; true if from now on the pod is sent without details.
    pub fn fail(&mut self, id: &str) -> bool {
        let count = self.failures.entry(id.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count == PATIENCE
    }

    /// True if the details should be requested now. For a sandbox that is sent without details each call counts as one more
    /// failure, so that the details are requested only from time to time.
    pub fn is_due(&mut self, id: &str) -> bool {
        if self.by_id.contains_key(id) {
            return false;
        }
        match self.failures.get_mut(id) {
            Some(count) if *count >= PATIENCE => {
                *count = count.saturating_add(1);
                count.is_multiple_of(SELDOM)
            }
            _ => true,
        }
    }

    /// Removes the details of all sandboxes for which `is_there` is false.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.by_id.retain(|id, _| is_there(id));
        self.failures.retain(|id, _| is_there(id));
    }

    /// True if the details of some sandbox are still missing.
    pub fn has_failures(&self) -> bool {
        !self.failures.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::{
        LinuxStatus, NamespaceOption, Namespaces, NetworkStatus, PodIp, PodSandboxStatus,
    };
    use super::*;

    fn answer(network: Option<i32>, info: Option<&str>) -> PodSandboxStatusResponse {
        let options = network.map(|network| NamespaceOption { network, pid: 1, ipc: 0 });
        PodSandboxStatusResponse {
            status: Some(PodSandboxStatus {
                network: Some(NetworkStatus {
                    ip: "10.1.0.2".to_owned(),
                    additional_ips: vec![PodIp { ip: "fd00::2".to_owned() }, PodIp { ip: "x".to_owned() }],
                }),
                linux: Some(LinuxStatus { namespaces: Some(Namespaces { options }) }),
            }),
            info: info.map(|text| (INFO.to_owned(), text.to_owned())).into_iter().collect(),
        }
    }

    const SPEC: &str = r#"{"pid":7,"runtimeType":"io.containerd.runc.v2","runtimeSpec":{"linux":{"namespaces":
        [{"type":"pid"},{"type":"network","path":"/var/run/netns/cni-1"}]}}}"#;

    #[test]
    fn the_netns_is_read_from_the_runtimes_json() {
        let (details, invalid) = Details::of(&answer(Some(0), Some(SPEC)));
        assert!(!invalid && !details.host_network);
        assert_eq!(details.netns_path.as_deref(), Some("/run/netns/cni-1"));
        assert_eq!(details.addresses.len(), 2);
        assert_eq!(details.opaque_runtime(""), None);
        assert_eq!(details.opaque_runtime("kata-qemu").as_deref(), Some("kata-qemu"));
    }

    #[test]
    fn a_pod_in_the_nodes_network_has_neither_netns_nor_addresses() {
        let (details, _) = Details::of(&answer(Some(MODE_NODE), Some(SPEC)));
        assert!(details.host_network && details.netns_path.is_none() && details.addresses.is_empty());
        let without = r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"pid"}]}}}"#;
        assert!(Details::of(&answer(None, Some(without))).0.host_network);
    }

    #[test]
    fn json_that_cannot_be_read_is_said_and_leaves_the_rest() {
        for text in ["", "{", "[]", r#"{"runtimeSpec":7}"#] {
            let (details, invalid) = Details::of(&answer(Some(0), Some(text)));
            assert!(invalid && details.netns_path.is_none() && details.addresses.len() == 2, "{text}");
        }
        for text in ["{}", r#"{"runtimeSpec":null}"#, r#"{"runtimeSpec":{"linux":{"namespaces":[{}]}}}"#] {
            assert!(!Details::of(&answer(Some(0), Some(text))).1, "{text}");
        }
        let relative = r#"{"runtimeSpec":{"linux":{"namespaces":[{"type":"network","path":"x"}]}}}"#;
        assert_eq!(Details::of(&answer(Some(0), Some(relative))).0.netns_path, None);
    }

    #[test]
    fn runtimes_that_hide_their_sockets_are_known_by_type_too() {
        let text = r#"{"runtimeType":"io.containerd.runsc.v1"}"#;
        let (details, _) = Details::of(&answer(Some(0), Some(text)));
        assert_eq!(details.opaque_runtime("untrusted").as_deref(), Some("io.containerd.runsc.v1"));
    }

    #[test]
    fn a_sandbox_that_never_answers_is_done_without_and_asked_again_seldom() {
        let mut known = KnownDetails::default();
        assert!(known.is_due("a") && !known.fail("a") && !known.is_settled("a"));
        assert!(known.is_due("a") && !known.fail("a"));
        assert!(known.is_due("a") && known.fail("a") && known.is_settled("a"));
        let asked = (0..160).filter(|_| known.is_due("a")).count();
        assert_eq!(asked, 10);
        known.learn("a", Details::default());
        assert!(!known.is_due("a") && !known.has_failures());
        known.retain(|_| false);
        assert!(known.get("a").is_none());
    }
}
