//! What NetworkPolicies mean for a port: isolated or not, admitted or not. Only the ingress half and only the port
//! count; policies of other kinds and the exact peers are outside the scope.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use crate::model::identity::Protocol;
use crate::model::listener::Audience;
use crate::model::network_policy::{AdmittedPort, IngressRule, LabelSelector, NetworkPolicy, PolicyPeer};
use crate::model::pod::{Pod, PortRef, named_port};
use crate::model::policy::{Policy, PolicyVerdict};
use crate::model::selector::Selects;
use crate::rules::manifests::Manifests;

/// Maximum number of ports in a range that still explains its ports. A wider range opens ports in bulk and says nothing
/// about a single one.
const WIDEST_EXPLANATION: usize = 1024;

/// Returns the verdict on a port of a pod. `known` is true if every policy was listed.
#[must_use]
pub(crate) fn verdict(
    known: bool,
    manifests: Manifests<'_>,
    protocol: Protocol,
    port: NonZeroU16,
) -> PolicyVerdict {
    // What a policy means for a hostNetwork pod depends on the network plugin.
    if !known || manifests.pod.host_network {
        return PolicyVerdict::Unknown;
    }
    let admits = |policy: &NetworkPolicy| admits(policy, manifests.pod, protocol, port);
    let certain = || manifests.policies.iter().filter(|(_, selects)| *selects == Selects::Yes);
    if certain().any(|(policy, _)| admits(policy)) {
        PolicyVerdict::Open
    } else if manifests.policies.iter().any(|(_, selects)| *selects == Selects::Maybe) {
        PolicyVerdict::Unknown
    } else if certain().next().is_some() {
        PolicyVerdict::Blocked
    } else {
        PolicyVerdict::NotIsolated
    }
}

/// Returns the verdict with the policies that it rests on: those that admit the port, or those that isolate the pod.
#[must_use]
pub(crate) fn describe(
    known: bool,
    manifests: Manifests<'_>,
    protocol: Protocol,
    port: NonZeroU16,
) -> Policy {
    let verdict = verdict(known, manifests, protocol, port);
    let makes_it_so = |policy: &NetworkPolicy| match verdict {
        PolicyVerdict::Open => admits(policy, manifests.pod, protocol, port),
        PolicyVerdict::Blocked | PolicyVerdict::Unknown => known,
        PolicyVerdict::NotIsolated => false,
    };
    let mut all = manifests.policies.iter().filter(|(policy, _)| makes_it_so(policy));
    let named = all.by_ref().take(Policy::MAX_NAMED);
    let policies = named.map(|(policy, _)| format!("{}/{}", policy.namespace, policy.name)).collect();
    Policy { verdict, policies, unnamed: all.count() }
}

/// Returns true if the policy contains this port as a number or within a range, which shows that its author expects the
/// port to be served. Rules for every port, for nearly every port or for a name do not count.
#[must_use]
pub(crate) fn names_number(policy: &NetworkPolicy, protocol: Protocol, port: NonZeroU16) -> bool {
    rules_naming(policy, protocol, port).next().is_some()
}

/// Returns the rules of a policy that contain this port as a number; see [`names_number`].
pub(crate) fn rules_naming(
    policy: &NetworkPolicy,
    protocol: Protocol,
    port: NonZeroU16,
) -> impl Iterator<Item = &IngressRule> {
    policy.ingress.iter().filter(move |rule| {
        let mut ranges =
            rule.ports.iter().filter(|admitted| admitted.protocol == protocol).filter_map(numbers);
        ranges.any(|numbers| numbers.contains(&port) && width(&numbers) <= WIDEST_EXPLANATION)
    })
}

/// Returns the audience of one rule of a policy.
#[must_use]
pub(crate) fn audience_of(rule: &IngressRule) -> Audience {
    if rule.peers.is_empty() {
        Audience::Everybody
    } else if rule.peers.iter().any(is_every_pod) {
        Audience::Pods
    } else {
        Audience::Listed
    }
}

/// True for a peer that selects every pod of every namespace.
fn is_every_pod(peer: &PolicyPeer) -> bool {
    let PolicyPeer::Pods { namespaces: Some(namespaces), pods } = peer else { return false };
    selects_everything(namespaces) && pods.as_ref().is_none_or(selects_everything)
}

fn selects_everything(selector: &LabelSelector) -> bool {
    selector.labels.is_empty() && selector.expressions.is_empty()
}

/// Returns the policies that certainly select the pod and contain this port, by name.
pub(crate) fn naming<'a>(
    manifests: Manifests<'a>,
    protocol: Protocol,
    port: NonZeroU16,
) -> impl Iterator<Item = &'a NetworkPolicy> {
    let certain = manifests.policies.iter().filter(|(_, selects)| *selects == Selects::Yes);
    certain.map(|(policy, _)| policy.as_ref()).filter(move |policy| names_number(policy, protocol, port))
}

/// Returns what each policy that selects the pod, or may select it, says about one of its ports.
pub(crate) fn opinions(
    manifests: Manifests<'_>,
    protocol: Protocol,
    port: NonZeroU16,
) -> impl Iterator<Item = PolicyStep> {
    manifests.policies.iter().map(move |(policy, selects)| {
        let peers: Vec<usize> =
            admitting(policy, manifests.pod, protocol, port).map(|rule| rule.peers.len()).collect();
        PolicyStep {
            name: format!("{}/{}", policy.namespace, policy.name),
            admits: (*selects == Selects::Yes).then_some(!peers.is_empty()),
            peers: if peers.contains(&0) { 0 } else { peers.iter().sum() },
        }
    })
}

/// Returns true if the policy admits the port from somewhere.
fn admits(policy: &NetworkPolicy, pod: &Pod, protocol: Protocol, port: NonZeroU16) -> bool {
    admitting(policy, pod, protocol, port).next().is_some()
}

/// Returns the rules of a policy that admit the port from somewhere.
fn admitting<'a>(
    policy: &'a NetworkPolicy,
    pod: &'a Pod,
    protocol: Protocol,
    port: NonZeroU16,
) -> impl Iterator<Item = &'a IngressRule> {
    policy.ingress.iter().filter(move |rule| {
        rule.ports.is_empty()
            || rule.ports.iter().filter(|admitted| admitted.protocol == protocol).any(|admitted| {
                match &admitted.port {
                    None => true,
                    Some(PortRef::Number(_)) => {
                        numbers(admitted).is_some_and(|numbers| numbers.contains(&port))
                    }
                    Some(PortRef::Name(name)) => named_port(pod, name, protocol) == Some(port),
                }
            })
    })
}

/// Returns the ports that an entry admits by number.
fn numbers(admitted: &AdmittedPort) -> Option<RangeInclusive<NonZeroU16>> {
    match &admitted.port {
        Some(PortRef::Number(first)) => Some(*first..=admitted.end_port.unwrap_or(*first)),
        _ => None,
    }
}

/// Returns the number of ports in a range.
fn width(numbers: &RangeInclusive<NonZeroU16>) -> usize {
    usize::from(numbers.end().get()).saturating_sub(usize::from(numbers.start().get())) + 1
}

/// A NetworkPolicy that selects the pod, or may select it, and what it says about one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyStep {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// True if the policy admits the port; `None` if its selector contains an operator that this version does not know.
    pub admits: Option<bool>,
    /// Number of peers in the rules that admit the port; 0 if the policy admits it from everywhere, or not at all.
    pub peers: usize,
}
