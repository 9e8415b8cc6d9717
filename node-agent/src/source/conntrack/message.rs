//! Builds the request to the kernel's connection tracking and parses its answer. The request asks which connection has
//! a given reply tuple, and what its addresses were before translation.

use std::net::IpAddr;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol as Transport, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::traffic::Dialled;

/// The two endpoints of a connection as the pod sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    pub protocol: Protocol,
    pub local: (IpAddr, u16),
    pub remote: (IpAddr, u16),
}

/// Result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    Translated(Dialled),
    /// The connection is tracked, and its addresses were not translated.
    Untranslated,
    /// The connection is not tracked in this netns.
    Untracked,
}

/// Why a lookup failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    #[error("the answer does not parse: {0}")]
    Unparsable(String),
    #[error("the answer is about another connection")]
    AboutAnother,
    #[error("the answer names no addresses")]
    Incomplete,
    #[error("errno {0}")]
    Refused(i32),
}

/// Returns the request for the connection whose reply direction leaves the pod.
#[must_use]
pub fn lookup_request(endpoints: &Endpoints) -> NetfilterMessage {
    let family = match endpoints.local.0 {
        IpAddr::V4(_) => NetfilterProtoFamily::IPv4,
        IpAddr::V6(_) => NetfilterProtoFamily::IPv6,
    };
    let transport = match endpoints.protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Sctp => Transport::Sctp,
    };
    // The packets that the pod sends are the reply direction of the connection.
    let reply = vec![
        Tuple::Ip(vec![
            IPTuple::SourceAddress(endpoints.local.0),
            IPTuple::DestinationAddress(endpoints.remote.0),
        ]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(transport),
            ProtoTuple::SourcePort(endpoints.local.1),
            ProtoTuple::DestinationPort(endpoints.remote.1),
        ]),
    ];
    let inner = ConntrackMessage::Get(vec![ConntrackAttribute::CtaTupleReply(reply)]);
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), inner)
}

/// Parses the answer to a lookup.
///
/// # Errors
/// When the bytes are no answer to a lookup of `endpoints`, or the kernel returns an error.
pub fn parse_answer(bytes: &[u8], endpoints: &Endpoints) -> Result<Lookup, LookupError> {
    let parsed = NetlinkMessage::<NetfilterMessage>::deserialize(bytes)
        .map_err(|error| LookupError::Unparsable(error.to_string()))?;
    let message = match parsed.payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Error(error) => {
            return match error.to_io().raw_os_error() {
                Some(libc::ENOENT) => Ok(Lookup::Untracked),
                errno => Err(LookupError::Refused(errno.unwrap_or_default())),
            };
        }
        _ => return Err(LookupError::Incomplete),
    };
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else {
        return Err(LookupError::Incomplete);
    };
    let (mut original, mut reply) = (None, None);
    for attribute in &attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => original = addresses(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => reply = addresses(tuple),
            _ => {}
        }
    }
    let (Some(original), Some(reply)) = (original, reply) else { return Err(LookupError::Incomplete) };
    if reply != (endpoints.local, endpoints.remote) {
        return Err(LookupError::AboutAnother);
    }
    let (from, to) = original;
    if (from, to) == (endpoints.remote, endpoints.local) {
        return Ok(Lookup::Untranslated);
    }
    Ok(Lookup::Translated(Dialled { to, from: from.0 }))
}

type Endpoint = (IpAddr, u16);

/// Returns source and destination of a tuple.
pub(super) fn addresses(tuple: &[Tuple]) -> Option<(Endpoint, Endpoint)> {
    let (mut from, mut to, mut from_port, mut to_port) = (None, None, None, None);
    for part in tuple {
        match part {
            Tuple::Ip(addresses) => {
                for address in addresses {
                    match address {
                        IPTuple::SourceAddress(address) => from = Some(*address),
                        IPTuple::DestinationAddress(address) => to = Some(*address),
                        _ => {}
                    }
                }
            }
            Tuple::Proto(ports) => {
                for port in ports {
                    match port {
                        ProtoTuple::SourcePort(port) => from_port = Some(*port),
                        ProtoTuple::DestinationPort(port) => to_port = Some(*port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(((from?, from_port?), (to?, to_port?)))
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
