//! One question to the kernel's connection tracking and its answer, as bytes: which connection has this reply tuple, and
//! what were its addresses before they were translated.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol as Transport, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::traffic::Dialled;

/// A connection as the pod sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub protocol: Protocol,
    pub local: (IpAddr, u16),
    pub remote: (IpAddr, u16),
}

/// What the kernel says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Translated(Dialled),
    /// It is tracked, and its addresses are what they were.
    AsDialled,
    /// It is not tracked here.
    Unknown,
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    #[error("the answer does not parse: {0}")]
    Unparsable(String),
    #[error("the answer is about another connection")]
    AboutAnother,
    #[error("the answer names no addresses")]
    Incomplete,
    #[error("errno {0}")]
    Refused(i32),
}

/// The question as it is sent.
#[must_use]
pub fn question(ends: &Ends, sequence: u32) -> Vec<u8> {
    let family = match ends.local.0 {
        IpAddr::V4(_) => NetfilterProtoFamily::IPv4,
        IpAddr::V6(_) => NetfilterProtoFamily::IPv6,
    };
    let transport = match ends.protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Sctp => Transport::Sctp,
    };
    // What the pod sends back is the reply direction of what was sent to it.
    let reply = vec![
        Tuple::Ip(vec![IPTuple::SourceAddress(ends.local.0), IPTuple::DestinationAddress(ends.remote.0)]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(transport),
            ProtoTuple::SourcePort(ends.local.1),
            ProtoTuple::DestinationPort(ends.remote.1),
        ]),
    ];
    let inner = ConntrackMessage::Get(vec![ConntrackAttribute::CtaTupleReply(reply)]);
    let mut request = NetlinkMessage::new(
        NetlinkHeader::default(),
        NetlinkPayload::from(NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), inner)),
    );
    request.header.flags = NLM_F_REQUEST;
    request.header.sequence_number = sequence;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

/// Reads one answer.
///
/// # Errors
/// Where the bytes are no answer to a question about `ends`, or the kernel refuses to answer.
pub fn answer(bytes: &[u8], ends: &Ends) -> Result<Answer, BadAnswer> {
    let parsed = NetlinkMessage::<NetfilterMessage>::deserialize(bytes)
        .map_err(|error| BadAnswer::Unparsable(error.to_string()))?;
    let message = match parsed.payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Error(error) => {
            return match error.to_io().raw_os_error() {
                Some(libc::ENOENT) => Ok(Answer::Unknown),
                errno => Err(BadAnswer::Refused(errno.unwrap_or_default())),
            };
        }
        _ => return Err(BadAnswer::Incomplete),
    };
    let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner else {
        return Err(BadAnswer::Incomplete);
    };
    let (mut original, mut reply) = (None, None);
    for attribute in &attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => original = flow(tuple),
            ConntrackAttribute::CtaTupleReply(tuple) => reply = flow(tuple),
            _ => {}
        }
    }
    let (Some(original), Some(reply)) = (original, reply) else { return Err(BadAnswer::Incomplete) };
    if reply != (ends.local, ends.remote) {
        return Err(BadAnswer::AboutAnother);
    }
    let (from, to) = original;
    if (from, to) == (ends.remote, ends.local) {
        return Ok(Answer::AsDialled);
    }
    Ok(Answer::Translated(Dialled { to, from: from.0 }))
}

type End = (IpAddr, u16);

/// Source and destination of a tuple.
fn flow(tuple: &[Tuple]) -> Option<(End, End)> {
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
