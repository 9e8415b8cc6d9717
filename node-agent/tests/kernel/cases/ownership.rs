//! Ownership of sockets: several processes, inheritance, passed descriptors, namespaces entered late or nested.

use libtest_mimic::Trial;
use portolan_report::wire::Report;
use rustix::process::{Pid, Signal};

use super::case;
use crate::actor::protocol::{Request, Transport};
use crate::harness::actor::Actor;
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

pub fn cases() -> Vec<Trial> {
    vec![
        case("ownership/two_processes_in_one_pod", two_processes_in_one_pod),
        case("ownership/inherited_over_fork", inherited_over_fork),
        case("ownership/passed_over_scm_rights", passed_over_scm_rights),
        case("ownership/opened_before_setns", opened_before_setns),
        case("ownership/started_through_a_symbolic_link", started_through_a_symbolic_link),
        case("ownership/opened_by_a_thread_with_a_name_of_its_own", opened_by_a_named_thread),
        case("ownership/nested_netns_inside_a_pod", nested_netns_inside_a_pod),
    ]
}

fn two_processes_in_one_pod() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let (first, second) = (world.actor("web"), world.actor("web"));
    first.listen("0.0.0.0:7000");
    second.listen("0.0.0.0:7001");
    for (port, actor) in [(7000, &first), (7001, &second)] {
        let seen = world.listener(&agent, "web", port, |item| item.process.is_some());
        assert_eq!(seen.process.unwrap().pid, actor.pid());
    }
    first.kill();
    world.settles(&agent);
}

fn inherited_over_fork() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    web.listen("0.0.0.0:7000");
    let child = i32::try_from(web.number(&Request::Inherit)).unwrap();
    // The child's stdin is the parent's pipe and ends the child, so only the parent's copies of the sockets are closed
    // here.
    web.order(&Request::CloseAll);
    world.settles(&agent);
    assert_eq!(world.kernel().len(), 1, "the child still listens");
    rustix::process::kill_process(Pid::from_raw(child).unwrap(), Signal::KILL).unwrap();
    eventually(TIMEOUT, "the kernel ends the socket", || {
        if world.kernel().is_empty() { Ok(()) } else { Err("still there".into()) }
    });
    world.settles(&agent);
}

fn passed_over_scm_rights() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let (giver, taker) = (world.actor("web"), world.actor("web"));
    let socket = giver.listen("0.0.0.0:7000");
    let path = world.scratch.path("rights.sock");
    let taken = taker.fresh();
    taker.post(&Request::Take { path: path.clone(), socket: taken });
    giver.order(&Request::Give { path, socket: socket.name() });
    taker.reply().expect("taken");
    giver.kill();
    world.settles(&agent);
    assert_eq!(world.kernel().len(), 1, "the taker still listens");
    taker.order(&Request::Close { socket: taken });
    world.settles(&agent);
}

fn opened_before_setns() {
    let world = World::new(&["web", "other"]);
    let agent = world.agent();
    let actor = world.actor("web");
    let socket = actor.open(Transport::Tcp, false);
    actor.order(&Request::EnterNetns { name: world.network.netns("other") });
    socket.bind("0.0.0.0:7000".parse().unwrap());
    socket.listen(5);
    // The socket belongs to the netns in which it was created.
    assert_eq!(world.listener(&agent, "web", 7000, |_| true).pod.unwrap().name, "web");
    world.settles(&agent);
}

fn started_through_a_symbolic_link() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let link = world.scratch.path("python3");
    let target = std::env::current_exe().unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let web = Actor::start_as(&link, &world.network.netns("web"));
    web.listen("0.0.0.0:7000");
    let seen = world.listener(&agent, "web", 7000, |item| item.process.is_some());
    let process = seen.process.unwrap();
    assert_eq!(process.name, "python3", "comm is the name that was called");
    assert_eq!(process.executable.as_deref(), target.to_str(), "the executable is the file that runs");
    world.settles(&agent);
}

/// Already the first line has the process's name.
fn opened_by_a_named_thread() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let address = "0.0.0.0:7000".parse().unwrap();
    web.order(&Request::ListenOnThread { socket: web.fresh(), address, thread: "acceptor-1".to_owned() });
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", web.pid())).expect("the actor's name");
    let first = agent.wait_report("the listener", |report| match report {
        Report::Listener(item) if item.port == 7000 => Some(item.clone()),
        _ => None,
    });
    let process = first.process.expect("the process");
    assert_eq!((process.pid, process.name.as_str()), (web.pid(), comm.trim_end()));
    assert!(process.executable.is_some());
    world.settles(&agent);
}

fn nested_netns_inside_a_pod() {
    let world = World::new(&["web"]);
    let agent = world.agent();
    let web = world.actor("web");
    let inode = web.number(&Request::NestNetns);
    let socket = web.listen("0.0.0.0:7000");
    let nested = eventually(TIMEOUT, "the nested netns is seen", || {
        let items = agent.listeners()?;
        let found = items.into_iter().find(|item| item.netns.inode == inode && item.state == "open");
        found.ok_or_else(|| "not listed".into())
    });
    assert_eq!((nested.port, nested.netns.name), (7000, None));
    world.settles(&agent);
    socket.close();
    eventually(TIMEOUT, "its listener ends", || {
        let left =
            agent.listeners()?.into_iter().any(|item| item.netns.inode == inode && item.state == "open");
        if left { Err("still listed".into()) } else { Ok(()) }
    });
}
