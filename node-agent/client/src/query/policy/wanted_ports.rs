//! Merges the ports of all pods of a workload, and decides which of them a policy admits.

use std::collections::{BTreeMap, BTreeSet};

use portolan_report::policy_basis::{PolicyPod, PolicyPort};
use portolan_report::wire::{Explanation, Peer};

use super::remark::list_names;

/// Facts about one port, merged over all pods that have it.
#[derive(Debug, Default)]
pub(super) struct WantedPort<'a> {
    names: BTreeSet<&'a str>,
    declared_by: BTreeSet<&'a str>,
    explained_by: Vec<&'a Explanation>,
    exposures: BTreeSet<&'a str>,
    processes: BTreeSet<&'a str>,
    codes: BTreeSet<&'a str>,
    /// Observed callers.
    pub(super) peers: Vec<&'a Peer>,
    /// True if some callers are unknown.
    pub(super) truncated: bool,
}

/// Whether the policy admits a port, with the reason for the remarks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The policy admits the port.
    Admit(String),
    /// The policy leaves the port out.
    LeaveOut(String),
}

/// Merges the ports of all pods, by number and protocol.
pub(super) fn all<'a>(pods: &'a [PolicyPod]) -> BTreeMap<(u16, &'a str), WantedPort<'a>> {
    let mut all: BTreeMap<(u16, &str), WantedPort<'a>> = BTreeMap::new();
    for port in pods.iter().flat_map(|pod| &pod.ports).filter(|port| port.port > 0) {
        all.entry((port.port, port.protocol.as_str())).or_default().add(port);
    }
    all
}

impl<'a> WantedPort<'a> {
    fn add(&mut self, port: &'a PolicyPort) {
        self.names.extend(port.name.as_deref());
        self.declared_by.extend(port.declaration.declared_by.iter().map(String::as_str));
        self.explained_by.extend(&port.declaration.explained_by);
        self.exposures.extend(port.exposure.as_deref());
        self.processes.extend(port.process.as_ref().map(|process| process.name.as_str()));
        self.codes.extend(port.code.as_deref());
        self.peers.extend(&port.traffic.peers);
        let earlier = port.traffic.called_earlier.as_deref();
        self.truncated |= port.traffic.truncated || earlier.is_some_and(|who| who != "node");
    }

    /// Decides about the port. `replaced` is `NAMESPACE/NAME` of the policy that is being drafted.
    pub(super) fn decide(&self, protocol: &str, replaced: &str) -> Decision {
        if !["TCP", "UDP", "SCTP"].contains(&protocol) {
            return Decision::LeaveOut("no NetworkPolicy can admit this protocol".to_owned());
        }
        let declared = !self.declared_by.is_empty();
        if self.exposures.iter().all(|exposure| *exposure == "loopback") && !self.exposures.is_empty() {
            let declared = if declared { "declared, but " } else { "" };
            return Decision::LeaveOut(format!("{declared}served on loopback only{}", self.server()));
        }
        if declared {
            let name =
                if self.names.is_empty() { String::new() } else { format!(" as {}", join(&self.names)) };
            return Decision::Admit(format!("declared by {}{name}", join(&self.declared_by)));
        }
        self.explained(replaced).unwrap_or_else(|| {
            let code = if self.codes.is_empty() { "undeclared".to_owned() } else { join(&self.codes) };
            let callers = self.callers(|_| true);
            let callers = callers.map(|who| format!(", called by {who}, whom this policy cuts off"));
            let callers = callers.unwrap_or_default();
            Decision::LeaveOut(format!("{code}{}{callers}; to admit it, declare it", self.server()))
        })
    }

    /// Decides about an undeclared port that something expects. Admits it, unless only the node's kubelet or another policy
    /// expects it. Returns `None` if nothing expects the port.
    fn explained(&self, replaced: &str) -> Option<Decision> {
        let kubelet = |by: &&&Explanation| matches!(by.source.as_str(), "probe" | "lifecycle");
        let policy = |by: &&&Explanation| by.source == "network-policy";
        let expecting = self.explained_by.iter().filter(|by| !kubelet(by) && !policy(by));
        let expecting: BTreeSet<String> =
            expecting.map(|by| format!("{} {}", by.source, by.reference)).collect();
        if !expecting.is_empty() {
            let expecting = list_names(expecting.iter().map(String::as_str));
            let beyond = self.peers.iter().any(|peer| peer.beyond_audience);
            let callers = self.callers(|peer| peer.beyond_audience).filter(|_| beyond);
            let beyond = callers.map(|who| {
                format!("; it also admits {who}, whose calls nothing explains: restrict the rule if they should not call")
            });
            let beyond = beyond.unwrap_or_default();
            return Some(Decision::Admit(format!(
                "not declared, but expected by {expecting}: declare it{beyond}"
            )));
        }
        let policies: BTreeSet<&str> =
            self.explained_by.iter().filter(policy).map(|by| by.reference.as_str()).collect();
        if policies.contains(replaced) {
            let cut_off = self.cut_off(|_| true);
            return Some(Decision::LeaveOut(format!(
                "not declared; admitted by the policy of this name, which this one would replace{cut_off}"
            )));
        }
        if !policies.is_empty() {
            let policies = list_names(policies);
            let cut_off = self.cut_off(|peer| peer.beyond_audience);
            return Some(Decision::LeaveOut(format!(
                "not declared; the policy {policies} admits it, and goes on doing so beside this one{cut_off}"
            )));
        }
        let probes: BTreeSet<&str> =
            self.explained_by.iter().filter(kubelet).map(|by| by.reference.as_str()).collect();
        if probes.is_empty() {
            return None;
        }
        let probes = list_names(probes);
        Some(Decision::LeaveOut(match self.callers(|_| true) {
            None => format!("not declared; only kubelet calls it ({probes}), from the node"),
            Some(who) => format!(
                "not declared; kubelet calls it ({probes}), and so does {who}, whom this policy cuts off; to admit it, \
                 declare it"
            ),
        }))
    }

    /// Returns whom the policy would cut off, if somebody of the wanted callers called.
    fn cut_off(&self, wanted: impl Fn(&Peer) -> bool) -> String {
        self.callers(wanted).map(|who| format!("; called by {who}, whom this cuts off")).unwrap_or_default()
    }

    fn server(&self) -> String {
        if self.processes.is_empty() {
            String::new()
        } else {
            format!(", served by {}", join(&self.processes))
        }
    }

    /// Names the wanted callers that a policy keeps out: all but the pod itself and its node. `None` if there are none. The
    /// addresses of one pod are one caller.
    fn callers(&self, wanted: impl Fn(&Peer) -> bool) -> Option<String> {
        let kept_out = |peer: &&&Peer| !matches!(peer.origin.as_str(), "same-pod" | "node");
        let callers = self.peers.iter().filter(kept_out).filter(|peer| wanted(peer));
        let callers: BTreeSet<&str> =
            callers.map(|peer| peer.reference.as_deref().unwrap_or(&peer.address)).collect();
        match (callers.is_empty(), self.truncated) {
            (true, false) => None,
            (true, true) => Some("somebody who is not remembered".to_owned()),
            (false, false) => Some(list_names(callers)),
            (false, true) => Some(format!("{} and others, who are not remembered", list_names(callers))),
        }
    }
}

fn join(texts: &BTreeSet<&str>) -> String {
    list_names(texts.iter().copied())
}
