//! Merges the ports of all pods of a workload, and decides which of them are declared.

use std::collections::{BTreeMap, BTreeSet};

use portolan_engine::model::identity::Protocol;
use portolan_engine::rules::mesh;
use portolan_engine::rules::well_known_ports::{self, Likely, Purpose};
use portolan_report::policy_basis::{PolicyPod, PolicyPort};
use portolan_report::wire::{Explanation, Peer, Process};

use super::containers::{Containers, Kind};
use crate::query::policy::remark::list_names;

/// Beginning of the reason of a port that nobody knows the container of.
pub(super) const UNKNOWN_CONTAINER: &str = "which container serves it is unknown";

/// Facts about one port, merged over all pods that serve it.
#[derive(Debug, Default)]
pub(super) struct UsedPort<'a> {
    /// Containers that serve the port.
    containers: BTreeSet<&'a str>,
    declared_by: BTreeSet<&'a str>,
    explained_by: Vec<&'a Explanation>,
    /// Names that Services give the port.
    service_names: BTreeSet<&'a str>,
    exposures: BTreeSet<&'a str>,
    processes: Vec<&'a Process>,
    codes: BTreeSet<&'a str>,
    peers: Vec<&'a Peer>,
    /// True if some callers are unknown.
    has_unknown_callers: bool,
    /// True if every pod's port may be a client's.
    unproven: bool,
    in_storm: bool,
    /// True if a pod serves the port and no container declares it there.
    is_undeclared: bool,
}

/// What happens to a port, with the reason for the remarks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The container gets the port.
    Add {
        /// Name of the container.
        container: String,
        /// Reason.
        why: String,
        /// What to consider.
        warning: Option<String>,
    },
    /// The port is left out.
    LeaveOut(String),
    /// The port is one of very many that are left out.
    Storm,
}

/// Merges the ports of all pods, by number and protocol. Returns those that a pod serves without declaring them.
pub(super) fn undeclared<'a>(
    pods: impl Iterator<Item = &'a PolicyPod>,
) -> BTreeMap<(u16, &'a str), UsedPort<'a>> {
    let mut all: BTreeMap<(u16, &str), UsedPort<'a>> = BTreeMap::new();
    for pod in pods {
        for port in pod.ports.iter().filter(|port| port.port > 0) {
            let empty = UsedPort { unproven: true, ..UsedPort::default() };
            all.entry((port.port, port.protocol.as_str())).or_insert(empty).add(port, pod.storm);
        }
    }
    all.retain(|_, port| port.is_undeclared);
    all
}

impl<'a> UsedPort<'a> {
    fn add(&mut self, port: &'a PolicyPort, in_storm: bool) {
        self.declared_by.extend(port.declaration.declared_by.iter().map(String::as_str));
        self.service_names.extend(port.service_port_names.iter().map(String::as_str));
        if port.exposure.is_none() || port.declaration.status == "declared" {
            return;
        }
        self.is_undeclared = true;
        self.containers.extend(port.container.as_deref());
        self.explained_by.extend(&port.declaration.explained_by);
        self.exposures.extend(port.exposure.as_deref());
        self.processes.extend(port.process.as_ref());
        self.codes.extend(port.code.as_deref());
        self.peers.extend(&port.traffic.peers);
        let earlier = port.traffic.called_earlier.as_deref();
        self.has_unknown_callers |= port.traffic.truncated || earlier.is_some();
        self.unproven &= port.unproven;
        self.in_storm |= in_storm;
    }

    /// Decides about the port. With `all`, ports that nobody called and nothing explains are added, too.
    pub(super) fn decide(
        &self,
        (port, protocol): (u16, &str),
        containers: &Containers<'_>,
        all: bool,
    ) -> Decision {
        let container = match self.container(containers) {
            Ok(container) => container,
            Err(why) => return Decision::LeaveOut(why),
        };
        let likely = self.likely(port, protocol);
        let debug = likely.filter(|likely| likely.row.purpose == Purpose::Debug);
        let explained = self.explained();
        if let Some(likely) = debug.filter(|likely| likely.by_program || (explained.is_none() && !all)) {
            let again = if likely.by_program { "" } else { "; if it is not, --all adds it" };
            return Decision::LeaveOut(format!("{likely}{again}"));
        }
        let warning = self.warning(likely);
        let add = |why: String| Decision::Add { container: container.to_owned(), why, warning };
        let callers = self.callers();
        if let Some(explained) = explained {
            return add(explained);
        }
        if self.in_storm {
            return Decision::Storm;
        }
        if let Some(callers) = callers {
            return add(format!("called by {callers}{}", self.server()));
        }
        if self.unproven {
            return Decision::LeaveOut(format!(
                "nobody called it, and it may be a client's{}",
                self.server()
            ));
        }
        if all {
            return add(format!("nobody called it yet{}", self.server()));
        }
        Decision::LeaveOut(format!(
            "nobody called it and nothing explains it{}; --all adds it",
            self.server()
        ))
    }

    /// Returns the container that can declare the port, or why none can.
    fn container(&self, containers: &Containers<'_>) -> Result<&'a str, String> {
        let meshes = self.explained_by.iter().filter(|by| by.source == "mesh");
        let meshes: BTreeSet<&str> = meshes.map(|by| by.reference.as_str()).collect();
        if !meshes.is_empty() {
            return Err(format!("it belongs to the mesh {}", list_names(meshes)));
        }
        if self.exposures.iter().all(|exposure| *exposure == "loopback") {
            return Err(format!("it listens on loopback only{}", self.server()));
        }
        if !self.declared_by.is_empty() {
            let by = list_names(self.declared_by.iter().copied());
            return Err(format!(
                "{by} declares it in other pods of the workload: a rollout may be under way"
            ));
        }
        let mut all = self.containers.iter().copied();
        let Some(container) = all.next() else {
            return Err(format!("{UNKNOWN_CONTAINER}{}", self.server()));
        };
        if all.next().is_some() {
            return Err(format!(
                "containers {} serve it in different pods: declare it by hand",
                list_names(self.containers.iter().copied())
            ));
        }
        if mesh::is_injected(container) {
            return Err(format!(
                "container {container} is injected by a mesh, and is not part of the manifest"
            ));
        }
        match containers.kind(container) {
            Some(Kind::Regular | Kind::Sidecar) => Ok(container),
            Some(Kind::Init) => Err(format!("init container {container} ends before the pod serves")),
            Some(Kind::Ephemeral) => {
                Err(format!("debug container {container} opened it, which cannot declare"))
            }
            None => Err(format!("container {container:?} is not in the pod's specification")),
        }
    }

    /// Returns what explains the port; `None` if nothing does.
    fn explained(&self) -> Option<String> {
        let all: BTreeSet<String> =
            self.explained_by.iter().map(|by| format!("{} {}", by.source, by.reference)).collect();
        (!all.is_empty()).then(|| format!("explained by {}", list_names(all.iter().map(String::as_str))))
    }

    /// Returns the names that the port could have, the best first.
    pub(super) fn names(&self, (port, protocol): (u16, &str)) -> Vec<&'a str> {
        let has = |source: &[&str]| self.explained_by.iter().any(|by| source.contains(&by.source.as_str()));
        let mut names: Vec<&str> = self.service_names.iter().copied().collect();
        names.extend(has(&["annotation"]).then_some("metrics"));
        let likely = self.likely(port, protocol).filter(|likely| likely.by_program);
        names.extend(likely.map(|likely| likely.row.name));
        let only_node = self.peers.iter().all(|peer| matches!(peer.origin.as_str(), "node" | "same-pod"));
        names.extend((has(&["probe", "health-check"]) && only_node).then_some("health"));
        names
    }

    fn likely(&self, port: u16, protocol: &str) -> Option<Likely> {
        let protocol = match protocol {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            _ => return None,
        };
        let names = self
            .processes
            .iter()
            .flat_map(|process| well_known_ports::names(&process.name, process.executable.as_deref()));
        well_known_ports::find(protocol, port, &names.collect::<Vec<_>>())
    }

    /// Returns what to consider before the port is declared.
    fn warning(&self, likely: Option<Likely>) -> Option<String> {
        if self.codes.contains("undeclared-external") {
            return Some("was called from outside the cluster: restrict who may call it".to_owned());
        }
        let risky = likely.filter(|likely| matches!(likely.row.purpose, Purpose::Admin | Purpose::Debug));
        risky.map(|likely| format!("may not be meant for callers: {likely}"))
    }

    fn server(&self) -> String {
        let names: BTreeSet<&str> = self.processes.iter().map(|process| process.name.as_str()).collect();
        if names.is_empty() { String::new() } else { format!(", served by {}", list_names(names)) }
    }

    /// Names the callers other than the pod itself; `None` if there are none. The addresses of one pod are one caller.
    fn callers(&self) -> Option<String> {
        let others = self.peers.iter().filter(|peer| peer.origin != "same-pod");
        let callers: BTreeSet<&str> =
            others.map(|peer| peer.reference.as_deref().unwrap_or(&peer.address)).collect();
        match (callers.is_empty(), self.has_unknown_callers) {
            (true, false) => None,
            (true, true) => Some("somebody who is not remembered".to_owned()),
            (false, false) => Some(list_names(callers)),
            (false, true) => Some(format!("{} and others, who are not remembered", list_names(callers))),
        }
    }
}
