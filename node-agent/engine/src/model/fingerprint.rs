//! Stable ids and change marks: 64-bit FNV-1a. The standard library's hashers may differ between releases, and an id
//! must mean the same listener after an upgrade.

use std::hash::Hasher;

use crate::model::identity::{NetnsId, PodUid, Protocol};

/// FNV-1a, 64 bits: offset basis and prime as published by Fowler, Noll and Vo.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What an id belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    Pod(&'a PodUid),
    Netns(NetnsId),
    /// A further netns inside a pod.
    PodNetns(&'a PodUid, NetnsId),
}

/// Id of a listener and of its finding.
#[must_use]
pub fn port_id(owner: Owner<'_>, protocol: Protocol, port: u16) -> u64 {
    identify(b"port", owner, protocol.number(), port)
}

/// Id of a stale declaration.
#[must_use]
pub fn stale_id(uid: &PodUid, protocol: Protocol, port: u16) -> u64 {
    identify(b"stale", Owner::Pod(uid), protocol.number(), port)
}

/// Id of a port storm.
#[must_use]
pub fn storm_id(owner: Owner<'_>) -> u64 {
    identify(b"storm", owner, 0, 0)
}

/// Id of a Service's port that nobody serves.
#[must_use]
pub fn dangling_id(uid: &PodUid, protocol: Protocol, port: u16) -> u64 {
    identify(b"dangling", Owner::Pod(uid), protocol.number(), port)
}

/// Id of a pod whose sockets cannot be seen.
#[must_use]
pub fn opaque_id(uid: &PodUid) -> u64 {
    identify(b"opaque", Owner::Pod(uid), 0, 0)
}

/// An id as reports show it.
#[must_use]
pub fn hex(id: u64) -> String {
    format!("{id:016x}")
}

/// The number behind a reported id; `None` for anything else.
#[must_use]
pub fn parse(id: &str) -> Option<u64> {
    if id.len() != 16 || !id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u64::from_str_radix(id, 16).ok()
}

fn identify(kind: &[u8], owner: Owner<'_>, protocol: u8, port: u16) -> u64 {
    let mut fnv = Fnv::default();
    fnv.write(kind);
    match owner {
        Owner::Pod(uid) => {
            fnv.write(b"/pod/");
            fnv.write(uid.0.as_bytes());
        }
        Owner::Netns(netns) => {
            fnv.write(b"/netns/");
            fnv.write(&netns.0.to_be_bytes());
        }
        Owner::PodNetns(uid, netns) => {
            fnv.write(b"/pod/");
            fnv.write(uid.0.as_bytes());
            fnv.write(b"/netns/");
            fnv.write(&netns.0.to_be_bytes());
        }
    }
    fnv.write(&[b'/', protocol]);
    fnv.write(&port.to_be_bytes());
    fnv.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_the_same_between_releases() {
        let uid = PodUid("6f1c".to_owned());
        assert_eq!(hex(port_id(Owner::Pod(&uid), Protocol::Tcp, 9090)), "b349f66a4bf24f67");
    }

    #[test]
    fn a_reported_id_parses_back_and_nothing_else_does() {
        assert_eq!(parse(&hex(0x1f)), Some(0x1f));
        for bad in ["", "1f", "+00000000000001f", "00000000000000FF", "00000000000000000"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
