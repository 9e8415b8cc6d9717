//! Keys of netns, sockets, pods and ports: kernel cookies and UIDs, never names, inode numbers or addresses.
//! Also the protocol and the boot-time clock reading that all facts carry.

use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

/// Kernel cookie of a network namespace (SO_NETNS_COOKIE). Kernels before 5.14 have none; there, the inode number
/// with the highest bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsId(pub u64);

/// Kernel cookie of a socket (SO_COOKIE, idiag_cookie). A running kernel never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketCookie(pub u64);

/// UID of a pod, as the pod source reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(pub String);

/// A point in time, in nanoseconds of CLOCK_BOOTTIME. Jumps of the wall clock never reach the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

impl BootTime {
    /// Returns the point `by` later, saturating.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, IANA number 6.
    Tcp,
    /// UDP, IANA number 17.
    Udp,
    /// SCTP, IANA number 132.
    Sctp,
}

impl Protocol {
    /// Every protocol, in the order of their `Ord`.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Returns the IANA number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// Returns the protocol with this IANA number; `None` for one without ports.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// Returns the name as Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One port of one protocol in one netns: the key of a listener, no matter how many sockets serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    /// The netns in which the port is bound.
    pub netns: NetnsId,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port number.
    pub port: NonZeroU16,
}

/// Key of a pod inside the engine: four bytes instead of a UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PodKey(pub(crate) u32);

/// A port within one pod.
pub(crate) type ProtocolPort = (Protocol, NonZeroU16);
