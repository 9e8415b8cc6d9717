//! Two pods: a network namespace each, one cable between them, and the manifests that declare one port.

use std::fs;

use anyhow::Result;

use crate::system::tool;

pub const APP: &str = "ptl-app";
pub const CALLER: &str = "ptl-caller";
/// The app's address on the cable, and on the VLAN within it.
pub const ADDRESS: &str = "10.9.0.1";
pub const VLAN_ADDRESS: &str = "10.9.7.1";
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

/// What could be made.
#[derive(Debug)]
pub struct World {
    /// Why there is no VLAN, if there is none.
    pub no_vlan: Option<String>,
}

impl World {
    /// # Errors
    /// Where the kernel has no namespaces or no veth.
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
        let no_vlan = vlan().err().map(|error| format!("{error:#}"));
        fs::write(MANIFEST, PODS)?;
        Ok(Self { no_vlan })
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

fn address_on(netns: &str, interface: &str, address: &str) -> Result<()> {
    tool(&["ip", "-n", netns, "address", "add", address, "dev", interface])?;
    tool(&["ip", "-n", netns, "link", "set", interface, "up"])?;
    Ok(())
}
