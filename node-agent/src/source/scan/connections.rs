//! Lists the TCP connections of the calling thread's netns with the bytes that each has carried.

use std::collections::BTreeMap;
use std::io;

use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetResponse, StateFlags};
use portolan_engine::model::connection::ListedConnection;
use portolan_engine::model::identity::SocketCookie;

use super::tcp::{self, Query};
use crate::source::netlink::NetlinkSocket;

/// Maximum number of connections in a list. A list of more than these would be incomplete.
pub const MAX_CONNECTIONS: usize = 262_144;

/// Positions of `tcpi_bytes_acked` and `tcpi_bytes_received` in `struct tcp_info` (linux/tcp.h; Linux 4.1 and newer).
const BYTES_ACKED: std::ops::Range<usize> = 120..128;
const BYTES_RECEIVED: std::ops::Range<usize> = 128..136;

/// TCP states of include/net/tcp_states.h in which the counters include FINs.
const FIN_WAIT2: u8 = 5;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// The connections of a netns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    pub connections: Vec<ListedConnection>,
    /// Number of connections that are missing, because they do not parse or are more than [`MAX_CONNECTIONS`].
    pub missing: usize,
}

/// Lists every connection that has not ended. Connections in TIME_WAIT have.
///
/// # Errors
/// When sock_diag is not available, or refuses TCP.
pub fn listed_connections() -> io::Result<Connections> {
    let mut diag = NetlinkSocket::open(netlink_sys::protocols::NETLINK_SOCK_DIAG)?;
    let states = StateFlags::all() - StateFlags::LISTEN - StateFlags::CLOSE - StateFlags::TIME_WAIT;
    let query = Query { states, extensions: ExtensionFlags::INFO };
    let mut found: BTreeMap<SocketCookie, ListedConnection> = BTreeMap::new();
    let mut missing = 0;
    let unparsable = tcp::dump(&mut diag, &query, |response| {
        let connection = connection_of(response);
        if found.len() < MAX_CONNECTIONS || found.contains_key(&connection.cookie) {
            found.insert(connection.cookie, connection);
        } else {
            missing += 1;
        }
    })?;
    Ok(Connections { connections: found.into_values().collect(), missing: missing + unparsable })
}

fn connection_of(response: &InetResponse) -> ListedConnection {
    let info = response.nlas.iter().find_map(|nla| match nla {
        Nla::TcpInfo(info) => Some(info.as_slice()),
        _ => None,
    });
    let number = |at: std::ops::Range<usize>| {
        let bytes = info.and_then(|info| info.get(at)).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_ne_bytes)
    };
    let (fin_received, fin_acked) = fins(response.header.state);
    ListedConnection {
        cookie: SocketCookie(u64::from_ne_bytes(response.header.socket_id.cookie)),
        bytes_in: number(BYTES_RECEIVED).saturating_sub(fin_received),
        bytes_out: number(BYTES_ACKED).saturating_sub(fin_acked),
    }
}

/// Returns how many FINs the counters of received and acknowledged bytes include in this state: the kernel counts a FIN as
/// a byte (RFC 4898).
const fn fins(state: u8) -> (u64, u64) {
    match state {
        FIN_WAIT2 => (0, 1),
        CLOSE_WAIT | LAST_ACK | CLOSING => (1, 0),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::Duration;

    use portolan_testing::waiting::Deadline;

    use super::*;

    /// Waits until the list of connections fits: the kernel acknowledges later than write returns.
    fn until(fits: impl Fn(&[ListedConnection]) -> bool) -> bool {
        let deadline = Deadline::after(Duration::from_secs(10));
        loop {
            let listed = listed_connections().expect("sock_diag");
            assert_eq!(listed.missing, 0);
            if fits(&listed.connections) {
                return true;
            }
            if deadline.remaining().is_zero() {
                return false;
            }
            std::thread::yield_now();
        }
    }

    fn cookie(stream: &TcpStream) -> SocketCookie {
        SocketCookie(rustix::net::sockopt::socket_cookie(stream).expect("SO_COOKIE"))
    }

    #[test]
    fn open_connections_are_listed_with_their_bytes_without_fins() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let mut client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (mut server, _) = listener.accept().expect("accept");
        let cookie = cookie(&server);
        client.write_all(&[7; 1_000]).expect("write");
        let mut buffer = [0; 1_000];
        server.read_exact(&mut buffer).expect("read");
        server.write_all(&[7; 300]).expect("write");
        let has = move |bytes_in, bytes_out| {
            let wanted = ListedConnection { cookie, bytes_in, bytes_out };
            until(|listed| listed.contains(&wanted))
        };
        assert!(has(1_000, 300));
        client.shutdown(Shutdown::Write).expect("shutdown");
        assert_eq!(server.read(&mut buffer).expect("the end"), 0);
        assert!(has(1_000, 300), "a FIN is no byte");
        server.write_all(&[7; 20]).expect("write");
        assert!(has(1_000, 320));
        drop((server, client));
        assert!(until(|listed| listed.iter().all(|one| one.cookie != cookie)), "it has ended");
    }

    #[test]
    fn a_fin_that_was_acknowledged_is_no_byte() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (mut server, _) = listener.accept().expect("accept");
        let cookie = cookie(&server);
        server.write_all(&[7; 50]).expect("write");
        server.shutdown(Shutdown::Write).expect("shutdown");
        let wanted = ListedConnection { cookie, bytes_in: 0, bytes_out: 50 };
        assert!(until(|listed| listed.contains(&wanted)));
        drop(client);
    }
}
