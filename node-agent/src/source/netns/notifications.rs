//! Notifications of the kernel about interfaces and addresses of one netns. While a netns is new, they spare the looks that
//! would find nothing new.

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Forwarding that was switched on or off: the groups RTNLGRP_IPV4_NETCONF (24) and RTNLGRP_IPV6_NETCONF (25).
const NETCONF: u32 = 1 << 23 | 1 << 24;
/// The groups of changed interfaces, filters on them, IPv4 and IPv6 addresses, and forwarding (linux/rtnetlink.h).
const GROUPS: u32 = libc::RTMGRP_LINK as u32
    | libc::RTMGRP_TC as u32
    | libc::RTMGRP_IPV4_IFADDR as u32
    | libc::RTMGRP_IPV6_IFADDR as u32
    | NETCONF;
/// Maximum number of notifications taken at once. More of them are taken the next time.
const MAX_TAKEN: usize = 256;

/// A subscription in one netns. It keeps the netns alive, so it must be dropped soon, and at once when the netns loses its
/// name.
pub(super) struct Notifications(Socket);

impl Notifications {
    /// Subscribes in the calling thread's netns.
    ///
    /// # Errors
    /// When no socket can be created or bound.
    pub fn here() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        Ok(Self(socket))
    }

    /// Takes what has come. Returns true if anything changed since the last call, or may have changed.
    pub fn take(&self) -> bool {
        let mut is_changed = false;
        // What changed is not read: a look finds out.
        let mut beginning: [u8; 0] = [];
        for _ in 0..MAX_TAKEN {
            match self.0.recv(&mut &mut beginning[..], libc::MSG_TRUNC) {
                Ok(_) => is_changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return is_changed,
                // The queue was full.
                Err(_) => return true,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::netns::enter::unshare_netns;

    #[test]
    fn a_change_is_told_until_it_is_taken() {
        std::thread::spawn(|| {
            if let Err(error) = unshare_netns() {
                return println!("skipped: a netns of its own needs root ({error})");
            }
            let notifications = Notifications::here().expect("a subscription");
            assert!(!notifications.take(), "nothing has changed yet");
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.expect("ip").success());
            assert!(notifications.take(), "the loopback interface is up");
            assert!((0..1000).any(|_| !notifications.take()), "what was taken does not come again");
        })
        .join()
        .expect("no panic");
    }
}
