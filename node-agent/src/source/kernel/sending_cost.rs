//! Measures the cost of the sendmsg hook per datagram by the kernel's own statistics of attached programs, beside a program
//! that does nothing. For `cargo xtask bench`; not part of the agent.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, PerCpuHashMap, PerCpuValues};
use aya::programs::{CgroupAttachMode, CgroupSockAddr};
use aya::sys::{Stats, enable_stats};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use portolan_ebpf::abi::IPPROTO_UDP;
use portolan_ebpf::abi::traffic::{PeerKey, PortKey, port_bucket};
use zerocopy::IntoBytes;

use super::bpffs::DetachedBpffs;
use super::cgroup_root::root_cgroup;
use super::object::KERNEL_OBJECTS;
use super::packet_cost::{PacketCost, median};
use crate::source::netns::enter;

const SEND: &str = "portolan_send4";
const EMPTY: &str = "portolan_empty_send";
/// Datagrams per run, and number of runs.
const DATAGRAMS: u32 = 50_000;
const RUNS: usize = 15;
/// Nobody has this address (RFC 5737), and nothing is sent: the netns has no route. The hook runs before the route is sought.
const PEER: [u8; 4] = [198, 51, 100, 7];

/// Measures a datagram from a counted port to a known peer, and from a port that is not counted.
///
/// # Errors
/// When the kernel does not load or attach the programs, or keeps no statistics.
pub fn measure() -> Result<Vec<PacketCost>> {
    let thread = std::thread::spawn(|| {
        enter::unshare_netns()?;
        measure_in_netns()
    });
    thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?
}

fn measure_in_netns() -> Result<Vec<PacketCost>> {
    let netns = enter::cookie()?.context("the kernel has no netns cookies")?;
    let bpffs = DetachedBpffs::new().context("a private bpffs")?;
    let objects = KERNEL_OBJECTS.as_ref().context("this build has no kernel programs")?;
    let mut ebpf = EbpfLoader::new().default_map_pin_directory(bpffs.path()).load(objects.shared)?;
    let [counted, uncounted] = [UdpSocket::bind("0.0.0.0:0")?, UdpSocket::bind("0.0.0.0:0")?];
    fill(&mut ebpf, netns, counted.local_addr()?.port())?;
    let cgroup = root_cgroup().map_err(|refusal| anyhow::anyhow!("{refusal}"))?.dir;
    for name in [SEND, EMPTY] {
        let hook: &mut CgroupSockAddr = ebpf.program_mut(name).context("no such program")?.try_into()?;
        hook.load()?;
        hook.attach(&cgroup, CgroupAttachMode::Single)?;
    }
    let _statistics = enable_stats(Stats::RunTime)?;
    [("datagram-sent", &counted), ("datagram-sent-uncounted", &uncounted)]
        .into_iter()
        .map(|(what, socket)| {
            let runs = (0..RUNS).map(|_| one_run(&ebpf, socket)).collect::<Result<Vec<_>>>()?;
            let (program, empty) = runs.into_iter().unzip();
            Ok(PacketCost { what, program: median(program), empty: median(empty) })
        })
        .collect()
}

/// Creates the entries that a datagram from a counted port to a known peer finds.
fn fill(ebpf: &mut Ebpf, netns_cookie: u64, port: u16) -> Result<()> {
    let port = PortKey::new(netns_cookie, port, IPPROTO_UDP);
    let taken = ebpf.map_mut("PORTS_TAKEN").context("no PORTS_TAKEN")?;
    Array::<_, u64>::try_from(taken)?.set(port_bucket(&port), u64::MAX, 0)?;
    let zero = PerCpuValues::try_from(vec![[0_u64; 5]; nr_cpus().map_or(1, |cpus| cpus)])?;
    let mut port_key = [0; 16];
    port_key.copy_from_slice(port.as_bytes());
    let ports = ebpf.map_mut("PORT_STATS").context("no PORT_STATS")?;
    PerCpuHashMap::<_, [u8; 16], [u64; 5]>::try_from(ports)?.insert(port_key, zero, 0)?;
    let [a, b, c, d] = PEER;
    let address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d];
    let mut peer_key = [0; 32];
    peer_key.copy_from_slice(PeerKey { port, address }.as_bytes());
    let peers = ebpf.map_mut("PEERS").context("no PEERS")?;
    HashMap::<_, [u8; 32], [u64; 6]>::try_from(peers)?.insert(peer_key, [0; 6], 0)?;
    Ok(())
}

/// Sends datagrams. Returns the mean cost of the program and of the empty one, in nanoseconds.
fn one_run(ebpf: &Ebpf, socket: &UdpSocket) -> Result<(f64, f64)> {
    let before = [statistics(ebpf, SEND)?, statistics(ebpf, EMPTY)?];
    for _ in 0..DATAGRAMS {
        // Fails: there is no route.
        let _ = socket.send_to(b"x", SocketAddr::from((PEER, 9)));
    }
    let after = [statistics(ebpf, SEND)?, statistics(ebpf, EMPTY)?];
    let [program, empty] = [(before[0], after[0]), (before[1], after[1])]
        .map(|((time, count), (later, more))| (later - time) / (more - count).max(1.0));
    Ok((program, empty))
}

/// Returns the total run time of a program in nanoseconds, and how often it ran.
fn statistics(ebpf: &Ebpf, name: &str) -> Result<(f64, f64)> {
    let hook: &CgroupSockAddr = ebpf.program(name).context("no such program")?.try_into()?;
    let info = hook.info()?;
    Ok((info.run_time().as_secs_f64() * 1e9, info.run_count() as f64))
}
