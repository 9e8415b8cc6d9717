//! Lists TCP sockets of both address families in one dump. For every dump the kernel walks the sockets of the
//! whole node, whichever netns asks, and only the older form of the request covers both families.

use std::io;

use netlink_packet_core::{
    DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, Parseable,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetResponse, StateFlags};
use portolan_engine::model::identity::Protocol;

use super::{Found, is_absent};
use crate::source::netlink::{DumpOutcome, NetlinkSocket};

/// Message type `TCPDIAG_GETSOCK` of linux/inet_diag.h.
const TCPDIAG_GETSOCK: u16 = 18;
/// Size of `struct inet_diag_req` in bytes.
const REQUEST: usize = 60;
/// Position of `idiag_ext` in the request.
const EXTENSIONS: usize = 3;
/// Position of `idiag_states` in the request.
const STATES: std::ops::Range<usize> = 52..56;

/// Which sockets a dump lists, and with what.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub states: StateFlags,
    pub extensions: ExtensionFlags,
}

/// Adds the TCP listeners.
pub(super) fn list(diag: &mut NetlinkSocket, found: &mut Found) -> io::Result<()> {
    let query = Query { states: StateFlags::LISTEN, extensions: ExtensionFlags::empty() };
    let unparsable = dump(diag, &query, |response| found.add(response, Protocol::Tcp))?;
    found.unparsable += unparsable;
    Ok(())
}

/// Passes the TCP sockets in some states to `each`. Takes a dump that may have holes a second time, so that `each` may
/// get a socket twice. Asks per family if the kernel lacks the older form of the request. Returns the number of objects
/// that do not parse.
pub(super) fn dump(
    diag: &mut NetlinkSocket,
    query: &Query,
    mut each: impl FnMut(&InetResponse),
) -> io::Result<usize> {
    match dump_once(diag, query, &mut each) {
        Ok(outcome) if outcome.may_have_holes() => {
            Ok(outcome.unparsable + dump_once(diag, query, &mut each)?.unparsable)
        }
        Ok(outcome) => Ok(outcome.unparsable),
        Err(error) if is_absent(&error) => {
            let v6 = match super::dump(diag, AF_INET6, Protocol::Tcp, query, &mut each) {
                Err(error) if is_absent(&error) => 0,
                other => other?,
            };
            Ok(v6 + super::dump(diag, AF_INET, Protocol::Tcp, query, &mut each)?)
        }
        Err(error) => Err(error),
    }
}

fn dump_once(
    diag: &mut NetlinkSocket,
    query: &Query,
    each: &mut impl FnMut(&InetResponse),
) -> io::Result<DumpOutcome> {
    diag.dump(Message::Request(query.clone()), |message| {
        if let Message::Response(response) = message {
            each(&response);
        }
    })
}

/// Request and answer of the older form.
#[derive(Debug)]
enum Message {
    /// Asks for the sockets of both families.
    Request(Query),
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
        let Self::Request(query) = self else { return };
        if let Some(extensions) = buffer.get_mut(EXTENSIONS) {
            *extensions = query.extensions.bits();
        }
        if let Some(states) = buffer.get_mut(STATES) {
            states.copy_from_slice(&query.states.bits().to_ne_bytes());
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(_header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        InetResponse::parse(payload).map(|response| Self::Response(Box::new(response)))
    }
}
