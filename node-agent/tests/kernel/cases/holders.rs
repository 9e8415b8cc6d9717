//! Which process a listener names, while its socket changes hands.

use libtest_mimic::Trial;
use portolan_report::wire::Listener;

use super::case;
use crate::harness::actor::Actor;
use crate::harness::agent::Agent;
use crate::harness::script::Script;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("holders/the_server_that_a_launcher_execs", the_server_that_a_launcher_execs),
        case("holders/a_reload_that_passes_the_socket", a_reload_that_passes_the_socket),
        case("holders/a_socket_in_flight", a_socket_in_flight),
        case("holders/the_parent_is_a_zombie", the_parent_is_a_zombie),
        case("holders/a_vxlan_device", a_vxlan_device),
    ]
}

/// Opens a dual-stack listener beside the one of interest, which makes the agent scan the namespace, until the latter fits.
fn after_scans(
    world: &World,
    agent: &Agent,
    port: u16,
    what: &str,
    fits: impl Fn(&Listener) -> bool,
) -> Listener {
    let prompter: Actor = world.actor("web");
    let netns = world.network.netns("web");
    eventually(2 * TIMEOUT, what, || {
        prompter.listen("[::]:7999").close();
        let items = agent.listeners()?;
        let of_port = |item: &Listener| item.netns.name.as_ref() == Some(&netns) && item.port == port;
        match items.into_iter().find(of_port) {
            Some(item) if fits(&item) => Ok(item),
            other => Err(format!("{other:#?}")),
        }
    })
}

fn named(item: &Listener) -> Option<&str> {
    item.process.as_ref().map(|process| process.name.as_str())
}

fn the_server_that_a_launcher_execs() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let mut launcher = Script::start(
        &world.network.netns("web"),
        "
s = socket.create_server(('0.0.0.0', 7000))
s.set_inheritable(True)
wait()
os.execvp('sleep', ['sleep', '600'])",
    );
    after_scans(&world, &agent, 7000, "the launcher is named", |item| named(item) == Some("python3"));
    launcher.go_on();
    let server =
        after_scans(&world, &agent, 7000, "the server is named", |item| named(item) == Some("sleep"));
    let process = server.process.expect("named");
    assert_eq!(process.pid, launcher.pid(), "exec keeps the pid");
    let executable = process.executable.expect("readable");
    assert!(!executable.contains("python"), "{executable}");
    world.settles(&agent);
}

fn a_reload_that_passes_the_socket() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let path = world.scratch.path("reload.sock");
    let old = format!(
        "
s = socket.create_server(('0.0.0.0', 7000))
door = socket.socket(socket.AF_UNIX)
door.bind('{0}')
door.listen()
say('open')
c, _ = door.accept()
socket.send_fds(c, [b'x'], [s.fileno()])
wait()",
        path.display()
    );
    let new = format!(
        "
c = socket.socket(socket.AF_UNIX)
c.connect('{0}')
_, fds, _, _ = socket.recv_fds(c, 1, 1)
say('taken')
wait()",
        path.display()
    );
    let mut old = Script::start(&world.network.netns("web"), &old);
    assert_eq!(old.line(), "open");
    let pid = old.pid();
    let is = |pid| move |item: &Listener| item.process.as_ref().is_some_and(|process| process.pid == pid);
    after_scans(&world, &agent, 7000, "the old process is named", is(pid));
    let mut new = Script::start(&world.network.netns("web"), &new);
    assert_eq!(new.line(), "taken");
    after_scans(&world, &agent, 7000, "the old process still holds it", is(pid));
    drop(old);
    after_scans(&world, &agent, 7000, "the new process is named", is(new.pid()));
    world.settles(&agent);
}

fn a_socket_in_flight() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let mut script = Script::start(
        &world.network.netns("web"),
        "
here, there = socket.socketpair(socket.AF_UNIX)
s = socket.create_server(('0.0.0.0', 7000))
wait()
socket.send_fds(here, [b'x'], [s.fileno()])
s.close()
wait()
_, fds, _, _ = socket.recv_fds(there, 1, 1)
wait()",
    );
    after_scans(&world, &agent, 7000, "its process is named", |item| named(item) == Some("python3"));
    script.go_on();
    after_scans(&world, &agent, 7000, "no process is named", |item| item.process.is_none());
    script.go_on();
    after_scans(&world, &agent, 7000, "who took it is named", |item| named(item) == Some("python3"));
    world.settles(&agent);
}

fn the_parent_is_a_zombie() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    // The grandchild reads the script's stdin and ends with it.
    let mut script = Script::start(
        &world.network.netns("web"),
        "
if os.fork() == 0:
    s = socket.create_server(('0.0.0.0', 7000))
    s.set_inheritable(True)
    wait()
    if os.fork() == 0:
        os.execvp('cat', ['cat'])
    os._exit(0)
time.sleep(600)",
    );
    after_scans(&world, &agent, 7000, "its process is named", |item| named(item) == Some("python3"));
    script.go_on();
    after_scans(&world, &agent, 7000, "the child of the zombie is named", |item| named(item) == Some("cat"));
    world.settles(&agent);
}

fn a_vxlan_device() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let device = "link add vx0 type vxlan id 5 dstport 4789 dev eth0\nlink set vx0 up\n";
    world.network.ip("web", device);
    after_scans(&world, &agent, 4789, "no process is named", |item| item.process.is_none());
    world.settles(&agent);
    world.network.ip("web", "link delete vx0\n");
    // No hook sees the end of a kernel's socket: the rotation does.
    world.settles_within(&agent, 4 * TIMEOUT);
    assert!(world.kernel().is_empty(), "the kernel's socket has ended");
}
