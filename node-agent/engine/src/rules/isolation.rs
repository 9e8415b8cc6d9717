//! What NetworkPolicies mean for a port: isolated or not, admitted or not. Only the ingress half and only the port
//! count; policies of other kinds and the exact peers are outside the scope.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use crate::model::identity::Protocol;
use crate::model::network_policy::{AdmittedPort, IngressRule, NetworkPolicy};
use crate::model::pod::{Pod, PortRef, named_port};
use crate::model::policy::{Policy, PolicyVerdict};
use crate::model::selector::Selects;
use crate::rules::manifests::Manifests;

/// Ports of a range that still says what somebody expects; a wider one only says that no port is closed.
const WIDEST_EXPLANATION: usize = 1024;

/// The verdict on a port of a pod. `known`: every policy was told.
#[must_use]
pub fn verdict(known: bool, manifests: Manifests<'_>, protocol: Protocol, port: NonZeroU16) -> PolicyVerdict {
    // What a policy means for a pod in the node's own network is left to each network plugin.
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

/// The verdict with the policies that make it so: those that admit the port, or all that isolate the pod.
#[must_use]
pub fn describe(known: bool, manifests: Manifests<'_>, protocol: Protocol, port: NonZeroU16) -> Policy {
    let verdict = verdict(known, manifests, protocol, port);
    let makes_it_so = |policy: &NetworkPolicy| match verdict {
        PolicyVerdict::Open => admits(policy, manifests.pod, protocol, port),
        PolicyVerdict::Blocked | PolicyVerdict::Unknown => known,
        PolicyVerdict::NotIsolated => false,
    };
    let policies = manifests.policies.iter().filter(|(policy, _)| makes_it_so(policy));
    let policies = policies.map(|(policy, _)| format!("{}/{}", policy.namespace, policy.name)).collect();
    Policy { verdict, policies }
}

/// True if the policy writes this port down as a number or within a range: somebody expects it to be served. A rule for
/// every port, for nearly every one, or for a name, says nothing of a number.
#[must_use]
pub fn names_number(policy: &NetworkPolicy, protocol: Protocol, port: NonZeroU16) -> bool {
    let ports = policy.ingress.iter().flat_map(|rule| &rule.ports);
    ports
        .filter(|admitted| admitted.protocol == protocol)
        .filter_map(numbers)
        .any(|numbers| numbers.contains(&port) && width(&numbers) <= WIDEST_EXPLANATION)
}

/// The policies that select the pod for certain and write this port down, by name.
pub fn naming<'a>(
    manifests: Manifests<'a>,
    protocol: Protocol,
    port: NonZeroU16,
) -> impl Iterator<Item = &'a NetworkPolicy> {
    let certain = manifests.policies.iter().filter(|(_, selects)| *selects == Selects::Yes);
    certain.map(|(policy, _)| policy.as_ref()).filter(move |policy| names_number(policy, protocol, port))
}

/// What each policy that selects the pod, or may, says of one of its ports.
pub fn opinions(
    manifests: Manifests<'_>,
    protocol: Protocol,
    port: NonZeroU16,
) -> impl Iterator<Item = PolicyStep> {
    manifests.policies.iter().map(move |(policy, selects)| {
        let peers: Vec<usize> =
            admitting(policy, manifests.pod, protocol, port).map(|rule| rule.peers).collect();
        PolicyStep {
            name: format!("{}/{}", policy.namespace, policy.name),
            admits: (*selects == Selects::Yes).then_some(!peers.is_empty()),
            peers: if peers.contains(&0) { 0 } else { peers.iter().sum() },
        }
    })
}

fn admits(policy: &NetworkPolicy, pod: &Pod, protocol: Protocol, port: NonZeroU16) -> bool {
    admitting(policy, pod, protocol, port).next().is_some()
}

/// The rules of a policy that admit the port from somewhere.
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

/// The ports that an entry admits by number.
fn numbers(admitted: &AdmittedPort) -> Option<RangeInclusive<NonZeroU16>> {
    match &admitted.port {
        Some(PortRef::Number(first)) => Some(*first..=admitted.end_port.unwrap_or(*first)),
        _ => None,
    }
}

fn width(numbers: &RangeInclusive<NonZeroU16>) -> usize {
    usize::from(numbers.end().get()).saturating_sub(usize::from(numbers.start().get())) + 1
}

/// A NetworkPolicy that selects the pod, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyStep {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// `None`: it says something that this version does not understand.
    pub admits: Option<bool>,
    /// How many peers its rules for this port name; 0 where it admits: from everywhere.
    pub peers: usize,
}
