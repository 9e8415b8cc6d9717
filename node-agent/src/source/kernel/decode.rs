//! Decodes the bytes of the rings, field by field, into facts for the engine. Never transmutes, never panics.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;

use portolan_ebpf::abi::connection::{CONNECTION_CLOSED, CONNECTION_OPENED, ConnectionRecord};
use portolan_ebpf::abi::socket::{LISTENER_CLOSED, LISTENER_OPENED, ListenerRecord, ListenerValue};
use portolan_ebpf::abi::traffic::PortKey;
use portolan_engine::model::connection::{ConnectionClosed, ConnectionFact, ConnectionOpened};
use portolan_engine::model::identity::{BootTime, NetnsId, PortId, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::process::Process;
use portolan_engine::model::socket::OpenedSocket;
use zerocopy::FromBytes;

use crate::source::scan;

/// Why a record cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("record of {got} bytes, expected {expected}")]
    Length { got: usize, expected: usize },
    #[error("unknown kind of record {kind}")]
    UnknownKind { kind: u32 },
    #[error("bad {field}: {value}")]
    BadField { field: &'static str, value: u64 },
}

/// Decodes a listener record. The process is as the kernel knew it: pid and `comm` only.
///
/// # Errors
/// Why the bytes are no listener record.
pub fn listener(bytes: &[u8]) -> Result<Input, DecodeError> {
    let record: ListenerRecord = exactly(bytes)?;
    let netns = NetnsId(record.listener.netns_cookie);
    let cookie = SocketCookie(record.socket_cookie);
    let at = BootTime(record.at_boot_ns);
    match record.kind {
        LISTENER_OPENED => Ok(Input::SocketOpened(OpenedSocket {
            cookie,
            port: port(record.listener.netns_cookie, record.listener.protocol, record.listener.port)?,
            address: address(record.listener.address),
            on_loopback: record.listener.bound_interface == scan::LOOPBACK,
            v6_only: None,
            process: process(&record.listener),
            at,
        })),
        LISTENER_CLOSED => Ok(Input::SocketClosed { netns, cookie, at }),
        kind => Err(DecodeError::UnknownKind { kind }),
    }
}

/// Decodes a connection record.
///
/// # Errors
/// Why the bytes are no connection record.
pub fn connection(bytes: &[u8]) -> Result<ConnectionFact, DecodeError> {
    let record: ConnectionRecord = exactly(bytes)?;
    let opened = ConnectionOpened {
        cookie: SocketCookie(record.socket_cookie),
        port: port_id(&record.port)?,
        local: address(record.local_address),
        remote: (address(record.remote_address), record.remote_port),
        dialled: None,
        accepted_by: NonZeroU16::new(record.accepted_port),
        at: BootTime(record.at_boot_ns),
    };
    match record.kind {
        CONNECTION_OPENED => Ok(ConnectionFact::Opened(opened)),
        CONNECTION_CLOSED => Ok(ConnectionFact::Closed(ConnectionClosed {
            at: opened.at,
            opened,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
        })),
        kind => Err(DecodeError::UnknownKind { kind }),
    }
}

/// Converts a map key to a port.
///
/// # Errors
/// When the port is 0, or the protocol has no ports.
pub fn port_id(key: &PortKey) -> Result<PortId, DecodeError> {
    port(key.netns_cookie, key.protocol, key.port)
}

/// Converts a port to a map key.
#[must_use]
pub fn port_key(port: PortId) -> PortKey {
    PortKey {
        netns_cookie: port.netns.0,
        port: port.port.get(),
        protocol: port.protocol.number(),
        reserved: [0; 5],
    }
}

/// Converts an address of the maps and rings, where IPv4 addresses are IPv4-mapped.
#[must_use]
pub fn address(bytes: [u8; 16]) -> IpAddr {
    let address = Ipv6Addr::from(bytes);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

fn port(netns: u64, protocol: u8, port: u16) -> Result<PortId, DecodeError> {
    Ok(PortId {
        netns: NetnsId(netns),
        protocol: Protocol::from_number(protocol)
            .ok_or(DecodeError::BadField { field: "protocol", value: protocol.into() })?,
        port: NonZeroU16::new(port).ok_or(DecodeError::BadField { field: "port", value: 0 })?,
    })
}

fn process(listener: &ListenerValue) -> Option<Process> {
    (listener.tgid != 0).then(|| {
        let name: Vec<u8> = listener.comm.iter().copied().take_while(|byte| *byte != 0).collect();
        Process {
            pid: listener.tgid,
            name: String::from_utf8_lossy(&name).into_owned(),
            executable: None,
            cgroup: None,
        }
    })
}

fn exactly<T: FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::read_from_bytes(bytes).map_err(|_| DecodeError::Length { got: bytes.len(), expected: size_of::<T>() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = listener(&bytes);
            let _ = connection(&bytes);
        }

        #[test]
        fn a_whole_record_is_refused_only_for_a_named_reason(bytes in prop::collection::vec(any::<u8>(), size_of::<ListenerRecord>())) {
            if let Err(error) = listener(&bytes) {
                let is_named = !matches!(error, DecodeError::Length { .. });
                prop_assert!(is_named, "{error}");
            }
        }
    }

    #[test]
    fn a_mapped_address_is_ipv4_and_the_ipv6_wildcard_stays() {
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 7];
        assert_eq!(address(mapped), IpAddr::from([10, 0, 0, 7]));
        assert_eq!(address([0; 16]), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }
}
