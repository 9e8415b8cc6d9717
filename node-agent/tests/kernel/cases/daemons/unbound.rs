//! unbound: a resolver whose outgoing ports are below the ephemeral range, from sockets that it does not connect.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use portolan_testing::scratch::Scratch;

use super::dnsmasq;
use crate::harness::client::resolve;
use crate::harness::daemon::{Daemon, file, installed};
use crate::harness::world::World;

fn start(world: &World, unbound: &Path) -> Daemon {
    let directory = Scratch::new("unbound");
    let config = format!(
        "server:
  directory: \"{}\"
  chroot: \"\"
  username: \"\"
  pidfile: \"\"
  use-syslog: no
  logfile: \"\"
  interface: 0.0.0.0
  access-control: 0.0.0.0/0 allow
  do-ip6: no
  num-threads: 1
  module-config: \"iterator\"
  qname-minimisation: no
  udp-connect: no
  outgoing-port-avoid: 0-65535
  outgoing-port-permit: 10000-20000
remote-control:
  control-enable: no
forward-zone:
  name: \".\"
  forward-addr: {}
",
        directory.directory().display(),
        world.address("upstream")
    );
    let config = file(&directory, "unbound.conf", &config);
    let mut command = Command::new(unbound);
    command.args(["-d", "-c", &config]);
    let daemon = Daemon::start(&world.network.netns("dns"), directory, &command);
    daemon.wait_listens("UDP", 53);
    daemon.wait_listens("TCP", 53);
    daemon
}

pub fn asks_from_low_ports() {
    const TIMES: u16 = 200;
    let Some([unbound, dnsmasq]) = installed(["unbound", "dnsmasq"]) else { return };
    let world = World::new(&["dns:53,53/UDP", "upstream:53,53/UDP", "client"]);
    let agent = world.agent_that_knows_who_asks();
    let upstream = dnsmasq::upstream(&world, "upstream", &dnsmasq);
    let unbound = start(&world, &unbound);
    world.listener(&agent, "dns", 53, |item| item.protocol == "UDP");
    let to = world.v4("dns", 53);
    let bytes = resolve(&world.network.netns("client"), to, TIMES);

    let seen = world.listener(&agent, "dns", 53, |item| {
        item.protocol == "UDP" && item.traffic.packets >= u64::from(TIMES)
    });
    assert_eq!((seen.traffic.packets, seen.traffic.bytes), (u64::from(TIMES), bytes));
    assert_eq!(seen.traffic.peers.len(), 1, "{:?}", seen.traffic.peers);
    assert_eq!(seen.process.map(|process| process.pid), Some(unbound.pid()));
    let ports: BTreeSet<u16> = dnsmasq::asked_from(&upstream, to).into_iter().collect();
    assert!(ports.len() > 100, "{ports:?}: {}", upstream.log());
    assert!(ports.iter().all(|port| (10_000..=20_000).contains(port)), "{ports:?}");
    world.nothing_but(&agent, "dns", &[("UDP", 53), ("TCP", 53)]);
    world.settles(&agent);
}
