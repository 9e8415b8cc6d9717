//! What one CPU counted of its busiest flows and has not yet added to `PORT_STATS` and `PEERS`: the value of `FLOWS`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::traffic::PeerKey;

/// Flows that each CPU keeps; a power of two.
pub const FLOW_SLOTS: usize = 64;

/// One flow: packets from one peer to one listening port. 88 bytes. Only its CPU writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowSlot {
    /// Odd while the slot passes from one flow to another; another number after each flush.
    pub version: u64,
    /// The flow; all zero in a slot that was never used.
    pub key: PeerKey,
    /// Sum of the two totals of [`PORTS_TOTAL`](super::traffic::PORTS_TOTAL) when the port was last looked up. Another sum now:
    /// look again.
    pub epoch: u64,
    /// `PeerCounters::first_boot_ns` of the peer that the counts are for.
    pub peer_first_boot_ns: u64,
    /// `PortCounters::generation` on this CPU of the port's entry that the counts are for.
    pub generation: u32,
    /// Packets of other flows since the last one of this: when they are many, the slot passes on.
    pub misses: u32,
    /// Jiffies of the last flush.
    pub flushed: u64,
    /// Not yet in the maps.
    pub packets: u64,
    /// Not yet in the maps.
    pub bytes: u64,
}
