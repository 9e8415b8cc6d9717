//! The soak's cluster: pods as network namespaces on a bridge, a caller in the bridge's namespace, and the manifest that says
//! which pods there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bench::netns::{Netns, ip_batch};
use crate::bench::process::Generator;

/// Prefix of the soak's namespaces, and of no others.
pub const PREFIX: &str = "ptl-soak-";
/// Kubernetes namespace of the pods.
pub const NAMESPACE: &str = "soak";
pub const PODS: usize = 20;
/// The first pods live as long as the soak. Their connections are counted exactly. The others come and go.
pub const STEADY: usize = 12;
pub const DECLARED: u16 = 8080;
pub const UNDECLARED: u16 = 9090;
pub const DATAGRAMS: u16 = 7000;
/// The cluster's addresses: pods in the first half, the sources of datagrams in the second.
pub const POD_RANGE: &str = "10.98.0.0/16";
const GATEWAY: &str = "10.98.0.1/16";
/// A bridge without an address of its own takes that of one of its ports, and another one when that pod is removed.
const BRIDGE: &str = "02:00:0a:62:00:01";
const SOURCE_RANGE: &str = "10.98.128.0/17";
const FIRST_SOURCE: &str = "10.98.128.0";
/// A pod that is made again gets another address, because the caller remembers the neighbour that it was. There are this many
/// addresses, so that none returns within hours.
const BLOCKS: u32 = 125;
const HOSTS: u32 = 250;

/// One pod. The fields are dropped in this order: the server ends before its namespace is removed.
pub struct Pod {
    server: Generator,
    netns: Netns,
    address: Ipv4Addr,
    generation: u32,
    opened: BTreeSet<u16>,
}

impl Pod {
    pub fn target(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, port)
    }
}

/// Returns the name of a pod.
pub fn name(number: usize) -> String {
    format!("pod-{number}")
}

/// All pods, their network and their caller.
pub struct Cluster {
    pods: BTreeMap<usize, Pod>,
    caller: Generator,
    client: Netns,
    manifest: PathBuf,
    generation: u32,
}

impl Cluster {
    /// Creates the network and all pods, and writes the manifest.
    ///
    /// # Errors
    /// If `ip` or a generator fails.
    pub fn make(manifest: &Path) -> Result<Self> {
        let client = Netns::make_named(format!("{PREFIX}client"))?;
        // Every address of the second half is local to the caller.
        let bridge = format!(
            "link add br0 address {BRIDGE} type bridge\naddress add {GATEWAY} dev br0\nlink set br0 up\n\
             route add local {SOURCE_RANGE} dev lo\n"
        );
        ip_batch(&["-n", client.name()], &bridge)?;
        let mut caller = Generator::start(&client, &["call", "--sources", FIRST_SOURCE])?;
        caller.line()?;
        let (pods, manifest) = (BTreeMap::new(), manifest.to_owned());
        let mut cluster = Self { pods, caller, client, manifest, generation: 0 };
        for number in 0..PODS {
            cluster.add(number)?;
        }
        cluster.declare()?;
        Ok(cluster)
    }

    pub const fn pods(&self) -> &BTreeMap<usize, Pod> {
        &self.pods
    }

    /// Makes a pod with its server. The manifest has it after the next [`Self::declare`].
    ///
    /// # Errors
    /// If `ip` or the server fails.
    pub fn add(&mut self, number: usize) -> Result<()> {
        self.generation += 1;
        let generation = self.generation;
        let address = address(generation);
        let cable = format!("p{generation}");
        let netns = Netns::make_named(format!("{PREFIX}{}", name(number)))?;
        let (inside, client) = (netns.name(), self.client.name());
        ip_batch(&[], &format!("link add eth0 netns {inside} type veth peer name {cable} netns {client}\n"))?;
        ip_batch(&["-n", client], &format!("link set {cable} master br0 up\n"))?;
        ip_batch(&["-n", inside], &format!("address add {address}/16 dev eth0\nlink set eth0 up\n"))?;
        let server = serve(&netns)?;
        self.pods.insert(number, Pod { server, netns, address, generation, opened: BTreeSet::new() });
        Ok(())
    }

    /// Ends a pod with its server and its namespace.
    pub fn remove(&mut self, number: usize) {
        self.pods.remove(&number);
    }

    /// Kills a pod's server with SIGKILL, and starts another one in its place.
    ///
    /// # Errors
    /// If there is no such pod, or the new server does not start.
    pub fn restart_server(&mut self, number: usize) -> Result<()> {
        let pod = self.pod(number)?;
        pod.server.kill();
        pod.server = serve(&pod.netns)?;
        pod.opened.clear();
        Ok(())
    }

    /// Opens one more port of a pod.
    ///
    /// # Errors
    /// If there is no such pod, or the port cannot be opened.
    pub fn open(&mut self, number: usize, port: u16) -> Result<()> {
        let pod = self.pod(number)?;
        pod.server.ask(&format!("open {port}"))?;
        pod.opened.insert(port);
        Ok(())
    }

    /// Closes every port that [`Self::open`] opened in a pod.
    ///
    /// # Errors
    /// If the server has ended.
    pub fn close_opened(&mut self, number: usize) -> Result<()> {
        let Some(pod) = self.pods.get_mut(&number) else { return Ok(()) };
        while let Some(port) = pod.opened.pop_first() {
            pod.server.ask(&format!("close {port}"))?;
        }
        Ok(())
    }

    /// Begins calls; [`Self::called`] waits for their end.
    ///
    /// # Errors
    /// If the caller has ended.
    pub fn call(&mut self, how: &str, targets: &[SocketAddrV4]) -> Result<()> {
        let targets: String = targets.iter().map(|target| format!(" {target}")).collect();
        self.caller.tell(&format!("{how}{targets}"))
    }

    /// Returns the number of calls that each target got.
    ///
    /// # Errors
    /// If the caller has ended.
    pub fn called(&mut self) -> Result<Vec<u64>> {
        let line = self.caller.line()?;
        line.split(' ').map(|count| count.parse().with_context(|| format!("no counts: {line}"))).collect()
    }

    /// Writes the manifest with the pods that exist now.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn declare(&self) -> Result<()> {
        let mut text = String::new();
        for (number, pod) in &self.pods {
            write!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata:\n  namespace: {NAMESPACE}\n  name: {}\n  \
                 uid: 00000000-0000-4000-8000-{:012x}\n  annotations:\n    portolan.dev/netns: {}\n\
                 spec:\n  containers:\n    - name: app\n      image: app\n      ports:\n        \
                 - containerPort: {DECLARED}\n",
                name(*number),
                pod.generation,
                pod.netns.name(),
            )?;
        }
        replace(&self.manifest, &text)
    }

    fn pod(&mut self, number: usize) -> Result<&mut Pod> {
        self.pods.get_mut(&number).with_context(|| format!("there is no {}", name(number)))
    }
}

/// Replaces a file as a whole, so that nobody reads a part of it.
///
/// # Errors
/// If the file cannot be written.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
    std::fs::rename(&new, path).with_context(|| format!("cannot replace {}", path.display()))
}

fn serve(netns: &Netns) -> Result<Generator> {
    let (tcp, udp) = (format!("{DECLARED},{UNDECLARED}"), DATAGRAMS.to_string());
    let mut server = Generator::start(netns, &["serve", "--tcp", &tcp, "--udp", &udp])?;
    server.line()?;
    Ok(server)
}

/// Returns the address of the pod that was made as number `generation`. The first pods have addresses of their own.
fn address(generation: u32) -> Ipv4Addr {
    let block = if generation as usize <= PODS { 1 } else { 2 + generation / HOSTS % BLOCKS };
    let base = Ipv4Addr::new(10, 98, 0, 2).to_bits();
    Ipv4Addr::from_bits(base + block * 256 + generation % HOSTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_used_again_soon() {
        let first: BTreeSet<_> = (1..=PODS as u32).map(address).collect();
        let others: BTreeSet<_> = (PODS as u32 + 1..=PODS as u32 + HOSTS * BLOCKS).map(address).collect();
        assert_eq!(first.len() + others.len(), PODS + (HOSTS * BLOCKS) as usize);
        assert!(first.is_disjoint(&others));
        let sources = Ipv4Addr::new(10, 98, 128, 0);
        assert!(others.iter().all(|address| *address < sources && *address > Ipv4Addr::new(10, 98, 0, 1)));
    }
}
