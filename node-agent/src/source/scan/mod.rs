//! Lists the sockets that serve in the netns of the calling thread: TCP and SCTP in LISTEN, and unconnected UDP. Needs
//! no kernel programs; the result is what `ss -tulSn` shows, with cookies.

pub mod connections;
mod devices;
mod in_use;
mod sctp;
mod tcp;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU16;

use netlink_packet_core::Nla as _;
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use portolan_engine::model::identity::{NetnsId, PortId, Protocol, SocketCookie};
use portolan_engine::model::process::Holder;
use portolan_engine::model::socket::ScannedSocket;

use self::in_use::InUse;
use self::tcp::Query;
use super::netlink::{DumpOutcome, NetlinkSocket};

/// Attribute with `struct inet_diag_sockopt` of linux/inet_diag.h.
const INET_DIAG_SOCKOPT: u16 = 22;
/// `mc_loop` in the first byte of `struct inet_diag_sockopt`.
const MC_LOOP: u8 = 1 << 4;

/// Index of the loopback interface, the first one in every netns.
pub const LOOPBACK: u32 = 1;

/// A socket as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSocket {
    pub cookie: SocketCookie,
    pub protocol: Protocol,
    pub port: NonZeroU16,
    /// IPv4-mapped addresses of IPv6 sockets are given as IPv4.
    pub address: IpAddr,
    /// `None` for IPv4 sockets.
    pub v6_only: Option<bool>,
    /// True if the socket is bound to a device at which nothing from outside the netns arrives: loopback, a dummy, or a device
    /// that is gone.
    pub on_loopback: bool,
    /// Inode in sockfs, as in `/proc/PID/fd`; 0 if the socket has none, so that no process can hold it.
    pub inode: u32,
    /// True for a UDP socket that does not loop multicast back. The kernel opens its sockets for tunnels (vxlan, geneve,
    /// WireGuard) so; processes rarely do. False where the kernel does not say.
    pub is_tunnel: bool,
    pub uid: u32,
}

impl ListedSocket {
    /// Converts the socket for the engine.
    #[must_use]
    pub fn in_netns(&self, netns: NetnsId, holder: Holder) -> ScannedSocket {
        let port = PortId { netns, protocol: self.protocol, port: self.port };
        ScannedSocket {
            cookie: self.cookie,
            port,
            address: self.address,
            v6_only: self.v6_only,
            on_loopback: self.on_loopback,
            holder,
        }
    }
}

/// The sockets that serve in one netns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketList {
    /// Sorted by cookie.
    pub sockets: Vec<ListedSocket>,
    /// Number of objects that did not parse; as many sockets may be missing.
    pub unparsable: usize,
}

/// The sockets found so far.
#[derive(Debug, Default)]
struct Found {
    sockets: BTreeMap<SocketCookie, ListedSocket>,
    /// Sockets that are bound to another device than loopback, with its index.
    bound: BTreeMap<SocketCookie, u32>,
    unparsable: usize,
}

impl Found {
    fn add(&mut self, response: &InetResponse, protocol: Protocol) {
        let Some(socket) = socket_of(response, protocol) else { return };
        let device = response.header.socket_id.interface_id;
        if device != 0 && device != LOOPBACK {
            self.bound.insert(socket.cookie, device);
        }
        self.sockets.insert(socket.cookie, socket);
    }

    /// Finds out which sockets are bound to a device that receives nothing. If the devices cannot be listed, all count as
    /// receiving: a socket must not seem harmless by mistake.
    fn settle_devices(&mut self) {
        let Ok(receiving) = devices::receiving() else { return };
        for (cookie, device) in &self.bound {
            if let Some(socket) = self.sockets.get_mut(cookie) {
                socket.on_loopback = !receiving.contains(device);
            }
        }
    }
}

/// Lists the sockets that serve in the calling thread's netns. Sockets of a protocol that the kernel lacks are absent.
///
/// # Errors
/// When sock_diag is not available, or refuses TCP or UDP over IPv4.
pub fn listed_sockets() -> io::Result<SocketList> {
    let mut diag = NetlinkSocket::open(netlink_sys::protocols::NETLINK_SOCK_DIAG)?;
    let mut found = Found::default();
    // Each dump walks the sockets of the whole node, and a dump in several parts is taken twice.
    if let Err(error) = diag.widen() {
        tracing::debug!(%error, "the first dump of sockets is a small one");
    }
    let in_use = InUse::here();
    let tables = [(AF_INET6, false, in_use.udp_v6), (AF_INET, true, in_use.udp_v4)];
    for (family, required, _) in tables.into_iter().filter(|(.., has_any)| *has_any) {
        match list(&mut diag, family, Protocol::Udp, &mut found) {
            Err(error) if required || !is_absent(&error) => return Err(error),
            _ => {}
        }
    }
    if in_use.tcp {
        tcp::list(&mut diag, &mut found)?;
    }
    sctp::list(&mut diag, &mut found)?;
    if !found.bound.is_empty() {
        found.settle_devices();
    }
    Ok(SocketList { sockets: found.sockets.into_values().collect(), unparsable: found.unparsable })
}

/// Adds the sockets of one table.
fn list(diag: &mut NetlinkSocket, family: u8, protocol: Protocol, found: &mut Found) -> io::Result<()> {
    // The kernel keeps an unconnected UDP socket in CLOSE.
    let states = if protocol == Protocol::Udp { StateFlags::CLOSE } else { StateFlags::LISTEN };
    let query = Query { states, extensions: ExtensionFlags::empty() };
    let unparsable = dump(diag, family, protocol, &query, |response| found.add(response, protocol))?;
    found.unparsable += unparsable;
    Ok(())
}

/// Passes the sockets of one table to `each`. Takes a dump that may have holes a second time, so that `each` may get a
/// socket twice. Returns the number of objects that do not parse.
fn dump(
    diag: &mut NetlinkSocket,
    family: u8,
    protocol: Protocol,
    query: &Query,
    mut each: impl FnMut(&InetResponse),
) -> io::Result<usize> {
    let mut unparsable = 0;
    for _ in 0..2 {
        let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
        let Query { states, extensions } = query.clone();
        let inet = InetRequest { family, protocol: protocol.number(), extensions, states, socket_id };
        let outcome: DumpOutcome = diag.dump(SockDiagMessage::InetRequest(inet), |message| {
            if let SockDiagMessage::InetResponse(response) = message {
                each(&response);
            }
        })?;
        unparsable += outcome.unparsable;
        if !outcome.may_have_holes() {
            break;
        }
    }
    Ok(unparsable)
}

fn socket_of(response: &InetResponse, protocol: Protocol) -> Option<ListedSocket> {
    let header = &response.header;
    let v6_only = response.nlas.iter().find_map(|nla| match nla {
        Nla::SkV6Only(only) => Some(*only),
        _ => None,
    });
    Some(ListedSocket {
        cookie: SocketCookie(u64::from_ne_bytes(header.socket_id.cookie)),
        protocol,
        port: NonZeroU16::new(header.socket_id.source_port)?,
        address: plain(header.socket_id.source_address),
        on_loopback: header.socket_id.interface_id == LOOPBACK,
        v6_only: if header.family == AF_INET6 { v6_only.or(Some(false)) } else { None },
        inode: header.inode,
        is_tunnel: protocol == Protocol::Udp && !loops_multicast(&response.nlas),
        uid: header.uid,
    })
}

/// Reads the option from the socket options (Linux 5.11 and newer); true without them.
fn loops_multicast(nlas: &[Nla]) -> bool {
    let options = nlas.iter().find_map(|nla| match nla {
        Nla::Other(other) if other.kind() == INET_DIAG_SOCKOPT => Some(other),
        _ => None,
    });
    options.is_none_or(|options| {
        let mut flags = vec![0; options.value_len()];
        options.emit_value(&mut flags);
        flags.first().is_none_or(|flags| flags & MC_LOOP != 0)
    })
}

/// Converts IPv4-mapped addresses to IPv4.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Returns true if the kernel lacks the protocol, or sock_diag for it.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EINVAL | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT)
    )
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::source::netns::enter::unshare_netns;

    fn ports(protocol: Protocol) -> Vec<(u16, IpAddr)> {
        let listed = listed_sockets().expect("sock_diag");
        assert_eq!(listed.unparsable, 0);
        listed.sockets.iter().filter(|s| s.protocol == protocol).map(|s| (s.port.get(), s.address)).collect()
    }

    #[test]
    fn own_sockets_are_listed_while_they_serve() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("bind");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let at = tcp.local_addr().expect("address");
        let udp_at = udp.local_addr().expect("address");
        assert!(ports(Protocol::Tcp).contains(&(at.port(), at.ip())));
        assert!(ports(Protocol::Udp).contains(&(udp_at.port(), udp_at.ip())));
        udp.connect("127.0.0.1:9").expect("connect");
        assert!(
            !ports(Protocol::Udp).contains(&(udp_at.port(), udp_at.ip())),
            "connected UDP does not serve"
        );
    }

    /// Runs in a new netns where that is allowed; skipped elsewhere, as other tests have sockets too.
    #[test]
    fn the_first_dump_of_many_sockets_has_one_part() {
        let parts = || {
            unshare_netns().ok()?;
            let bound: Vec<TcpListener> =
                (0..100).map(|_| TcpListener::bind("0.0.0.0:0").expect("bind")).collect();
            let mut diag = NetlinkSocket::open(netlink_sys::protocols::NETLINK_SOCK_DIAG).expect("sock_diag");
            diag.widen().expect("acknowledged");
            let (mut listed, inet) = (
                0,
                InetRequest {
                    family: AF_INET,
                    protocol: Protocol::Tcp.number(),
                    extensions: ExtensionFlags::empty(),
                    states: StateFlags::LISTEN,
                    socket_id: SocketId::new_v4(),
                },
            );
            let outcome = diag.dump(SockDiagMessage::InetRequest(inet), |_| listed += 1).expect("listed");
            Some((outcome.parts, listed, bound.len()))
        };
        let found = std::thread::spawn(parts).join().expect("the thread");
        assert!(found.is_none_or(|found| found == (1, 100, 100)), "{found:?}");
    }

    #[test]
    fn mapped_addresses_are_given_as_ipv4() {
        assert_eq!(plain("::ffff:10.0.0.1".parse().expect("ip")), "10.0.0.1".parse::<IpAddr>().expect("ip"));
        assert_eq!(plain("::".parse().expect("ip")), "::".parse::<IpAddr>().expect("ip"));
    }
}
