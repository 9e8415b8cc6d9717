//! How a shared program learns in which netns it runs: the value that a netns's own program hands over, and the constants that
//! the loader writes into that program.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Placeholder in the netns object that the loader replaces with the netns cookie.
pub const NETNS_COOKIE_UNSET: u64 = u64::from_le_bytes(*b"\xf0netns?\x0f");
/// Placeholder in the netns object that the loader replaces with the length of the interface's link header.
pub const LINK_HEADER_UNSET: u32 = u32::from_le_bytes(*b"lnk?");
/// Link header length of an interface for which it is unknown.
pub const LINK_HEADER_UNKNOWN: u32 = u32::MAX;
/// Placeholder in the netns object that the loader replaces with [`LOOKUPS_INSIDE`] or [`LOOKUPS_ALL`].
pub const LOOKUPS_UNSET: u32 = u32::from_le_bytes(*b"lkp?");
/// sk_lookup counts callers inside the netns only; tc counts the others.
pub const LOOKUPS_INSIDE: u32 = 0;
/// sk_lookup counts every caller, since tc is not attached in this netns.
pub const LOOKUPS_ALL: u32 = 1;

/// Value of `HANDOVER` (per CPU): written by a netns's own program just before it calls the shared program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Handover {
    /// Address of the context (the packet or the lookup). Unique among live contexts.
    pub context: u64,
    /// Cookie of the netns.
    pub netns_cookie: u64,
    /// Bytes of link header before the network header, or [`LINK_HEADER_UNKNOWN`].
    pub link_header: u32,
    /// [`LOOKUPS_INSIDE`] or [`LOOKUPS_ALL`]; only for sk_lookup.
    pub lookups: u32,
}

/// Slot of `HANDOVER` for tc.
pub const HANDOVER_INGRESS: u32 = 0;
/// Slot of `HANDOVER` for sk_lookup, which the kernel may call while another tc program runs.
pub const HANDOVER_LOOKUP: u32 = 1;
