//! Lists the TCP listeners of both address families in one dump. For every dump the kernel walks the listeners of the
//! whole node, whichever netns asks, and only the older form of the request covers both families.

use std::io;

use netlink_packet_core::{
    DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, Parseable,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::{InetResponse, StateFlags};
use portolan_engine::model::identity::Protocol;

use super::{Found, is_absent, socket_of};
use crate::source::netlink::{DumpOutcome, NetlinkSocket};

/// Message type `TCPDIAG_GETSOCK` of linux/inet_diag.h.
const TCPDIAG_GETSOCK: u16 = 18;
/// Size of `struct inet_diag_req` in bytes.
const REQUEST: usize = 60;
/// Position of `idiag_states` in the request.
const STATES: std::ops::Range<usize> = 52..56;

/// Adds the TCP listeners. Asks per family if the kernel lacks the older form of the request.
pub(super) fn list(diag: &mut NetlinkSocket, found: &mut Found) -> io::Result<()> {
    match list_once(diag, found) {
        Ok(outcome) if outcome.may_have_holes() => list_once(diag, found).map(drop),
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) => {
            match super::list(diag, AF_INET6, Protocol::Tcp, found) {
                Err(error) if !is_absent(&error) => return Err(error),
                _ => {}
            }
            super::list(diag, AF_INET, Protocol::Tcp, found)
        }
        Err(error) => Err(error),
    }
}

fn list_once(diag: &mut NetlinkSocket, found: &mut Found) -> io::Result<DumpOutcome> {
    let outcome = diag.dump(Message::Request, |message| {
        if let Message::Response(response) = message
            && let Some(socket) = socket_of(&response, Protocol::Tcp)
        {
            found.sockets.insert(socket.cookie, socket);
        }
    })?;
    found.unparsable += outcome.unparsable;
    Ok(outcome)
}

/// Request and answer of the older form.
#[derive(Debug)]
enum Message {
    /// Asks for all listeners.
    Request,
    Response(Box<InetResponse>),
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        TCPDIAG_GETSOCK
    }

    fn buffer_len(&self) -> usize {
        REQUEST
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.fill(0);
        if let Some(states) = buffer.get_mut(STATES) {
            states.copy_from_slice(&StateFlags::LISTEN.bits().to_ne_bytes());
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(_header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        InetResponse::parse(payload).map(|response| Self::Response(Box::new(response)))
    }
}
