//! WireGuard in user space: one UDP port in the ephemeral range, called by two peers, and a tun device.

use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portolan_testing::scratch::Scratch;

use crate::harness::daemon::{Daemon, installed};
use crate::harness::network::{inside, netns_path};
use crate::harness::timeouts::{TIMEOUT, eventually};
use crate::harness::world::World;

const PORT: u16 = 51_820;
const DEVICE: &str = "wg0";

/// A node of the tunnel: its process, role and keys.
struct Node {
    daemon: Daemon,
    role: &'static str,
    wg: PathBuf,
    private_key: String,
    public_key: String,
    /// Last part of its address in the tunnel.
    number: u8,
}

impl Node {
    fn start(world: &World, [wireguard, wg]: &[PathBuf; 2], role: &'static str, number: u8) -> Self {
        let mut command = Command::new("unshare");
        // The control socket has a fixed place below /run, so that each process gets a /run of its own.
        let script = "mount -t tmpfs none /run && exec \"$0\" --foreground \"$1\"";
        command.args(["--mount", "sh", "-c", script]).arg(wireguard).arg(DEVICE);
        let daemon = Daemon::start(&world.network.netns(role), Scratch::new("wireguard"), &command);
        let private_key = keys(wg, "genkey", "");
        let public_key = keys(wg, "pubkey", &private_key);
        let node = Self { daemon, role, wg: wg.clone(), private_key, public_key, number };
        node.daemon.wait("it can be configured", || node.try_wg(&["show", DEVICE]).is_ok());
        node.wg(&["set", DEVICE, "private-key", "/dev/stdin"]);
        let address = format!("address add 10.88.0.{number}/24 dev {DEVICE}\nlink set {DEVICE} up\n");
        world.network.ip(role, &address);
        node
    }

    /// Runs `wg` beside the process, with the private key on its standard input.
    fn try_wg(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--target", &self.daemon.pid().to_string()]).arg(&self.wg);
        let text = piped(command.args(arguments), &self.private_key)?;
        Ok(text)
    }

    fn wg(&self, arguments: &[&str]) -> String {
        self.try_wg(arguments).unwrap_or_else(|error| panic!("wg {arguments:?}: {error}"))
    }

    /// Accepts packets of another node, and tells where it is if this node is to begin.
    fn add_peer(&self, other: &Self, endpoint: Option<&str>) {
        let allowed = format!("10.88.0.{}/32", other.number);
        let mut arguments = vec!["set", DEVICE, "peer", &other.public_key, "allowed-ips", &allowed];
        arguments.extend(endpoint.into_iter().flat_map(|endpoint| ["endpoint", endpoint]));
        self.wg(&arguments);
    }

    /// Returns how many peers have completed a handshake.
    fn handshakes(&self) -> usize {
        let listed = self.wg(&["show", DEVICE, "latest-handshakes"]);
        listed.lines().filter(|line| !line.ends_with("\t0")).count()
    }
}

fn keys(wg: &Path, what: &str, input: &str) -> String {
    piped(Command::new(wg).arg(what), input).expect("a key").trim().to_owned()
}

fn piped(command: &mut Command, input: &str) -> Result<String, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    // A program that reads nothing may have ended already.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Counts in the kernel what arrives at the port. Returns packets and bytes since the first call.
fn arrived(netns: &str) -> (u64, u64) {
    let run = |arguments: &[&str]| {
        let netns = netns_path(netns);
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", netns.display())).args(["iptables", "-w"]).args(arguments);
        piped(&mut command, "").expect("iptables")
    };
    let listed = run(&["-L", "INPUT", "-nvx"]);
    let rule = listed.lines().find(|line| line.contains(&format!("dpt:{PORT}")));
    let Some(rule) = rule else {
        run(&["-A", "INPUT", "-p", "udp", "--dport", &PORT.to_string()]);
        return (0, 0);
    };
    let mut numbers = rule.split_whitespace().map(|word| word.parse().expect("a number"));
    (numbers.next().expect("packets"), numbers.next().expect("bytes"))
}

pub fn in_user_space() {
    let Some([wireguard, wg, _]) = installed(["wireguard-go", "wg", "iptables"]) else { return };
    if !Path::new("/dev/net/tun").exists() {
        return println!("skipped: no /dev/net/tun");
    }
    let world = World::new(&["vpn", "one", "two"]);
    let programs = [wireguard, wg];
    let netns = world.network.netns("vpn");
    assert_eq!(arrived(&netns), (0, 0));
    let vpn = Node::start(&world, &programs, "vpn", 1);
    vpn.wg(&["set", DEVICE, "listen-port", &PORT.to_string()]);
    vpn.daemon.wait_listens("UDP", PORT);
    let peers = [("one", 2), ("two", 3)].map(|(role, number)| Node::start(&world, &programs, role, number));
    // A new device begins the observation of its namespace anew, so the devices come first.
    let agent = world.agent_that_knows_who_asks();
    let endpoint = world.v4("vpn", PORT).to_string();
    for peer in &peers {
        vpn.add_peer(peer, None);
        peer.add_peer(&vpn, Some(&endpoint));
        let send = || UdpSocket::bind(("0.0.0.0", 0))?.send_to(&[0; 100], ("10.88.0.1", 9));
        inside(&world.network.netns(peer.role), send).expect("a packet for the tunnel");
    }
    eventually(TIMEOUT, "two handshakes", || {
        let done = vpn.handshakes();
        (done == peers.len()).then_some(()).ok_or_else(|| format!("{done}: {}", vpn.daemon.log()))
    });

    let finding = world.finding(&agent, "vpn", PORT, |finding| {
        finding.code == "undeclared-active" && finding.traffic.peers.len() == peers.len()
    });
    let mut callers: Vec<_> =
        finding.traffic.peers.iter().filter_map(|peer| peer.reference.clone()).collect();
    callers.sort();
    assert_eq!(callers, ["tier/one", "tier/two"]);
    let process = finding.listener.and_then(|listener| listener.process).expect("a process");
    assert_eq!((process.name.as_str(), process.pid), ("wireguard-go", vpn.daemon.pid()));
    eventually(TIMEOUT, "the counts agree with the kernel's", || {
        let kernel = arrived(&netns);
        let listed = agent.listeners()?;
        let is_vpn = |netns_of: &Option<String>| netns_of.as_ref() == Some(&netns);
        let seen = listed.iter().find(|item| is_vpn(&item.netns.name) && item.port == PORT);
        let agent = seen.map(|item| (item.traffic.packets, item.traffic.bytes));
        if agent == Some(kernel) { Ok(()) } else { Err(format!("kernel {kernel:?}, agent {agent:?}")) }
    });
    for role in ["one", "two"] {
        world.nothing_proven(&agent, role);
    }
    world.settles(&agent);
}
