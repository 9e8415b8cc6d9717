//! The oracle: the kernel's own list of sockets in each namespace, read by `ss`, and its comparison with the agent's
//! list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::process::Command;

use portolan_report::wire::Listener;

/// Netns name, protocol and port of a listener.
pub type ListenerKey = (String, String, u16);

/// Addresses and sockets of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    pub addresses: BTreeSet<IpAddr>,
    pub sockets: usize,
    pub v6_only: bool,
}

/// All listeners of some namespaces.
pub type Listeners = BTreeMap<ListenerKey, Served>;

/// First ephemeral port of a new netns.
pub const FIRST_EPHEMERAL: u16 = 32_768;
const LAST_EPHEMERAL: u16 = 60_999;

/// Returns the listeners of these namespaces as the kernel lists them.
pub fn kernel(netns: &[String]) -> Listeners {
    let mut listeners = Listeners::new();
    for name in netns {
        read_netns(name, &mut listeners);
    }
    listeners
}

/// Returns true if the kernel lists a TCP listener or an unconnected UDP socket with this port, whatever its number.
pub fn is_served(netns: &str, protocol: &str, port: u16) -> bool {
    let listed = list_sockets(netns);
    listed.lines().filter_map(parse_line).any(|line| line.0 == protocol && line.2 == port)
}

fn list_sockets(netns: &str) -> String {
    let output = Command::new("ss").args(["-N", netns, "-H", "-n", "-t", "-u", "-l", "-e", "-O"]).output();
    let output = output.expect("ss is installed");
    assert!(output.status.success(), "ss -N {netns}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn read_netns(name: &str, listeners: &mut Listeners) {
    let mut only: BTreeMap<ListenerKey, bool> = BTreeMap::new();
    for line in list_sockets(name).lines() {
        let Some((protocol, address, port, v6_only)) = parse_line(line) else { continue };
        if is_candidate(&protocol, port) {
            continue;
        }
        let key = (name.to_owned(), protocol, port);
        let served = listeners.entry(key.clone()).or_default();
        served.addresses.insert(address);
        served.sockets += 1;
        let all = only.entry(key).or_insert(true);
        *all &= v6_only.unwrap_or(true);
        if v6_only.is_some() {
            served.v6_only = true;
        }
    }
    for (key, all) in only {
        if let Some(served) = listeners.get_mut(&key) {
            served.v6_only &= all;
        }
    }
}

/// Returns true for UDP on an ephemeral port. Whether such a socket is reported depends on who spoke first, which the
/// kernel's list does not tell.
fn is_candidate(protocol: &str, port: u16) -> bool {
    protocol == "UDP" && (FIRST_EPHEMERAL..=LAST_EPHEMERAL).contains(&port)
}

/// Parses `tcp LISTEN 0 128 *:80 *:* ino:… sk:… v6only:0`; the last value is `None` for IPv4.
fn parse_line(line: &str) -> Option<(String, IpAddr, u16, Option<bool>)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let protocol = fields.first()?.to_uppercase();
    let (address, port) = fields.get(4)?.rsplit_once(':')?;
    let address = address.split('%').next()?.trim_matches(['[', ']']);
    let address: IpAddr = if address == "*" { Ipv6Addr::UNSPECIFIED.into() } else { address.parse().ok()? };
    let v6_only = fields.iter().find_map(|field| field.strip_prefix("v6only:")).map(|flag| flag == "1");
    Some((protocol, address.to_canonical(), port.parse().ok()?, v6_only))
}

/// Returns the listeners of these namespaces as the agent lists them, in the oracle's form.
pub fn agent(items: &[Listener], netns: &[String]) -> Result<Listeners, String> {
    let mut listeners = Listeners::new();
    for item in items {
        let Some(name) = item.netns.name.as_ref().filter(|name| netns.contains(name)) else { continue };
        if item.state != "open" || is_candidate(&item.protocol, item.port) {
            continue;
        }
        let key = (name.clone(), item.protocol.clone(), item.port);
        let addresses = item.addresses.iter().map(|text| text.parse().expect("an address")).collect();
        let served = Served { addresses, sockets: item.sockets, v6_only: item.v6_only };
        if listeners.insert(key, served).is_some() {
            return Err(format!("listed twice: {item:?}"));
        }
    }
    Ok(listeners)
}

/// Returns `Err` with what is missing, extra or different.
pub fn compare(kernel: &Listeners, agent: &Listeners) -> Result<(), String> {
    let mut differences = Vec::new();
    for (key, served) in kernel {
        match agent.get(key) {
            None => differences.push(format!("missing {key:?} {served:?}")),
            Some(said) if said != served => {
                differences.push(format!("{key:?}: kernel {served:?}, agent {said:?}"))
            }
            Some(_) => {}
        }
    }
    differences.extend(
        agent.iter().filter(|(key, _)| !kernel.contains_key(*key)).map(|(key, _)| format!("extra {key:?}")),
    );
    if differences.is_empty() {
        return Ok(());
    }
    let shown = differences.iter().take(12).cloned().collect::<Vec<_>>().join("\n  ");
    Err(format!("{} of {} differ:\n  {shown}", differences.len(), kernel.len()))
}
