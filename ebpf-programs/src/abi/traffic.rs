//! Counters that the kernel programs maintain and the agent drains: per listening port, and per peer of a listening port.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `PORT_STATS` and of `RECORDED`. 16 bytes.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct PortKey {
    /// Cookie of the network namespace.
    pub netns_cookie: u64,
    /// Local port, host order.
    pub port: u16,
    /// IPPROTO_*.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

impl PortKey {
    /// Returns the key of a port. Made of whole words: the compiler would write the fields one by one, and a word that is read
    /// right after it was written in parts costs more than everything else here.
    #[inline(always)]
    #[must_use]
    pub const fn new(netns_cookie: u64, port: u16, protocol: u8) -> Self {
        let [first, second] = port.to_ne_bytes();
        zerocopy::transmute!([netns_cookie, u64::from_ne_bytes([first, second, protocol, 0, 0, 0, 0, 0])])
    }
}

/// Value of `PORT_STATS` (per-CPU: sum over the CPUs). Entries exist only for ports that listen: the hooks create
/// them when a listener opens or a handshake completes, the agent for listeners that a scan found. The agent deletes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PortCounters {
    /// TCP: inbound SYNs. UDP: datagrams of callers whose packets tc does not see, which are those inside the pod, and all
    /// callers where tc is not attached.
    pub attempts: u64,
    /// Completed handshakes on a listener (TCP).
    pub connections: u64,
    /// Packets that arrived at the pod's interfaces for this port (tc ingress; GSO segments counted one by one).
    pub packets: u64,
    /// Bytes of these packets from the network header on.
    pub bytes: u64,
    /// Distinguishes this entry on this CPU from earlier and later entries of the same port. 0 until a flow is cached for it.
    pub generation: u32,
    /// Number of peers that were new to `PEERS`, modulo 2^32. If the agent finds fewer there, the LRU evicted some.
    pub peers_created: u32,
}

/// Number of buckets in `PORTS_MADE` and `PORTS_TAKEN`; a power of two.
pub const PORT_BUCKETS: u32 = 16_384;
/// Index of the total behind the buckets: the number of `PORT_STATS` entries created by the programs (`PORTS_MADE`) or deleted
/// by the agent (`PORTS_TAKEN`).
pub const PORTS_TOTAL: u32 = PORT_BUCKETS;
/// Index behind the total, in `PORTS_TAKEN` only: the number of `PORT_STATS` entries created by the agent.
pub const PORTS_MADE_BY_AGENT: u32 = PORT_BUCKETS + 1;

/// Returns the port's bucket in the filter.
#[inline(always)]
#[must_use]
pub const fn port_bucket(key: &PortKey) -> u32 {
    let mixed = (key.netns_cookie << 24) ^ ((key.protocol as u64) << 16) ^ key.port as u64;
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PORT_BUCKETS.trailing_zeros())) as u32
}

/// Key of `PEERS`, an LRU hash. 32 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PeerKey {
    /// The listening port.
    pub port: PortKey,
    /// Address of the peer, network order, IPv4 mapped.
    pub address: [u8; 16],
}

impl PeerKey {
    /// Returns the key of a peer, whose address is two words in network order in memory.
    #[inline(always)]
    #[must_use]
    pub const fn new(port: PortKey, [upper, lower]: [u64; 2]) -> Self {
        let [netns_cookie, rest]: [u64; 2] = zerocopy::transmute!(port);
        zerocopy::transmute!([netns_cookie, rest, upper, lower])
    }
}

/// [`PeerCounters::direction`]: the peer spoke first, so it calls the port. Also every peer of TCP and SCTP.
pub const PEER_CALLED: u8 = 0;
/// [`PeerCounters::direction`]: a socket of the UDP port addressed the peer first. What comes from the peer are answers.
pub const PEER_ADDRESSED: u8 = 1;
/// [`PeerCounters::direction`]: the peer and the port were talking when the programs began to observe them.
pub const PEER_UNPROVEN: u8 = 2;
/// Silence between a UDP port and a peer, in ns, after which the side that speaks is the one that asks: the network and
/// the other side rarely take that long to answer.
pub const SILENCE_NS: u64 = 500_000_000;
/// Key of `OBSERVED`, in the place of a netns cookie, for the hooks that see what is sent.
pub const SENDING_OBSERVED: u64 = 0;
/// Address of the entry of `PEERS` that stands for everybody whom a UDP port addressed by multicast or broadcast.
/// `first_boot_ns` is the last time, and the counters are 0.
pub const EVERYBODY: [u8; 16] = [0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Time in ns for which a UDP port that sent to a multicast or broadcast address expects answers from everybody.
pub const ANSWERS_EXPECTED_NS: u64 = 60_000_000_000;

/// Value of `PEERS`: shared by all CPUs, changed by atomic adds only. 48 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PeerCounters {
    /// Creation time of the entry, CLOCK_BOOTTIME in ns. If a peer's entry has another time than before, the LRU evicted the
    /// earlier entry.
    pub first_boot_ns: u64,
    /// UDP: datagrams that tc does not see, as in [`PortCounters::attempts`]; 0 for TCP.
    pub attempts: u64,
    /// Completed handshakes (TCP).
    pub connections: u64,
    /// Packets at the pod's interfaces (tc ingress).
    pub packets: u64,
    /// Bytes of these packets from the network header on.
    pub bytes: u64,
    /// TCP: port of the socket that accepted the peer's last connection, if a rule redirected it there from this port; else 0.
    pub accepted_port: u16,
    /// [`PEER_CALLED`], [`PEER_ADDRESSED`] or [`PEER_UNPROVEN`].
    pub direction: u8,
    /// Zero.
    pub reserved: u8,
    /// When the peer or the port last spoke, in units of 2^20 ns of CLOCK_BOOTTIME, modulo 2^32. Only for [`PEER_UNPROVEN`].
    pub spoke: u32,
}
