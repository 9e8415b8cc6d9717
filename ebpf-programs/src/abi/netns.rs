//! How the programs that every netns shares are told in which one they run: what a netns's own small program hands over,
//! and the constants that the loader writes into it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What stands in the small object where the loader writes the netns cookie.
pub const NETNS_COOKIE_UNSET: u64 = u64::from_le_bytes(*b"\xf0netns?\x0f");
/// What stands there for the length of the interface's link header.
pub const LINK_HEADER_UNSET: u32 = u32::from_le_bytes(*b"lnk?");
/// An interface whose link header has no known length.
pub const LINK_HEADER_UNKNOWN: u32 = u32::MAX;

/// Value of `HANDOVER` (per CPU): written by a netns's own program just before it calls the shared one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Handover {
    /// Address of the context (the packet, or the lookup) that this is about: no two that are alive share it.
    pub context: u64,
    /// Cookie of the netns.
    pub netns_cookie: u64,
    /// Bytes of link header before the network header, or [`LINK_HEADER_UNKNOWN`].
    pub link_header: u32,
    /// Zero.
    pub reserved: u32,
}

/// Slot of `HANDOVER` for tc.
pub const HANDOVER_INGRESS: u32 = 0;
/// Slot of `HANDOVER` for sk_lookup, which the kernel may call while a tc program of somebody else runs.
pub const HANDOVER_LOOKUP: u32 = 1;
