//! Situations that people met in clusters, and what is right in each.

use std::collections::BTreeSet;

use libtest_mimic::Trial;
use portolan_report::wire::{Finding, Listener, Pod, Process, Report};

use super::case;
use crate::actor::protocol::{Request, SocketOptions, Transport};
use crate::harness::actor::Actor;
use crate::harness::agent::{Agent, Stdout};
use crate::harness::cgroup::PodCgroup;
use crate::harness::manifest;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("situations/sockets_of_an_ambient_mesh_are_the_meshs", sockets_of_an_ambient_mesh),
        case("situations/a_udp_client_with_two_peers_is_a_client", a_udp_client_with_two_peers),
        case("situations/icmp_errors_are_no_datagrams", icmp_errors_are_no_datagrams),
        case("situations/a_dhcp_discover_is_not_external", a_dhcp_discover_is_not_external),
        case("situations/a_pod_in_class_e_is_called_by_a_pod", || {
            reserved_range("240.10.0.5", "240.77.0.9", 8)
        }),
        case("situations/a_pod_in_the_benchmark_range_is_called_by_a_pod", || {
            reserved_range("198.18.0.5", "198.19.0.9", 15);
        }),
        case("situations/two_programs_on_one_port_number", two_programs_on_one_port_number),
        case("situations/a_pod_in_two_netns_by_turns", a_pod_in_two_netns_by_turns),
        case("situations/a_manifest_that_is_no_file", a_manifest_that_is_no_file),
        case("situations/a_port_of_the_loopback_interface", a_port_of_the_loopback_interface),
        case("situations/a_netns_that_only_a_socket_keeps", a_netns_that_only_a_socket_keeps),
    ]
}

/// Appends documents to the manifests of a world.
fn append(world: &World, documents: &str) {
    let pods = std::fs::read_to_string(world.metadata()).expect("the manifests");
    manifest::write_text(&world.metadata(), &format!("{pods}---\n{documents}"));
}

/// Istio's ambient mesh: the proxy of the node opens its sockets in the pods' netns.
fn sockets_of_an_ambient_mesh() {
    const UID: &str = "7d0c9f0e-4b5a-4c8e-9a53-0d4a6f1b2c3d";
    const CONTAINER: &str = "9b7a68245d3c1f0e9b7a68245d3c1f0e9b7a68245d3c1f0e9b7a68245d3c1f0e";
    let mut world = World::new(&["web:8080", "ztunnel", "curler"]);
    world.pods.retain(|pod| pod.name != "ztunnel");
    manifest::write(&world.metadata(), &world.pods);
    let own = world.network.netns("ztunnel");
    append(
        &world,
        &format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: ztunnel-x\n  namespace: istio-system\n  uid: {UID}\n  labels: {{app: ztunnel}}\n  \
             annotations:\n    portolan.dev/netns: {own}\nspec:\n  containers:\n  - name: istio-proxy\n    \
             image: registry.example/ztunnel:1\nstatus:\n  phase: Running\n  containerStatuses:\n  - name: istio-proxy\n    \
             containerID: containerd://{CONTAINER}\n    state: {{running: {{}}}}\n"
        ),
    );
    let agent = world.agent();
    let cgroup = PodCgroup::new(UID, CONTAINER);
    let (ztunnel, curler) = (world.actor("web"), world.actor("curler"));
    cgroup.take(&ztunnel);
    for address in ["[::]:15008", "[::]:15006", "[::]:15001"] {
        ztunnel.serve(address);
    }
    ztunnel.listen("[::1]:15053");
    ztunnel.udp("[::1]:15053");
    curler.connect_many(world.v4("web", 15_008), 3);
    for port in [15_008, 15_006, 15_001, 15_053] {
        let seen = world.listener(&agent, "web", port, |item| item.declaration.status == "explained");
        assert_eq!(seen.process.map(|process| process.pid), Some(ztunnel.pid()));
        assert_eq!(seen.container.map(|container| container.name).as_deref(), Some("istio-proxy"));
        let sources: Vec<_> = seen.declaration.explained_by.iter().map(|by| by.source.as_str()).collect();
        assert_eq!(sources, ["mesh"]);
    }
    let finding = world.finding(&agent, "web", 15_008, |finding| finding.traffic.connections == 3);
    assert_eq!((finding.code.as_str(), finding.state.as_str()), ("undeclared-explained", "open"));
    world.settles(&agent);
}

/// One unconnected socket asks two addresses outside, which answer.
fn a_udp_client_with_two_peers() {
    const ROUNDS: u32 = 20;
    let world = World::new(&["client", "outside"]);
    world.network.ip("outside", "address add 203.0.113.6/24 dev eth0\n");
    let agent = world.agent_that_knows_who_asks();
    let (client, outside) = (world.actor("client"), world.actor("outside"));
    let servers = ["203.0.113.5:53", "203.0.113.6:53"].map(|address| (address, outside.udp(address)));
    let socket = client.udp("0.0.0.0:0");
    let back = world.v4("client", socket.local().port());
    for _ in 0..ROUNDS {
        for (address, server) in &servers {
            socket.send_to(address.parse().unwrap(), 40, 1);
            server.receive(1);
            server.send_to(back, 400, 1);
            socket.receive(1);
        }
    }
    world.nothing_but(&agent, "client", &[]);
    world.settles(&agent);
    client.order(&Request::CloseAll);
}

/// The kernel looks up a socket for an ICMP error too, as if a datagram had come. A port that addressed somebody and was
/// not called may be a client's, so that the finding may end; but nobody called.
fn icmp_errors_are_no_datagrams() {
    let world = World::new(&["sip", "client"]);
    let agent = world.agent_that_knows_who_asks();
    let (sip, client) = (world.actor("sip"), world.actor("client"));
    let socket = sip.udp("0.0.0.0:5060");
    let before = world.finding(&agent, "sip", 5060, |finding| finding.state == "open");
    let nobody = world.v4("client", 5060);
    for _ in 0..10 {
        socket.send_to(nobody, 100, 1);
    }
    // Datagrams to another port arrive after the errors.
    let marker = sip.udp("0.0.0.0:5070");
    client.open(Transport::Udp, false).send_to(world.v4("sip", 5070), 10, 3);
    marker.receive(3);
    world.finding(&agent, "sip", 5070, |finding| finding.traffic.packets == 3);
    let after = world.finding(&agent, "sip", 5060, |_| true);
    assert_eq!((after.code.as_str(), after.state.as_str()), (before.code.as_str(), "open"));
    assert_eq!((after.traffic.packets, after.traffic.attempts), (0, 0), "{:?}", after.traffic);
    assert!(after.traffic.peers.is_empty(), "{:?}", after.traffic.peers);
    world.settles(&agent);
}

/// A client without an address sends to the broadcast address, as DHCP does.
fn a_dhcp_discover_is_not_external() {
    const DISCOVERS: u64 = 3;
    let world = World::new(&["dhcp", "client"]);
    world.network.ip("client", "address flush dev eth0\n");
    let agent = world.agent_that_knows_who_asks();
    let (dhcp, client) = (world.actor("dhcp"), world.actor("client"));
    let server = dhcp.udp("0.0.0.0:67");
    let options = SocketOptions { broadcast: true, eth0_only: true, ..SocketOptions::default() };
    let socket = client.open_with(Transport::Udp, false, options);
    socket.bind("0.0.0.0:68".parse().unwrap());
    socket.send_to("255.255.255.255:67".parse().unwrap(), 300, u32::try_from(DISCOVERS).unwrap());
    server.receive(u32::try_from(DISCOVERS).unwrap());
    let finding = world.finding(&agent, "dhcp", 67, |finding| finding.traffic.packets >= DISCOVERS);
    assert_eq!(finding.traffic.packets, DISCOVERS);
    assert_ne!(finding.code, "undeclared-external");
    let callers: Vec<_> =
        finding.traffic.peers.iter().map(|peer| (peer.address.as_str(), peer.origin.as_str())).collect();
    assert!(matches!(callers[..], [("0.0.0.0", origin)] if origin != "external"), "{callers:?}");
    world.nothing_but(&agent, "dhcp", &[("UDP", 67)]);
    world.nothing_but(&agent, "client", &[]);
    socket.close();
    world.settles(&agent);
}

/// Pods may have addresses of which no source says that they are pods', and which are not on the Internet.
fn reserved_range(callee: &str, caller: &str, prefix: u8) {
    let mut world = World::new(&["web", "stranger"]);
    world.pods.retain(|pod| pod.name == "web");
    manifest::write(&world.metadata(), &world.pods);
    world.network.ip("web", &format!("address add {callee}/{prefix} dev eth0\n"));
    world.network.ip("stranger", &format!("address add {caller}/{prefix} dev eth0\n"));
    let agent = Agent::start_without_ranges(&world.metadata(), world.scratch.path("api.sock"));
    let (web, stranger) = (world.actor("web"), world.actor("stranger"));
    web.serve("0.0.0.0:7000");
    let socket = stranger.open(Transport::Tcp, false);
    socket.bind(format!("{caller}:0").parse().unwrap());
    socket.connect(format!("{callee}:7000").parse().unwrap());
    let finding = world.finding(&agent, "web", 7000, |finding| finding.code == "undeclared-active");
    let peer = &finding.traffic.peers[0];
    assert_eq!((peer.address.as_str(), peer.origin.as_str(), &peer.reference), (caller, "pod", &None));
    world.settles(&agent);
}

/// One program on loopback, another on the pod's address: the finding is about the one that others reach.
fn two_programs_on_one_port_number() {
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let start = |name: &str| {
        let link = world.scratch.path(name);
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &link).unwrap();
        Actor::start_as(&link, &world.network.netns("web"))
    };
    let (redis, exporter) = (start("redis-server"), start("exporter"));
    redis.serve("127.0.0.1:6379");
    exporter.serve(&world.v4("web", 6379).to_string());
    world.actor("client").connect_many(world.v4("web", 6379), 2);
    let finding = world.finding(&agent, "web", 6379, |finding| finding.code == "undeclared-active");
    assert_eq!(finding.exposure, "pod");
    let listener = finding.listener.expect("a listener");
    let names = |process: &Process| (process.name.clone(), process.pid);
    assert_eq!(listener.process.as_ref().map(names), Some(("exporter".to_owned(), exporter.pid())));
    let others: Vec<_> = listener.other_processes.iter().map(names).collect();
    assert_eq!(others, [("redis-server".to_owned(), redis.pid())], "both are named");
    world.settles(&agent);
    exporter.kill();
    let left = world.listener(&agent, "web", 6379, |item| {
        item.process.as_ref().is_some_and(|process| process.pid == redis.pid())
    });
    assert_eq!(left.addresses, ["127.0.0.1"]);
    world.finding(&agent, "web", 6379, |finding| finding.exposure == "loopback");
    world.settles(&agent);
}

/// The annotation of a pod moves between two netns, and a process listens in both.
fn a_pod_in_two_netns_by_turns() {
    let mut world = World::new(&["one", "two"]);
    world.pods.clear();
    let moves_to = |role: &str| {
        let netns = world.network.netns(role);
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: tier\n  uid: uid-moving\n  annotations:\n    \
             portolan.dev/netns: {netns}\nspec:\n  containers:\n  - name: main\n    image: registry.example/web:1\n"
        );
        manifest::write_text(&world.metadata(), &text);
    };
    moves_to("one");
    let agent = world.agent();
    let (one, two) = (world.actor("one"), world.actor("two"));
    one.listen("0.0.0.0:7000");
    two.listen("0.0.0.0:7000");
    let is_moving = |pod: Option<&Pod>| pod.is_some_and(|pod| pod.uid == "uid-moving");
    let open_in = |role: &str| {
        let netns = world.network.netns(role);
        eventually(TIMEOUT, &format!("the pod's finding is about {role}"), || {
            let items = agent.findings()?;
            let mine: Vec<_> = items.into_iter().filter(|item| is_moving(item.pod.as_ref())).collect();
            let about = |item: &&Finding| {
                let of = item.listener.as_ref().and_then(|listener| listener.netns.name.as_ref());
                item.state == "open" && of == Some(&netns)
            };
            mine.iter().find(about).map(|item| item.id.clone()).ok_or_else(|| format!("{mine:#?}"))
        })
    };
    let mut ids = BTreeSet::from([open_in("one")]);
    for role in ["two", "one", "two"] {
        moves_to(role);
        ids.insert(open_in(role));
    }
    assert_eq!(ids.len(), 1, "one pod, one port, one finding");
    let resolved = |report: &Report| matches!(report, Report::Finding(item) if ids.contains(&item.id) && item.state == "resolved");
    assert!(!agent.reports().iter().any(resolved), "the finding stays");
    world.settles(&agent);
}

/// What a path leads to may never end, or never begin.
fn a_manifest_that_is_no_file() {
    let world = World::new(&["web"]);
    let fifo = world.scratch.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    let socket = world.scratch.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    for path in [fifo.as_path(), socket.as_path(), "/dev/zero".as_ref()] {
        let agent = Agent::start_unready(path, world.scratch.path("api.sock"), &[], Stdout::Read);
        let name = path.display().to_string();
        eventually(TIMEOUT, &format!("a line about {name}"), || {
            let said = agent.diagnostics();
            let lines = said.lines().filter(|line| line.contains(&name)).count();
            (lines > 0).then_some(()).ok_or(said)
        });
        assert!(agent.stop().success(), "SIGTERM ends the agent with {name}");
    }
}

/// No process is in the netns, and no path leads to it.
fn a_netns_that_only_a_socket_keeps() {
    let mut world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let inode = web.number(&Request::NestNetns);
    let socket = web.listen("0.0.0.0:7000");
    let nested = |agent: &Agent| {
        let items = agent.findings()?;
        let is_there = |item: &Listener| item.netns.inode == inode && item.port == 7000;
        let found = items.into_iter().find(|item| item.listener.as_deref().is_some_and(is_there));
        found.ok_or_else(|| "no finding".to_owned())
    };
    let is_open = |finding: Finding| {
        let state = (finding.code.as_str(), finding.state.as_str());
        if state == ("unattributed", "open") { Ok(()) } else { Err(format!("{finding:#?}")) }
    };
    eventually(TIMEOUT, "the port is unattributed", || nested(&agent).and_then(is_open));
    web.order(&Request::EnterNetns { name: world.network.netns("web") });
    // The agent looks at every netns at least once until it notices that another one has ended.
    for round in 0..2 {
        let role = format!("late{round}");
        let late = world.network.add_bare(&role);
        let actor = Actor::start(&late);
        actor.listen("0.0.0.0:7001");
        world.listener(&agent, &role, 7001, |item| item.state == "open");
        actor.kill();
        world.network.remove(&role);
        eventually(4 * TIMEOUT, "the netns has ended", || {
            let items = agent.listeners()?;
            let left =
                items.iter().any(|item| item.netns.name.as_ref() == Some(&late) && item.state == "open");
            if left { Err("still open".into()) } else { Ok(()) }
        });
    }
    nested(&agent).and_then(is_open).expect("the finding stays as long as the netns");
    socket.close();
    eventually(TIMEOUT, "the listener ends with the socket", || {
        let open =
            agent.listeners()?.into_iter().any(|item| item.netns.inode == inode && item.state == "open");
        if open { Err("still open".into()) } else { Ok(()) }
    });
    world.settles(&agent);
}

/// A socket on all addresses that is bound to the loopback interface.
fn a_port_of_the_loopback_interface() {
    let world = World::new(&["web", "client"]);
    let (web, client) = (world.actor("web"), world.actor("client"));
    let on_loopback = |transport, port: u16| {
        let options = SocketOptions { loopback_only: true, ..SocketOptions::default() };
        let socket = web.open_with(transport, false, options);
        socket.bind(format!("0.0.0.0:{port}").parse().unwrap());
        socket
    };
    on_loopback(Transport::Tcp, 9100).listen(1);
    let agent = world.agent();
    on_loopback(Transport::Tcp, 9101).listen(1);
    on_loopback(Transport::Udp, 9102);
    assert_eq!(client.try_connect(world.v4("web", 9101)), Err(libc::ECONNREFUSED));
    for port in 9100..=9102 {
        world.finding(&agent, "web", port, |finding| finding.code == "undeclared-loopback");
    }
    world.settles(&agent);
}
