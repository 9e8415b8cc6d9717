//! Ports that a pod's own rules forward to a netns inside it, as docker in docker and virtual machines in pods do.

use std::process::Command;

use libtest_mimic::Trial;

use super::case;
use crate::harness::network::{inside, ip};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![case("forwarded/a_port_of_a_nested_netns", a_port_of_a_nested_netns)]
}

fn a_port_of_a_nested_netns() {
    let mut world = World::new(&["web", "curler"]);
    let nested = world.network.add_bare("nested");
    let web = world.network.netns("web");
    ip(&["-n", &web], &format!("link add in0 type veth peer name eth0 netns {nested}\n"));
    ip(&["-n", &web], "address add 10.78.0.1/24 dev in0\nlink set in0 up\n");
    ip(
        &["-n", &nested],
        "address add 10.78.0.2/24 dev eth0\nlink set eth0 up\nroute add default via 10.78.0.1\n",
    );
    inside(&web, || {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forward in the pod");
        let rule =
            "-w -t nat -A PREROUTING -i eth0 -p tcp --dport 22 -j DNAT --to-destination 10.78.0.2:2222";
        let output = Command::new("iptables").args(rule.split(' ')).output().expect("iptables is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
    let agent = world.agent();
    let (guest, curler) = (world.actor("nested"), world.actor("curler"));
    guest.serve("0.0.0.0:2222");
    curler.connect_many(world.v4("web", 22), 3);
    let seen = world.listener(&agent, "web", 22, |item| item.traffic.connections == 3);
    assert!(seen.process.is_none(), "{seen:?}");
    let caller = world.address("curler").to_string();
    assert!(seen.traffic.peers.iter().all(|peer| peer.address == caller), "{:?}", seen.traffic.peers);
    let finding = world.finding(&agent, "web", 22, |finding| finding.code == "undeclared-active");
    assert_eq!(finding.severity, "high");
}
