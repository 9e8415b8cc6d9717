//! haproxy: on reload a new process takes the listening sockets over from the old one.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use portolan_testing::scratch::Scratch;

use super::lines;
use crate::harness::client::fetch;
use crate::harness::daemon::{Daemon, argument, file, installed};
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

const PORT: u16 = 7000;

/// Starts a process, which takes over from another one.
fn start(world: &World, haproxy: &Path, before: Option<&Daemon>) -> Daemon {
    let directory = Scratch::new("haproxy");
    let path = directory.directory().display();
    let config = format!(
        "global
  stats socket {path}/admin.sock mode 600 level admin expose-fd listeners
  maxconn 200
defaults
  mode http
  timeout client 10s
  timeout connect 10s
  timeout server 10s
frontend web
  bind :{PORT}
  http-request return status 200 content-type text/plain string ok
"
    );
    let config = file(&directory, "haproxy.cfg", &config);
    let mut command = Command::new(haproxy);
    command.args(["-db", "-f", &config]);
    if let Some(before) = before {
        command.args(["-x", &argument(&before.path("admin.sock")), "-sf", &before.pid().to_string()]);
    }
    let daemon = Daemon::start(&world.network.netns("web"), directory, &command);
    daemon.wait_listens("TCP", PORT);
    daemon
}

pub fn hands_its_sockets_over() {
    const TIMES: u32 = 600;
    let Some([haproxy]) = installed(["haproxy"]) else { return };
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let first = start(&world, &haproxy, None);
    let before = world.listener(&agent, "web", PORT, |item| item.process.is_some());
    assert_eq!(before.process.map(|process| process.pid), Some(first.pid()));
    let done = AtomicU32::new(0);
    let second = std::thread::scope(|scope| {
        scope.spawn(|| {
            let count = |pages| done.store(pages, Ordering::Relaxed);
            fetch(&world.network.netns("client"), world.v4("web", PORT), TIMES, count);
        });
        eventually(3 * TIMEOUT, "a part of the load", || {
            let pages = done.load(Ordering::Relaxed);
            (pages >= TIMES / 4).then_some(()).ok_or_else(|| format!("{pages}"))
        });
        start(&world, &haproxy, Some(&first))
    });
    assert!(first.wait_end().code().is_some(), "{}", first.log());
    let seen = world.listener(&agent, "web", PORT, |item| {
        item.traffic.connections >= u64::from(TIMES)
            && item.process.as_ref().is_some_and(|process| process.pid == second.pid())
    });
    assert_eq!((seen.traffic.connections, seen.traffic.attempts), (u64::from(TIMES), u64::from(TIMES)));
    assert_eq!(seen.process.map(|process| process.name).as_deref(), Some("haproxy"));
    let lines = lines(&world, &agent, "web", PORT);
    assert!(lines.iter().all(|line| line.state == "open"), "the port never closed: {lines:#?}");
    world.settles(&agent);
}
