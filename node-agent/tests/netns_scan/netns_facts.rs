//! Facts of a netns beside its sockets: guests behind a tap device, and ports that its rules forward.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use portolan::source::netns::enter::HomeNetns;
use portolan::source::netns::look;
use portolan::source::netns::{self, NoActor};
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::input::Input;
use portolan_engine::model::netns::{ForwardedPort, NetnsFacts};
use tokio::sync::mpsc;

use crate::lab::{Netns, options, run, wait_for};

/// Reads the facts of a netns as a scan without programs does, and as a look does.
fn facts(netns: &Netns) -> [NetnsFacts; 2] {
    let (path, inode) = (netns.path(), netns.inode());
    let read = move || {
        let home = HomeNetns::of_this_thread().expect("proc");
        let _inside = home.enter(path.as_ref(), inode).expect("enter");
        let once = look::facts(inode, Vec::new(), false).expect("facts");
        [once, look::look(inode, Vec::new(), false, look::EphemeralPorts::Read).expect("look").facts]
    };
    std::thread::spawn(read).join().expect("the thread")
}

#[test]
fn a_tap_device_leads_to_a_guest_and_a_tun_device_does_not() {
    let netns = Netns::new("guest");
    let has_guest = || facts(&netns).map(|facts| facts.has_guest);
    assert_eq!(has_guest(), [false, false]);
    run(&["ip", "-n", &netns.0, "tuntap", "add", "tun0", "mode", "tun"]);
    assert_eq!(has_guest(), [false, false], "a tunnel");
    run(&["ip", "-n", &netns.0, "tuntap", "add", "tap0", "mode", "tap"]);
    assert_eq!(has_guest(), [true, true]);
}

/// Joins two namespaces by a veth.
fn join(one: (&Netns, &str, &str), other: (&Netns, &str, &str)) {
    let (near, far) = (one.1, other.1);
    let peer = ["type", "veth", "peer", "name", far, "netns", &other.0.0];
    run(&[["ip", "link", "add", near, "netns", &one.0.0].as_slice(), peer.as_slice()].concat());
    for (netns, device, address) in [one, other] {
        run(&["ip", "-n", &netns.0, "addr", "add", address, "dev", device]);
        run(&["ip", "-n", &netns.0, "link", "set", device, "up"]);
    }
}

fn within(netns: &Netns, command: &str) {
    let command: Vec<&str> = command.split(' ').collect();
    run(&[["ip", "netns", "exec", &netns.0].as_slice(), command.as_slice()].concat());
}

/// Connects some times; each connection must be answered.
fn call(netns: &Netns, host: &str, port: u16, times: u32) {
    let code = format!(
        "import socket\nfor _ in range({times}):\n c = socket.create_connection(('{host}', {port}), 5)\n assert \
         c.recv(1) == b'x'\n c.close()"
    );
    let called = Command::new("ip").args(["netns", "exec", &netns.0, "python3", "-c", &code]).status();
    assert!(called.expect("python3").success());
}

const ANSWERS: &str = "
import threading
server = socket.create_server(('0.0.0.0', PORT))
def serve():
    while True:
        c, _ = server.accept()
        c.sendall(b'x')
        c.close()
threading.Thread(target=serve, daemon=True).start()
";

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_forwarded_into_a_nested_netns_is_reported_with_each_connection_once() {
    let (pod, nested, caller) = (Netns::new("fw-pod"), Netns::new("fw-nested"), Netns::new("fw-caller"));
    join((&pod, "eth0", "10.5.0.2/24"), (&caller, "eth0", "10.5.0.9/24"));
    join((&pod, "veth1", "10.6.0.1/24"), (&nested, "eth0", "10.6.0.2/24"));
    run(&["ip", "-n", &nested.0, "route", "add", "default", "via", "10.6.0.1"]);
    within(&pod, "sysctl -q -w net.ipv4.ip_forward=1");
    let rule = "iptables -w -t nat -A PREROUTING -d 10.5.0.2 -p tcp --dport";
    within(&pod, &format!("{rule} 22 -j DNAT --to-destination 10.6.0.2:2222"));
    within(&pod, &format!("{rule} 80 -j REDIRECT --to-ports 8080"));
    let _guest = nested.python(&ANSWERS.replace("PORT", "2222"));
    let _own = pod.python(&ANSWERS.replace("PORT", "8080"));
    call(&caller, "10.5.0.2", 22, 3);
    call(&caller, "10.5.0.2", 80, 2);

    let (sender, mut inputs) = mpsc::channel(65_536);
    let handle = netns::start(options(), Box::new(NoActor), sender).expect("start");
    let path = pod.path();
    let id = wait_for(&mut inputs, |input| match input {
        Input::NetnsSeen { facts, .. } if facts.paths.contains(&path) => Some(facts.netns),
        _ => None,
    })
    .await;
    let caller_address: IpAddr = "10.5.0.9".parse().expect("an address");
    let guest: SocketAddr = "10.6.0.2:2222".parse().expect("an address");
    let mut counted = 0;
    for (more, wanted) in [(0, 3), (2, 5)] {
        call(&caller, "10.5.0.2", 22, more);
        wait_for(&mut inputs, |input| {
            let Input::Forwarded(forwarded) = input else { return None };
            if forwarded.netns != id {
                return None;
            }
            let [ForwardedPort { port, to, callers }] = forwarded.ports.as_slice() else {
                panic!("only port 22 is forwarded: {forwarded:?}");
            };
            assert_eq!((port.protocol, port.port.get()), (Protocol::Tcp, 22));
            assert_eq!(*to, (guest.ip(), guest.port()));
            assert!(callers.iter().all(|(address, _)| *address == caller_address), "{callers:?}");
            counted += callers.iter().map(|(_, count)| count).sum::<u64>();
            (counted >= wanted).then_some(())
        })
        .await;
        assert_eq!(counted, wanted);
    }
    drop(inputs);
    handle.shutdown();
}
