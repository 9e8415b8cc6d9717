//! Requests and answers as Linux 6.18 writes them, and hostile bytes.

use netlink_packet_core::{ErrorMessage, NetlinkBuffer, NetlinkHeader};
use proptest::prelude::*;

use super::*;
use crate::source::netlink::request_bytes;

fn endpoints(local: (&str, u16), remote: (&str, u16)) -> Endpoints {
    let end = |(address, port): (&str, u16)| (address.parse().expect("an address"), port);
    Endpoints { protocol: Protocol::Tcp, local: end(local), remote: end(remote) }
}

fn tuple(from: (IpAddr, u16), to: (IpAddr, u16)) -> Vec<Tuple> {
    vec![
        Tuple::Ip(vec![IPTuple::SourceAddress(from.0), IPTuple::DestinationAddress(to.0)]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(Transport::Tcp),
            ProtoTuple::SourcePort(from.1),
            ProtoTuple::DestinationPort(to.1),
        ]),
    ]
}

fn written(attributes: Vec<ConntrackAttribute>) -> Vec<u8> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0);
    request_bytes(NetfilterMessage::new(header, ConntrackMessage::New(attributes)), 0, 0)
}

fn entry(original: Vec<Tuple>, reply: Vec<Tuple>) -> Vec<u8> {
    let attributes =
        vec![ConntrackAttribute::CtaTupleOrig(original), ConntrackAttribute::CtaTupleReply(reply)];
    written(attributes)
}

#[test]
fn the_question_names_the_reply_as_the_kernel_wants_it() {
    let endpoints = endpoints(("10.77.0.10", 7000), ("10.77.0.11", 40_000));
    let bytes = request_bytes(lookup_request(&endpoints), 0, 7);
    let header = NetlinkBuffer::new_checked(&bytes[..]).expect("a header");
    // NFNL_SUBSYS_CTNETLINK and IPCTNL_MSG_CT_GET, no dump.
    assert_eq!((header.message_type(), header.flags(), header.sequence_number()), (0x101, 1, 7));
    assert_eq!(bytes[16..20], [2, 0, 0, 0]);
    // CTA_TUPLE_REPLY, nested.
    assert_eq!(u16::from_ne_bytes([bytes[22], bytes[23]]), 0x8002);
    let parsed = NetlinkMessage::<NetfilterMessage>::deserialize(&bytes).expect("a message");
    let NetlinkPayload::InnerMessage(message) = parsed.payload else { panic!("no message") };
    let expected = ConntrackAttribute::CtaTupleReply(tuple(endpoints.local, endpoints.remote));
    assert_eq!(message.inner, NetfilterMessageInner::Conntrack(ConntrackMessage::Get(vec![expected])));
}

#[test]
fn a_translated_connection_tells_what_was_dialled_and_by_whom() {
    for (local, node, client, service) in [
        ("10.77.0.10", "10.77.0.1", "203.0.113.5", "203.0.113.1"),
        ("fd77::10", "fd77::1", "2001:db8::5", "2001:db8::1"),
    ] {
        let endpoints = endpoints((local, 7000), (node, 61_000));
        let client = (client.parse().expect("an address"), 40_000);
        let service = (service.parse().expect("an address"), 30_080);
        let bytes = entry(tuple(client, service), tuple(endpoints.local, endpoints.remote));
        let dialled = Dialled { to: service, from: client.0 };
        assert_eq!(parse_answer(&bytes, &endpoints), Ok(Lookup::Translated(dialled)));
    }
}

#[test]
fn a_plain_connection_was_dialled_as_it_is() {
    let endpoints = endpoints(("10.77.0.10", 7000), ("10.77.0.11", 40_000));
    let bytes = entry(tuple(endpoints.remote, endpoints.local), tuple(endpoints.local, endpoints.remote));
    assert_eq!(parse_answer(&bytes, &endpoints), Ok(Lookup::Untranslated));
}

#[test]
fn an_answer_about_another_connection_or_without_addresses_is_none() {
    let endpoints = endpoints(("10.77.0.10", 7000), ("10.77.0.11", 40_000));
    let other = (IpAddr::from([10, 77, 0, 12]), 1);
    let bytes = entry(tuple(endpoints.remote, endpoints.local), tuple(endpoints.local, other));
    assert_eq!(parse_answer(&bytes, &endpoints), Err(LookupError::AboutAnother));
    let bytes = written(vec![ConntrackAttribute::CtaTupleReply(tuple(endpoints.local, endpoints.remote))]);
    assert_eq!(parse_answer(&bytes, &endpoints), Err(LookupError::Incomplete));
}

#[test]
fn what_is_not_tracked_is_unknown_and_what_is_refused_is_an_error() {
    let endpoints = endpoints(("10.77.0.10", 7000), ("10.77.0.11", 40_000));
    let refusal = |errno: i32| {
        let mut error = ErrorMessage::default();
        error.code = std::num::NonZeroI32::new(-errno);
        error.header = vec![0; 16];
        let mut message: NetlinkMessage<NetfilterMessage> =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::Error(error));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    };
    assert_eq!(parse_answer(&refusal(libc::ENOENT), &endpoints), Ok(Lookup::Untracked));
    assert_eq!(parse_answer(&refusal(libc::EPERM), &endpoints), Err(LookupError::Refused(libc::EPERM)));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        at in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let endpoints = endpoints(("10.77.0.10", 7000), ("10.77.0.11", 40_000));
        let _ = parse_answer(&noise, &endpoints);
        let mut bytes = entry(tuple(endpoints.remote, endpoints.local), tuple(endpoints.local, endpoints.remote));
        for (index, byte) in at {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let _ = parse_answer(&bytes, &endpoints);
        let cut = cut.index(bytes.len());
        let _ = parse_answer(&bytes[..cut], &endpoints);
        let mut framed = bytes[..16].to_vec();
        framed.extend(noise);
        let length = u32::try_from(framed.len()).expect("short");
        framed[..4].copy_from_slice(&length.to_ne_bytes());
        framed[4..6].copy_from_slice(&0x100_u16.to_ne_bytes());
        let _ = parse_answer(&framed, &endpoints);
    }
}
