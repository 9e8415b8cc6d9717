//! Reads the connection tracking table of the calling thread's netns for connections that the netns's own rules forward to
//! another netns or to a virtual machine.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU16;

use netlink_packet_core::Nla as _;
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, ProtoTuple, Protocol as Transport, Status, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::constants::NETLINK_NETFILTER;
use portolan_engine::model::identity::Protocol;

use super::message::addresses;
use crate::source::netlink::NetlinkSocket;

/// Attribute with the kernel's number of the entry (linux/netfilter/nfnetlink_conntrack.h).
const CTA_ID: u16 = 12;

/// Identity of a tracked connection: the kernel's number tells two connections of the same endpoints apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tracked {
    pub protocol: Protocol,
    /// What the caller dialled.
    pub dialled: (IpAddr, NonZeroU16),
    pub caller: (IpAddr, u16),
    pub id: u32,
}

/// The forwarded connections of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardedConnections {
    /// Where each connection leads to.
    pub connections: BTreeMap<Tracked, (IpAddr, u16)>,
    /// Number of connections that the caller of [`read`] did not want.
    pub omitted: usize,
    /// Number of entries that do not parse.
    pub unparsable: usize,
}

/// Reads the table. `is_own` says which addresses are those of the netns. Keeps the connections for which `keeps` is true,
/// given the number of those kept so far, and counts the others.
///
/// # Errors
/// The kernel's error: without nf_conntrack_netlink, or without CAP_NET_ADMIN.
pub fn read(
    is_own: impl Fn(IpAddr) -> bool,
    mut keeps: impl FnMut(&Tracked, usize) -> bool,
) -> io::Result<ForwardedConnections> {
    // The socket is closed before the thread leaves the netns: an open one keeps the netns alive.
    let mut socket = NetlinkSocket::open(NETLINK_NETFILTER)?;
    let request = NetfilterMessage::new(
        NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0),
        ConntrackMessage::Get(Vec::new()),
    );
    let mut found = ForwardedConnections::default();
    let outcome = socket.dump(request, |message: NetfilterMessage| {
        let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else {
            return;
        };
        let Some((tracked, to)) = forwarded(&attributes, &is_own) else { return };
        if keeps(&tracked, found.connections.len()) {
            found.connections.insert(tracked, to);
        } else {
            found.omitted += 1;
        }
    })?;
    found.unparsable = outcome.unparsable;
    Ok(found)
}

/// Returns the connection and where it leads to, if a rule of the netns forwards it and it came about: answered, and with
/// TCP and SCTP after the handshake.
fn forwarded(
    attributes: &[ConntrackAttribute],
    is_own: impl Fn(IpAddr) -> bool,
) -> Option<(Tracked, (IpAddr, u16))> {
    let (mut original, mut reply, mut status, mut id) = (None, None, Status::empty(), 0);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => {
                original = protocol(tuple).zip(addresses(tuple));
            }
            ConntrackAttribute::CtaTupleReply(tuple) => reply = addresses(tuple),
            ConntrackAttribute::CtaStatus(bits) => status = *bits,
            ConntrackAttribute::Other(other) if other.kind() == CTA_ID => {
                let mut bytes = [0; 4];
                if other.value_len() == bytes.len() {
                    other.emit_value(&mut bytes);
                    id = u32::from_be_bytes(bytes);
                }
            }
            _ => {}
        }
    }
    let ((protocol, (caller, dialled)), (to, _)) = (original?, reply?);
    // Assured: TCP and SCTP after the handshake. A TCP entry keeps the flag until the kernel forgets it.
    let came_about = if protocol == Protocol::Udp { Status::SeenReply } else { Status::Assured };
    let is_forwarded = is_own(dialled.0) && !is_own(to.0) && !to.0.is_loopback() && !dialled.0.is_loopback();
    if !is_forwarded || !status.contains(came_about) {
        return None;
    }
    let dialled = (dialled.0, NonZeroU16::new(dialled.1)?);
    Some((Tracked { protocol, dialled, caller, id }, to))
}

fn protocol(tuple: &[Tuple]) -> Option<Protocol> {
    let parts = tuple.iter().filter_map(|part| match part {
        Tuple::Proto(parts) => Some(parts),
        _ => None,
    });
    parts.flatten().find_map(|part| match part {
        ProtoTuple::Protocol(Transport::Tcp) => Some(Protocol::Tcp),
        ProtoTuple::Protocol(Transport::Udp) => Some(Protocol::Udp),
        ProtoTuple::Protocol(Transport::Sctp) => Some(Protocol::Sctp),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::DefaultNla;
    use netlink_packet_netfilter::conntrack::IPTuple;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn tuple(transport: Transport, from: (&str, u16), to: (&str, u16)) -> Vec<Tuple> {
        vec![
            Tuple::Ip(vec![IPTuple::SourceAddress(ip(from.0)), IPTuple::DestinationAddress(ip(to.0))]),
            Tuple::Proto(vec![
                ProtoTuple::Protocol(transport),
                ProtoTuple::SourcePort(from.1),
                ProtoTuple::DestinationPort(to.1),
            ]),
        ]
    }

    /// Parses a connection from 10.0.0.9:40000 that dialled `dialled` and is answered by `to`; 10.0.0.2 is the pod's own.
    fn parse(
        transport: Transport,
        dialled: (&str, u16),
        to: (&str, u16),
        status: Status,
    ) -> Option<(u16, IpAddr, u32)> {
        let caller = ("10.0.0.9", 40_000);
        let attributes = [
            ConntrackAttribute::CtaTupleOrig(tuple(transport, caller, dialled)),
            ConntrackAttribute::CtaTupleReply(tuple(transport, to, caller)),
            ConntrackAttribute::CtaStatus(status),
            ConntrackAttribute::Other(DefaultNla::new(CTA_ID, vec![0, 0, 1, 2])),
        ];
        let (tracked, (to, _)) = forwarded(&attributes, |address| address == ip("10.0.0.2"))?;
        assert_eq!(tracked.caller, (ip("10.0.0.9"), 40_000));
        Some((tracked.dialled.1.get(), to, tracked.id))
    }

    #[test]
    fn what_another_netns_answers_is_forwarded() {
        let done = Status::SeenReply | Status::Assured;
        let (pod, guest) = (("10.0.0.2", 22), ("172.17.0.2", 2222));
        let found = parse(Transport::Tcp, pod, guest, done);
        assert_eq!(found, Some((22, ip("172.17.0.2"), 258)));
        assert_eq!(parse(Transport::Udp, pod, guest, Status::SeenReply), found);
        for (transport, dialled, to, status, why) in [
            (Transport::Tcp, pod, guest, Status::SeenReply, "no handshake"),
            (Transport::Udp, pod, guest, Status::Confirmed, "no answer"),
            (Transport::Tcp, pod, ("10.0.0.2", 2222), done, "redirected to an own socket"),
            (Transport::Tcp, pod, ("127.0.0.1", 2222), done, "redirected to loopback"),
            (Transport::Tcp, ("172.17.0.2", 22), guest, done, "routed, not translated"),
            (Transport::Icmp, pod, guest, done, "no ports"),
        ] {
            assert_eq!(parse(transport, dialled, to, status), None, "{why}");
        }
    }
}
