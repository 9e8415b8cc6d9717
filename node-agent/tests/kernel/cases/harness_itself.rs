//! Tests the harness against the kernel, without the agent: actors do what is requested, and the oracle lists it.

use libtest_mimic::Trial;

use super::case;
use crate::actor::protocol::{Payload, Request, SocketOptions, Transport};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("harness/the_oracle_sees_what_the_actors_do", the_oracle_sees_what_the_actors_do),
        case("harness/actors_do_the_odd_things_too", actors_do_the_odd_things_too),
    ]
}

fn actors_do_the_odd_things_too() {
    let mut world = World::new(&["web", "client", "outside"]);
    let (web, client, outside) = (world.actor("web"), world.actor("client"), world.actor("outside"));
    let datagrams = web.udp("[::]:53");
    let options = SocketOptions { destination_options: true, ..SocketOptions::default() };
    client.open_with(Transport::Udp, true, options).send_to(world.v6("web", 53), 100, 2);
    datagrams.receive(2);
    let sender = outside.open(Transport::Udp, false);
    let to = world.v4("web", 53);
    assert_eq!(outside.number(&Request::SendMany { socket: sender.name(), to, length: 100, times: 5 }), 5);
    datagrams.receive(5);
    let (from, to) = ("192.0.2.77:1".parse().unwrap(), world.v4("web", 53));
    client.order(&Request::SendRaw { from, to, payload: Payload::Syn });
    assert_eq!(outside.try_connect(world.v4("web", 54)), Err(libc::ECONNREFUSED));

    let socket = web.listen("0.0.0.0:7000");
    let path = world.scratch.path("rights.sock");
    let taken = client.fresh();
    client.post(&Request::Take { path: path.clone(), socket: taken });
    web.order(&Request::Give { path, socket: socket.name() });
    client.reply().expect("taken");
    web.kill();
    assert_eq!(world.kernel().len(), 1, "the taker still listens in the giver's netns");

    let late = world.network.add_bare("late");
    let actor = world.actor("client");
    let socket = actor.open(Transport::Tcp, false);
    actor.order(&Request::EnterNetns { name: late });
    socket.listen(5);
    assert!(actor.number(&Request::Inherit) > 0);
    actor.number(&Request::NestNetns);
    assert_eq!(world.kernel().len(), 2);
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
