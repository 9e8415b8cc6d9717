//! What one scan of every netns reads, as `portolan scan` makes it.

use crate::lab::{Netns, collected_of, run};

#[test]
fn ephemeral_ports_are_those_of_a_netns_that_serves_udp() {
    let netns = Netns::new("ephemeral");
    let range = "net.ipv4.ip_local_port_range=7000 7999";
    run(&["ip", "netns", "exec", &netns.0, "sysctl", "-q", "-w", range]);
    let _serving =
        netns.python("s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 7001))");
    assert_eq!(collected_of(&netns).facts.ephemeral_ports, (7000, 7999));
}

#[test]
fn a_socket_that_only_a_process_of_another_netns_holds_has_its_holder() {
    let (inside, outside) = (Netns::new("inside"), Netns::new("outside"));
    let code = format!(
        "import ctypes, os
home, away = os.open('/proc/self/ns/net', os.O_RDONLY), os.open('{}', os.O_RDONLY)
setns = ctypes.CDLL(None, use_errno=True).setns
assert setns(away, 0) == 0
s = socket.create_server(('0.0.0.0', 4100))
assert setns(home, 0) == 0",
        inside.path()
    );
    let serving = outside.python(&code);
    let scan = collected_of(&inside).scan.expect("scanned");
    let holders: Vec<u32> =
        scan.sockets.iter().filter_map(|socket| Some(socket.holder.process()?.pid)).collect();
    assert_eq!(holders, [serving.0.id()]);
}
