//! Which sockets count as listeners, and with which addresses.

use libtest_mimic::Trial;
use portolan_report::wire::Listener;

use super::case;
use crate::actor::protocol::{Request, SocketOptions, Transport};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("listening/opened_before_the_agent", opened_before_the_agent),
        case("listening/opened_after_the_agent", opened_after_the_agent),
        case("listening/listen_without_bind", listen_without_bind),
        case("listening/bind_without_listen", bind_without_listen),
        case("listening/bind_to_port_zero", bind_to_port_zero),
        case("listening/reuse_port_group_of_many", reuse_port_group_of_many),
        case("listening/dual_stack_v6_only_and_ipv6_only", dual_stack_v6_only_and_ipv6_only),
        case("listening/loopback_all_of_it", loopback_all_of_it),
        case("listening/one_address_of_several_interfaces", one_address_of_several_interfaces),
        case("listening/ipv4_mapped_address", ipv4_mapped_address),
        case("listening/io_uring", io_uring),
        case("listening/mptcp", mptcp),
        case("listening/same_port_on_two_addresses", same_port_on_two_addresses),
        case("listening/bind_that_fails", bind_that_fails),
    ]
}

fn sockets(count: usize) -> impl Fn(&Listener) -> bool {
    move |item| item.sockets == count
}

fn opened_before_the_agent() {
    let world = World::new(&["web:8080"]);
    let web = world.actor("web");
    web.listen("0.0.0.0:8080");
    web.listen("[::]:9090");
    web.udp("0.0.0.0:53");
    let agent = world.agent();
    world.settles(&agent);
    let old = world.listener(&agent, "web", 9090, sockets(1));
    assert_eq!(old.opened_at, None, "older than the agent");
    assert_eq!(old.declaration.status, "undeclared");
    assert_eq!(old.process.expect("found by its descriptor").pid, web.pid());
    assert_eq!(world.listener(&agent, "web", 8080, sockets(1)).declaration.status, "declared");
}

fn opened_after_the_agent() {
    let world = World::new(&["web:8080"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.listen("0.0.0.0:8080");
    let seen = world.listener(&agent, "web", 8080, sockets(1));
    assert!(seen.opened_at.is_some());
    assert_eq!(seen.protocol, "TCP");
    assert_eq!(seen.addresses, ["0.0.0.0"]);
    assert_eq!(seen.pod.expect("attributed").name, "web");
    assert_eq!(seen.process.expect("known from the bind").pid, web.pid());
    world.settles(&agent);
}

fn listen_without_bind() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let socket = web.open(Transport::Tcp, false);
    socket.listen(5);
    world.listener(&agent, "web", socket.local().port(), sockets(1));
    let sixth = web.open(Transport::Tcp, true);
    sixth.listen(5);
    world.listener(&agent, "web", sixth.local().port(), sockets(1));
    world.settles(&agent);
}

fn bind_without_listen() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.open(Transport::Tcp, false).bind("0.0.0.0:7000".parse().unwrap());
    web.listen("0.0.0.0:7001");
    world.listener(&agent, "web", 7001, sockets(1));
    world.settles(&agent);
}

fn bind_to_port_zero() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let port = web.listen("0.0.0.0:0").local().port();
    assert_eq!(world.listener(&agent, "web", port, sockets(1)).addresses, ["0.0.0.0"]);
    world.settles(&agent);
}

fn reuse_port_group_of_many() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let options = SocketOptions { reuse_port: true, ..SocketOptions::default() };
    let group: Vec<_> = (0..24).map(|_| web.listen_with("0.0.0.0:7000", options)).collect();
    world.listener(&agent, "web", 7000, sockets(24));
    group[..20].iter().for_each(|socket| socket.close());
    assert_eq!(world.listener(&agent, "web", 7000, sockets(4)).state, "open");
    world.settles(&agent);
    group[20..].iter().for_each(|socket| socket.close());
    world.settles(&agent);
}

fn dual_stack_v6_only_and_ipv6_only() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let v6_only = SocketOptions { v6_only: true, ..SocketOptions::default() };
    web.listen("[::]:7000");
    web.listen_with("[::]:7001", v6_only);
    web.listen(&world.v6("web", 7002).to_string());
    web.listen_with("[::]:7003", v6_only);
    web.listen("0.0.0.0:7003");
    world.settles(&agent);
    assert!(!world.listener(&agent, "web", 7000, sockets(1)).v6_only);
    assert!(world.listener(&agent, "web", 7001, sockets(1)).v6_only);
    assert_eq!(world.listener(&agent, "web", 7003, sockets(2)).addresses.len(), 2);
}

fn loopback_all_of_it() {
    let world = World::new(&["web"]);
    world.network.ip("web", "address add 192.0.2.9/32 dev lo\n");
    let agent = world.agent();
    let web = world.actor("web");
    for (address, port) in
        [("127.0.0.1", 7000), ("127.0.0.2", 7001), ("127.255.255.254", 7002), ("[::1]", 7003)]
    {
        web.listen(&format!("{address}:{port}"));
        let finding = world.finding(&agent, "web", port, |finding| finding.state == "open");
        assert_eq!(
            (finding.code.as_str(), finding.severity.as_str()),
            ("undeclared-loopback", "info"),
            "{address}"
        );
        assert_eq!(finding.exposure, "loopback");
    }
    // An address on lo outside 127/8 is reachable by a route: not loopback.
    web.listen("192.0.2.9:7004");
    let alias = world.finding(&agent, "web", 7004, |finding| finding.state == "open");
    assert_eq!(alias.code, "undeclared-reachable");
    world.settles(&agent);
}

fn one_address_of_several_interfaces() {
    let world = World::new(&["web"]);
    world.network.ip(
        "web",
        "link add eth1 type veth peer name eth2\naddress add 198.51.100.7/24 dev eth1\nlink set eth2 up\nlink set eth1 up\n",
    );
    let agent = world.agent();
    let web = world.actor("web");
    web.listen("198.51.100.7:7000");
    assert_eq!(world.listener(&agent, "web", 7000, sockets(1)).addresses, ["198.51.100.7"]);
    world.settles(&agent);
}

fn ipv4_mapped_address() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.listen("[::ffff:127.0.0.1]:7000");
    assert_eq!(world.listener(&agent, "web", 7000, sockets(1)).addresses, ["127.0.0.1"]);
    world.settles(&agent);
}

fn io_uring() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let socket = web.open(Transport::Tcp, false);
    let request = Request::RingListen { socket: socket.name(), address: "0.0.0.0:7000".parse().unwrap() };
    match web.attempt(&request) {
        Err(libc::EINVAL | libc::ENOSYS | libc::EPERM) => {
            return println!("skipped: no io_uring bind and listen here");
        }
        other => other.expect("bound and listening"),
    };
    world.listener(&agent, "web", 7000, sockets(1));
    world.settles(&agent);
    socket.close();
    world.settles(&agent);
}

fn mptcp() {
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    let socket = web.open(Transport::Mptcp, false);
    socket.bind("0.0.0.0:7000".parse().unwrap());
    socket.listen(16);
    world.listener(&agent, "web", 7000, sockets(1));
    let peer = client.open(Transport::Mptcp, false);
    peer.connect(world.v4("web", 7000));
    socket.accept().close();
    peer.close();
    // The end of an accepted MPTCP socket is not the end of its listener.
    world.listener(&agent, "web", 7000, |item| item.traffic.connections == 1);
    world.settles(&agent);
    socket.close();
    world.settles(&agent);
    assert!(world.kernel().is_empty());
}

fn same_port_on_two_addresses() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let first = web.listen("127.0.0.1:7000");
    web.listen(&world.v4("web", 7000).to_string());
    assert_eq!(world.listener(&agent, "web", 7000, sockets(2)).addresses.len(), 2);
    first.close();
    let left = world.listener(&agent, "web", 7000, sockets(1));
    assert_eq!(left.addresses, [world.address("web").to_string()]);
    world.settles(&agent);
}

fn bind_that_fails() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    let second = web.open(Transport::Tcp, false);
    let request = Request::Bind { socket: second.name(), address: "0.0.0.0:7000".parse().unwrap() };
    assert_eq!(web.attempt(&request), Err(libc::EADDRINUSE));
    world.listener(&agent, "web", 7000, sockets(1));
    world.settles(&agent);
}
