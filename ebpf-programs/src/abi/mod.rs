//! The types that kernel programs and agent exchange: plain integers and arrays, `repr(C)`, without padding.
//! Byte orders: ports and lengths are in host order, addresses in network order (`[u8; 16]`, IPv4 as `::ffff:a.b.c.d`).
//! Times are nanoseconds of CLOCK_BOOTTIME.

pub mod connection;
pub mod flow;
pub mod lost;
pub mod netns;
pub mod slot;
pub mod socket;
pub mod traffic;

/// IANA protocol number of TCP.
pub const IPPROTO_TCP: u8 = 6;
/// IANA protocol number of UDP.
pub const IPPROTO_UDP: u8 = 17;
/// IANA protocol number of SCTP.
pub const IPPROTO_SCTP: u8 = 132;

/// Linux address family of IPv4.
pub const AF_INET: u8 = 2;
/// Linux address family of IPv6.
pub const AF_INET6: u8 = 10;
