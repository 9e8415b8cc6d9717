//! Who was seen calling a port, as a policy can say it. What it cannot say exactly becomes wider, never narrower, so that
//! nobody who was seen is shut out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portolan_report::wire::LabelledPod;

use super::object::{IpBlock, Peer, Selector, is_dns_label};
use super::remark::names;
use super::selector::known_by;
use super::wanted_ports::WantedPort;

/// Addresses outside of the cluster that one port lists at most.
const MAX_BLOCKS: usize = 16;
/// On every namespace, by Kubernetes itself.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Who may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Empty: everybody.
    pub from: BTreeSet<Peer>,
    /// The same for people.
    pub words: String,
}

/// What there is to say of callers, by kind.
#[derive(Default)]
struct Callers<'a> {
    node: bool,
    /// Pods that selectors mean, and their names.
    pods: BTreeSet<Peer>,
    pod_names: BTreeSet<&'a str>,
    /// Addresses of pods that nobody can name.
    strange_pods: BTreeSet<&'a str>,
    outside: BTreeSet<IpAddr>,
    /// Those whose origin says nothing about them.
    strangers: BTreeSet<&'a str>,
}

/// Everybody.
pub fn everywhere() -> Sources {
    Sources { from: BTreeSet::new(), words: "from everywhere".to_owned() }
}

/// Those who were seen at this port of a pod in `namespace`; `known` are pods by `NAMESPACE/NAME`.
pub fn seen(port: &WantedPort<'_>, namespace: &str, known: &BTreeMap<String, &LabelledPod>) -> Sources {
    let callers = sorted(port, namespace, known);
    let wide = |why: String| Sources { words: format!("from everywhere, since {why}"), ..everywhere() };
    if port.truncated {
        return wide("more called than are remembered".to_owned());
    }
    if !callers.strangers.is_empty() {
        return wide(format!("it is not known where {} called from", names(callers.strangers)));
    }
    let mut from = callers.pods;
    let mut words: Vec<String> = callers.pod_names.iter().map(|name| (*name).to_owned()).collect();
    if !callers.strange_pods.is_empty() {
        from = BTreeSet::from([Peer { namespace_selector: Some(Selector::default()), ..Peer::default() }]);
        let strange = names(callers.strange_pods);
        words = vec![format!("any pod, since {strange} called and its labels are not known on this node")];
    }
    let outside: BTreeSet<String> = if callers.outside.len() > MAX_BLOCKS {
        words.push(format!("any address, since {} called from outside", callers.outside.len()));
        callers
            .outside
            .iter()
            .map(|address| if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" }.to_owned())
            .collect()
    } else {
        words.extend(callers.outside.iter().map(ToString::to_string));
        callers.outside.iter().map(single).collect()
    };
    from.extend(outside.into_iter().map(|cidr| Peer { ip_block: Some(IpBlock { cidr }), ..Peer::default() }));
    if from.is_empty() {
        return wide(
            if callers.node { "only the node called so far" } else { "nobody called so far" }.to_owned(),
        );
    }
    if callers.node {
        words.push("the node".to_owned());
    }
    Sources { from, words: format!("from {}", words.join(", ")) }
}

fn sorted<'a>(
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
                        callers.strange_pods.insert(peer.reference.as_deref().unwrap_or(&peer.address));
                    }
                }
            }
            ("external", Some(address)) => {
                callers.outside.insert(address.to_canonical());
            }
            _ => {
                callers.strangers.insert(&peer.address);
            }
        }
    }
    callers
}

/// `None` for a pod in the node's own network, which selectors do not mean, or one of no valid namespace.
fn selected(pod: &LabelledPod, namespace: &str) -> Option<Peer> {
    if pod.pod.host_network || !is_dns_label(&pod.pod.namespace) {
        return None;
    }
    let foreign = pod.pod.namespace != namespace;
    let labels = [(NAMESPACE_NAME.to_owned(), pod.pod.namespace.clone())].into();
    let namespace_selector = foreign.then_some(Selector { match_labels: labels });
    Some(Peer {
        namespace_selector,
        pod_selector: Some(Selector { match_labels: known_by(pod) }),
        ip_block: None,
    })
}

fn single(address: &IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}
