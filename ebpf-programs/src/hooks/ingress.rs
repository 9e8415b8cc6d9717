//! Packets that arrive at a pod's interface: counts packets and bytes of each listening port and of its peers.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::__sk_buff, macros::classifier, programs::TcContext};
use portolan_ebpf::{
    abi::{
        IPPROTO_TCP,
        lost::LostSlot,
        netns::HANDOVER_INGRESS,
        traffic::{PeerKey, PortKey},
    },
    packet::{Packet, Segment, parse, wire_bytes},
};

use super::buffer::{Buffer, Linear};
use crate::connected::Headers;
use crate::counter::{add, changed};
use crate::flows;
use crate::loss_log::count_and_log;
use crate::netns_context::{NetnsContext, netns_context};
use crate::ports::{may_be_counted, port_counters};
use crate::redirects::{Dialled, handshake, remember};

/// TCX_NEXT and TC_ACT_UNSPEC: the next program decides.
const NEXT: i32 = -1;
/// Packet type of a packet for another machine, which a promiscuous interface received.
const PACKET_OTHERHOST: u32 = 3;
const VLAN_ID: u32 = 0x0fff;

/// Called by a netns's own program for every packet that an interface receives, before netfilter. Attached by TCX since 6.6, by
/// clsact before. Works with and without an Ethernet header. <https://docs.ebpf.io/linux/program-type/BPF_PROG_TYPE_SCHED_CLS/>
#[classifier]
fn portolan_ingress(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    let netns = netns_context(HANDOVER_INGRESS, skb.cast());
    if let Err(loss) = netns.and_then(|netns| try_ingress(skb, netns)) {
        count_and_log("portolan_ingress", loss);
    }
    NEXT
}

/// Returns only the verdict. The benchmarks subtract its cost from that of `portolan_ingress`.
#[classifier]
fn portolan_empty(_ctx: TcContext) -> i32 {
    NEXT
}

#[inline(always)]
fn try_ingress(skb: *mut __sk_buff, netns: NetnsContext) -> Result<(), LostSlot> {
    // SAFETY: these fields may be read by every classifier.
    let (kind, protocol, tagged, tag) =
        unsafe { ((*skb).pkt_type, (*skb).protocol, (*skb).vlan_present, (*skb).vlan_tci) };
    // Packets of a VLAN arrive again on the VLAN's own device and are counted there. Up to 6.1 they still carry the old tag
    // there, and only `vlan_present` shows that the tag was removed.
    if kind == PACKET_OTHERHOST || (tagged != 0 && tag & VLAN_ID != 0) {
        return Ok(());
    }
    let ether_type = u16::from_be(protocol as u16);
    // If the linear data are not certain, the helper reads the packet.
    if let Some(linear) = Linear::at_network_header(skb, ether_type, netns)
        && let Some(segment) = parse(&linear, ether_type)
    {
        return count(skb, netns, &segment);
    }
    let mut segment = MaybeUninit::uninit();
    if !parse_any(skb, ether_type, &mut segment) {
        return Ok(());
    }
    // SAFETY: `parse_any` returned true, so it wrote the segment.
    count(skb, netns, unsafe { segment.assume_init_ref() })
}

/// Parses any packet by the helper. Returns true if `segment` was written. Not inlined in the kernel either, so that the common
/// case does not need its registers.
#[inline(never)]
fn parse_any(skb: *mut __sk_buff, ether_type: u16, segment: &mut MaybeUninit<Segment>) -> bool {
    let parsed = parse(&Buffer(skb), ether_type);
    if let Some(parsed) = parsed {
        segment.write(parsed);
    }
    parsed.is_some()
}

#[inline(always)]
fn count(skb: *mut __sk_buff, netns: NetnsContext, segment: &Segment) -> Result<(), LostSlot> {
    let port = PortKey::new(netns.netns_cookie(), segment.destination_port, segment.protocol);
    // Most packets on a node are answers to its own clients: for them nothing else is looked at.
    let is_counted = may_be_counted(&port);
    if !is_counted && !segment.is_syn() {
        return Ok(());
    }
    let key = PeerKey::new(port, segment.source);
    if segment.is_syn() {
        count_syn(skb, &key, segment.transport, segment.ip_length, is_counted);
    }
    if !is_counted {
        return Ok(());
    }
    let (packets, bytes) = size(skb, segment);
    flows::count(key, packets, bytes, skb, headers(segment))
}

/// Counts a SYN for a counted port as an attempt, and remembers which port the client dialled. Not inlined in the kernel either,
/// like all that is rare. Takes the parts of the segment one by one, so that common packets keep theirs in registers.
#[inline(never)]
fn count_syn(skb: *mut __sk_buff, key: &PeerKey, transport: u32, length: u32, is_counted: bool) {
    // Source port, destination port, sequence number.
    let Some([s, t, _, _, a, b, c, d]) = Buffer(skb).load::<8>(transport) else { return };
    let counters = if is_counted { port_counters(&key.port) } else { None };
    if let Some(counters) = counters {
        // SAFETY: the pointer is into a map value, and the program holds the RCU read lock.
        unsafe { add(&raw mut (*counters).attempts, 1) };
        changed();
    }
    let (source_port, sequence) = (u16::from_be_bytes([s, t]), u32::from_be_bytes([a, b, c, d]));
    let address = zerocopy::transmute!(key.address);
    let handshake = handshake(key.port.netns_cookie, address, source_port, sequence);
    let dialled = Dialled { port: key.port.port, was_counted: counters.is_some(), length: u64::from(length) };
    remember(handshake, dialled);
}

/// Returns the offsets of a segment's headers as one number, which takes one register.
#[inline(always)]
const fn headers(segment: &Segment) -> Headers {
    Headers(segment.ip << 16 | segment.transport)
}

/// Returns the number of packets on the wire, and their bytes from the network header on.
#[inline(always)]
fn size(skb: *mut __sk_buff, segment: &Segment) -> (u64, u64) {
    // SAFETY: these fields may be read by every classifier.
    let (segments, length) = unsafe { ((*skb).gso_segs, (*skb).len) };
    // The IP header of a jumbogram holds no length. The buffer's length may include the link header: 14 bytes in 64 KiB.
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
