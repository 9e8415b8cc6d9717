//! The containers of the pods, and the ports that they declare already.

use std::collections::{BTreeMap, BTreeSet};

use portolan_report::policy_basis::{PolicyContainer, PolicyPod};

use super::patch::{Entry, Port};
use crate::query::policy::object::is_dns_label;

/// Which of a pod's container lists a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `containers`.
    Regular,
    /// `initContainers`, with `restartPolicy: Always`.
    Sidecar,
    /// `initContainers`.
    Init,
    /// A debug container.
    Ephemeral,
}

/// The containers of all pods, by name.
#[derive(Debug)]
pub(super) struct Containers<'a>(BTreeMap<&'a str, Vec<&'a PolicyContainer>>);

impl<'a> Containers<'a> {
    /// Merges the containers of the pods.
    pub(super) fn of(pods: impl Iterator<Item = &'a PolicyPod>) -> Self {
        let mut all: BTreeMap<&str, Vec<&PolicyContainer>> = BTreeMap::new();
        let containers = pods.flat_map(|pod| &pod.containers);
        containers
            .filter(|container| is_dns_label(&container.name))
            .for_each(|container| all.entry(&container.name).or_default().push(container));
        Self(all)
    }

    /// Returns true if the pods' containers are not known.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the kind of a container; `None` if no pod has it. Of several, one that says more than `regular`, as a container
    /// runtime does.
    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        let kinds: BTreeSet<&str> = self.0.get(name)?.iter().map(|one| one.kind.as_str()).collect();
        Some(match () {
            () if kinds.contains("ephemeral") => Kind::Ephemeral,
            () if kinds.contains("sidecar") => Kind::Sidecar,
            () if kinds.contains("init") => Kind::Init,
            () => Kind::Regular,
        })
    }

    /// Returns the names that the ports of all containers have.
    pub(super) fn port_names(&self) -> BTreeSet<String> {
        let ports = self.0.values().flatten().flat_map(|container| &container.ports);
        ports.filter_map(|port| port.name.clone()).collect()
    }

    /// Returns true if the container declares the number for another protocol.
    pub(super) fn declares_number(&self, name: &str, number: u16) -> bool {
        self.ports(name).any(|port| port.port == number)
    }

    /// Returns the entries that the container has, by number and protocol, and whether all pods have the same.
    pub(super) fn entries(&self, name: &str) -> (Vec<Entry>, bool) {
        let mut all: BTreeMap<(u16, &str), Port> = BTreeMap::new();
        for port in self.ports(name) {
            all.entry((port.port, &port.protocol)).or_insert_with(|| Port {
                name: port.name.clone(),
                container_port: port.port,
                protocol: port.protocol.clone(),
                host_port: port.host_port,
            });
        }
        let mut lists = self.0.get(name).into_iter().flatten().map(|container| &container.ports);
        let first = lists.next();
        let agree = lists.all(|list| Some(list) == first);
        (all.into_values().map(Entry::Port).collect(), agree)
    }

    fn ports(&self, name: &str) -> impl Iterator<Item = &'a portolan_report::policy_basis::ContainerPort> {
        self.0.get(name).into_iter().flatten().flat_map(|container| &container.ports)
    }
}
