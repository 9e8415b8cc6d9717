//! The two pods of a guest: a network namespace each, a veth pair between them, and manifests that declare one port.

use std::fs;

use anyhow::Result;

use crate::system::tool;

pub const APP: &str = "ptl-app";
pub const CALLER: &str = "ptl-caller";
/// Addresses of the app on the veth pair, and on the VLAN over it.
pub const ADDRESS: &str = "10.9.0.1";
pub const VLAN_ADDRESS: &str = "10.9.7.1";
/// IPv6 address of the app on the veth pair.
pub const IPV6_ADDRESS: &str = "fd09::1";
/// Address of the app on the netkit device.
pub const NETKIT_ADDRESS: &str = "10.9.8.1";
pub const MANIFEST: &str = "/tmp/pods.yaml";
pub const DECLARED: u16 = 8080;

const PODS: &str = "\
apiVersion: v1
kind: Pod
metadata:
  namespace: vm
  name: app
  uid: 00000000-0000-4000-8000-000000000001
  annotations: {portolan.dev/netns: ptl-app}
spec:
  containers:
    - name: app
      image: app
      ports:
        - containerPort: 8080
status:
  podIP: 10.9.0.1
  podIPs: [{ip: 10.9.0.1}]
---
apiVersion: v1
kind: Pod
metadata:
  namespace: vm
  name: caller
  uid: 00000000-0000-4000-8000-000000000002
  annotations: {portolan.dev/netns: ptl-caller}
spec:
  containers:
    - name: caller
      image: caller
status:
  podIP: 10.9.0.2
  podIPs: [{ip: 10.9.0.2}]
";

/// The devices that could be created.
#[derive(Debug)]
pub struct World {
    /// Reason why there is no VLAN, if it is missing.
    pub no_vlan: Option<String>,
    /// Reason why there is no netkit device, if it is missing.
    pub no_netkit: Option<String>,
    /// Reason why there is no IPv6, if it is missing.
    pub no_ipv6: Option<String>,
}

impl World {
    /// # Errors
    /// If the kernel has no namespaces or no veth.
    pub fn make() -> Result<Self> {
        tool(&["ip", "link", "set", "lo", "up"])?;
        for netns in [APP, CALLER] {
            tool(&["ip", "netns", "add", netns])?;
            tool(&["ip", "-n", netns, "link", "set", "lo", "up"])?;
        }
        tool(&[
            "ip", "-n", APP, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", CALLER,
        ])?;
        for (netns, address) in [(APP, "10.9.0.1/24"), (CALLER, "10.9.0.2/24")] {
            address_on(netns, "eth0", address)?;
        }
        let why_not = |made: Result<()>| made.err().map(|error| format!("{error:#}"));
        fs::write(MANIFEST, PODS)?;
        Ok(Self { no_vlan: why_not(vlan()), no_netkit: why_not(netkit()), no_ipv6: why_not(ipv6()) })
    }
}

fn vlan() -> Result<()> {
    for (netns, address) in [(APP, "10.9.7.1/24"), (CALLER, "10.9.7.2/24")] {
        tool(&[
            "ip", "-n", netns, "link", "add", "link", "eth0", "name", "eth0.7", "type", "vlan", "id", "7",
        ])?;
        address_on(netns, "eth0.7", address)?;
    }
    Ok(())
}

/// Creates a pair of devices without link headers, which newer network plugins give to pods. Uses the kernel's default mode and its
/// name for the app's end, because older tools cannot set either.
fn netkit() -> Result<()> {
    tool(&["ip", "-n", CALLER, "link", "add", "cable", "type", "netkit"])?;
    tool(&["ip", "-n", CALLER, "link", "set", "nk0", "netns", APP])?;
    address_on(APP, "nk0", "10.9.8.1/24")?;
    address_on(CALLER, "cable", "10.9.8.2/24")
}

fn ipv6() -> Result<()> {
    for (netns, address) in [(APP, "fd09::1/64"), (CALLER, "fd09::2/64")] {
        tool(&["ip", "-n", netns, "address", "add", address, "dev", "eth0", "nodad"])?;
    }
    Ok(())
}

fn address_on(netns: &str, interface: &str, address: &str) -> Result<()> {
    tool(&["ip", "-n", netns, "address", "add", address, "dev", interface])?;
    tool(&["ip", "-n", netns, "link", "set", interface, "up"])?;
    Ok(())
}
