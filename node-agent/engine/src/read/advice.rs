//! What can be done about an undeclared port, by what serves it: a debug container cannot declare, a port of the node's own
//! network is declared as hostPort, and what the kernel, a rule or a mesh opened is not closed in a process.

use crate::model::listener::{DeclarationStatus, Exposure, Listener, ServedBy};
use crate::model::pod::ContainerKind;
use crate::model::reach::Reach;
use crate::model::traffic::Origin;
use crate::rules::mesh;
use crate::rules::well_known_ports::{self, Likely, Purpose};

/// How to declare a port of the node's own network.
const ON_NODE: &str = "declare it as hostPort";

/// What is said where `portolan declare` writes the declaration.
const DECLARE: &str = " (portolan declare writes the patch)";
/// The same where it does so only if all ports are asked for.
const DECLARE_ALL: &str = " (portolan declare --all writes the patch)";

/// How to declare a port, and how to close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    /// `None` if no manifest can declare the port.
    declare: Option<&'static str>,
    close: &'static str,
    /// The command that writes the declaration, in parentheses; empty if there is none.
    patch: &'static str,
}

impl Advice {
    /// Returns the advice for a port of a pod.
    #[must_use]
    pub(crate) fn of(listener: &Listener) -> Self {
        let container = listener.container.as_ref();
        if container.is_some_and(|container| container.kind == ContainerKind::Ephemeral) {
            return Self { declare: None, close: "end the debug session or close it", patch: "" };
        }
        let on_node = listener.pod.as_ref().is_some_and(|pod| pod.host_network);
        let declare = if on_node { ON_NODE } else { "declare it in containerPort" };
        let close = match listener.served_by {
            ServedBy::Process => "close it",
            ServedBy::Kernel => "remove the network device that the kernel opened it for",
            ServedBy::Forwarded => "remove the rule that forwards it",
        };
        let likely = likely(listener).filter(|likely| likely.row.purpose == Purpose::Debug);
        if likely.is_some_and(|likely| likely.by_program) {
            return Self { declare: None, close, patch: "" };
        }
        Self { declare: Some(declare), close, patch: patch(listener) }
    }

    /// Returns the advice for a port that the node's own address leads to.
    #[must_use]
    pub(crate) fn of_published(listener: &Listener) -> Self {
        let advice = Self::of(listener);
        Self { declare: advice.declare.map(|_| ON_NODE), patch: "", ..advice }
    }

    /// For a port that anybody may call.
    #[must_use]
    pub(crate) fn declare_or_close(self) -> String {
        match self.declare {
            Some(declare) => format!("{declare}{} or {}", self.patch, self.close),
            None => self.close.to_owned(),
        }
    }

    /// For a port that was called from where nobody should.
    #[must_use]
    pub(crate) fn close_or_restrict(self) -> String {
        match self.declare {
            Some(declare) => format!("{} or {declare} and restrict who may call it", self.close),
            None => self.close.to_owned(),
        }
    }

    /// For a port that policies keep everybody out of.
    #[must_use]
    pub(crate) fn close_or_admit(self) -> String {
        match self.declare {
            Some(declare) => {
                let declare = declare.trim_end_matches(" in containerPort");
                format!("{}, or {declare} and admit it if it is meant to be called", self.close)
            }
            None => self.close.to_owned(),
        }
    }
}

/// Returns how a socket listens whose calls from outside its netns are refused, and what to do about it.
pub(crate) fn of_unreachable(listener: Option<&Listener>) -> (&'static str, &'static str) {
    let mut addresses = listener.into_iter().flat_map(|listener| &listener.addresses);
    if addresses.all(|address| address.is_loopback()) {
        ("listens on loopback only", "let the process listen on 0.0.0.0 or the pod's address")
    } else {
        (
            "is bound to a device that gets no calls from outside (SO_BINDTODEVICE)",
            "let the process bind to the pod's interface, or to no device",
        )
    }
}

/// Returns what to do about a port that something expects.
#[must_use]
pub(crate) fn of_expected(listener: &Listener) -> String {
    let by_mesh = listener.declaration.explained_by.iter().any(|why| why.source == "mesh");
    let on_node = listener.pod.as_ref().is_some_and(|pod| pod.host_network);
    match (by_mesh, on_node) {
        (true, _) => "nothing to do: the mesh opens it in every pod".to_owned(),
        (false, true) => ON_NODE.to_owned(),
        (false, false) => match Advice::of(listener) {
            Advice { declare: None, close, .. } => close.to_owned(),
            Advice { patch, .. } => format!("add it to containerPort{patch}"),
        },
    }
}

/// Returns what the port likely is, by number and process.
#[must_use]
pub(crate) fn likely(listener: &Listener) -> Option<Likely> {
    let processes = listener.process.iter().chain(&listener.other_processes);
    let programs: Vec<&str> = processes.flat_map(well_known_ports::programs).collect();
    well_known_ports::find(listener.port.protocol, listener.port.port.get(), &programs)
}

/// Returns how `portolan declare` writes the declaration of the port; empty if it leaves the port out. `declare` asks the
/// same of the workload's ports: who serves it, whether it is explained, one of very many or was called, and what it likely is.
fn patch(listener: &Listener) -> &'static str {
    let can_declare = |kind| matches!(kind, ContainerKind::Regular | ContainerKind::Sidecar);
    let container = listener.container.as_ref();
    let is_declarable =
        container.is_some_and(|container| can_declare(container.kind) && !mesh::is_injected(&container.name));
    let on_node = listener.pod.as_ref().is_some_and(|pod| pod.host_network);
    if !is_declarable || on_node || listener.served_by != ServedBy::Process {
        return "";
    }
    if listener.exposure == Exposure::Loopback {
        return "";
    }
    if listener.declaration.status == DeclarationStatus::Explained {
        return DECLARE;
    }
    if listener.in_storm {
        return "";
    }
    let is_debugger = likely(listener).is_some_and(|likely| likely.row.purpose == Purpose::Debug);
    let traffic = &listener.traffic;
    let is_called = traffic.truncated
        || traffic.earlier != Reach::Nothing
        || traffic.peers.iter().any(|peer| peer.origin != Origin::SamePod);
    match (is_called, listener.unproven) {
        (true, _) if !is_debugger => DECLARE,
        (false, true) => "",
        _ => DECLARE_ALL,
    }
}
