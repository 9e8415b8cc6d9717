//! What crosses the border between kernel and agent: plain integers and arrays, `repr(C)`, without padding.
//! Byte orders: ports and lengths are in host order, addresses in network order (`[u8; 16]`, IPv4 as `::ffff:a.b.c.d`).
//! Times are nanoseconds of CLOCK_BOOTTIME.

pub mod connection;
pub mod flow;
pub mod lost;
pub mod netns;
pub mod socket;
pub mod traffic;

/// IANA protocol numbers that the programs know.
pub const IPPROTO_TCP: u8 = 6;
/// See [`IPPROTO_TCP`].
pub const IPPROTO_UDP: u8 = 17;
/// See [`IPPROTO_TCP`].
pub const IPPROTO_SCTP: u8 = 132;

/// Address family numbers of Linux.
pub const AF_INET: u8 = 2;
/// See [`AF_INET`].
pub const AF_INET6: u8 = 10;
