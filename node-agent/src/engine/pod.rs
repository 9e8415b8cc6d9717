//! A pod as the engine knows it, whatever source told it: identity, where it runs, what its containers declare.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use super::identity::{PodUid, Protocol};

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub uid: PodUid,
    pub namespace: String,
    pub name: String,
    pub workload: Option<Workload>,
    pub host_network: bool,
    pub labels: BTreeMap<String, String>,
    pub containers: Vec<Container>,
    /// status.podIPs, as far as the source knows them.
    pub addresses: Vec<IpAddr>,
    /// Canonical path of its netns (`/run/netns/NAME`); `None` for hostNetwork or where the source does not know.
    pub netns_path: Option<String>,
}

/// The object that owns a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub kind: String,
    pub name: String,
}

/// One container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    /// Runtime's id; empty where the source does not know.
    pub id: String,
    pub image: String,
    pub kind: ContainerKind,
    pub ports: Vec<DeclaredPort>,
}

/// Which of a pod's lists a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    Regular,
    /// An init container with restartPolicy Always.
    Sidecar,
    /// A plain init container: declares only while it runs.
    Init,
    /// A debug container: can never declare.
    Ephemeral,
}

/// One entry of a container's `ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredPort {
    pub name: Option<String>,
    pub port: NonZeroU16,
    pub protocol: Protocol,
    pub host_port: Option<NonZeroU16>,
}
