//! Who holds a socket: as scans report it while sockets change hands.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use portolan::source::netns::{self, NetnsHandle, NoActor};
use portolan_engine::model::identity::NetnsId;
use portolan_engine::model::input::Input;
use portolan_engine::model::process::Holder;
use tokio::sync::mpsc;

use crate::lab::{Netns, Running, options, run};

/// A running netns thread that scans on request.
struct Scans {
    handle: NetnsHandle,
    inputs: mpsc::Receiver<Input>,
    path: String,
    /// The netns under that path, once it was seen.
    id: Option<NetnsId>,
}

impl Scans {
    /// Scans this netns, and all others.
    fn of(netns: &Netns) -> Self {
        let (sender, inputs) = mpsc::channel(65_536);
        let handle = netns::start(options(), Box::new(NoActor), sender).expect("start");
        Self { handle, inputs, path: netns.path(), id: None }
    }

    /// Returns the holder of the socket on this port if an input reports it.
    fn holder_in(&mut self, input: Input, port: u16) -> Option<Holder> {
        match input {
            Input::NetnsSeen { facts, .. } if facts.paths.contains(&self.path) => self.id = Some(facts.netns),
            Input::NetnsScanned(scan) if self.id == Some(scan.netns) => {
                let socket = scan.sockets.into_iter().find(|socket| socket.port.port.get() == port);
                return socket.map(|socket| socket.holder);
            }
            _ => {}
        }
        None
    }

    /// Scans until the holder of the socket on this port fits.
    async fn until(&mut self, port: u16, what: &str, fits: impl Fn(&Holder) -> bool) {
        let mut last = None;
        let search = async {
            loop {
                self.handle.scan_all();
                tokio::time::sleep(Duration::from_millis(50)).await;
                while let Ok(input) = self.inputs.try_recv() {
                    last = self.holder_in(input, port).or(last.take());
                }
                if last.as_ref().is_some_and(&fits) {
                    return;
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), search).await;
        assert!(found.is_ok(), "{what}: {last:?}");
    }

    async fn until_named(&mut self, port: u16, name: &str) {
        let is_named = |holder: &Holder| holder.process().is_some_and(|process| process.name == name);
        self.until(port, name, is_named).await;
    }
}

/// Starts Python code in a netns; a line on its stdin lets it go on.
fn waiting_python(netns: &Netns, code: &str) -> Running {
    let code = format!("import os, socket, sys, time\nwait = sys.stdin.readline\n{code}\ntime.sleep(600)");
    let child = Command::new("ip")
        .args(["netns", "exec", &netns.0, "python3", "-c", &code])
        .stdin(Stdio::piped())
        .spawn()
        .expect("python3");
    Running(child)
}

fn go_on(process: &mut Running) {
    process.0.stdin.as_mut().expect("piped").write_all(b"\n").expect("it reads");
}

/// Ends the processes in a netns that the test made.
fn end_processes(netns: &Netns) {
    for pid in run(&["ip", "netns", "pids", &netns.0]).split_whitespace() {
        run(&["kill", "-KILL", pid]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_is_noticed_and_a_descriptor_that_moves_changes_nothing() {
    let netns = Netns::new("exec");
    let mut scans = Scans::of(&netns);
    let mut launcher = waiting_python(
        &netns,
        "
s = socket.create_server(('0.0.0.0', 4000))
wait()
moved = os.dup(s.fileno())
s.close()
wait()
os.set_inheritable(moved, True)
os.execvp('sleep', ['sleep', '600'])",
    );
    scans.until_named(4000, "python3").await;
    go_on(&mut launcher);
    scans.until_named(4000, "python3").await;
    go_on(&mut launcher);
    scans.until_named(4000, "sleep").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_flight_is_held_by_nobody_and_then_by_who_received_it() {
    let netns = Netns::new("flight");
    let mut scans = Scans::of(&netns);
    let mut process = waiting_python(
        &netns,
        "
here, there = socket.socketpair(socket.AF_UNIX)
s = socket.create_server(('0.0.0.0', 4000))
wait()
socket.send_fds(here, [b'x'], [s.fileno()])
s.close()
wait()
if os.fork() == 0:
    _, fds, _, _ = socket.recv_fds(there, 1, 1)
    os.set_inheritable(fds[0], True)
    os.execvp('sleep', ['sleep', '600'])",
    );
    scans.until_named(4000, "python3").await;
    go_on(&mut process);
    scans.until(4000, "nobody", |holder| *holder == Holder::Nobody).await;
    go_on(&mut process);
    scans.until_named(4000, "sleep").await;
    end_processes(&netns);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_holds_the_socket_that_a_zombie_opened() {
    let netns = Netns::new("zombie");
    let mut scans = Scans::of(&netns);
    let mut parent = waiting_python(
        &netns,
        "
if os.fork() == 0:
    s = socket.create_server(('0.0.0.0', 4000))
    wait()
    if os.fork() == 0:
        os.set_inheritable(s.fileno(), True)
        os.execvp('sleep', ['sleep', '600'])
    os._exit(0)",
    );
    scans.until_named(4000, "python3").await;
    go_on(&mut parent);
    scans.until_named(4000, "sleep").await;
    end_processes(&netns);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_holders_the_one_that_opened_the_socket_is_named_unless_it_is_a_service_manager() {
    let netns = Netns::new("several");
    let mut scans = Scans::of(&netns);
    let mut server = waiting_python(
        &netns,
        "
import subprocess
name = lambda text: open('/proc/self/comm', 'w').write(text)
s = socket.create_server(('0.0.0.0', 4000))
leak = subprocess.Popen(['sleep', '600'], pass_fds=[s.fileno()])
name('server')
wait()
name('systemd')
wait()
leak.kill()
leak.wait()",
    );
    scans.until_named(4000, "server").await;
    go_on(&mut server);
    scans.until_named(4000, "sleep").await;
    go_on(&mut server);
    scans.until_named(4000, "systemd").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_of_a_vxlan_device_is_the_kernels() {
    let netns = Netns::new("vxlan");
    let mut scans = Scans::of(&netns);
    for device in [
        "add v0 type veth peer name p0",
        "set v0 up",
        "add vx0 type vxlan id 5 dstport 4789 dev v0",
        "set vx0 up",
    ] {
        run(&[&["ip", "-n", &netns.0, "link"], device.split(' ').collect::<Vec<_>>().as_slice()].concat());
    }
    scans.until(4789, "the kernel", |holder| *holder == Holder::Kernel).await;
}
