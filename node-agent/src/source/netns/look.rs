//! What the calling thread can learn about the netns it is in: identity, addresses, interfaces, ephemeral ports.

use std::fs;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkLayerType, LinkMessage};
use portolan_engine::model::netns::NetnsFacts;

use super::enter;
use crate::source::scan::dump::Dump;

/// The kernel's default of net.ipv4.ip_local_port_range.
const DEFAULT_EPHEMERAL: (u16, u16) = (32768, 60999);

/// Interfaces of one netns that are acted on: each costs a descriptor, and a pod may make as many as it likes.
const MAX_INTERFACES: usize = 64;
/// Addresses of one netns that are kept.
const MAX_ADDRESSES: usize = 256;

/// One look at a netns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub facts: NetnsFacts,
    /// Those that are not a loopback; the oldest, if there are too many.
    pub interfaces: Vec<Interface>,
    pub beyond: Beyond,
}

/// How many there are of what is not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beyond {
    pub interfaces: usize,
    pub addresses: usize,
}

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    pub link_header: LinkHeader,
}

/// What stands before the network header of the packets that an interface receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkHeader {
    /// 14 bytes: veth, macvlan, SR-IOV, most others.
    Ethernet,
    /// tun, wireguard, netkit in L3 mode.
    Absent,
    Unknown,
}

/// Looks at the netns that the calling thread is in. The ephemeral ports are those of `before` if that was
/// the same netns: the kernel finds their file the slower, the more netns there are.
///
/// # Errors
/// When its identity cannot be read, or its interfaces and addresses cannot be listed.
pub fn look(inode: u64, paths: Vec<String>, is_host: bool, before: Option<&NetnsFacts>) -> io::Result<Look> {
    let mut route = Dump::open_for_large(netlink_sys::protocols::NETLINK_ROUTE)?;
    let netns = enter::identity_by(&route, inode)?;
    let (addresses, more_addresses) = addresses(&mut route)?;
    let (interfaces, more_interfaces) = interfaces(&mut route)?;
    let ephemeral_ports = before
        .filter(|facts| facts.netns == netns)
        .map_or_else(read_ephemeral_ports, |facts| facts.ephemeral_ports);
    let facts = NetnsFacts { netns, inode, paths, is_host, addresses, ephemeral_ports };
    let beyond = Beyond { interfaces: more_interfaces, addresses: more_addresses };
    Ok(Look { facts, interfaces, beyond })
}

/// The same without the interfaces, for those who attach nothing to them.
///
/// # Errors
/// When its identity cannot be read, or its addresses cannot be listed.
pub fn facts(inode: u64, paths: Vec<String>, is_host: bool) -> io::Result<NetnsFacts> {
    let mut route = Dump::open(netlink_sys::protocols::NETLINK_ROUTE)?;
    let netns = enter::identity_by(&route, inode)?;
    let (addresses, _) = addresses(&mut route)?;
    Ok(NetnsFacts { netns, inode, paths, is_host, addresses, ephemeral_ports: read_ephemeral_ports() })
}

/// The first ones, in the kernel's order, and how many more there are.
fn addresses(route: &mut Dump) -> io::Result<(Vec<IpNet>, usize)> {
    let mut found = Vec::new();
    let mut more = 0;
    let request = request(RouteNetlinkMessage::GetAddress(AddressMessage::default()));
    route.run(request, |message| {
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
    // On a point-to-point link IFA_ADDRESS is the other end: IFA_LOCAL is ours where it is given.
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

fn interfaces(route: &mut Dump) -> io::Result<(Vec<Interface>, usize)> {
    let mut found = Vec::new();
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let outcome = route.run(request(RouteNetlinkMessage::GetLink(link)), |message| {
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

fn request(message: RouteNetlinkMessage) -> NetlinkMessage<RouteNetlinkMessage> {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    request
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
        let inode = enter::Home::of_this_thread().expect("proc").inode;
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
