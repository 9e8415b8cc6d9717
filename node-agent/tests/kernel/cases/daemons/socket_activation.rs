//! systemd-socket-activate: listens, and becomes the server at the first connection.

use std::process::Command;

use portolan_testing::scratch::Scratch;

use super::lines;
use crate::harness::client::fetch;
use crate::harness::daemon::{Daemon, argument, file, installed, python};
use crate::harness::world::World;

const PORT: u16 = 7000;

pub fn holder_changes_with_the_exec() {
    const TIMES: u32 = 5;
    let Some([activate]) = installed(["systemd-socket-activate"]) else { return };
    let Some(python) = python() else { return };
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let directory = Scratch::new("activated");
    let script = file(&directory, "activated.py", include_str!("activated.py"));
    let mut command = Command::new(activate);
    command.arg("-l").arg(PORT.to_string()).arg(&python).args(["-B", &script]);
    let server = Daemon::start(&world.network.netns("web"), directory, &command);
    server.wait_listens("TCP", PORT);
    let executable = |item: &portolan_report::wire::Listener| {
        item.process.as_ref().and_then(|process| process.executable.clone()).unwrap_or_default()
    };
    let before = world.listener(&agent, "web", PORT, |item| item.process.is_some());
    assert!(executable(&before).ends_with("/systemd-socket-activate"), "{before:#?}");
    world.finding(&agent, "web", PORT, |finding| finding.state == "open");

    fetch(&world.network.netns("client"), world.v4("web", PORT), TIMES, |_| ());
    let after = world.listener(&agent, "web", PORT, |item| {
        item.traffic.connections >= u64::from(TIMES) && executable(item) == argument(&python)
    });
    assert_eq!(after.traffic.connections, u64::from(TIMES));
    let process = after.process.expect("a process");
    assert_eq!(process.pid, server.pid(), "the process is the same");
    assert!(process.name.starts_with("python"), "{}", process.name);
    let lines = lines(&world, &agent, "web", PORT);
    assert!(lines.iter().all(|line| line.state == "open"), "the port never closed: {lines:#?}");
    world.settles(&agent);
}
