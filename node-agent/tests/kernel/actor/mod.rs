//! The actor: a process apart from the test's that opens sockets on request. It is the test executable itself, started
//! again, so that the tier is one file to copy into a virtual machine.

mod messages;
pub mod protocol;
mod raw_packet;
mod ring;
mod sockets;
mod tun;

use std::io::{BufRead, Write};

use protocol::{Reply, Request};
use sockets::Sockets;

/// Environment variable of an actor: the netns to enter first (empty: stay).
pub const ACTOR_NETNS: &str = "PORTOLAN_TIER_ACTOR_NETNS";
/// Environment variable of a child that only holds the sockets it inherited.
pub const ACTOR_HOLDS: &str = "PORTOLAN_TIER_ACTOR_HOLDS";

/// Serves requests until stdin ends.
pub fn run(netns: &str) {
    if !netns.is_empty() {
        sockets::enter_netns(netns).expect("enter the netns");
    }
    let mut sockets = Sockets::default();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let request: Request = serde_json::from_str(&line).expect("a request");
        let reply = sockets.perform(request).unwrap_or_else(|errno| Reply::Refused(errno.raw_os_error()));
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &reply).expect("the case reads");
        out.write_all(b"\n").and_then(|()| out.flush()).expect("the case reads");
    }
}

/// Holds the inherited sockets until stdin ends.
pub fn hold() {
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|length| length > 0) {}
}
