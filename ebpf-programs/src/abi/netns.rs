//! The constant by which a program that cannot ask for its netns is told.

/// What stands in the object where the loader writes the netns cookie: bytes that occur nowhere else in it.
pub const NETNS_COOKIE_UNSET: u64 = u64::from_le_bytes(*b"\xf0netns?\x0f");
