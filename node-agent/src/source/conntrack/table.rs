//! The connection tracking table of the node's netns, queried over netlink one connection at a time. The socket belongs
//! to the netns in which it was opened. The node's netns never ends, so the socket stays valid.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use netlink_sys::constants::NETLINK_NETFILTER;
use portolan_engine::model::identity::Protocol;

use super::message::{Endpoints, Lookup, LookupError, lookup_request, parse_answer};
use crate::source::netlink::NetlinkSocket;
use crate::source::netns::enter::in_host_netns;

/// Buffer for answers, which have a few hundred bytes.
const BUFFER_BYTES: usize = 8 * 1024;

/// Why the table cannot be queried.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("the node's netns cannot be entered: {0}")]
    Netns(io::Error),
    #[error("this kernel does not tell of connection tracking (nf_conntrack_netlink)")]
    Absent,
    #[error("connection tracking may not be read: CAP_NET_ADMIN is missing")]
    Forbidden,
    #[error("connection tracking does not answer: {0}")]
    Failed(String),
}

/// The open table.
pub struct Table {
    socket: NetlinkSocket,
}

impl Table {
    /// Opens the table of the node's netns and checks that it answers.
    ///
    /// # Errors
    /// Why the table cannot be queried.
    pub fn open(proc_root: &Path) -> Result<Self, TableError> {
        // The kernel queues the answer before the request returns, so reading never has to block.
        let opened =
            in_host_netns(proc_root, || NetlinkSocket::open_non_blocking(NETLINK_NETFILTER, BUFFER_BYTES));
        let socket = opened.map_err(|error| match error.raw_os_error() {
            Some(libc::EPROTONOSUPPORT) => TableError::Absent,
            _ => TableError::Netns(error),
        })?;
        let mut table = Self { socket };
        let nobody = (IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
        match table.look_up(&Endpoints { protocol: Protocol::Tcp, local: nobody, remote: nobody }) {
            Ok(_) => Ok(table),
            Err(LookupError::Refused(libc::EPERM)) => Err(TableError::Forbidden),
            Err(LookupError::Refused(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)) => {
                Err(TableError::Absent)
            }
            Err(other) => Err(TableError::Failed(other.to_string())),
        }
    }

    /// Looks up a connection.
    ///
    /// # Errors
    /// When the kernel does not answer, or the answer does not parse.
    pub fn look_up(&mut self, endpoints: &Endpoints) -> Result<Lookup, LookupError> {
        let received =
            self.socket.request(lookup_request(endpoints)).map_err(|error| match error.raw_os_error() {
                Some(errno) => LookupError::Refused(errno),
                None => LookupError::Incomplete,
            })?;
        parse_answer(received, endpoints)
    }
}
