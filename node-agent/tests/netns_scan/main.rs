//! Tests netns discovery and scans with real namespaces and sockets; `ss` is the oracle. Needs root.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod collection;
mod devices;
mod holders;
mod lab;
mod netns_facts;
mod new_netns;
mod requests;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portolan::source::clock;
use portolan::source::netns::enter::identity;
use portolan::source::netns::look::Interface;
use portolan::source::netns::{self, HostNetns, NetnsActor, NetnsOptions, NoActor};
use portolan_engine::model::identity::{BootTime, NetnsId, Protocol};
use portolan_engine::model::input::Input;
use portolan_engine::model::netns::NetnsFacts;
use portolan_engine::model::socket::{NetnsScan, ScannedSocket};
use tokio::sync::mpsc;

use lab::{Netns, Running, collected_of, options, run, until, wait_for};

/// Returns (protocol, port, pid) of every serving socket that `ss` lists in a netns.
fn oracle(netns: &Netns) -> BTreeSet<(Protocol, u16, u32)> {
    let output = run(&["ip", "netns", "exec", &netns.0, "ss", "-H", "-tulpn"]);
    output.lines().filter_map(row_of_ss).collect()
}

fn row_of_ss(line: &str) -> Option<(Protocol, u16, u32)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let protocol = if *fields.first()? == "tcp" { Protocol::Tcp } else { Protocol::Udp };
    if !["LISTEN", "UNCONN"].contains(fields.get(1)?) {
        return None;
    }
    let port = fields.get(4)?.rsplit_once(':')?.1.parse().ok()?;
    let pid = line.split("pid=").nth(1)?.split(',').next()?.parse().ok()?;
    Some((protocol, port, pid))
}

fn rows(scan: &NetnsScan) -> BTreeSet<(Protocol, u16, u32)> {
    let row = |socket: &ScannedSocket| {
        let pid = socket.holder.process().map_or(0, |process| process.pid);
        (socket.port.protocol, socket.port.port.get(), pid)
    };
    scan.sockets.iter().map(row).collect()
}

const EVERY_KIND: &str = "
keep = []
def tcp(family, address, port, listen=True, only=None, reuse=False, protocol=0):
    s = socket.socket(family, socket.SOCK_STREAM, protocol)
    if only is not None: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    if reuse: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if port is not None: s.bind((address, port))
    if listen: s.listen()
    keep.append(s)
def udp(family, address, port, connect=None):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((address, port))
    if connect: s.connect(connect)
    keep.append(s)
tcp(socket.AF_INET, '0.0.0.0', 1001)
tcp(socket.AF_INET, '127.0.0.1', 1002)
tcp(socket.AF_INET, '127.9.9.9', 1003)
tcp(socket.AF_INET6, '::', 1004, only=0)
tcp(socket.AF_INET6, '::', 1005, only=1)
tcp(socket.AF_INET6, '::1', 1006)
tcp(socket.AF_INET6, '::ffff:127.0.0.1', 1007, only=0)
tcp(socket.AF_INET, '', None)
tcp(socket.AF_INET, '0.0.0.0', 1008, listen=False)
for _ in range(5): tcp(socket.AF_INET, '0.0.0.0', 1009, reuse=True)
udp(socket.AF_INET, '0.0.0.0', 1010)
udp(socket.AF_INET6, '::', 1011)
udp(socket.AF_INET, '127.0.0.1', 1012, connect=('127.0.0.1', 9))
try: tcp(socket.AF_INET, '0.0.0.0', 1013, protocol=262)
except OSError: pass
";

#[test]
fn a_scan_lists_what_ss_lists() {
    let netns = Netns::new("kinds");
    let _serving = netns.python(EVERY_KIND);
    let collected = collected_of(&netns);
    let (facts, scan) = (&collected.facts, collected.scan.as_ref().expect("scanned"));
    assert_eq!(facts.paths, [netns.path()]);
    assert!(facts.addresses.contains(&"127.0.0.1/8".parse().expect("net")));
    assert_eq!(rows(scan), oracle(&netns));
    let of = |port: u16| scan.sockets.iter().filter(move |socket| socket.port.port.get() == port);
    assert_eq!(of(1004).map(|socket| socket.v6_only).collect::<Vec<_>>(), [Some(false)]);
    assert_eq!(of(1005).map(|socket| socket.v6_only).collect::<Vec<_>>(), [Some(true)]);
    assert_eq!(of(1007).map(|socket| socket.address.to_string()).collect::<Vec<_>>(), ["127.0.0.1"]);
    assert_eq!(of(1009).count(), 5);
    assert_eq!(of(1008).chain(of(1012)).count(), 0, "bind without listen, and connected UDP, do not serve");
}

#[test]
fn many_listeners_in_several_parts_are_all_listed() {
    let netns = Netns::new("many");
    let _serving = netns.python("keep = [socket.create_server(('0.0.0.0', p)) for p in range(2000, 2900)]");
    assert_eq!(collected_of(&netns).scan.expect("scanned").sockets.len(), 900);
}

/// Returns the number of descriptors of this process that keep the netns with this inode alive.
fn descriptors_of(inode: u64) -> usize {
    let wanted = format!("net:[{inode}]");
    let links =
        fs::read_dir("/proc/self/fd").expect("proc").flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    links.filter(|link| link.to_string_lossy() == wanted).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_netns_is_noticed_at_once_and_freed_when_deleted() {
    let (sender, mut inputs) = mpsc::channel(1024);
    let handle = netns::start(options(), Box::new(NoActor), sender).expect("start");
    until(&handle, |progress| progress.first_scan_done).await;

    let before: BootTime = clock::now();
    let netns = Netns::new("life");
    let path = netns.path();
    let id = wait_for(&mut inputs, |input| match input {
        Input::NetnsSeen { facts, .. } if facts.paths.contains(&path) => Some(facts.netns),
        _ => None,
    })
    .await;
    let took = clock::now().since(before);
    assert!(took < Duration::from_secs(1), "noticed after {took:?}");

    let serving = netns.python("keep = socket.create_server(('0.0.0.0', 3000))");
    let ticket = handle.scan_all();
    wait_for(&mut inputs, |input| match input {
        Input::NetnsScanned(scan)
            if scan.netns == id && scan.sockets.iter().any(|s| s.port.port.get() == 3000) =>
        {
            Some(())
        }
        _ => None,
    })
    .await;
    until(&handle, |progress| progress.scans_done >= ticket).await;

    let inode = netns.inode();
    assert_eq!(descriptors_of(inode), 0, "a netns is not pinned while it is known");
    drop(serving);
    drop(netns);
    wait_for(&mut inputs, |input| {
        matches!(input, Input::NetnsGone { netns, .. } if *netns == id).then_some(())
    })
    .await;
    drop(inputs);
    handle.shutdown();
    assert_eq!(descriptors_of(inode), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_netns_that_only_a_process_holds_is_found_and_a_name_made_again_is_another_netns() {
    let (sender, mut inputs) = mpsc::channel(4096);
    let handle = netns::start(options(), Box::new(NoActor), sender).expect("start");
    let hidden = Command::new("unshare").args(["-n", "sleep", "600"]).spawn().expect("unshare");
    let hidden = Running(hidden);
    let ns = format!("/proc/{}/ns/net", hidden.0.id());
    let own = fs::metadata("/proc/self/ns/net").expect("proc").ino();
    while fs::metadata(&ns).map(|meta| meta.ino()).unwrap_or(own) == own {
        tokio::task::yield_now().await;
    }
    let inode = fs::metadata(&ns).expect("proc").ino();
    handle.discover(NetnsId(u64::MAX), None);
    let nested = wait_for(&mut inputs, |input| match input {
        Input::NetnsSeen { facts, .. } if facts.inode == inode => Some(facts.clone()),
        _ => None,
    })
    .await;
    assert!(nested.paths.is_empty());
    drop(hidden);
    wait_for(&mut inputs, |input| {
        matches!(input, Input::NetnsGone { netns, .. } if *netns == nested.netns).then_some(())
    })
    .await;

    let netns = Netns::new("again");
    let path = netns.path();
    let seen = |input: &Input| match input {
        Input::NetnsSeen { facts, .. } if facts.paths.contains(&path) => Some(facts.netns),
        _ => None,
    };
    let first = wait_for(&mut inputs, seen).await;
    run(&["ip", "netns", "del", &netns.0]);
    run(&["ip", "netns", "add", &netns.0]);
    let second = wait_for(&mut inputs, |input| seen(input).filter(|id| *id != first)).await;
    assert_ne!(first, second);
    drop(inputs);
    handle.shutdown();
}

/// Makes a nameless netns with a listener and leaves it: only the listener's socket keeps it.
const LEAVES_A_SOCKET: &str = "
import ctypes, os, socket, sys, time
libc = ctypes.CDLL(None)
home = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
assert libc.unshare(0x40000000) == 0
s = socket.create_server(('0.0.0.0', 4000))
cookie = int.from_bytes(s.getsockopt(socket.SOL_SOCKET, 71, 8), sys.byteorder)
assert libc.setns(home, 0x40000000) == 0
print(cookie, flush=True)
sys.stdin.readline()
s.close()
time.sleep(600)";

#[tokio::test(flavor = "multi_thread")]
async fn a_netns_that_only_a_socket_keeps_is_found_and_stays_as_long_as_it_lives() {
    let (sender, mut inputs) = mpsc::channel(65_536);
    let handle = netns::start(options(), Box::new(NoActor), sender).expect("start");
    let mut child = Command::new("python3")
        .args(["-c", LEAVES_A_SOCKET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut stdin = child.stdin.take().expect("piped");
    let mut output = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let process = Running(child);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).expect("output");
    let id = NetnsId(line.trim().parse().expect("a cookie"));
    handle.discover(id, Some(process.0.id()));
    let mut scans = 0;
    // It survives walks that find neither a name nor a process.
    wait_for(&mut inputs, |input| match input {
        Input::NetnsGone { netns, .. } => {
            assert_ne!(*netns, id, "the socket keeps it");
            None
        }
        Input::NetnsScanned(scan) if scan.netns == id => {
            assert_eq!(scan.sockets.first().map(|socket| socket.port.port.get()), Some(4000));
            scans += 1;
            handle.scan_all();
            (scans == 4).then_some(())
        }
        _ => None,
    })
    .await;
    std::io::Write::write_all(&mut stdin, b"\n").expect("it reads");
    handle.scan_all();
    wait_for(&mut inputs, |input| {
        matches!(input, Input::NetnsGone { netns, .. } if *netns == id).then_some(())
    })
    .await;
    drop(inputs);
    handle.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_netns_of_which_only_the_kernel_tells_and_that_is_not_found_is_gone() {
    let (sender, mut inputs) = mpsc::channel(4096);
    let handle = netns::start(options(), Box::new(NoActor), sender).expect("start");
    let asked = clock::now();
    let unknown = NetnsId(0x7777_7777_7777);
    handle.discover(unknown, None);
    let at = wait_for(&mut inputs, |input| match input {
        Input::NetnsGone { netns, at } if *netns == unknown => Some(*at),
        _ => None,
    })
    .await;
    assert!(at >= asked, "of a walk that began after it was asked for");
    drop(inputs);
    handle.shutdown();
}

/// Arguments that an actor was called with.
type Given = Arc<Mutex<Vec<(NetnsFacts, usize)>>>;

struct Records(Given);

impl NetnsActor for Records {
    fn enter(&mut self, facts: &NetnsFacts, interfaces: &[Interface]) -> bool {
        self.0.lock().expect("not poisoned").push((facts.clone(), interfaces.len()));
        false
    }
    fn gone(&mut self, _netns: NetnsId) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_with_as_many_names_as_the_kernel_takes_is_seen() {
    let netns = Netns::new("names");
    run(&["ip", "-n", &netns.0, "link", "add", "v0", "type", "veth", "peer", "name", "p0"]);
    // The kernel accepts just under 64 KiB of names.
    let names: String =
        (0..480).map(|index| format!("link property add dev v0 altname {index:0>127}\n")).collect();
    netns.batch(&names);
    let given = Given::default();
    let (sender, mut inputs) = mpsc::channel(4096);
    let handle = netns::start(options(), Box::new(Records(Arc::clone(&given))), sender).expect("start");
    until(&handle, |progress| progress.first_scan_done).await;
    let interfaces = |inode| {
        let given = given.lock().expect("not poisoned");
        given.iter().find(|(facts, _)| facts.inode == inode).map(|(_, interfaces)| *interfaces)
    };
    assert_eq!(interfaces(netns.inode()), Some(2));
    inputs.close();
    handle.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn interfaces_and_addresses_of_a_pod_are_capped_and_none_of_the_host_is_acted_on() {
    let netns = Netns::new("crowd");
    for index in 0..40 {
        let (name, peer) = (format!("v{index}"), format!("p{index}"));
        run(&["ip", "-n", &netns.0, "link", "add", &name, "type", "veth", "peer", "name", &peer]);
    }
    let addresses: String = (0..300)
        .map(|index| format!("addr add 10.9.{}.{}/32 dev v0\n", index / 200, index % 200 + 1))
        .collect();
    netns.batch(&addresses);

    let given = Given::default();
    let (sender, mut inputs) = mpsc::channel(4096);
    let options = NetnsOptions { host: HostNetns::Scanned, ..options() };
    let handle = netns::start(options, Box::new(Records(Arc::clone(&given))), sender).expect("start");
    let mut lost = BTreeSet::new();
    wait_for(&mut inputs, |input| {
        if let Input::Lost { reason, count, .. } = input {
            lost.insert((*reason, *count));
        }
        // The loopback device has two more addresses.
        let wanted = [("netns-interfaces-full", 80 - 64), ("netns-addresses-full", 302 - 256)];
        wanted.iter().all(|one| lost.contains(one)).then_some(())
    })
    .await;
    assert!(until(&handle, |progress| progress.first_scan_done).await.is_observing());
    {
        let given = given.lock().expect("not poisoned");
        let (facts, interfaces) =
            given.iter().find(|(facts, _)| facts.inode == netns.inode()).expect("acted in");
        assert_eq!((*interfaces, facts.addresses.len()), (64, 256));
        assert!(given.iter().any(|(facts, _)| facts.is_host), "the host's is acted in");
        assert!(given.iter().all(|(facts, interfaces)| !facts.is_host || *interfaces == 0));
    }
    drop(inputs);
    handle.shutdown();
}

struct Panics;

impl NetnsActor for Panics {
    fn enter(&mut self, _facts: &NetnsFacts, _interfaces: &[Interface]) -> bool {
        panic!("on purpose");
    }
    fn gone(&mut self, _netns: NetnsId) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_thread_is_noticed_and_a_failed_walk_is_reported() {
    let _netns = Netns::new("panic");
    let (sender, _inputs) = mpsc::channel(4096);
    let handle = netns::start(options(), Box::new(Panics), sender).expect("start");
    let mut progress = handle.progress();
    let ended = progress.wait_for(|_| false);
    assert!(tokio::time::timeout(Duration::from_secs(10), ended).await.expect("in time").is_err());

    let (sender, mut inputs) = mpsc::channel(4096);
    let options = NetnsOptions { proc_root: "/nonexistent".into(), ..options() };
    let handle = netns::start(options, Box::new(NoActor), sender).expect("start");
    let reported = until(&handle, |progress| progress.first_scan_done && progress.failure.is_some()).await;
    assert!(reported.failure.as_ref().is_some_and(|reason| reason.contains("/nonexistent")), "{reported:?}");
    wait_for(&mut inputs, |input| {
        matches!(input, Input::Lost { reason: "netns-walk-failed", .. }).then_some(())
    })
    .await;
    drop(inputs);
    handle.shutdown();
}

/// Reports every step, and which netns were entered before it. Each step waits until the test releases it, and is never
/// the last.
struct Steps {
    entered: BTreeSet<NetnsId>,
    taken: std::sync::mpsc::Sender<(NetnsId, BTreeSet<NetnsId>)>,
    go_on: std::sync::mpsc::Receiver<()>,
}

impl NetnsActor for Steps {
    fn enter(&mut self, facts: &NetnsFacts, _interfaces: &[Interface]) -> bool {
        self.entered.insert(facts.netns);
        true
    }
    fn act(&mut self, netns: NetnsId) -> bool {
        assert_eq!(identity(0).expect("identity"), netns, "the thread is inside");
        // After the test has ended nobody receives, and the step does not wait.
        let _ended = self.taken.send((netns, self.entered.clone()));
        let _ended = self.go_on.recv();
        true
    }
    fn gone(&mut self, _netns: NetnsId) {}
}

/// What the inputs reported so far.
struct Reported {
    inputs: mpsc::Receiver<Input>,
    ids: BTreeMap<String, NetnsId>,
    listed: BTreeSet<NetnsId>,
    gone: BTreeSet<NetnsId>,
}

impl Reported {
    fn listed(&mut self, path: &str) -> Option<NetnsId> {
        while let Ok(input) = self.inputs.try_recv() {
            match input {
                Input::NetnsSeen { facts, .. } => {
                    self.ids.extend(facts.paths.iter().map(|path| (path.clone(), facts.netns)));
                }
                Input::NetnsScanned(scan) => _ = self.listed.insert(scan.netns),
                Input::NetnsGone { netns, .. } => _ = self.gone.insert(netns),
                _ => {}
            }
        }
        self.ids.get(path).copied().filter(|id| self.listed.contains(id))
    }
}

#[test]
fn no_listing_waits_for_what_an_actor_has_left_to_do() {
    let (goes, stays) = (Netns::new("steps-a"), Netns::new("steps-b"));
    let (sender, inputs) = mpsc::channel(65_536);
    let (taken, steps) = std::sync::mpsc::channel();
    let (go_on, gate) = std::sync::mpsc::channel();
    let actor = Steps { entered: BTreeSet::new(), taken, go_on: gate };
    let handle = netns::start(options(), Box::new(actor), sender).expect("start");
    let next = || steps.recv_timeout(Duration::from_secs(10)).expect("a step");
    let step = || {
        go_on.send(()).expect("the actor waits");
        next().0
    };
    // The first step has begun and is blocked; existing netns are scanned all the same.
    let (_, entered) = next();
    assert!(handle.progress().borrow().first_scan_done);
    let mut seen = Reported { inputs, ids: BTreeMap::new(), listed: BTreeSet::new(), gone: BTreeSet::new() };
    for netns in [&goes, &stays] {
        let id = seen.listed(&netns.path()).expect("listed");
        assert!(entered.contains(&id), "entered before the first step");
    }
    // While steps never end, a new netns waits no longer than until the next step.
    let new = Netns::new("steps-c");
    let deadline = clock::now().after(Duration::from_secs(10));
    while seen.listed(&new.path()).is_none() {
        step();
        assert!(clock::now() < deadline, "{:?}", seen.ids);
    }
    // A netns that is gone has no more steps.
    let gone = seen.listed(&goes.path()).expect("listed");
    drop(goes);
    while !seen.gone.contains(&gone) {
        step();
        seen.listed(&new.path());
        assert!(clock::now() < deadline, "{:?}", seen.gone);
    }
    for _ in 0..8 {
        assert_ne!(step(), gone);
    }
    drop((go_on, seen));
    handle.shutdown();
}
