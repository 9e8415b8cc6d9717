//! Reads the facts of the netns that the calling thread is in: identity, addresses, interfaces and ephemeral ports.

use std::fs;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkLayerType, LinkMessage};
use portolan_engine::model::netns::NetnsFacts;

use super::enter;
use crate::source::netlink::NetlinkSocket;

/// The kernel's default of net.ipv4.ip_local_port_range.
const DEFAULT_EPHEMERAL: (u16, u16) = (32768, 60999);

/// Maximum number of interfaces per netns that programs are attached to. Each one costs a descriptor, and a pod may
/// create any number of them.
const MAX_INTERFACES: usize = 64;
/// Maximum number of addresses kept per netns.
const MAX_ADDRESSES: usize = 256;

/// Result of one look at a netns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub facts: NetnsFacts,
    /// Interfaces that are no loopback; the oldest ones, if there are more than fit.
    pub interfaces: Vec<Interface>,
    pub omitted: Omitted,
}

/// Numbers of interfaces and addresses beyond the maximum, which the look left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Omitted {
    pub interfaces: usize,
    pub addresses: usize,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    pub link_header: LinkHeader,
}

/// The header before the network header in packets that an interface receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkHeader {
    /// 14 bytes: veth, macvlan, SR-IOV, most others.
    Ethernet,
    /// No header: tun, wireguard, netkit in L3 mode.
    Absent,
    Unknown,
}

/// Looks at the netns that the calling thread is in. Reuses the ephemeral ports of `before` if that is the same netns:
/// the more netns exist, the longer the kernel takes to find their file.
///
/// # Errors
/// When the identity cannot be read, or the interfaces and addresses cannot be listed.
pub fn look(inode: u64, paths: Vec<String>, is_host: bool, before: Option<&NetnsFacts>) -> io::Result<Look> {
    let mut route = NetlinkSocket::open_for_large(netlink_sys::protocols::NETLINK_ROUTE)?;
    let netns = enter::identity_of_socket(&route, inode)?;
    let (addresses, more_addresses) = addresses(&mut route)?;
    let (interfaces, more_interfaces) = interfaces(&mut route)?;
    let ephemeral_ports = before
        .filter(|facts| facts.netns == netns)
        .map_or_else(read_ephemeral_ports, |facts| facts.ephemeral_ports);
    let facts = NetnsFacts { netns, inode, paths, is_host, addresses, has_guest: false, ephemeral_ports };
    let omitted = Omitted { interfaces: more_interfaces, addresses: more_addresses };
    Ok(Look { facts, interfaces, omitted })
}

/// Reads the same facts without the interfaces, for callers that attach nothing.
///
/// # Errors
/// When the identity cannot be read, or the addresses cannot be listed.
pub fn facts(inode: u64, paths: Vec<String>, is_host: bool) -> io::Result<NetnsFacts> {
    let mut route = NetlinkSocket::open(netlink_sys::protocols::NETLINK_ROUTE)?;
    let netns = enter::identity_of_socket(&route, inode)?;
    let (addresses, _) = addresses(&mut route)?;
    Ok(NetnsFacts {
        netns,
        inode,
        paths,
        is_host,
        addresses,
        has_guest: false,
        ephemeral_ports: read_ephemeral_ports(),
    })
}

/// Returns the first addresses in the kernel's order, and how many more there are.
fn addresses(route: &mut NetlinkSocket) -> io::Result<(Vec<IpNet>, usize)> {
    let mut found = Vec::new();
    let mut more = 0;
    route.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
        if let RouteNetlinkMessage::NewAddress(address) = message {
            match address_of(&address) {
                Some(address) if found.len() < MAX_ADDRESSES => found.push(address),
                Some(_) => more += 1,
                None => {}
            }
        }
    })?;
    found.sort();
    found.dedup();
    Ok((found, more))
}

fn address_of(message: &AddressMessage) -> Option<IpNet> {
    // On a point-to-point link IFA_ADDRESS is the other end; IFA_LOCAL, where present, is the own address.
    let mut own = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => own = Some(*ip),
            AddressAttribute::Address(ip) => own = own.or(Some(*ip)),
            _ => {}
        }
    }
    let ip: IpAddr = own?;
    IpNet::new(ip, message.header.prefix_len).ok()
}

fn interfaces(route: &mut NetlinkSocket) -> io::Result<(Vec<Interface>, usize)> {
    let mut found = Vec::new();
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let outcome = route.dump(RouteNetlinkMessage::GetLink(link), |message| {
        let RouteNetlinkMessage::NewLink(link) = message else { return };
        if link.header.flags.contains(LinkFlags::Loopback) {
            return;
        }
        let name = link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        let link_header = match link.header.link_layer_type {
            LinkLayerType::Ether => LinkHeader::Ethernet,
            LinkLayerType::None | LinkLayerType::Rawip => LinkHeader::Absent,
            _ => LinkHeader::Unknown,
        };
        found.push(Interface { index: link.header.index, name: name.unwrap_or_default(), link_header });
    })?;
    found.sort();
    let more = found.len().saturating_sub(MAX_INTERFACES) + outcome.unparsable;
    found.truncate(MAX_INTERFACES);
    Ok((found, more))
}

/// The sysctl tree shows the netns of the thread that opens the file.
fn read_ephemeral_ports() -> (u16, u16) {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| parse_range(&text))
        .unwrap_or(DEFAULT_EPHEMERAL)
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_netns_has_an_identity_and_a_loopback_address() {
        let inode = enter::HomeNetns::of_this_thread().expect("proc").inode;
        let look = look(inode, Vec::new(), true, None).expect("look");
        assert_eq!(look.facts.inode, inode);
        assert!(look.facts.ephemeral_ports.0 < look.facts.ephemeral_ports.1);
        assert!(look.interfaces.iter().all(|interface| interface.index > 0 && interface.name != "lo"));
    }

    #[test]
    fn port_ranges_parse() {
        assert_eq!(parse_range("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(parse_range("1"), None);
        assert_eq!(parse_range("x y"), None);
    }
}
