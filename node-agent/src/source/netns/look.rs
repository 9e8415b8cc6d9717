//! Reads the facts of the netns that the calling thread is in: identity, addresses, interfaces, ephemeral ports and tracked connections.

use std::fs;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::Nla as _;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, InfoData, InfoKind, InfoTun, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use portolan_engine::model::netns::NetnsFacts;

use super::enter;
use crate::source::netlink::NetlinkSocket;

/// The kernel's default of net.ipv4.ip_local_port_range.
const DEFAULT_EPHEMERAL: (u16, u16) = (32768, 60999);

/// Maximum number of interfaces per netns that programs are attached to. Each one costs a descriptor, and a pod may
/// create any number of them.
const MAX_INTERFACES: usize = 64;
/// Attribute with the type of a tun device, and the value for one with Ethernet frames (linux/if_link.h, linux/if_tun.h).
const IFLA_TUN_TYPE: u16 = 3;
const IFF_TAP: u8 = 2;

/// Maximum number of addresses kept of a pod's netns.
const MAX_ADDRESSES: usize = 256;
/// Maximum number of addresses kept of the host's netns. IPVS gives the node an address per Service.
const MAX_HOST_ADDRESSES: usize = 65_536;

/// Where a look takes the ephemeral ports from. The more netns exist, the longer the kernel takes to find their file.
#[derive(Clone, Copy, Debug)]
pub enum EphemeralPorts<'a> {
    /// From the kernel.
    Read,
    /// From these facts, if they are of the same netns; else from the kernel.
    Of(&'a NetnsFacts),
    /// The kernel's default, which every netns begins with. Where a runtime sets another before the netns has its name, the
    /// last early look finds it.
    Default,
}

/// Result of one look at a netns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub facts: NetnsFacts,
    /// Interfaces that are no loopback; the oldest ones, if there are more than fit.
    pub interfaces: Vec<Interface>,
    /// True if an interface of a pod's netns forwards packets. Most do: a new netns takes the setting from the host's.
    pub forwards: bool,
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

/// The interfaces of a netns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Links {
    /// Those that are no loopback; the oldest ones, if there are more than [`MAX_INTERFACES`].
    pub interfaces: Vec<Interface>,
    /// Number of interfaces beyond the maximum.
    pub omitted: usize,
    /// True if a tap or macvtap device leads to a virtual machine.
    pub has_guest: bool,
    /// True if an interface forwards packets.
    pub forwards: bool,
}

/// Looks at the netns that the calling thread is in.
///
/// # Errors
/// When the identity cannot be read, or the interfaces and addresses cannot be listed.
pub fn look(inode: u64, paths: Vec<String>, is_host: bool, ports: EphemeralPorts<'_>) -> io::Result<Look> {
    let mut route = NetlinkSocket::open_for_large(netlink_sys::protocols::NETLINK_ROUTE)?;
    let netns = enter::identity_of_socket(&route, inode)?;
    let (addresses, more_addresses) = addresses(&mut route, is_host)?;
    let Links { interfaces, omitted: more_interfaces, has_guest, forwards } = links(&mut route)?;
    let ephemeral_ports = match ports {
        EphemeralPorts::Of(facts) if facts.netns == netns => facts.ephemeral_ports,
        EphemeralPorts::Read | EphemeralPorts::Of(_) => read_ephemeral_ports(),
        EphemeralPorts::Default => DEFAULT_EPHEMERAL,
    };
    let facts = NetnsFacts { netns, inode, paths, is_host, addresses, has_guest, ephemeral_ports };
    let omitted = Omitted { interfaces: more_interfaces, addresses: more_addresses };
    let forwards = forwards && !is_host;
    Ok(Look { facts, interfaces, forwards, omitted })
}

/// Reads the same facts without the interfaces, for callers that attach nothing. The ephemeral ports are the kernel's
/// default: see [`read_ephemeral_ports`].
///
/// # Errors
/// When the identity cannot be read, or the addresses cannot be listed.
pub fn facts(inode: u64, paths: Vec<String>, is_host: bool) -> io::Result<NetnsFacts> {
    let mut route = NetlinkSocket::open(netlink_sys::protocols::NETLINK_ROUTE)?;
    let netns = enter::identity_of_socket(&route, inode)?;
    let (addresses, _) = addresses(&mut route, is_host)?;
    let has_guest = has_guest(&mut route)?;
    Ok(NetnsFacts { netns, inode, paths, is_host, addresses, has_guest, ephemeral_ports: DEFAULT_EPHEMERAL })
}

/// Returns the first addresses in the kernel's order, and how many more there are.
fn addresses(route: &mut NetlinkSocket, is_host: bool) -> io::Result<(Vec<IpNet>, usize)> {
    let max = if is_host { MAX_HOST_ADDRESSES } else { MAX_ADDRESSES };
    let mut found = Vec::new();
    let mut more = 0;
    route.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
        if let RouteNetlinkMessage::NewAddress(address) = message {
            match address_of(&address) {
                Some(address) if found.len() < max => found.push(address),
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

/// Lists the interfaces.
fn links(route: &mut NetlinkSocket) -> io::Result<Links> {
    let mut links = Links::default();
    let outcome = route.dump(RouteNetlinkMessage::GetLink(link_request()), |message| {
        let RouteNetlinkMessage::NewLink(link) = message else { return };
        if link.header.flags.contains(LinkFlags::Loopback) {
            return;
        }
        links.has_guest |= leads_to_guest(&link);
        links.forwards |= forwards(&link);
        let name = link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        });
        let link_header = match link.header.link_layer_type {
            LinkLayerType::Ether => LinkHeader::Ethernet,
            LinkLayerType::None | LinkLayerType::Rawip => LinkHeader::Absent,
            _ => LinkHeader::Unknown,
        };
        links.interfaces.push(Interface {
            index: link.header.index,
            name: name.unwrap_or_default(),
            link_header,
        });
    })?;
    links.interfaces.sort();
    links.omitted = links.interfaces.len().saturating_sub(MAX_INTERFACES) + outcome.unparsable;
    links.interfaces.truncate(MAX_INTERFACES);
    Ok(links)
}

/// Returns true if a device leads to a virtual machine. Asks the kernel only for devices of such a kind.
fn has_guest(route: &mut NetlinkSocket) -> io::Result<bool> {
    let mut found = false;
    for kind in [InfoKind::Tun, InfoKind::MacVtap] {
        let mut link = link_request();
        link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
        route.dump(RouteNetlinkMessage::GetLink(link), |message| {
            // A kernel that does not filter by kind lists all devices.
            found |= matches!(message, RouteNetlinkMessage::NewLink(link) if leads_to_guest(&link));
        })?;
    }
    Ok(found)
}

fn link_request() -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    link
}

fn leads_to_guest(link: &LinkMessage) -> bool {
    let infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    infos.flatten().any(|info| match info {
        LinkInfo::Kind(InfoKind::MacVtap) => true,
        LinkInfo::Data(InfoData::Tun(attributes)) => attributes.iter().any(is_tap),
        _ => false,
    })
}

fn is_tap(attribute: &InfoTun) -> bool {
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    attribute.kind() == IFLA_TUN_TYPE && value == [IFF_TAP]
}

fn forwards(link: &LinkMessage) -> bool {
    let families = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::AfSpecUnspec(families) => Some(families),
        _ => None,
    });
    families.flatten().any(|family| match family {
        AfSpecUnspec::Inet(settings) => settings.iter().any(|setting| match setting {
            AfSpecInet::DevConf(settings) => settings.forwarding != 0,
            _ => false,
        }),
        AfSpecUnspec::Inet6(settings) => settings.iter().any(|setting| match setting {
            AfSpecInet6::DevConf(settings) => settings.forwarding != 0,
            _ => false,
        }),
        _ => false,
    })
}

/// Reads the ephemeral ports of the calling thread's netns. The more netns exist, the longer the kernel takes to find the file.
#[must_use]
pub fn read_ephemeral_ports() -> (u16, u16) {
    // The sysctl tree shows the netns of the thread that opens the file.
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| parse_range(&text))
        .unwrap_or(DEFAULT_EPHEMERAL)
}

/// Returns true if connection tracking has entries of the calling thread's netns. A dump walks the node's whole table,
/// whichever netns asks.
pub(super) fn has_tracked_connections() -> bool {
    // The columns after a line of names are hexadecimal, and the first is the number of entries of the netns.
    let statistics = fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack").ok();
    let entries = statistics.as_deref().and_then(|text| text.lines().nth(1)?.split_whitespace().next());
    match entries.and_then(|entries| u64::from_str_radix(entries, 16).ok()) {
        Some(entries) => entries > 0,
        // A kernel without that file has the sysctl; one without connection tracking has neither.
        None => fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")
            .is_ok_and(|count| count.trim() != "0"),
    }
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
        let look = look(inode, Vec::new(), true, EphemeralPorts::Read).expect("look");
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
