//! The ports of all pods of a workload as one list, and which of them a policy should admit, and why.

use std::collections::{BTreeMap, BTreeSet};

use portolan_report::wire::{Explanation, Peer, PolicyPod, PolicyPort};

use super::remark::names;

/// One port, as all pods that have it say.
#[derive(Debug, Default)]
pub struct WantedPort<'a> {
    names: BTreeSet<&'a str>,
    declared_by: BTreeSet<&'a str>,
    explained_by: Vec<&'a Explanation>,
    exposures: BTreeSet<&'a str>,
    processes: BTreeSet<&'a str>,
    codes: BTreeSet<&'a str>,
    pub peers: Vec<&'a Peer>,
    /// Not every peer is known.
    pub truncated: bool,
}

/// Whether to admit it, and the reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Admit(String),
    LeaveOut(String),
}

/// Every port, by number and protocol.
pub fn all<'a>(pods: &'a [PolicyPod]) -> BTreeMap<(u16, &'a str), WantedPort<'a>> {
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
        self.truncated |= port.traffic.truncated;
    }

    /// `replaced`: `NAMESPACE/NAME` of the policy that is being drafted.
    pub fn verdict(&self, protocol: &str, replaced: &str) -> Verdict {
        if !["TCP", "UDP", "SCTP"].contains(&protocol) {
            return Verdict::LeaveOut("no NetworkPolicy can admit this protocol".to_owned());
        }
        let declared = !self.declared_by.is_empty();
        if self.exposures.iter().all(|exposure| *exposure == "loopback") && !self.exposures.is_empty() {
            let declared = if declared { "declared, but " } else { "" };
            return Verdict::LeaveOut(format!("{declared}served on loopback only{}", self.server()));
        }
        if declared {
            let name =
                if self.names.is_empty() { String::new() } else { format!(" as {}", join(&self.names)) };
            return Verdict::Admit(format!("declared by {}{name}", join(&self.declared_by)));
        }
        self.explained(replaced).unwrap_or_else(|| {
            let code = if self.codes.is_empty() { "undeclared".to_owned() } else { join(&self.codes) };
            let callers = self.callers();
            Verdict::LeaveOut(format!("{code}{}{callers}; to admit it, declare it", self.server()))
        })
    }

    /// Who expects an undeclared port is admitted, unless it is the node itself, or has a policy of its own.
    fn explained(&self, replaced: &str) -> Option<Verdict> {
        let kubelet = |by: &&&Explanation| matches!(by.source.as_str(), "probe" | "lifecycle");
        let policy = |by: &&&Explanation| by.source == "network-policy";
        let callers = self.explained_by.iter().filter(|by| !kubelet(by) && !policy(by));
        let callers: BTreeSet<String> = callers.map(|by| format!("{} {}", by.source, by.reference)).collect();
        if !callers.is_empty() {
            let callers = names(callers.iter().map(String::as_str));
            return Some(Verdict::Admit(format!("not declared, but expected by {callers}: declare it")));
        }
        let policies: BTreeSet<&str> =
            self.explained_by.iter().filter(policy).map(|by| by.reference.as_str()).collect();
        if policies.contains(replaced) {
            let words = "not declared; admitted by the policy of this name, which this one would replace";
            return Some(Verdict::LeaveOut(words.to_owned()));
        }
        if !policies.is_empty() {
            let policies = names(policies);
            let words = format!(
                "not declared; the policy {policies} admits it, and goes on doing so beside this one"
            );
            return Some(Verdict::LeaveOut(words));
        }
        let probes: BTreeSet<&str> =
            self.explained_by.iter().filter(kubelet).map(|by| by.reference.as_str()).collect();
        let words =
            || format!("not declared; only kubelet calls it ({}), from the node", names(probes.clone()));
        (!probes.is_empty()).then(|| Verdict::LeaveOut(words()))
    }

    fn server(&self) -> String {
        if self.processes.is_empty() {
            String::new()
        } else {
            format!(", served by {}", join(&self.processes))
        }
    }

    fn callers(&self) -> String {
        let callers = self.peers.iter().filter(|peer| peer.origin != "same-pod");
        let callers: BTreeSet<&str> =
            callers.map(|peer| peer.reference.as_deref().unwrap_or(&peer.address)).collect();
        if callers.is_empty() { String::new() } else { format!(", called by {}", names(callers)) }
    }
}

fn join(texts: &BTreeSet<&str>) -> String {
    names(texts.iter().copied())
}
