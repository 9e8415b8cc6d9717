//! Pending counts of each CPU's busiest flows, not yet added to `PORT_STATS` and `PEERS`: the value of `FLOWS`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::traffic::PeerKey;

/// Number of flows that each CPU caches; a power of two.
pub const FLOW_SLOTS: usize = 64;

/// One flow: packets from one peer to one listening port. 88 bytes. Only the slot's own CPU writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowSlot {
    /// Version of the slot: odd while the slot changes its flow, and changed by each flush.
    pub version: u64,
    /// Key of the flow; all zero in an unused slot.
    pub key: PeerKey,
    /// Sum of the two totals of [`PORTS_TOTAL`](super::traffic::PORTS_TOTAL) when the port was last looked up. If the sum has
    /// changed, the port must be looked up again.
    pub epoch: u64,
    /// `PeerCounters::first_boot_ns` of the counted peer entry.
    pub peer_first_boot_ns: u64,
    /// `PortCounters::generation`, on this CPU, of the counted port entry.
    pub generation: u32,
    /// Packets of other flows since this flow's last packet. When there are too many, another flow gets the slot.
    pub misses: u32,
    /// Time of the last flush, in jiffies.
    pub flushed: u64,
    /// Packets that are not yet in the maps.
    pub packets: u64,
    /// Bytes that are not yet in the maps.
    pub bytes: u64,
}
