//! Network namespaces of one case, joined by a bridge in a hub namespace. The host's network is never touched, and a
//! guard removes everything, also when the case fails.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::LinkNameSpaceType;

/// Prefix of every namespace of the tier; the test's pid follows.
pub const PREFIX: &str = "tier-";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Role of a namespace behind the hub's router instead of on the pods' bridge.
pub const OUTSIDE: &str = "outside";

/// A hub with a bridge, and one namespace per role with an `eth0` on the bridge.
pub struct Network {
    stem: String,
    roles: Vec<String>,
    extra: Vec<String>,
}

impl Network {
    /// Creates the hub and one namespace for each role; the role `outside` gets 203.0.113.5 behind the hub.
    pub fn new(roles: &[&str]) -> Self {
        let stem = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let network =
            Self { stem, roles: roles.iter().map(ToString::to_string).collect(), extra: Vec::new() };
        network.build();
        network
    }

    fn build(&self) {
        let hub = self.netns("hub");
        // The bridge comes first: if both ends of a veth have the same index, the kernel does not take them for a pair
        // and delays the news of their carrier for up to a second.
        let mut batch = format!("netns add {hub}\nlink add bridge0 netns {hub} type bridge\n");
        for (index, role) in self.roles.iter().enumerate() {
            let netns = self.netns(role);
            batch += &format!("netns add {netns}\n");
            batch += &format!("link add eth0 netns {netns} type veth peer name port{index} netns {hub}\n");
        }
        ip(&[], &batch);
        for (index, role) in self.roles.iter().enumerate() {
            ip(&["-n", &self.netns(role)], &Self::member_batch(index, role));
        }
        let mut batch = String::from(
            "link set lo up\naddress add 10.77.0.1/24 dev bridge0\n\
             address add fd77::1/64 dev bridge0 nodad\nlink set bridge0 up\n",
        );
        for (index, role) in self.roles.iter().enumerate() {
            if role == OUTSIDE {
                batch += &format!("address add 203.0.113.1/24 dev port{index}\nlink set port{index} up\n");
            } else {
                batch += &format!("link set port{index} master bridge0 up\n");
            }
        }
        ip(&["-n", &hub], &batch);
        inside(&hub, || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forward in the hub"));
    }

    fn member_batch(index: usize, role: &str) -> String {
        let host = Self::host_part(index);
        if role == OUTSIDE {
            return "link set lo up\naddress add 203.0.113.5/24 dev eth0\nlink set eth0 up\n\
                    route add default via 203.0.113.1\n"
                .into();
        }
        format!(
            "link set lo up\naddress add 10.77.0.{host}/24 dev eth0\naddress add fd77::{host}/64 dev eth0 nodad\n\
             link set eth0 up\nroute add default via 10.77.0.1\n"
        )
    }

    fn host_part(index: usize) -> u8 {
        u8::try_from(index + 10).expect("few roles")
    }

    fn index(&self, role: &str) -> usize {
        self.roles.iter().position(|known| known == role).unwrap_or_else(|| panic!("no role {role}"))
    }

    /// Returns the name of a role's namespace.
    pub fn netns(&self, role: &str) -> String {
        format!("{}-{role}", self.stem)
    }

    /// Returns the names of all namespaces that hold the case's sockets.
    pub fn all_netns(&self) -> Vec<String> {
        self.roles.iter().chain(&self.extra).map(|role| self.netns(role)).collect()
    }

    pub fn v4(&self, role: &str) -> IpAddr {
        if role == OUTSIDE {
            return Ipv4Addr::new(203, 0, 113, 5).into();
        }
        Ipv4Addr::new(10, 77, 0, Self::host_part(self.index(role))).into()
    }

    pub fn v6(&self, role: &str) -> IpAddr {
        // The digits of the host part are read as hexadecimal, as in `fd77::10`.
        let digits = Self::host_part(self.index(role)).to_string();
        let last = u16::from_str_radix(&digits, 16).expect("digits");
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last).into()
    }

    /// Adds a namespace without links, which the guard removes too.
    pub fn add_bare(&mut self, role: &str) -> String {
        let netns = self.netns(role);
        ip(&[], &format!("netns add {netns}\n"));
        ip(&["-n", &netns], "link set lo up\n");
        self.extra.push(role.to_owned());
        netns
    }

    /// Adds namespaces with two interfaces each, and returns their roles.
    pub fn add_crowd(&mut self, count: usize) -> Vec<String> {
        let roles: Vec<String> = (0..count).map(|number| format!("crowd{number}")).collect();
        for role in &roles {
            self.add_bare(role);
            self.ip(role, "link add a0 type veth peer name b0\nlink set a0 up\nlink set b0 up\n");
        }
        roles
    }

    /// Removes one namespace now.
    pub fn remove(&mut self, role: &str) {
        let netns = self.netns(role);
        self.roles.retain(|known| known != role);
        self.extra.retain(|known| known != role);
        ip(&[], &format!("netns delete {netns}\n"));
    }

    /// Returns the names of the interfaces in a role's namespace.
    pub fn links(&self, role: &str) -> Vec<String> {
        let listed = inside(&self.netns(role), || std::fs::read_to_string("/proc/thread-self/net/dev"));
        let listed = listed.expect("the interfaces");
        listed.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
    }

    /// Runs `ip` commands in a role's namespace.
    pub fn ip(&self, role: &str, batch: &str) {
        ip(&["-n", &self.netns(role)], batch);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let mine = self.netns("");
        for netns in tier_netns().iter().filter(|name| name.starts_with(&mine)) {
            remove_netns(netns);
        }
    }
}

/// Returns the path where `ip netns` mounts a namespace.
pub fn netns_path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// Runs a closure on a thread that enters this namespace and ends afterwards.
pub fn inside<T: Send>(netns: &str, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let entered = scope.spawn(|| {
            let file = File::open(netns_path(netns)).expect("the netns is there");
            rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("enter the netns");
            act()
        });
        entered.join().expect("the closure ends")
    })
}

/// Appends a rule to the `nat` table of a netns. `tool`: `iptables` or `ip6tables`.
pub fn nat_rule(netns: &str, tool: &str, rule: &str) {
    let output = inside(netns, || {
        Command::new(tool)
            .args(["-w", "-t", "nat", "-A"])
            .args(rule.split(' '))
            .output()
            .expect("iptables is installed")
    });
    assert!(output.status.success(), "{tool} {rule}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs one batch of `ip` commands and panics if one fails.
pub fn ip(options: &[&str], batch: &str) {
    let mut child = Command::new("ip")
        .args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("iproute2 is installed");
    child.stdin.take().expect("piped").write_all(batch.as_bytes()).expect("ip reads");
    let output = child.wait_with_output().expect("ip ends");
    assert!(output.status.success(), "ip {options:?}: {}\n{batch}", String::from_utf8_lossy(&output.stderr));
}

fn remove_netns(name: &str) {
    let path = netns_path(name);
    // Errors are left to the leak check at the end of the tier: a guard must not panic while a case panics.
    let _ = rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH);
    let _ = std::fs::remove_file(&path);
}

/// Removes what a killed run of the tier left behind.
pub fn sweep() {
    for name in tier_netns() {
        let owner = name.trim_start_matches(PREFIX).split('-').next().unwrap_or_default().to_owned();
        if !Path::new("/proc").join(&owner).exists() {
            remove_netns(&name);
        }
    }
}

/// Returns every namespace that any run of the tier created.
pub fn tier_netns() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(PREFIX)).collect()
}
