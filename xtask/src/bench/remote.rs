//! A client that is on no node: it makes packets by itself, on an interface where no program of the agent is attached. The
//! kernel of this machine has a socket for the server's end only.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::netns::{Netns, ip};
use crate::step;

const SCRIPT: &str = include_str!("remote_client.py");
/// The end of the pair in the host's namespace. It has no address.
const OUTSIDE: &str = "ptl-bench0";
const INSIDE: &str = "remote0";
const MACS: [&str; 2] = ["02:00:0a:62:00:02", "02:00:0a:62:00:01"];
const CLIENT: &str = "10.98.0.2";
const SERVER: &str = "10.98.0.1";

/// Joins a namespace with the client's interface, which goes when the namespace goes.
///
/// # Errors
/// If `ip` fails.
pub fn join(server: &Netns) -> Result<()> {
    let [client_mac, server_mac] = MACS;
    let name = server.name();
    ip(&[
        "link", "add", OUTSIDE, "address", client_mac, "type", "veth", "peer", "name", INSIDE, "address",
        server_mac, "netns", name,
    ])?;
    ip(&["-n", name, "address", "add", &format!("{SERVER}/24"), "dev", INSIDE])?;
    ip(&["-n", name, "link", "set", INSIDE, "up"])?;
    ip(&["link", "set", OUTSIDE, "up"])?;
    // Nobody answers for the client.
    ip(&["-n", name, "neighbor", "replace", CLIENT, "lladdr", client_mac, "dev", INSIDE])
}

/// Makes `count` connections, one after the other. Returns how many the server accepted and closed.
///
/// # Errors
/// If the client fails.
pub fn call(port: &str, count: u32) -> Result<u32> {
    let [client_mac, server_mac] = MACS;
    let mut client = Command::new("python3");
    client.args(["-c", SCRIPT, OUTSIDE, client_mac, server_mac, CLIENT, SERVER, port, &count.to_string()]);
    let said = step::output(client.stdin(Stdio::null())).context("the remote client failed")?;
    said.trim().parse().with_context(|| format!("the remote client prints no number: {said}"))
}
