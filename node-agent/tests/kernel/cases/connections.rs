//! What counts as a connection, and what only as an attempt.

use libtest_mimic::Trial;
use portolan_report::wire::{Connection, Report};

use super::case;
use crate::actor::protocol::{Payload, Request, Transport};
use crate::harness::actor::{Actor, Socket};
use crate::harness::agent::{Agent, Stdout};
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("connections/accepted", accepted),
        case("connections/waiting_in_the_queue", waiting_in_the_queue),
        case("connections/refused", refused),
        case("connections/queue_full", queue_full),
        case("connections/syn_without_an_end", syn_without_an_end),
        case("connections/client_port_lower_and_higher", client_port_lower_and_higher),
        case("connections/ten_thousand_short_ones", ten_thousand_short_ones),
        case("connections/ipv4_to_a_dual_stack_listener", ipv4_to_a_dual_stack_listener),
        case("connections/to_a_listener_older_than_the_agent", to_a_listener_older_than_the_agent),
        case("connections/record_of_each_on_undeclared_ports", record_of_each_on_undeclared_ports),
        case("connections/bytes_in_every_order_of_closing", bytes_in_every_order_of_closing),
        case("connections/one_that_outlives_its_listener", one_that_outlives_its_listener),
        case("connections/a_short_one_is_one_line", a_short_one_is_one_line),
        case(
            "connections/lines_above_the_cap_leave_the_log_to_the_findings",
            lines_above_the_cap_leave_the_log_to_the_findings,
        ),
        case("connections/records_above_the_cap_are_a_loss", records_above_the_cap_are_a_loss),
    ]
}

fn accepted() {
    let world = World::new(&["web:8080", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:8080");
    client.connect_many(world.v4("web", 8080), 3);
    let seen = world.listener(&agent, "web", 8080, |item| item.traffic.connections == 3);
    assert_eq!(seen.traffic.attempts, 3);
    let peer = &seen.traffic.peers[0];
    assert_eq!((peer.address.as_str(), peer.connections), (world.address("client").to_string().as_str(), 3));
    world.settles(&agent);
}

fn waiting_in_the_queue() {
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.listen("0.0.0.0:7000");
    client.connect(world.v4("web", 7000));
    // accept() is never called, yet a peer has reached the port.
    world.listener(&agent, "web", 7000, |item| item.traffic.connections == 1);
    world.finding(&agent, "web", 7000, |finding| finding.code == "undeclared-active");
    world.settles(&agent);
}

fn refused() {
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    assert_eq!(client.try_connect(world.v4("web", 7001)), Err(libc::ECONNREFUSED));
    client.connect_many(world.v4("web", 7000), 1);
    world.listener(&agent, "web", 7000, |item| item.traffic.connections == 1);
    let netns = world.network.netns("web");
    let closed = agent.reports().into_iter().any(
        |report| matches!(report, Report::Listener(item) if item.port == 7001 && item.netns.name.as_ref() == Some(&netns)),
    );
    assert!(!closed, "a closed port makes no record");
    world.settles(&agent);
}

fn queue_full() {
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    let socket = web.open(Transport::Tcp, false);
    socket.bind("0.0.0.0:7000".parse().unwrap());
    socket.listen(0);
    let waiting: Vec<_> = (0..6).map(|_| client.open(Transport::Tcp, false)).collect();
    waiting.iter().for_each(|peer| peer.start_connect(world.v4("web", 7000)));
    // One connection fits the queue; the others stay attempts while nobody accepts.
    let seen = world.listener(&agent, "web", 7000, |item| item.traffic.attempts >= 6);
    assert!((1..=2).contains(&seen.traffic.connections), "{:?}", seen.traffic);
    world.settles(&agent);
}

fn syn_without_an_end() {
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.listen("0.0.0.0:7000");
    world.listener(&agent, "web", 7000, |_| true);
    for port in 2000..2005 {
        client.order(&Request::SendRaw {
            from: format!("192.0.2.77:{port}").parse().unwrap(),
            to: world.v4("web", 7000),
            payload: Payload::Syn,
        });
    }
    let seen = world.listener(&agent, "web", 7000, |item| item.traffic.attempts == 5);
    assert_eq!(seen.traffic.connections, 0);
    assert!(seen.traffic.peers.iter().all(|peer| peer.connections == 0), "{:?}", seen.traffic.peers);
    let finding = world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    assert_eq!(finding.code, "undeclared-reachable", "a SYN that came to nothing is no traffic");
    world.settles(&agent);
}

fn client_port_lower_and_higher() {
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    for port in [900, 60_000] {
        let peer = client.open(Transport::Tcp, false);
        peer.bind(world.v4("client", port));
        peer.connect(world.v4("web", 7000));
    }
    let seen = world.listener(&agent, "web", 7000, |item| item.traffic.connections == 2);
    assert_eq!(seen.traffic.peers.len(), 1);
    world.settles(&agent);
}

fn ten_thousand_short_ones() {
    const TIMES: u32 = 10_000;
    let world = World::new(&["web:8080", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:8080");
    client.connect_many(world.v4("web", 8080), TIMES);
    let seen = world.listener(&agent, "web", 8080, |item| item.traffic.connections >= u64::from(TIMES));
    assert_eq!(seen.traffic.connections, u64::from(TIMES));
    assert_eq!(seen.traffic.peers[0].connections, u64::from(TIMES));
    world.settles(&agent);
}

fn ipv4_to_a_dual_stack_listener() {
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("[::]:7000");
    client.connect_many(world.v4("web", 7000), 2);
    client.connect_many(world.v6("web", 7000), 3);
    let seen = world.listener(&agent, "web", 7000, |item| item.traffic.connections == 5);
    let mut peers: Vec<_> =
        seen.traffic.peers.iter().map(|peer| (peer.address.clone(), peer.connections)).collect();
    peers.sort();
    let (v4, v6) = (world.address("client").to_string(), world.network.v6("client").to_string());
    assert_eq!(peers, [(v4, 2), (v6, 3)]);
    world.settles(&agent);
}

fn to_a_listener_older_than_the_agent() {
    let world = World::new(&["web", "client"]);
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    let agent = world.agent();
    client.connect_many(world.v4("web", 7000), 4);
    world.listener(&agent, "web", 7000, |item| item.traffic.connections == 4);
    world.settles(&agent);
}

fn record_of_each_on_undeclared_ports() {
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    let socket = web.listen("0.0.0.0:7000");
    let finding = world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    let peer = client.connect(world.v4("web", 7000));
    let served = socket.accept();
    peer.write(5000);
    web.order(&Request::Read { socket: served.name(), length: 5000 });
    served.write(70);
    client.order(&Request::Read { socket: peer.name(), length: 70 });
    peer.close();
    served.close();
    let record = agent.wait_report("the connection's end", |report| match report {
        Report::Connection(item) if item.id == finding.id && item.closed_at.is_some() => Some(item.clone()),
        _ => None,
    });
    assert_eq!((record.bytes_in, record.bytes_out), (5000, 70));
    assert_eq!(record.remote.address, world.address("client").to_string());
    assert_eq!(record.local.port, 7000);
    world.finding(&agent, "web", 7000, |finding| finding.traffic.connections == 1);
    let listed = agent.connections().expect("GET /v1/connections");
    let mine: Vec<_> = listed.iter().filter(|item| item.id == finding.id).collect();
    assert!(matches!(mine.as_slice(), [one] if one.closed_at.is_some()), "{mine:?}");
    world.settles(&agent);
}

/// Waits for the line about the end of a connection from this port.
fn end_of(agent: &Agent, client_port: u16) -> Connection {
    agent.wait_report("the connection's end", |report| match report {
        Report::Connection(item) if item.remote.port == client_port && item.closed_at.is_some() => {
            Some(item.clone())
        }
        _ => None,
    })
}

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    ClientFirst,
    ServerFirst,
    /// The client closes its sending side; the server answers and closes.
    ClientHalf,
    /// The server closes its sending side; the client sends more and closes.
    ServerHalf,
    /// The server closes, and the client never does.
    ServerOnly,
    ClientReset,
    ServerReset,
    AtOnce,
    /// The server closes before it reads everything, which resets the connection.
    Unread,
}

const SENT: usize = 5000;
const ANSWER: usize = 70;

/// A connection over which the client sent `SENT` bytes, which the server read.
struct Talk<'a> {
    web: &'a Actor,
    client: &'a Actor,
    peer: Socket<'a>,
    served: Socket<'a>,
}

impl Talk<'_> {
    fn answer(&self) {
        self.served.write(ANSWER);
        self.client.order(&Request::Read { socket: self.peer.name(), length: ANSWER });
    }

    fn end(&self, ending: Ending) {
        let Self { web, client, peer, served } = self;
        match ending {
            Ending::ClientFirst => {
                peer.close();
                served.close();
            }
            Ending::ServerFirst => {
                served.close();
                peer.close();
            }
            Ending::ClientHalf => {
                client.order(&Request::ShutdownWrite { socket: peer.name() });
                self.answer();
                served.close();
                peer.close();
            }
            Ending::ServerHalf => {
                web.order(&Request::ShutdownWrite { socket: served.name() });
                peer.write(SENT);
                web.order(&Request::Read { socket: served.name(), length: SENT });
                peer.close();
                served.close();
            }
            Ending::ServerOnly => served.close(),
            Ending::ClientReset => drop(client.order(&Request::Reset { socket: peer.name() })),
            Ending::ServerReset => drop(web.order(&Request::Reset { socket: served.name() })),
            Ending::AtOnce => {
                web.post(&Request::Close { socket: served.name() });
                peer.close();
                web.reply().expect("closed");
            }
            Ending::Unread => {
                peer.write(SENT);
                client.order(&Request::AwaitSent { socket: peer.name() });
                served.close();
            }
        }
    }
}

/// The kernel counts each FIN as a byte, in the one order and not in the other.
fn bytes_in_every_order_of_closing() {
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    let listener = web.listen("0.0.0.0:7000");
    world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    for (ending, received, sent) in [
        (Ending::ClientFirst, SENT, ANSWER),
        (Ending::ServerFirst, SENT, ANSWER),
        (Ending::ClientHalf, SENT, ANSWER),
        (Ending::ServerHalf, 2 * SENT, ANSWER),
        (Ending::ServerOnly, SENT, ANSWER),
        (Ending::ClientReset, SENT, 0),
        (Ending::ServerReset, SENT, 0),
        (Ending::AtOnce, SENT, ANSWER),
        (Ending::Unread, 2 * SENT, 0),
    ] {
        let peer = client.connect(world.v4("web", 7000));
        let client_port = peer.local().port();
        let talk = Talk { web: &web, client: &client, peer, served: listener.accept() };
        peer.write(SENT);
        web.order(&Request::Read { socket: talk.served.name(), length: SENT });
        if sent > 0 && !matches!(ending, Ending::ClientHalf) {
            talk.answer();
        }
        talk.end(ending);
        let record = end_of(&agent, client_port);
        let counted = (record.bytes_in, record.bytes_out);
        assert_eq!(counted, (received as u64, sent as u64), "{ending:?}");
    }
    world.settles(&agent);
}

fn one_that_outlives_its_listener() {
    const LENGTH: usize = 1 << 20;
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let (web, client) = (world.actor("web"), world.actor("client"));
    let listener = web.listen("0.0.0.0:7000");
    world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    let peer = client.connect(world.v4("web", 7000));
    let client_port = peer.local().port();
    let served = listener.accept();
    agent.wait_report("the connection", |report| match report {
        Report::Connection(item) if item.remote.port == client_port => Some(()),
        _ => None,
    });
    listener.close();
    agent.wait_report("the end of the listener", |report| match report {
        Report::Listener(item) if item.port == 7000 && item.state == "closed" => Some(()),
        _ => None,
    });
    web.post(&Request::Read { socket: served.name(), length: LENGTH });
    peer.write(LENGTH);
    web.reply().expect("read to the end");
    peer.close();
    served.close();
    let record = end_of(&agent, client_port);
    assert_eq!((record.bytes_in, record.bytes_out), (LENGTH as u64, 0));
    let ends = agent.reports().into_iter().filter(
        |report| matches!(report, Report::Connection(item) if item.remote.port == client_port && item.closed_at.is_some()),
    );
    assert_eq!(ends.count(), 1);
    world.settles(&agent);
}

fn a_short_one_is_one_line() {
    const TIMES: u32 = 300;
    let world = World::new(&["web", "client"]);
    let every = ["--max-connection-lines", "100000", "--max-records-per-second", "100000"];
    let agent = world.agent_with(&every, Stdout::Read);
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    client.connect_many(world.v4("web", 7000), TIMES);
    let mut ended = std::collections::BTreeSet::new();
    agent.wait_report("the end of every connection", |report| match report {
        Report::Connection(item) if item.closed_at.is_some() => {
            ended.insert((item.remote.port, item.opened_at.clone()));
            (ended.len() == TIMES as usize).then_some(())
        }
        _ => None,
    });
    let lines = agent.reports().iter().filter(|report| matches!(report, Report::Connection(_))).count();
    // On a machine that pauses for a moment one line may become two.
    assert!(lines <= TIMES as usize * 11 / 10, "{lines} lines for {TIMES} connections");
    world.settles(&agent);
}

fn lines_above_the_cap_leave_the_log_to_the_findings() {
    const TIMES: u32 = 600;
    let world = World::new(&["web", "client"]);
    let agent =
        world.agent_with(&["--repeat-findings", "1s", "--max-records-per-second", "10000"], Stdout::Read);
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    let finding = world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    client.connect_many(world.v4("web", 7000), TIMES);
    world.finding(&agent, "web", 7000, |finding| finding.traffic.connections == u64::from(TIMES));
    eventually(TIMEOUT, "every connection is an object, and has a line or is counted as one without", || {
        let listed = agent.connections()?.iter().filter(|item| item.id == finding.id).count();
        let without = agent.status().lost.get("connection-lines-limited").copied().unwrap_or(0);
        if listed == TIMES as usize && without > 0 {
            return Ok(());
        }
        Err(format!("{listed} listed, {without} without a line"))
    });
    let lines = agent.reports().iter().filter(|report| matches!(report, Report::Connection(_))).count();
    // A slow machine needs some seconds for them, each with ten lines, and their ends.
    assert!(lines < TIMES as usize / 3, "{lines} lines for {TIMES} connections");
    let mut told = 0;
    agent.wait_report("the finding is told again", |report| {
        let is_same = |one: &portolan_report::wire::Finding| {
            one.id == finding.id
                && one.code == "undeclared-active"
                && one.traffic.connections == u64::from(TIMES)
        };
        told += u32::from(matches!(report, Report::Finding(one) if is_same(one)));
        (told > 1).then_some(())
    });
    world.settles(&agent);
}

fn records_above_the_cap_are_a_loss() {
    const TIMES: u32 = 2000;
    let world = World::new(&["web", "client"]);
    let agent = world.agent_with(&["--max-records-per-second", "10"], Stdout::Read);
    let (web, client) = (world.actor("web"), world.actor("client"));
    web.serve("0.0.0.0:7000");
    let finding = world.finding(&agent, "web", 7000, |finding| finding.state == "open");
    client.connect_many(world.v4("web", 7000), TIMES);
    let seen = world.listener(&agent, "web", 7000, |item| item.traffic.connections >= u64::from(TIMES));
    assert_eq!(seen.traffic.connections, u64::from(TIMES), "the count is exact all the same");
    assert_eq!(seen.traffic.peers[0].connections, u64::from(TIMES));
    eventually(TIMEOUT, "every connection is either listed or counted as lost", || {
        let lost = agent.status().lost.get("connection-records-limited").copied().unwrap_or(0);
        let listed = agent.connections()?.iter().filter(|item| item.id == finding.id).count() as u64;
        // The loss counts the ports of other cases, too.
        if listed < u64::from(TIMES) / 2 && lost + listed >= u64::from(TIMES) {
            return Ok(());
        }
        Err(format!("{lost} lost, {listed} listed"))
    });
    agent.wait_report("the loss is reported", |report| match report {
        Report::Loss(loss) if loss.reason == "connection-records-limited" => Some(()),
        _ => None,
    });
    world.settles(&agent);
}
