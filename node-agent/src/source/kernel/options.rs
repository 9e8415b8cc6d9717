//! Sizes and levels of the kernel side, and the constants that they become in the programs.

use super::kernel_log::KernelLogLevel;

/// What the programs count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficLevel {
    Off,
    Connections,
    Full,
}

impl TrafficLevel {
    pub(super) const fn constant(self) -> &'static u8 {
        match self {
            Self::Off => &0,
            Self::Connections => &1,
            Self::Full => &2,
        }
    }
}

/// Sizes and levels of the kernel side.
#[derive(Clone, Copy, Debug)]
pub struct KernelOptions {
    pub traffic: TrafficLevel,
    pub max_listeners: u32,
    pub max_peers: u32,
    /// Ring sizes in bytes: powers of two, at least a page.
    pub listener_ring_bytes: u32,
    pub connection_ring_bytes: u32,
    /// Maximum number of recorded connections per port and second.
    pub records_per_second: u32,
    /// True: the connections of a port are recorded from the moment it listens, until the agent decides otherwise.
    pub record_by_default: bool,
    /// Log level of the programs.
    pub log: KernelLogLevel,
}
