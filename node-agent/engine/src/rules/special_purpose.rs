//! The IANA special-purpose address registries, which decide what cannot be an address of the Internet.
//!
//! Documentation ranges (RFC 5737, 3849, 9637) are left out, so that they count as addresses of the Internet: nobody
//! routes them, and labs use them as stand-ins for the Internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address that is not of the Internet can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// On one host or one link: never a host outside the cluster.
    Link,
    /// Within a private network.
    Private,
}

/// An entry of the IPv4 registry: first address, length of the prefix, scope (`None`: globally reachable), name.
type V4 = ([u8; 4], u32, Option<Scope>, &'static str);

/// An entry of the IPv6 registry.
type V6 = ([u16; 8], u32, Option<Scope>, &'static str);

/// IANA IPv4 Special-Purpose Address Registry, and multicast (RFC 1112), from which nothing is sent. Of several entries
/// that contain an address the longest prefix counts. Not listed: what is globally reachable or undefined there.
const V4_REGISTRY: &[V4] = &[
    ([0, 0, 0, 0], 8, Some(Scope::Link), "This network"),
    ([10, 0, 0, 0], 8, Some(Scope::Private), "Private-Use"),
    ([100, 64, 0, 0], 10, Some(Scope::Private), "Shared Address Space"),
    ([127, 0, 0, 0], 8, Some(Scope::Link), "Loopback"),
    ([169, 254, 0, 0], 16, Some(Scope::Link), "Link Local"),
    ([172, 16, 0, 0], 12, Some(Scope::Private), "Private-Use"),
    ([192, 0, 0, 0], 24, Some(Scope::Private), "IETF Protocol Assignments"),
    ([192, 0, 0, 9], 32, None, "Port Control Protocol Anycast"),
    ([192, 0, 0, 10], 32, None, "Traversal Using Relays around NAT Anycast"),
    ([192, 168, 0, 0], 16, Some(Scope::Private), "Private-Use"),
    ([198, 18, 0, 0], 15, Some(Scope::Private), "Benchmarking"),
    ([224, 0, 0, 0], 4, Some(Scope::Link), "Multicast"),
    ([240, 0, 0, 0], 4, Some(Scope::Private), "Reserved"),
    ([255, 255, 255, 255], 32, Some(Scope::Link), "Limited Broadcast"),
];

/// IANA IPv6 Special-Purpose Address Registry, and multicast (RFC 4291).
const V6_REGISTRY: &[V6] = &[
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, Some(Scope::Link), "Unspecified Address"),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, Some(Scope::Link), "Loopback Address"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, Some(Scope::Private), "IPv4-IPv6 Translation"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, Some(Scope::Link), "Discard-Only Address Block"),
    ([0x100, 0, 0, 1, 0, 0, 0, 0], 64, Some(Scope::Link), "Dummy IPv6 Prefix"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Some(Scope::Private), "IETF Protocol Assignments"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, None, "TEREDO"),
    ([0x2001, 1, 0, 0, 0, 0, 0, 1], 128, None, "Port Control Protocol Anycast"),
    ([0x2001, 1, 0, 0, 0, 0, 0, 2], 128, None, "Traversal Using Relays around NAT Anycast"),
    ([0x2001, 1, 0, 0, 0, 0, 0, 3], 128, None, "DNS-SD Service Registration Protocol Anycast"),
    ([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, Some(Scope::Private), "Benchmarking"),
    ([0x2001, 3, 0, 0, 0, 0, 0, 0], 32, None, "AMT"),
    ([0x2001, 4, 0x112, 0, 0, 0, 0, 0], 48, None, "AS112-v6"),
    ([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, None, "ORCHIDv2"),
    ([0x2001, 0x30, 0, 0, 0, 0, 0, 0], 28, None, "Drone Remote ID Protocol Entity Tags"),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, Some(Scope::Private), "Segment Routing SIDs"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Some(Scope::Private), "Unique-Local"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Some(Scope::Link), "Link-Local Unicast"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Some(Scope::Link), "Multicast"),
];

/// Addresses from which kubelet calls pods of Istio's ambient mode: the node's agent replaces kubelet's own.
const KUBELET_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 127);
const KUBELET_V6: Ipv6Addr = Ipv6Addr::new(0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff);

/// Returns where the address can be used, if it cannot be an address of the Internet.
#[must_use]
pub fn scope(address: IpAddr) -> Option<Scope> {
    entry(address)?.0
}

/// Returns the name of the registry's entry for the address.
#[must_use]
pub fn name(address: IpAddr) -> Option<&'static str> {
    entry(address).map(|(_, name)| name)
}

/// Returns true for the addresses that stand for the node's kubelet under Istio's ambient mode.
#[must_use]
pub(crate) fn is_ambient_kubelet(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4 == KUBELET_V4,
        IpAddr::V6(v6) => v6 == KUBELET_V6,
    }
}

/// Returns scope and name of the entry with the longest prefix that contains the address.
fn entry(address: IpAddr) -> Option<(Option<Scope>, &'static str)> {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let all = V4_REGISTRY.iter().filter(|(first, bits, ..)| {
                let differing = u32::from(v4) ^ u32::from(Ipv4Addr::from(*first));
                differing.leading_zeros() >= *bits
            });
            all.max_by_key(|(_, bits, ..)| *bits).map(|(.., scope, name)| (*scope, *name))
        }
        IpAddr::V6(v6) => {
            let all = V6_REGISTRY.iter().filter(|(first, bits, ..)| {
                let differing = u128::from(v6) ^ u128::from(Ipv6Addr::from(*first));
                differing.leading_zeros() >= *bits
            });
            all.max_by_key(|(_, bits, ..)| *bits).map(|(.., scope, name)| (*scope, *name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Option<Scope> = Some(Scope::Link);
    const PRIVATE: Option<Scope> = Some(Scope::Private);

    /// Addresses at the borders of the entries, and where each can be used.
    const CASES: &[(&str, Option<Scope>)] = &[
        ("0.0.0.0", LINK),
        ("0.255.255.255", LINK),
        ("1.0.0.0", None),
        ("9.255.255.255", None),
        ("10.0.0.0", PRIVATE),
        ("100.63.255.255", None),
        ("100.64.0.0", PRIVATE),
        ("100.127.255.255", PRIVATE),
        ("100.128.0.0", None),
        ("169.254.0.1", LINK),
        ("172.15.255.255", None),
        ("172.31.255.255", PRIVATE),
        ("192.0.0.8", PRIVATE),
        ("192.0.0.9", None),
        ("192.0.0.10", None),
        ("192.0.0.255", PRIVATE),
        ("192.0.2.1", None),
        ("192.88.99.1", None),
        ("198.17.255.255", None),
        ("198.19.255.255", PRIVATE),
        ("198.51.100.1", None),
        ("203.0.113.9", None),
        ("239.1.1.1", LINK),
        ("240.10.0.5", PRIVATE),
        ("255.255.255.254", PRIVATE),
        ("255.255.255.255", LINK),
        ("::ffff:10.0.0.1", PRIVATE),
        ("::ffff:8.8.8.8", None),
        ("::", LINK),
        ("::1", LINK),
        ("64:ff9b::808:808", None),
        ("64:ff9b:1::1", PRIVATE),
        ("100::1", LINK),
        ("100:0:0:1::1", LINK),
        ("100:0:0:2::1", None),
        ("2001::1", None),
        ("2001:1::1", None),
        ("2001:1::4", PRIVATE),
        ("2001:2::1", PRIVATE),
        ("2001:2:1::1", PRIVATE),
        ("2001:3::1", None),
        ("2001:4:112::1", None),
        ("2001:20::1", None),
        ("2001:200::1", None),
        ("2001:db8::1", None),
        ("2002:a00:1::1", None),
        ("2620:4f:8000::1", None),
        ("3fff::1", None),
        ("5f00::1", PRIVATE),
        ("fd00::1", PRIVATE),
        ("fe80::1", LINK),
        ("ff02::1", LINK),
        ("2606:4700::1", None),
    ];

    #[test]
    fn the_registries_decide_what_cannot_be_on_the_internet() {
        for (address, then) in CASES {
            let parsed: IpAddr = address.parse().expect("an address");
            assert_eq!(scope(parsed), *then, "{address}");
            assert!(then.is_none() || name(parsed).is_some(), "{address}");
        }
    }
}
