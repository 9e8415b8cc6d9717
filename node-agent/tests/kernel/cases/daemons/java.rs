//! Java: each thread has a name, which the kernel knows as the name of the task that listens.

use std::process::Command;

use portolan_testing::scratch::Scratch;

use super::lines;
use crate::harness::client::fetch;
use crate::harness::daemon::{Daemon, file, installed};
use crate::harness::world::World;

const PORT: u16 = 7000;

pub fn thread_with_a_name_of_its_own() {
    const TIMES: u32 = 20;
    // The program of one file is compiled when it starts.
    let Some([java, _]) = installed(["java", "javac"]) else { return };
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let directory = Scratch::new("java");
    let source = file(&directory, "Server.java", include_str!("Server.java"));
    let mut command = Command::new(java);
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx96m", &source, &PORT.to_string()]);
    let java = Daemon::start(&world.network.netns("web"), directory, &command);
    java.wait_listens("TCP", PORT);
    fetch(&world.network.netns("client"), world.v4("web", PORT), TIMES, |_| ());

    let finding = world.finding(&agent, "web", PORT, |finding| {
        finding.code == "undeclared-active" && finding.traffic.connections >= u64::from(TIMES)
    });
    assert_eq!(finding.traffic.connections, u64::from(TIMES));
    let lines = lines(&world, &agent, "web", PORT);
    let process = lines.first().and_then(|line| line.process.clone()).expect("a process in the first line");
    assert_eq!((process.name.as_str(), process.pid), ("java", java.pid()));
    assert!(process.executable.is_some_and(|path| path.ends_with("/bin/java")));
    world.settles(&agent);
}
