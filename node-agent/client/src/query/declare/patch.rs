//! The patch: the ports of each container, within the path that leads from the workload to its pods' specification.

use std::collections::BTreeMap;

use serde::Serialize;

/// Part of a pod's specification that the patch changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Regular containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
    /// Sidecars: init containers that go on running.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
}

/// Ports to add to a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Name, by which the container is found.
    pub name: String,
    /// Entries of its `ports`.
    pub ports: Vec<Entry>,
}

/// An element of a list of ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Entry {
    /// Directive for the whole list: it replaces the container's list.
    Replace {
        /// Always `replace`.
        #[serde(rename = "$patch")]
        patch: &'static str,
    },
    /// A port.
    Port(Port),
}

/// A port of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Name; `None` if every name that fits is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Number.
    pub container_port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port of the node, of an entry that was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
}

/// A pod's specification at the end of a path of fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Patch {
    /// A field, and what is in it.
    Field(BTreeMap<&'static str, Box<Patch>>),
    /// The specification.
    Spec(PodSpec),
}

impl PodSpec {
    /// Puts the specification at the end of a path.
    #[must_use]
    pub fn at(self, path: &[&'static str]) -> Patch {
        path.iter()
            .rev()
            .fold(Patch::Spec(self), |inner, field| Patch::Field(BTreeMap::from([(*field, Box::new(inner))])))
    }
}
