//! Packets that arrive at a pod's interface: packets and bytes of each listening port and of its peers.

use aya_ebpf::{
    bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes_relative, macros::classifier,
    programs::TcContext,
};
use portolan_ebpf::{
    abi::{
        IPPROTO_TCP,
        netns::HANDOVER_INGRESS,
        traffic::{PeerKey, PortKey},
    },
    packet::{Packet, Segment, parse, wire_bytes},
};

use crate::diagnose::refused;
use crate::maps::{Place, Refusal, add, changed, ensure_peer, handed_over, peer_counters, port_counters};

/// TCX_NEXT and TC_ACT_UNSPEC: the next program decides.
const NEXT: i32 = -1;
/// The packet is for another machine: a promiscuous interface saw it.
const PACKET_OTHERHOST: u32 = 3;
const VLAN_ID: u32 = 0x0fff;
/// BPF_HDR_START_NET.
const FROM_NETWORK_HEADER: u32 = 1;

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

struct Buffer(*mut __sk_buff);

impl Packet for Buffer {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = core::mem::MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the buffer is N bytes long; the helper fills all of it or fails.
        unsafe {
            let status = bpf_skb_load_bytes_relative(
                self.0.cast(),
                offset,
                bytes.as_mut_ptr().cast(),
                N as u32,
                FROM_NETWORK_HEADER,
            );
            (status == 0).then(|| bytes.assume_init())
        }
    }
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
    let buffer = Buffer(skb);
    let Some(segment) = parse(&buffer, u16::from_be(protocol as u16)) else { return Ok(()) };
    let key = PortKey {
        netns_cookie: place.netns_cookie(),
        port: segment.destination_port,
        protocol: segment.protocol,
        reserved: [0; 5],
    };
    let Some(port) = port_counters(&key) else { return Ok(()) };
    let (packets, bytes) = size(&buffer, &segment);
    changed();
    // SAFETY: the pointer is into this CPU's value; only this program writes these two fields, and it does not nest.
    unsafe {
        (*port).packets += packets;
        (*port).bytes += bytes;
    }
    let peer_key = PeerKey { port: key, address: segment.source };
    let peer = if segment.protocol == IPPROTO_TCP {
        // Only a completed handshake makes a TCP peer: a SYN flood cannot push out real ones.
        let Some(peer) = peer_counters(&peer_key) else { return Ok(()) };
        peer
    } else {
        ensure_peer(&peer_key, port)?
    };
    // SAFETY: the pointer is into a map value, and the program holds the RCU read lock.
    unsafe {
        add(&raw mut (*peer).packets, packets);
        add(&raw mut (*peer).bytes, bytes);
    }
    Ok(())
}

/// Packets on the wire, and their bytes from the network header on.
#[inline(always)]
fn size(buffer: &Buffer, segment: &Segment) -> (u64, u64) {
    // SAFETY: these fields may be read by every classifier.
    let (segments, length) = unsafe { ((*buffer.0).gso_segs, (*buffer.0).len) };
    // A jumbogram's IP header holds no length; the buffer's may include the link header, 14 bytes in 64 KiB.
    let whole = if segment.ip_length == 0 { length } else { segment.ip_length };
    if segments <= 1 {
        return (1, u64::from(whole));
    }
    let transport = if segment.protocol == IPPROTO_TCP {
        let [offset] = buffer.load::<1>(segment.transport + 12).unwrap_or([0x50]);
        u32::from(offset >> 4) * 4
    } else {
        8
    };
    (u64::from(segments), wire_bytes(whole, segment.transport + transport, segments))
}
