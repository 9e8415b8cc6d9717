//! Packets that arrive at a pod's interface: packets and bytes of each listening port and of its peers.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::__sk_buff, macros::classifier, programs::TcContext};
use portolan_ebpf::{
    abi::{
        IPPROTO_TCP,
        netns::HANDOVER_INGRESS,
        traffic::{PeerKey, PortKey},
    },
    packet::{Packet, Segment, parse, wire_bytes},
};

use super::buffer::{Buffer, Linear};
use crate::diagnose::refused;
use crate::flows;
use crate::maps::{Place, Refusal, handed_over};

/// TCX_NEXT and TC_ACT_UNSPEC: the next program decides.
const NEXT: i32 = -1;
/// The packet is for another machine: a promiscuous interface saw it.
const PACKET_OTHERHOST: u32 = 3;
const VLAN_ID: u32 = 0x0fff;

/// Called by a netns's own program, for every packet that an interface receives, before netfilter. TCX since 6.6, clsact
/// before. Works with and without an Ethernet header. <https://docs.ebpf.io/linux/program-type/BPF_PROG_TYPE_SCHED_CLS/>
#[classifier]
fn portolan_ingress(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if let Err(refusal) = handed_over(HANDOVER_INGRESS, skb.cast()).and_then(|place| try_ingress(skb, place))
    {
        refused("portolan_ingress", refusal);
    }
    NEXT
}

/// Returns the verdict and nothing else: what the cost of a program is measured against.
#[classifier]
fn portolan_empty(_ctx: TcContext) -> i32 {
    NEXT
}

#[inline(always)]
fn try_ingress(skb: *mut __sk_buff, place: Place) -> Result<(), Refusal> {
    // SAFETY: these fields may be read by every classifier.
    let (kind, protocol, tagged, tag) =
        unsafe { ((*skb).pkt_type, (*skb).protocol, (*skb).vlan_present, (*skb).vlan_tci) };
    // A VLAN's packets come again on its own device, where they are counted; up to 6.1 they still carry the old tag there,
    // and only `vlan_present` says that it is gone.
    if kind == PACKET_OTHERHOST || (tagged != 0 && tag & VLAN_ID != 0) {
        return Ok(());
    }
    let ether_type = u16::from_be(protocol as u16);
    // What the linear data do not tell with certainty, the helper does.
    if let Some(linear) = Linear::at_network_header(skb, ether_type, place)
        && let Some(segment) = parse(&linear, ether_type)
    {
        return count(skb, place, &segment);
    }
    let mut segment = MaybeUninit::uninit();
    if !parse_any(skb, ether_type, &mut segment) {
        return Ok(());
    }
    // SAFETY: it was written.
    count(skb, place, unsafe { segment.assume_init_ref() })
}

/// A function of its own in the kernel too, so that the common case needs none of its registers.
#[inline(never)]
fn parse_any(skb: *mut __sk_buff, ether_type: u16, segment: &mut MaybeUninit<Segment>) -> bool {
    let parsed = parse(&Buffer(skb), ether_type);
    if let Some(parsed) = parsed {
        segment.write(parsed);
    }
    parsed.is_some()
}

#[inline(always)]
fn count(skb: *mut __sk_buff, place: Place, segment: &Segment) -> Result<(), Refusal> {
    let port = PortKey {
        netns_cookie: place.netns_cookie(),
        port: segment.destination_port,
        protocol: segment.protocol,
        reserved: [0; 5],
    };
    let (packets, bytes) = size(skb, segment);
    flows::count(PeerKey { port, address: zerocopy::transmute!(segment.source) }, packets, bytes)
}

/// Packets on the wire, and their bytes from the network header on.
#[inline(always)]
fn size(skb: *mut __sk_buff, segment: &Segment) -> (u64, u64) {
    // SAFETY: these fields may be read by every classifier.
    let (segments, length) = unsafe { ((*skb).gso_segs, (*skb).len) };
    // A jumbogram's IP header holds no length; the buffer's may include the link header, 14 bytes in 64 KiB.
    let whole = if segment.ip_length == 0 { length } else { segment.ip_length };
    if segments <= 1 {
        return (1, u64::from(whole));
    }
    let transport = if segment.protocol == IPPROTO_TCP {
        let [offset] = Buffer(skb).load::<1>(segment.transport + 12).unwrap_or([0x50]);
        u32::from(offset >> 4) * 4
    } else {
        8
    };
    (u64::from(segments), wire_bytes(whole, segment.transport + transport, segments))
}
