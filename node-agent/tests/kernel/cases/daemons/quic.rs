//! QUIC: the server's port is a server's whatever its number, and the client's is none although it is bound.

use std::process::Command;

use portolan_testing::scratch::Scratch;
use portolan_testing::tools;
use rustix::process::Signal;

use crate::harness::daemon::{Daemon, file, python};
use crate::harness::world::World;

const SCRIPT: &str = include_str!("quic.py");
/// Bytes of the client's stream: hundreds of datagrams.
const LENGTH: &str = "500000";

fn start(netns: &str, role: &str, arguments: &[&str]) -> Option<Daemon> {
    let python = python()?;
    let Some(library) = tools::python_package("aioquic") else {
        println!("skipped: no aioquic; run `cargo xtask setup --tests`");
        return None;
    };
    let directory = Scratch::new(role);
    let mut command = Command::new(python);
    command.env("PYTHONPATH", library).arg("-B").arg(file(&directory, "quic.py", SCRIPT));
    command.arg(role).args(arguments);
    Some(Daemon::start(netns, directory, &command))
}

pub fn server_with_one_caller() {
    one_caller(4433);
}

pub fn server_in_the_ephemeral_range() {
    one_caller(51_820);
}

fn one_caller(port: u16) {
    let world = World::new(&["quic", "client"]);
    let number = port.to_string();
    let Some(server) = start(&world.network.netns("quic"), "server", &[&number, "."]) else { return };
    let agent = world.agent_that_knows_who_asks();
    server.wait_listens("UDP", port);
    let address = world.address("quic").to_string();
    let client = start(&world.network.netns("client"), "client", &[&address, &number, LENGTH]);
    let client = client.expect("as the server");
    client.wait_says("exchanged");

    let finding = world.finding(&agent, "quic", port, |finding| finding.code == "undeclared-active");
    assert_eq!((finding.protocol.as_deref(), finding.severity.as_str()), (Some("UDP"), "high"));
    let callers: Vec<_> = finding.traffic.peers.iter().map(|peer| peer.reference.as_deref()).collect();
    assert_eq!(callers, [Some("tier/client")]);
    let process = finding.listener.and_then(|listener| listener.process);
    assert_eq!(process.map(|process| process.pid), Some(server.pid()));
    world.nothing_but(&agent, "client", &[]);

    client.signal(Signal::TERM);
    assert!(client.wait_end().success(), "{}", client.log());
    let said = client.log();
    let mut sent = said.lines().find_map(|line| line.strip_prefix("sent ")).expect("counts").split(' ');
    let mut number = || sent.next().and_then(|text| text.parse::<u64>().ok()).expect("a number");
    let (datagrams, bytes) = (number(), number());
    let seen = world.listener(&agent, "quic", port, |item| item.traffic.packets >= datagrams);
    assert_eq!((seen.traffic.packets, seen.traffic.bytes), (datagrams, bytes));
    world.nothing_but(&agent, "client", &[]);
    world.nothing_but(&agent, "quic", &[("UDP", port)]);
    world.settles(&agent);
}
