//! What can be done about an undeclared port, by what serves it: a debug container cannot declare, a port of the node's own
//! network is declared as hostPort, and what the kernel, a rule or a mesh opened is not closed in a process.

use crate::model::listener::{Listener, ServedBy};
use crate::model::pod::ContainerKind;

/// How to declare a port of the node's own network.
const ON_NODE: &str = "declare it as hostPort";

/// The command that writes the patch.
const WRITTEN_BY: &str = "portolan declare writes the patch";

/// How to declare a port, and how to close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    /// `None` if no manifest can declare the port.
    declare: Option<&'static str>,
    close: &'static str,
    /// True if `portolan declare` can write the declaration.
    has_patch: bool,
}

impl Advice {
    /// Returns the advice for a port of a pod.
    #[must_use]
    pub(crate) fn of(listener: &Listener) -> Self {
        let container = listener.container.as_ref();
        if container.is_some_and(|container| container.kind == ContainerKind::Ephemeral) {
            return Self { declare: None, close: "end the debug session or close it", has_patch: false };
        }
        let on_node = listener.pod.as_ref().is_some_and(|pod| pod.host_network);
        let declare = if on_node { ON_NODE } else { "declare it in containerPort" };
        let close = match listener.served_by {
            ServedBy::Process => "close it",
            ServedBy::Kernel => "remove the network device that the kernel opened it for",
            ServedBy::Forwarded => "remove the rule that forwards it",
        };
        let has_patch = !on_node && listener.served_by == ServedBy::Process;
        Self { declare: Some(declare), close, has_patch }
    }

    /// Returns the advice for a port that the node's own address leads to.
    #[must_use]
    pub(crate) fn of_published(listener: &Listener) -> Self {
        let advice = Self::of(listener);
        Self { declare: advice.declare.map(|_| ON_NODE), has_patch: false, ..advice }
    }

    /// For a port that anybody may call.
    #[must_use]
    pub(crate) fn declare_or_close(self) -> String {
        match self.declare {
            Some(declare) if self.has_patch => format!("{declare} ({WRITTEN_BY}) or {}", self.close),
            Some(declare) => format!("{declare} or {}", self.close),
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
pub(crate) fn of_expected(listener: &Listener) -> &'static str {
    let by_mesh = listener.declaration.explained_by.iter().any(|why| why.source == "mesh");
    let on_node = listener.pod.as_ref().is_some_and(|pod| pod.host_network);
    match (by_mesh, on_node) {
        (true, _) => "nothing to do: the mesh opens it in every pod",
        (false, true) => ON_NODE,
        (false, false) => "add it to containerPort (portolan declare writes the patch)",
    }
}
