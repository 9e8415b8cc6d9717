//! Lists SCTP endpoints by sctp_diag, or else from /proc/net/sctp/eps. Asks only if SCTP is loaded already, because the
//! request itself would load it.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use portolan_engine::model::identity::{Protocol, SocketCookie};

use super::{Found, ListedSocket, is_absent, plain};
use crate::source::netlink::NetlinkSocket;

/// SCTP files of the netns of the thread that opens them.
const PROC_DIR: &str = "/proc/thread-self/net/sctp";
/// State of a listening endpoint in /proc/net/sctp/eps (SCTP_SS_LISTENING = TCP_LISTEN).
const LISTENING: &str = "10";

pub(super) fn list(diag: &mut NetlinkSocket, found: &mut Found) -> io::Result<()> {
    if !Path::new(PROC_DIR).exists() {
        return Ok(());
    }
    for family in [AF_INET, AF_INET6] {
        match super::list(diag, family, Protocol::Sctp, found) {
            Err(error) if is_absent(&error) => return list_from_proc(found),
            other => other?,
        }
    }
    Ok(())
}

fn list_from_proc(found: &mut Found) -> io::Result<()> {
    let text = fs::read_to_string(Path::new(PROC_DIR).join("eps"))?;
    for socket in text.lines().filter_map(parse) {
        found.sockets.insert(socket.cookie, socket);
    }
    Ok(())
}

/// Parses a line `ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS…`. The line has no cookie; the inode number with the
/// highest bit set replaces the cookie.
fn parse(line: &str) -> Option<ListedSocket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (state, port) = (fields.get(3)?, fields.get(5)?);
    if *state != LISTENING {
        return None;
    }
    let inode: u32 = fields.get(7)?.parse().ok()?;
    let address: IpAddr = fields.get(8)?.trim_end_matches('*').parse().ok()?;
    Some(ListedSocket {
        cookie: SocketCookie(u64::from(inode) | 1 << 63),
        protocol: Protocol::Sctp,
        port: port.parse().ok()?,
        address: plain(address),
        v6_only: address.is_ipv6().then_some(false),
        on_loopback: false,
        inode,
        is_tunnel: false,
        uid: fields.get(6)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_proc_parse_and_others_are_skipped() {
        let socket = parse("ffff88 ffff99 2 10 5 9999 0 23456 0.0.0.0 ").expect("endpoint");
        assert_eq!((socket.port.get(), socket.inode, socket.v6_only), (9999, 23456, None));
        assert_eq!(parse(" ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS"), None);
        assert_eq!(parse("a b 2 7 5 9999 0 23456 0.0.0.0"), None);
        assert_eq!(parse(""), None);
    }
}
