//! The kernel objects that build.rs embedded, and the constants that are written into the object that each netns loads.

use portolan_ebpf::abi::netns::{
    LINK_HEADER_UNKNOWN, LINK_HEADER_UNSET, LOOKUPS_ALL, LOOKUPS_INSIDE, LOOKUPS_UNSET, NETNS_COOKIE_UNSET,
};
use portolan_engine::model::identity::NetnsId;

use crate::source::netns::look::LinkHeader;

/// The objects that build.rs compiled.
#[derive(Debug)]
pub struct Objects {
    /// All hooks; loaded once.
    pub shared: &'static [u8],
    /// The programs that pass the netns to the shared programs; loaded for each netns.
    pub netns: &'static [u8],
}

/// `None` in a development build on a machine that cannot compile the objects.
pub static KERNEL_OBJECTS: Option<Objects> = include!(concat!(env!("OUT_DIR"), "/kernel_object.rs"));

/// Number of cookie constants. Each of the object's two programs loads the cookie once: an instruction of 16 bytes,
/// with half of the number in its second word and half in its fourth.
const COOKIE_CONSTANTS: usize = 2;
/// Number of link header constants. The tc program loads the length of the link header once: an instruction of 8 bytes.
const LINK_HEADER_CONSTANTS: usize = 1;
/// Number of constants that say whose lookups count. The sk_lookup program loads it once, by an instruction of 8 bytes.
const LOOKUPS_CONSTANTS: usize = 1;
/// Opcode BPF_ALU64 | BPF_MOV | BPF_K.
pub(super) const MOVE_CONSTANT: u8 = 0xb7;
/// Opcode BPF_LD | BPF_DW | BPF_IMM.
pub(super) const LOAD_CONSTANT: u8 = 0x18;

/// A copy of the object of one netns whose constants can be set repeatedly.
#[derive(Debug)]
pub struct NetnsObject {
    /// u64 for the alignment that ELF parsing requires.
    bytes: Vec<u64>,
    length: usize,
    /// Offsets of the constants; for the cookie, of its lower half.
    cookies: Vec<usize>,
    link_header: usize,
    lookups: usize,
}

/// Whose socket lookups the sk_lookup program of a netns counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupScope {
    /// Callers inside the netns; tc counts the others.
    Inside,
    /// Every caller: tc is not attached in this netns.
    All,
}

impl LookupScope {
    /// Returns the number as the programs expect it.
    pub(super) const fn constant(self) -> u32 {
        match self {
            Self::Inside => LOOKUPS_INSIDE,
            Self::All => LOOKUPS_ALL,
        }
    }
}

impl NetnsObject {
    /// Copies an object. Returns `None` if the constants do not occur as often as expected: the object is not ours.
    #[must_use]
    pub fn new(object: &[u8]) -> Option<Self> {
        let cookies = constant_offsets::<16>(object, |instruction| {
            let [LOAD_CONSTANT, _, 0, 0, a, b, c, d, 0, 0, 0, 0, e, f, g, h] = *instruction else {
                return false;
            };
            u64::from_le_bytes([a, b, c, d, e, f, g, h]) == NETNS_COOKIE_UNSET
        });
        let link_headers = constant_offsets::<8>(object, |instruction| {
            let [MOVE_CONSTANT, _, 0, 0, a, b, c, d] = *instruction else { return false };
            u32::from_le_bytes([a, b, c, d]) == LINK_HEADER_UNSET
        });
        let lookups = constant_offsets::<8>(object, |instruction| {
            let [MOVE_CONSTANT, _, 0, 0, a, b, c, d] = *instruction else { return false };
            u32::from_le_bytes([a, b, c, d]) == LOOKUPS_UNSET
        });
        let found = [cookies.len(), link_headers.len(), lookups.len()];
        if found != [COOKIE_CONSTANTS, LINK_HEADER_CONSTANTS, LOOKUPS_CONSTANTS] {
            return None;
        }
        let bytes: Vec<u64> = object
            .chunks(8)
            .map(|chunk| {
                let mut word = [0; 8];
                word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
                u64::from_ne_bytes(word)
            })
            .collect();
        Some(Self {
            bytes,
            length: object.len(),
            cookies,
            link_header: *link_headers.first()?,
            lookups: *lookups.first()?,
        })
    }

    /// Returns the object with the constants that are set now.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        zerocopy::IntoBytes::as_bytes(self.bytes.as_slice()).get(..self.length).unwrap_or_default()
    }

    /// Sets the constants for one netns, for interfaces with this link header, and for the lookups that count, and returns
    /// the object.
    #[must_use]
    pub fn for_netns(&mut self, netns: NetnsId, link_header: LinkHeader, lookups: LookupScope) -> &[u8] {
        let [a, b, c, d, e, f, g, h] = netns.0.to_le_bytes();
        for offset in self.cookies.clone() {
            self.write(offset, [a, b, c, d]);
            self.write(offset + 8, [e, f, g, h]);
        }
        self.write(self.link_header, link_header_bytes(link_header).to_le_bytes());
        self.write(self.lookups, lookups.constant().to_le_bytes());
        self.bytes()
    }

    fn write(&mut self, offset: usize, constant: [u8; 4]) {
        let bytes = zerocopy::IntoBytes::as_mut_bytes(self.bytes.as_mut_slice());
        if let Some(there) = bytes.get_mut(offset..).and_then(|rest| rest.get_mut(..4)) {
            there.copy_from_slice(&constant);
        }
    }
}

/// Returns the link header's length as the programs expect it.
pub(super) const fn link_header_bytes(link_header: LinkHeader) -> u32 {
    match link_header {
        LinkHeader::Ethernet => 14,
        LinkHeader::Absent => 0,
        LinkHeader::Unknown => LINK_HEADER_UNKNOWN,
    }
}

/// Returns the offsets of the constants in the instructions that `is_it` matches.
fn constant_offsets<const N: usize>(object: &[u8], is_it: impl Fn(&[u8; N]) -> bool) -> Vec<usize> {
    let windows = object.windows(N).enumerate();
    windows
        .filter(|(_, window)| window.first_chunk().is_some_and(&is_it))
        .map(|(offset, _)| offset + 4)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns two programs between other bytes.
    fn object() -> Vec<u8> {
        let [a, b, c, d, e, f, g, h] = NETNS_COOKIE_UNSET.to_le_bytes();
        let cookie = [LOAD_CONSTANT, 2, 0, 0, a, b, c, d, 0, 0, 0, 0, e, f, g, h];
        let [a, b, c, d] = LINK_HEADER_UNSET.to_le_bytes();
        let link_header = [MOVE_CONSTANT, 3, 0, 0, a, b, c, d];
        let [a, b, c, d] = LOOKUPS_UNSET.to_le_bytes();
        let lookups = [MOVE_CONSTANT, 1, 0, 0, a, b, c, d];
        [&[7; 5][..], &cookie, &[7; 3], &link_header, &cookie, &[7; 2], &lookups].concat()
    }

    #[test]
    fn constants_are_written_where_they_belong_and_nowhere_else() {
        let object = object();
        let mut patched = NetnsObject::new(&object).unwrap();
        let netns = NetnsId(0x1122_3344_5566_7788);
        for (link_header, length, lookups, scope) in [
            (LinkHeader::Unknown, [0xff; 4], LookupScope::Inside, 0),
            (LinkHeader::Ethernet, [14, 0, 0, 0], LookupScope::All, 1),
        ] {
            let bytes = patched.for_netns(netns, link_header, lookups).to_vec();
            let mut expected = object.clone();
            for offset in [9, 36] {
                expected[offset..offset + 4].copy_from_slice(&0x5566_7788_u32.to_le_bytes());
                expected[offset + 8..offset + 12].copy_from_slice(&0x1122_3344_u32.to_le_bytes());
            }
            expected[28..32].copy_from_slice(&length);
            expected[54..58].copy_from_slice(&[scope, 0, 0, 0]);
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn an_object_with_other_constants_is_refused() {
        let object = object();
        assert!(NetnsObject::new(&[]).is_none());
        assert!(NetnsObject::new(&object[..40]).is_none());
        assert!(NetnsObject::new(&[&object[..], &object[..]].concat()).is_none());
    }

    #[test]
    fn the_embedded_object_has_the_constants() {
        if let Some(objects) = &KERNEL_OBJECTS {
            assert!(NetnsObject::new(objects.netns).is_some());
        }
    }

    /// Debug sections are thirty times as large as the programs.
    #[test]
    fn the_embedded_objects_have_what_the_kernel_needs_and_no_more() {
        let Some(objects) = &KERNEL_OBJECTS else { return };
        let has = |object: &[u8], name: &[u8]| object.windows(name.len()).any(|bytes| bytes == name);
        assert!(
            has(objects.shared, b".BTF") && has(objects.shared, b".text"),
            "names of functions, and lines"
        );
        assert!(!has(objects.shared, b".debug_") && !has(objects.netns, b".debug_"));
        assert!(!has(objects.netns, b".BTF"), "it would be loaded for each netns");
    }
}
