//! Stable ids and change marks: 64-bit FNV-1a. The standard library's hashers may differ between releases, and an id
//! must mean the same listener after an upgrade.

use std::hash::Hasher;

use crate::model::identity::{NetnsId, PodUid, Protocol};

/// 64-bit FNV-1a with the offset basis and prime published by Fowler, Noll and Vo.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv(u64);

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

/// The owner that an id is derived from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'a> {
    /// A pod, for ports in its main netns.
    Pod(&'a PodUid),
    /// A netns without a known pod.
    Netns(NetnsId),
    /// Another netns inside a pod.
    PodNetns(&'a PodUid, NetnsId),
}

/// Returns the id of a listener and of its finding.
#[must_use]
pub(crate) fn port_id(owner: Owner<'_>, protocol: Protocol, port: u16) -> u64 {
    identify(b"port", owner, protocol.number(), port)
}

/// Returns the id of a `stale-declaration` finding.
#[must_use]
pub(crate) fn stale_id(uid: &PodUid, protocol: Protocol, port: u16) -> u64 {
    identify(b"stale", Owner::Pod(uid), protocol.number(), port)
}

/// Returns the id of a storm finding.
#[must_use]
pub(crate) fn storm_id(owner: Owner<'_>) -> u64 {
    identify(b"storm", owner, 0, 0)
}

/// Returns the id of the finding that replaces those below medium severity of very many ports of a pod.
#[must_use]
pub(crate) fn quiet_storm_id(uid: &PodUid) -> u64 {
    identify(b"quiet-storm", Owner::Pod(uid), 0, 0)
}

/// Returns the id of a `dangling-service-port` finding.
#[must_use]
pub(crate) fn dangling_id(uid: &PodUid, protocol: Protocol, port: u16) -> u64 {
    identify(b"dangling", Owner::Pod(uid), protocol.number(), port)
}

/// Returns a key of a Service's port with a named target, the same in every pod.
#[must_use]
pub(crate) fn target_name_id(
    namespace: &str,
    service: &str,
    protocol: Protocol,
    port: u16,
    name: &str,
) -> u64 {
    let mut fnv = Fnv::default();
    for part in [namespace, service, name] {
        fnv.write(part.as_bytes());
        fnv.write(b"/");
    }
    fnv.write(&[protocol.number()]);
    fnv.write(&port.to_be_bytes());
    fnv.finish()
}

/// Returns the id of a `dangling-service-port` finding about a named target; `target` is its [`target_name_id`].
#[must_use]
pub(crate) fn missing_name_id(uid: &PodUid, target: u64) -> u64 {
    let mut fnv = Fnv::default();
    fnv.write(b"name/pod/");
    fnv.write(uid.0.as_bytes());
    fnv.write(b"/");
    fnv.write(&target.to_be_bytes());
    fnv.finish()
}

/// Returns the id of an `opaque-runtime` finding.
#[must_use]
pub(crate) fn opaque_id(uid: &PodUid) -> u64 {
    identify(b"opaque", Owner::Pod(uid), 0, 0)
}

/// Formats an id as reports show it: 16 lower-case hexadecimal digits.
#[must_use]
pub fn hex(id: u64) -> String {
    format!("{id:016x}")
}

/// Parses a reported id; `None` for anything but 16 lower-case hexadecimal digits.
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
