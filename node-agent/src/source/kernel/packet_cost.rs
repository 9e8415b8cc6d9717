//! Measures the cost of the tc program per packet by BPF_PROG_TEST_RUN over generated packets, beside a program that
//! does nothing. For `cargo xtask bench`; not part of the agent.

use anyhow::{Context, Error, Result};
use aya::maps::{Array, HashMap, PerCpuHashMap, PerCpuValues};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use portolan_ebpf::abi::traffic::{PeerKey, PortKey, port_bucket};
use portolan_ebpf::abi::{IPPROTO_TCP, IPPROTO_UDP};
use portolan_engine::model::identity::NetnsId;
use zerocopy::IntoBytes;

use super::bpffs::DetachedBpffs;
use super::netns_programs::array_with;
use super::object::{KERNEL_OBJECTS, LookupScope, NetnsObject};
use crate::source::netns::look::LinkHeader;

/// The attached program, which calls the shared one.
const INGRESS: &str = "portolan_tc";
const SHARED: &str = "portolan_ingress";
const EMPTY: &str = "portolan_empty";
const NETNS: NetnsId = NetnsId(0x5eed);
const LISTENING: u16 = 8080;
const SILENT: u16 = 8081;
/// Number of known peers: more than the flows that each CPU keeps.
const PEERS: u8 = 128;
/// Packets per run, and number of runs of each program; the programs alternate.
const REPEAT: u32 = 200_000;
const RUNS: usize = 15;
/// Number of single runs where packets of several flows alternate.
const TURNS: usize = 20_000;

/// Cost in nanoseconds per packet: medians.
#[derive(Clone, Copy, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PacketCost {
    pub what: &'static str,
    pub program: f64,
    pub empty: f64,
}

/// Measures each kind of packet.
///
/// # Errors
/// When the kernel does not load or run the programs.
pub fn measure() -> Result<Vec<PacketCost>> {
    let bpffs = DetachedBpffs::new().context("a private bpffs")?;
    let mut loader = EbpfLoader::new();
    loader.default_map_pin_directory(bpffs.path());
    let objects = KERNEL_OBJECTS.as_ref().context("this build has no kernel programs")?;
    let mut object = NetnsObject::new(objects.netns).context("not our kernel object")?;
    let mut ebpf = loader.load(objects.shared)?;
    fill(&mut ebpf)?;
    // The test device is a loopback device, whose packets have an Ethernet header too.
    let mut own = loader.load(object.for_netns(NETNS, LinkHeader::Ethernet, LookupScope::Inside))?;
    load(&mut ebpf, SHARED)?;
    let shared: &SchedClassifier = ebpf.program(SHARED).context("no such program")?.try_into()?;
    let _array = array_with(&mut own, "SHARED_INGRESS", shared.fd()?).map_err(Error::msg)?;
    load(&mut ebpf, EMPTY)?;
    load(&mut own, INGRESS)?;
    let tcp = |peer| v4(IPPROTO_TCP, LISTENING, peer, &[]);
    let mut costs = [
        ("tcp-listening", tcp(0)),
        ("tcp-silent", v4(IPPROTO_TCP, SILENT, 0, &[])),
        ("tcp-syn", syn(LISTENING)),
        ("tcp-syn-silent", syn(SILENT)),
        ("udp-datagram", v4(IPPROTO_UDP, LISTENING, 0, &[])),
        ("tcp-ipv6", v6(LISTENING, 0)),
        ("tcp-ip-options", v4(IPPROTO_TCP, LISTENING, 0, &[1, 1, 1, 0])),
    ]
    .into_iter()
    .map(|(what, packet)| compare([&own, &ebpf], what, &packet))
    .collect::<Result<Vec<_>>>()?;
    for (what, flows) in [("one-flow", 1), ("two-flows", 2), ("many-flows", PEERS)] {
        costs.push(take_turns([&own, &ebpf], what, &(0..flows).map(tcp).collect::<Vec<_>>())?);
    }
    Ok(costs)
}

fn load(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let program: &mut SchedClassifier = ebpf.program_mut(name).context("no such program")?.try_into()?;
    Ok(program.load()?)
}

/// Creates the entries that packets of an established connection and datagrams find.
fn fill(ebpf: &mut Ebpf) -> Result<()> {
    let zero = || PerCpuValues::try_from(vec![[0_u64; 5]; nr_cpus().map_or(1, |cpus| cpus)]);
    for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
        let port = PortKey::new(NETNS.0, LISTENING, protocol);
        let mut port_key = [0; 16];
        port_key.copy_from_slice(port.as_bytes());
        let taken = ebpf.map_mut("PORTS_TAKEN").context("no PORTS_TAKEN")?;
        Array::<_, u64>::try_from(taken)?.set(port_bucket(&port), u64::MAX, 0)?;
        let ports = ebpf.map_mut("PORT_STATS").context("no PORT_STATS")?;
        PerCpuHashMap::<_, [u8; 16], [u64; 5]>::try_from(ports)?.insert(port_key, zero()?, 0)?;
        for address in (0..PEERS).flat_map(|peer| [v4_mapped(peer), v6_address(peer)]) {
            let mut peer_key = [0; 32];
            peer_key.copy_from_slice(PeerKey { port, address }.as_bytes());
            let peers = ebpf.map_mut("PEERS").context("no PEERS")?;
            HashMap::<_, [u8; 32], [u64; 6]>::try_from(peers)?.insert(peer_key, [0; 6], 0)?;
        }
    }
    Ok(())
}

fn compare([own, shared]: [&Ebpf; 2], what: &'static str, packet: &[u8]) -> Result<PacketCost> {
    let (mut program, mut empty) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        program.push(nanoseconds(own, INGRESS, packet, REPEAT)?);
        empty.push(nanoseconds(shared, EMPTY, packet, REPEAT)?);
    }
    Ok(PacketCost { what, program: median(program), empty: median(empty) })
}

/// Measures packets of several flows in turn. Each packet takes a system call of its own and finds cold caches: compare
/// with one flow measured the same way.
fn take_turns([own, shared]: [&Ebpf; 2], what: &'static str, packets: &[Vec<u8>]) -> Result<PacketCost> {
    let (mut program, mut empty) = (Vec::new(), Vec::new());
    for packet in packets.iter().cycle().take(TURNS) {
        program.push(nanoseconds(own, INGRESS, packet, 1)?);
        empty.push(nanoseconds(shared, EMPTY, packet, 1)?);
    }
    Ok(PacketCost { what, program: middle(program), empty: middle(empty) })
}

fn nanoseconds(ebpf: &Ebpf, name: &str, packet: &[u8], repeat: u32) -> Result<f64> {
    let program: &SchedClassifier = ebpf.program(name).context("no such program")?.try_into()?;
    let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::default() };
    Ok(program.test_run(options)?.duration.as_secs_f64() * 1e9)
}

pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// Returns the mean of the middle half: expensive and cheap turns both count, interrupts do not.
fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let quarter = numbers.len() / 4;
    let half = numbers.get(quarter..numbers.len() - quarter).unwrap_or_default();
    half.iter().sum::<f64>() / half.len().max(1) as f64
}

fn v4_source(peer: u8) -> [u8; 4] {
    [10, 99, 1, peer]
}

fn v4_mapped(peer: u8) -> [u8; 16] {
    let [a, b, c, d] = v4_source(peer);
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

fn v6_address(peer: u8) -> [u8; 16] {
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, peer]
}

/// Builds a packet with Ethernet, IPv4 and a TCP or UDP header, followed by 64 bytes. The address of the test device is
/// all zeroes.
fn v4(protocol: u8, port: u16, peer: u8, options: &[u8]) -> Vec<u8> {
    let transport = transport(protocol, port);
    let length = u8::try_from(20 + options.len() + transport.len()).unwrap_or_default();
    let version = 0x45 + u8::try_from(options.len() / 4).unwrap_or_default();
    let mut bytes = vec![0; 12];
    bytes.extend([0x08, 0x00, version, 0, 0, length, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
    bytes.extend(v4_source(peer));
    bytes.extend([10, 99, 0, 1]);
    bytes.extend(options);
    bytes.extend(transport);
    bytes
}

/// Builds the first packet of a connection.
fn syn(port: u16) -> Vec<u8> {
    const FLAGS: usize = 14 + 20 + 13;
    const SYN: u8 = 0x02;
    let mut bytes = v4(IPPROTO_TCP, port, 0, &[]);
    if let Some(flags) = bytes.get_mut(FLAGS) {
        *flags = SYN;
    }
    bytes
}

/// Builds a packet like [`v4`] with IPv6 and TCP.
fn v6(port: u16, peer: u8) -> Vec<u8> {
    let transport = transport(IPPROTO_TCP, port);
    let mut bytes = vec![0; 12];
    bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0]);
    bytes.extend([u8::try_from(transport.len()).unwrap_or_default(), IPPROTO_TCP, 64]);
    bytes.extend(v6_address(peer));
    bytes.extend(v6_address(PEERS));
    bytes.extend(transport);
    bytes
}

fn transport(protocol: u8, port: u16) -> Vec<u8> {
    let mut bytes = 40_000_u16.to_be_bytes().to_vec();
    bytes.extend(port.to_be_bytes());
    if protocol == IPPROTO_TCP {
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        bytes.extend([0, 72, 0, 0]);
    }
    bytes.extend([0; 64]);
    bytes
}
