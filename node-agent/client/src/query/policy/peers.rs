//! Converts the observed callers of a port into peers of a NetworkPolicy.
//!
//! A caller that a policy cannot express exactly widens the rule, so that the policy never shuts out an observed caller.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portolan_report::policy_basis::LabelledPod;

use super::object::{IpBlock, Peer, Selector, is_dns_label};
use super::remark::list_names;
use super::selector::caller_labels;
use super::wanted_ports::WantedPort;

/// Maximum number of addresses outside the cluster that a rule lists per port.
const MAX_BLOCKS: usize = 16;
/// Label that Kubernetes sets on every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Peers that may call a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    /// Peers of the rule; empty: every caller.
    pub(super) from: BTreeSet<Peer>,
    /// Text of the remark.
    pub(super) text: String,
    /// Who is admitted besides those that were seen.
    pub(super) wider: Vec<String>,
}

/// Observed callers by type.
#[derive(Default)]
struct Callers<'a> {
    /// True if the node called.
    node: bool,
    /// Pods that a selector can express.
    pods: BTreeSet<Peer>,
    /// Names of those pods.
    pod_names: BTreeSet<&'a str>,
    /// Names or addresses of pods that no selector can express.
    unknown_pods: BTreeSet<&'a str>,
    /// Addresses outside the cluster.
    outside: BTreeSet<IpAddr>,
    /// Addresses of nodes or gateways, each with the clients that came from there.
    translated: BTreeMap<IpAddr, BTreeSet<&'a str>>,
    /// Addresses with an unknown origin.
    unknown: BTreeSet<&'a str>,
}

/// Returns a source that admits every caller.
pub(super) fn everywhere() -> Sources {
    Sources { text: "from everywhere".to_owned(), ..Sources::default() }
}

/// Returns the observed callers of a port. `namespace` is the namespace of the called pod, `known` are pods by
/// `NAMESPACE/NAME`.
pub(super) fn seen(
    port: &WantedPort<'_>,
    namespace: &str,
    known: &BTreeMap<String, &LabelledPod>,
) -> Sources {
    let callers = classify(port, namespace, known);
    let wide = |reason: String| Sources {
        text: format!("from everywhere, since {reason}"),
        wider: vec!["everybody, also from outside the cluster".to_owned()],
        ..everywhere()
    };
    if port.truncated {
        return wide("more called than are remembered".to_owned());
    }
    if !callers.unknown.is_empty() {
        return wide(format!("it is not known where {} called from", list_names(callers.unknown)));
    }
    let mut wider = beyond_seen(&callers, namespace, known);
    let mut from = callers.pods;
    let mut texts: Vec<String> = callers.pod_names.iter().map(|name| (*name).to_owned()).collect();
    if !callers.unknown_pods.is_empty() {
        from = BTreeSet::from([Peer { namespace_selector: Some(Selector::default()), ..Peer::default() }]);
        let unknown = list_names(callers.unknown_pods);
        texts = vec![format!("any pod, since {unknown} called and its labels are not known on this node")];
    }
    let outside: BTreeSet<String> = if callers.outside.len() > MAX_BLOCKS {
        texts.push(format!("any address, since {} called from outside", callers.outside.len()));
        callers
            .outside
            .iter()
            .map(|address| if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" }.to_owned())
            .collect()
    } else {
        texts.extend(callers.outside.iter().map(ToString::to_string));
        callers.outside.iter().map(single).collect()
    };
    from.extend(outside.into_iter().map(|cidr| Peer { ip_block: Some(IpBlock { cidr }), ..Peer::default() }));
    if from.is_empty() {
        return wide(
            if callers.node { "only the node called so far" } else { "nobody called so far" }.to_owned(),
        );
    }
    if callers.node {
        texts.push("the node".to_owned());
    }
    wider.sort();
    Sources { from, text: format!("from {}", texts.join(", ")), wider }
}

/// Returns whom the peers of these callers admit besides them, as far as is known.
fn beyond_seen(
    callers: &Callers<'_>,
    namespace: &str,
    known: &BTreeMap<String, &LabelledPod>,
) -> Vec<String> {
    let mut wider = Vec::new();
    if callers.unknown_pods.is_empty() {
        for peer in &callers.pods {
            wider.extend(other_pods(peer, callers, namespace, known));
        }
    } else {
        wider.push("every pod of every namespace".to_owned());
    }
    if callers.outside.len() > MAX_BLOCKS {
        wider.push("every address".to_owned());
        return wider;
    }
    for address in &callers.outside {
        wider.push(match callers.translated.get(address) {
            Some(clients) => format!(
                "whoever comes by way of {address}, a node's or gateway's address: {} came so",
                list_names(clients.iter().copied())
            ),
            None => format!("whoever shares the address {address}"),
        });
    }
    wider
}

/// Returns which pods besides the callers a peer selects: a whole namespace, or known pods that did not call.
fn other_pods(
    peer: &Peer,
    callers: &Callers<'_>,
    namespace: &str,
    known: &BTreeMap<String, &LabelledPod>,
) -> Option<String> {
    let labels = &peer.pod_selector.as_ref()?.match_labels;
    let by_name = peer.namespace_selector.as_ref().and_then(|one| one.match_labels.get(NAMESPACE_NAME));
    let of = by_name.map_or(namespace, String::as_str);
    if labels.is_empty() {
        return Some(format!("every pod of namespace {of}, since a caller has no label that lasts"));
    }
    let is_selected = |pod: &LabelledPod| {
        pod.pod.namespace == of && labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    };
    let silent =
        known.iter().filter(|(name, pod)| is_selected(pod) && !callers.pod_names.contains(name.as_str()));
    let silent: Vec<&str> = silent.map(|(name, _)| name.as_str()).collect();
    let shown: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let labels = shown.join(",");
    Some(if silent.is_empty() {
        format!("every pod of namespace {of} with {labels}")
    } else {
        format!("every pod of namespace {of} with {labels}, such as {}, not seen to call", list_names(silent))
    })
}

fn classify<'a>(
    port: &WantedPort<'a>,
    namespace: &str,
    known: &BTreeMap<String, &'a LabelledPod>,
) -> Callers<'a> {
    let mut callers = Callers::default();
    for peer in &port.peers {
        let address: Option<IpAddr> = peer.address.parse().ok();
        match (peer.origin.as_str(), address) {
            ("same-pod", _) => {}
            ("node", _) => callers.node = true,
            ("pod" | "service", _) => {
                let pod = peer.reference.as_ref().and_then(|name| known.get(name).copied());
                match pod.and_then(|pod| selected(pod, namespace)) {
                    Some(pod) => {
                        callers.pods.insert(pod);
                        callers.pod_names.extend(peer.reference.as_deref());
                    }
                    None => {
                        callers.unknown_pods.insert(peer.reference.as_deref().unwrap_or(&peer.address));
                    }
                }
            }
            ("external", Some(address)) => {
                let address = address.to_canonical();
                callers.outside.insert(address);
                if let Some(client) = peer.via.as_ref().and_then(|via| via.client.as_deref()) {
                    callers.translated.entry(address).or_default().insert(client);
                }
            }
            _ => {
                callers.unknown.insert(&peer.address);
            }
        }
    }
    callers
}

/// Returns the peer that selects a pod. `None` for a pod in the node's own network, which selectors do not match, and for
/// a pod without a valid namespace.
fn selected(pod: &LabelledPod, namespace: &str) -> Option<Peer> {
    if pod.pod.host_network || !is_dns_label(&pod.pod.namespace) {
        return None;
    }
    let foreign = pod.pod.namespace != namespace;
    let labels = [(NAMESPACE_NAME.to_owned(), pod.pod.namespace.clone())].into();
    let namespace_selector = foreign.then_some(Selector { match_labels: labels });
    Some(Peer {
        namespace_selector,
        pod_selector: Some(Selector { match_labels: caller_labels(pod) }),
        ip_block: None,
    })
}

fn single(address: &IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}
