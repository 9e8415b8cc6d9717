//! nginx: a master that keeps the socket, and workers that come and go.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use portolan_report::wire::Report;
use portolan_testing::scratch::Scratch;
use rustix::process::Signal;

use super::lines;
use crate::harness::client::{connect, fetch, request};
use crate::harness::daemon::{Daemon, file, installed};
use crate::harness::oracle;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

const PORT: u16 = 7000;
/// Bytes of the long answer. Far more than the socket buffers of both sides hold.
const LONG: usize = 6 << 20;

fn start(world: &World, nginx: &Path) -> Daemon {
    let directory = Scratch::new("nginx");
    let path = directory.directory().display();
    let config = format!(
        "daemon off;
worker_processes 2;
pid {path}/pid;
error_log stderr notice;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {path}/body;
  proxy_temp_path {path}/proxy;
  fastcgi_temp_path {path}/fastcgi;
  uwsgi_temp_path {path}/uwsgi;
  scgi_temp_path {path}/scgi;
  server {{
    listen {PORT} sndbuf=64k;
    root {path};
    location = / {{ return 200 ok; }}
  }}
}}
"
    );
    let config = file(&directory, "nginx.conf", &config);
    let _ = directory.write("long", &"x".repeat(LONG));
    let mut command = Command::new(nginx);
    // Until it has read its configuration it would write to the log of the machine.
    command.args(["-e", "stderr", "-c", &config]);
    let daemon = Daemon::start(&world.network.netns("web"), directory, &command);
    daemon.wait_listens("TCP", PORT);
    daemon
}

pub fn reload() {
    const TIMES: u32 = 600;
    let Some([nginx]) = installed(["nginx"]) else { return };
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let nginx = start(&world, &nginx);
    world.finding(&agent, "web", PORT, |finding| finding.state == "open");
    let done = AtomicU32::new(0);
    let wait_done = |times: u32| {
        eventually(3 * TIMEOUT, &format!("{times} pages"), || {
            let pages = done.load(Ordering::Relaxed);
            (pages >= times).then_some(()).ok_or_else(|| format!("{pages}"))
        });
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let count = |pages| done.store(pages, Ordering::Relaxed);
            fetch(&world.network.netns("client"), world.v4("web", PORT), TIMES, count);
        });
        for pages in [100, 300] {
            wait_done(pages);
            nginx.signal(Signal::HUP);
            let reloads = pages / 200 + 1;
            nginx.wait(&format!("reload {reloads}"), || {
                nginx.log().matches("reconfiguring").count() >= reloads as usize
            });
        }
        wait_done(TIMES);
    });
    let seen = world.listener(&agent, "web", PORT, |item| item.traffic.connections >= u64::from(TIMES));
    assert_eq!((seen.traffic.connections, seen.traffic.attempts), (u64::from(TIMES), u64::from(TIMES)));
    let peers: Vec<_> =
        seen.traffic.peers.iter().map(|peer| (peer.reference.as_deref(), peer.connections)).collect();
    assert_eq!(peers, [(Some("tier/client"), u64::from(TIMES))]);
    let process = seen.process.expect("a process");
    assert_eq!((process.name.as_str(), process.pid), ("nginx", nginx.pid()), "the master");
    let lines = lines(&world, &agent, "web", PORT);
    assert!(lines.iter().all(|line| line.state == "open"), "the port never closed: {lines:#?}");
    world.settles(&agent);
}

pub fn graceful_quit() {
    let Some([nginx]) = installed(["nginx"]) else { return };
    let world = World::new(&["web", "client"]);
    let agent = world.agent();
    let nginx = start(&world, &nginx);
    let finding = world.finding(&agent, "web", PORT, |finding| finding.state == "open");
    let asked = request("/long");
    let mut client = connect(&world.network.netns("client"), world.v4("web", PORT));
    let port = client.local_addr().expect("an address").port();
    client.write_all(asked.as_bytes()).expect("send the request");
    let mut first = [0; 1000];
    client.read_exact(&mut first).expect("the beginning of the answer");

    nginx.signal(Signal::QUIT);
    let netns = world.network.netns("web");
    eventually(TIMEOUT, "the port closes", || {
        if oracle::is_served(&netns, "TCP", PORT) { Err(nginx.log()) } else { Ok(()) }
    });
    agent.wait_report("the port is closed", |report| match report {
        Report::Listener(item) if item.id == finding.id && item.state == "closed" => Some(()),
        _ => None,
    });
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the rest of the answer");
    drop(client);
    assert!(nginx.wait_end().success(), "{}", nginx.log());
    let answered = (first.len() + rest.len()) as u64;
    assert!(answered > LONG as u64 && rest.len() > 1 << 20, "{answered} bytes, {} late", rest.len());

    let is_end = |report: &Report| match report {
        Report::Connection(item) if item.remote.port == port && item.closed_at.is_some() => {
            Some(item.clone())
        }
        _ => None,
    };
    let end = agent.wait_report("the connection's end", is_end);
    assert_eq!(end.id, finding.id);
    assert_eq!((end.bytes_in, end.bytes_out), (asked.len() as u64, answered));
    world.settles(&agent);
    let ends = agent.reports().iter().filter_map(is_end).count();
    assert_eq!(ends, 1, "one line when it ends");
    let listed = agent.connections().expect("GET /v1/connections");
    assert!(listed.iter().all(|item| item.closed_at.is_some()), "{listed:#?}");
}
