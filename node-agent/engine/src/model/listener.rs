//! A listener as reports show it: a served port with its declaration and exposure.

use std::net::IpAddr;

use crate::model::identity::{BootTime, PortId};
use crate::model::netns::NetnsRef;
use crate::model::pod::{Container, PodRef};
use crate::model::process::Process;
use crate::model::traffic::Traffic;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerState {
    Open,
    Closed,
}

/// A port that is served, by one socket or by many.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Stable: derived from pod UID (or netns cookie), protocol and port.
    pub id: String,
    pub port: PortId,
    /// Every address that a socket of it is bound to, sorted.
    pub addresses: Vec<IpAddr>,
    /// Every IPv6 socket of it refuses IPv4.
    pub v6_only: bool,
    /// How many sockets serve it.
    pub sockets: usize,
    pub netns: NetnsRef,
    pub process: Option<Process>,
    /// `None`: older than the agent.
    pub opened_at: Option<BootTime>,
    pub state: ListenerState,
    pub pod: Option<PodRef>,
    pub container: Option<Container>,
    pub declaration: Declaration,
    pub exposure: Exposure,
    pub traffic: Traffic,
}

/// What the manifests say about a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    pub status: DeclarationStatus,
    /// Who declares it: `container/NAME`.
    pub declared_by: Vec<String>,
    pub explained_by: Vec<Explanation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeclarationStatus {
    Declared,
    Explained,
    Undeclared,
    /// No pod is known for it.
    Unknown,
}

impl DeclarationStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Explained => "explained",
            Self::Undeclared => "undeclared",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a port that is not declared is expected nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub source: String,
    pub reference: String,
}

/// From where a socket can be reached by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exposure {
    Loopback,
    Pod,
    Host,
}

impl Exposure {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Pod => "pod",
            Self::Host => "host",
        }
    }
}
