//! Whose calls the explanations of a port explain, and whether one caller is among them. A caller that cannot be compared
//! with a policy counts as admitted: an enforced policy let it through.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;

use crate::model::identity::Protocol;
use crate::model::listener::Audience;
use crate::model::network_policy::{IngressRule, LabelSelector, PolicyPeer};
use crate::model::reach::Reach;
use crate::model::selector::Selects;
use crate::model::traffic::Origin;
use crate::rules::explanation::{Why, explanations};
use crate::rules::isolation;
use crate::rules::manifests::{Manifests, ServedPort};

/// Maximum number of policy peers that are compared with the callers of one port. What is beyond may admit anybody.
const MAX_LISTED: usize = 256;

/// Label that the API server sets on every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Labels of known pods and namespaces.
pub(crate) trait KnownLabels {
    /// Returns the labels of a pod; `None` if the pod is not known.
    fn of_pod(&self, namespace: &str, name: &str) -> Option<&BTreeMap<String, String>>;
    /// Returns the labels of a namespace; `None` if the namespace is not known.
    fn of_namespace(&self, name: &str) -> Option<&BTreeMap<String, String>>;
}

/// A caller of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    /// Where the caller is.
    pub origin: Origin,
    /// `NAMESPACE/NAME` of its pod, where known.
    pub reference: Option<&'a str>,
    /// Its address as the pod sees it.
    pub address: IpAddr,
    /// Its own address, where known; else the same.
    pub client: IpAddr,
}

/// The callers that the explanations of one port explain together.
#[derive(Clone, Debug)]
pub(crate) struct PortAudience<'a> {
    /// All callers up to this reach.
    up_to: Reach,
    /// Callers that policies list, with the namespace of the policy; at most [`MAX_LISTED`].
    listed: Vec<(&'a str, &'a PolicyPeer)>,
}

impl<'a> PortAudience<'a> {
    /// The audience of a port by all its explanations.
    #[must_use]
    pub(crate) fn of(manifests: Manifests<'a>, served: ServedPort<'a>) -> Self {
        let mut audience = Self { up_to: Reach::Node, listed: Vec::new() };
        for why in explanations(manifests, served) {
            audience.up_to = audience.up_to.max(reach(why.audience(served.protocol, served.port)));
            if audience.up_to == Reach::External {
                return Self { listed: Vec::new(), ..audience };
            }
            if let Why::Policy(policy) = why {
                let rules = isolation::rules_naming(policy, served.protocol, served.port);
                audience.list(&policy.namespace, rules);
            }
        }
        audience
    }

    /// Only the callers that policies list, whatever else explains the port.
    #[must_use]
    pub(crate) fn listed(manifests: Manifests<'a>, protocol: Protocol, port: NonZeroU16) -> Self {
        let mut audience = Self { up_to: Reach::Node, listed: Vec::new() };
        for policy in isolation::naming(manifests, protocol, port) {
            audience.list(&policy.namespace, isolation::rules_naming(policy, protocol, port));
        }
        audience
    }

    fn list(&mut self, namespace: &'a str, rules: impl Iterator<Item = &'a IngressRule>) {
        for peer in rules.flat_map(|rule| &rule.peers) {
            if self.listed.len() == MAX_LISTED {
                self.listed.push((namespace, &PolicyPeer::Unknown));
            }
            if self.listed.len() > MAX_LISTED {
                return;
            }
            self.listed.push((namespace, peer));
        }
    }

    /// Returns the reach of the farthest caller that is among the audience whoever it is.
    #[must_use]
    pub(crate) const fn up_to(&self) -> Reach {
        self.up_to
    }

    /// Returns true if the audience depends on who a caller is, not only on where it is.
    #[must_use]
    pub(crate) const fn is_selective(&self) -> bool {
        !self.listed.is_empty()
    }

    /// Returns whether policies list this caller.
    #[must_use]
    pub(crate) fn lists(&self, caller: Caller<'_>, labels: &dyn KnownLabels) -> Selects {
        let mut best = Selects::No;
        for (namespace, peer) in &self.listed {
            best = best.max(is_meant(peer, namespace, caller, labels));
            if best == Selects::Yes {
                break;
            }
        }
        best
    }
}

/// Returns how far the callers of an audience can be away; those of a list are looked up one by one.
const fn reach(audience: Audience) -> Reach {
    match audience {
        Audience::Node | Audience::Listed => Reach::Node,
        // A pod stays a pod if it comes by an address that leads in from outside.
        Audience::Pods => Reach::Published,
        Audience::Everybody => Reach::External,
    }
}

/// Returns whether a policy's peer means the caller. `home`: namespace of the policy.
fn is_meant(peer: &PolicyPeer, home: &str, caller: Caller<'_>, labels: &dyn KnownLabels) -> Selects {
    match peer {
        PolicyPeer::Unknown => Selects::Maybe,
        PolicyPeer::IpBlock { cidr, except } => {
            let is_within = |address: IpAddr| {
                cidr.contains(&address) && !except.iter().any(|net: &IpNet| net.contains(&address))
            };
            // Which of the two a policy sees depends on the network plugin.
            if is_within(caller.address) || is_within(caller.client) { Selects::Yes } else { Selects::No }
        }
        PolicyPeer::Pods { .. } if caller.origin == Origin::External => Selects::No,
        PolicyPeer::Pods { namespaces, pods } => {
            let Some((namespace, name)) = caller.reference.and_then(|reference| reference.split_once('/'))
            else {
                return Selects::Maybe;
            };
            let in_namespace = match namespaces {
                None if namespace == home => Selects::Yes,
                None => Selects::No,
                Some(selector) => selects_namespace(selector, namespace, labels.of_namespace(namespace)),
            };
            let Some(selector) = pods.as_ref().filter(|_| in_namespace != Selects::No) else {
                return in_namespace;
            };
            let by_labels =
                labels.of_pod(namespace, name).map_or(Selects::Maybe, |labels| selector.selects(labels));
            in_namespace.min(by_labels)
        }
    }
}

/// Returns whether a selector means a namespace. Of an unknown namespace only the label with its name is known.
fn selects_namespace(
    selector: &LabelSelector,
    name: &str,
    labels: Option<&BTreeMap<String, String>>,
) -> Selects {
    if let Some(labels) = labels {
        if labels.get(NAMESPACE_NAME).is_some_and(|known| known == name) {
            return selector.selects(labels);
        }
        let mut labels = labels.clone();
        labels.insert(NAMESPACE_NAME.to_owned(), name.to_owned());
        return selector.selects(&labels);
    }
    let mut known = selector.clone();
    known.labels.retain(|key, _| key == NAMESPACE_NAME);
    known.expressions.retain(|one| one.key == NAMESPACE_NAME);
    let certain = if known == *selector { Selects::Yes } else { Selects::Maybe };
    known.selects(&BTreeMap::from([(NAMESPACE_NAME.to_owned(), name.to_owned())])).min(certain)
}
