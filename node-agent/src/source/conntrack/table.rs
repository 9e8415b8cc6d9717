//! The connection tracking table of the node's own netns, asked over netlink one connection at a time. The socket belongs
//! to the netns in which it was opened, and the node's never goes.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use netlink_sys::constants::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use portolan_engine::model::identity::Protocol;

use super::message::{Answer, BadAnswer, Ends, answer, question};
use crate::source::netns::enter::in_host_netns;

/// An answer is a few hundred bytes.
const BUFFER: usize = 8 * 1024;
const SEQUENCE: std::ops::Range<usize> = 8..12;

/// Why the table cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
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
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Table {
    /// Opens the table of the node's netns and tries whether it answers.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub fn open(proc_root: &Path) -> Result<Self, Refusal> {
        let opened = in_host_netns(proc_root, || {
            let socket = Socket::new(NETLINK_NETFILTER)?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // An answer is there when the question was sent: nothing is ever waited for.
            socket.set_non_blocking(true)?;
            Ok(socket)
        });
        let socket = opened.map_err(|error| match error.raw_os_error() {
            Some(libc::EPROTONOSUPPORT) => Refusal::Absent,
            _ => Refusal::Netns(error),
        })?;
        let mut table = Self { socket, buffer: Vec::with_capacity(BUFFER), sequence: 0 };
        let nobody = (IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
        match table.ask(&Ends { protocol: Protocol::Tcp, local: nobody, remote: nobody }) {
            Ok(_) => Ok(table),
            Err(BadAnswer::Refused(libc::EPERM)) => Err(Refusal::Forbidden),
            Err(BadAnswer::Refused(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)) => {
                Err(Refusal::Absent)
            }
            Err(other) => Err(Refusal::Failed(other.to_string())),
        }
    }

    /// What the kernel knows of a connection.
    ///
    /// # Errors
    /// Where it does not answer, or what it answers is not understood.
    pub fn ask(&mut self, ends: &Ends) -> Result<Answer, BadAnswer> {
        self.sequence = self.sequence.wrapping_add(1);
        let refused = |error: io::Error| BadAnswer::Refused(error.raw_os_error().unwrap_or_default());
        self.socket.send(&question(ends, self.sequence), 0).map_err(refused)?;
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0).map_err(refused)?;
            // What is left of a question before that was given up.
            let answers = self.buffer.get(SEQUENCE).and_then(|bytes| bytes.try_into().ok());
            if answers.map(u32::from_ne_bytes) == Some(self.sequence) {
                return answer(&self.buffer, ends);
            }
            if self.buffer.is_empty() {
                return Err(BadAnswer::Incomplete);
            }
        }
    }
}
