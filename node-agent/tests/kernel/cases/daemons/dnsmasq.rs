//! dnsmasq: a server of port 53 that asks its upstream from a random port each time.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use portolan_testing::scratch::Scratch;

use crate::harness::client::{resolve, resolve_over_tcp};
use crate::harness::daemon::{Daemon, installed};
use crate::harness::world::World;

/// Starts a dnsmasq in a role's namespace without cache and files of the machine.
fn start(world: &World, role: &str, dnsmasq: &Path, more: &[&str]) -> Daemon {
    let mut command = Command::new(dnsmasq);
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file",
        "--no-resolv",
        "--no-hosts",
    ]);
    command.args(["--user=root", "--log-facility=-", "--log-queries=extra", "--cache-size=0"]).args(more);
    let daemon = Daemon::start(&world.network.netns(role), Scratch::new("dnsmasq"), &command);
    daemon.wait_listens("UDP", 53);
    daemon.wait_listens("TCP", 53);
    daemon
}

/// Starts a server that knows every name below `tier.example`.
pub fn upstream(world: &World, role: &str, dnsmasq: &Path) -> Daemon {
    start(world, role, dnsmasq, &["--address=/tier.example/198.51.100.7"])
}

/// Returns the ports of an address from which an upstream was asked.
pub fn asked_from(upstream: &Daemon, asker: SocketAddr) -> Vec<u16> {
    let log = upstream.log();
    let start = format!("{}/", asker.ip());
    let queries = log.lines().filter(|line| line.contains("query["));
    queries.filter_map(|line| line.split_once(&start)?.1.split(' ').next()?.parse().ok()).collect()
}

pub fn forwards_from_random_ports() {
    const TIMES: u16 = 100;
    let Some([dnsmasq]) = installed(["dnsmasq"]) else { return };
    let world = World::new(&["dns", "upstream:53,53/UDP", "client"]);
    let agent = world.agent_that_knows_who_asks();
    let upstream = upstream(&world, "upstream", &dnsmasq);
    let server = format!("--server={}", world.address("upstream"));
    // Else the kernel would choose ports of the ephemeral range.
    let ports = ["--min-port=2000", "--max-port=20000"];
    let _dns = start(&world, "dns", &dnsmasq, &[&server, ports[0], ports[1]]);
    let of = |protocol: &'static str| move |item: &portolan_report::wire::Listener| item.protocol == protocol;
    world.finding(&agent, "dns", 53, |finding| finding.protocol.as_deref() == Some("UDP"));
    let (client, to) = (world.network.netns("client"), world.v4("dns", 53));
    let bytes = resolve(&client, to, TIMES);
    resolve_over_tcp(&client, to, TIMES + 1);

    let counted = world.finding(&agent, "dns", 53, |finding| {
        finding.protocol.as_deref() == Some("UDP") && finding.traffic.packets >= u64::from(TIMES)
    });
    assert_eq!(counted.code, "undeclared-active");
    assert_eq!((counted.traffic.packets, counted.traffic.bytes), (u64::from(TIMES), bytes));
    let callers: Vec<_> = counted.traffic.peers.iter().map(|peer| peer.reference.as_deref()).collect();
    assert_eq!(callers, [Some("tier/client")], "the upstream only answers");
    let tcp = world.finding(&agent, "dns", 53, |finding| {
        finding.listener.as_deref().is_some_and(of("TCP")) && finding.traffic.connections > 0
    });
    assert_eq!(tcp.traffic.connections, 1);
    let ports = asked_from(&upstream, to);
    assert!(ports.len() > usize::from(TIMES), "{ports:?}: {}", upstream.log());
    assert!(ports.iter().all(|port| (2000..=20_000).contains(port) || *port > 32_767), "{ports:?}");
    world.nothing_but(&agent, "dns", &[("UDP", 53), ("TCP", 53)]);
    world.settles(&agent);
}
