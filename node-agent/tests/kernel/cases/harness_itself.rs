//! The harness against the kernel, without the agent: actors do what they say, and the oracle sees it.

use libtest_mimic::Trial;

use super::case;
use crate::actor::protocol::{SocketOptions, Transport};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![case("harness/the_oracle_sees_what_the_actors_do", the_oracle_sees_what_the_actors_do)]
}

fn the_oracle_sees_what_the_actors_do() {
    let world = World::new(&["web:8080", "client"]);
    let (web, client) = (world.actor("web"), world.actor("client"));
    let served = web.serve("[::]:8080");
    web.listen_with("[::1]:81", SocketOptions { v6_only: true, ..SocketOptions::default() });
    for _ in 0..3 {
        web.listen_with("0.0.0.0:82", SocketOptions { reuse_port: true, ..SocketOptions::default() });
    }
    let datagrams = web.udp("0.0.0.0:53");
    web.open(Transport::Mptcp, false).listen(5);
    client.connect_many(world.v4("web", 8080), 10);
    client.connect(world.v6("web", 8080)).write(1000);
    client.open(Transport::Udp, false).send_to(world.v4("web", 53), 3000, 2);
    datagrams.receive(2);

    let kernel = world.kernel();
    let of = |protocol: &str, port: u16| &kernel[&(world.network.netns("web"), protocol.to_owned(), port)];
    assert_eq!(kernel.len(), 5, "{kernel:#?}");
    assert_eq!(of("TCP", 82).sockets, 3);
    assert!(of("TCP", 81).v6_only && !of("TCP", 8080).v6_only);
    assert_eq!(of("UDP", 53).addresses.iter().next().map(ToString::to_string).as_deref(), Some("0.0.0.0"));

    served.close();
    web.kill();
    assert!(world.kernel().is_empty());
}
