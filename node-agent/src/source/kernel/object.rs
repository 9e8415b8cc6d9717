//! The kernel objects that build.rs embedded, and the constants that are written into the one that each netns loads.

use portolan_ebpf::abi::netns::{LINK_HEADER_UNKNOWN, LINK_HEADER_UNSET, NETNS_COOKIE_UNSET};
use portolan_engine::model::identity::NetnsId;

use super::elf::hide_sections;
use crate::source::netns::look::LinkHeader;

/// What build.rs compiled.
#[derive(Debug)]
pub struct Objects {
    /// Every hook; loaded once.
    pub shared: &'static [u8],
    /// What tells the shared programs where they run; loaded for each netns.
    pub netns: &'static [u8],
}

/// `None` in a development build on a machine that cannot build them.
pub static KERNEL_OBJECTS: Option<Objects> = include!(concat!(env!("OUT_DIR"), "/kernel_object.rs"));

/// Each of the object's two programs loads the cookie once: an instruction of 16 bytes, with half of the number in its
/// second word and half in its fourth.
const COOKIE_PLACES: usize = 2;
/// The tc program loads the length of the link header: an instruction of 8 bytes.
const LINK_HEADER_PLACES: usize = 1;
/// BPF_ALU64 | BPF_MOV | BPF_K.
pub(super) const MOVE_CONSTANT: u8 = 0xb7;
/// BPF_LD | BPF_DW | BPF_IMM.
pub(super) const LOAD_CONSTANT: u8 = 0x18;

/// A copy of the object of one netns whose constants can be set again and again.
#[derive(Debug)]
pub struct NetnsObject {
    /// u64 for the alignment that ELF parsing wants.
    bytes: Vec<u64>,
    length: usize,
    /// Offsets of the constants, of which the cookie's is the lower half's.
    cookies: Vec<usize>,
    link_header: usize,
}

impl NetnsObject {
    /// `None` if the constants are not there as often as they should be: the object is not ours.
    #[must_use]
    pub fn new(object: &[u8]) -> Option<Self> {
        let cookies = places::<16>(object, |instruction| {
            let [LOAD_CONSTANT, _, 0, 0, a, b, c, d, 0, 0, 0, 0, e, f, g, h] = *instruction else {
                return false;
            };
            u64::from_le_bytes([a, b, c, d, e, f, g, h]) == NETNS_COOKIE_UNSET
        });
        let link_headers = places::<8>(object, |instruction| {
            let [MOVE_CONSTANT, _, 0, 0, a, b, c, d] = *instruction else { return false };
            u32::from_le_bytes([a, b, c, d]) == LINK_HEADER_UNSET
        });
        if cookies.len() != COOKIE_PLACES || link_headers.len() != LINK_HEADER_PLACES {
            return None;
        }
        let mut bytes: Vec<u64> = object
            .chunks(8)
            .map(|chunk| {
                let mut word = [0; 8];
                word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
                u64::from_ne_bytes(word)
            })
            .collect();
        // Thirty instructions in a file of 90 kB: what is not hidden is read again for every netns, and given to the kernel.
        let _hidden =
            hide_sections(zerocopy::IntoBytes::as_mut_bytes(bytes.as_mut_slice()), is_for_debuggers);
        Some(Self { bytes, length: object.len(), cookies, link_header: *link_headers.first()? })
    }

    /// The object as it is now.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        zerocopy::IntoBytes::as_bytes(self.bytes.as_slice()).get(..self.length).unwrap_or_default()
    }

    /// The object for one netns, and for interfaces with this link header.
    #[must_use]
    pub fn for_netns(&mut self, netns: NetnsId, link_header: LinkHeader) -> &[u8] {
        let [a, b, c, d, e, f, g, h] = netns.0.to_le_bytes();
        for place in self.cookies.clone() {
            self.write(place, [a, b, c, d]);
            self.write(place + 8, [e, f, g, h]);
        }
        self.write(self.link_header, length(link_header).to_le_bytes());
        self.bytes()
    }

    fn write(&mut self, place: usize, constant: [u8; 4]) {
        let bytes = zerocopy::IntoBytes::as_mut_bytes(self.bytes.as_mut_slice());
        if let Some(there) = bytes.get_mut(place..).and_then(|rest| rest.get_mut(..4)) {
            there.copy_from_slice(&constant);
        }
    }
}

/// Neither the loader nor the kernel needs it for a program without relocations against types.
fn is_for_debuggers(section: &str) -> bool {
    let section = section.strip_prefix(".rel").unwrap_or(section);
    section.starts_with(".debug_") || section.starts_with(".BTF")
}

/// What the programs are told of a link header.
pub(super) const fn length(link_header: LinkHeader) -> u32 {
    match link_header {
        LinkHeader::Ethernet => 14,
        LinkHeader::Absent => 0,
        LinkHeader::Unknown => LINK_HEADER_UNKNOWN,
    }
}

/// Offsets of the constants of the instructions that `is_it` knows.
fn places<const N: usize>(object: &[u8], is_it: impl Fn(&[u8; N]) -> bool) -> Vec<usize> {
    let windows = object.windows(N).enumerate();
    windows
        .filter(|(_, window)| window.first_chunk().is_some_and(&is_it))
        .map(|(offset, _)| offset + 4)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two programs between other bytes.
    fn object() -> Vec<u8> {
        let [a, b, c, d, e, f, g, h] = NETNS_COOKIE_UNSET.to_le_bytes();
        let cookie = [LOAD_CONSTANT, 2, 0, 0, a, b, c, d, 0, 0, 0, 0, e, f, g, h];
        let [a, b, c, d] = LINK_HEADER_UNSET.to_le_bytes();
        let link_header = [MOVE_CONSTANT, 3, 0, 0, a, b, c, d];
        [&[7; 5][..], &cookie, &[7; 3], &link_header, &cookie, &[7; 2]].concat()
    }

    #[test]
    fn constants_are_written_where_they_belong_and_nowhere_else() {
        let object = object();
        let mut patched = NetnsObject::new(&object).unwrap();
        let netns = NetnsId(0x1122_3344_5566_7788);
        for (link_header, length) in [(LinkHeader::Unknown, [0xff; 4]), (LinkHeader::Ethernet, [14, 0, 0, 0])]
        {
            let bytes = patched.for_netns(netns, link_header).to_vec();
            let mut expected = object.clone();
            for place in [9, 36] {
                expected[place..place + 4].copy_from_slice(&0x5566_7788_u32.to_le_bytes());
                expected[place + 8..place + 12].copy_from_slice(&0x1122_3344_u32.to_le_bytes());
            }
            expected[28..32].copy_from_slice(&length);
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn an_object_with_other_places_is_refused() {
        let object = object();
        assert!(NetnsObject::new(&[]).is_none());
        assert!(NetnsObject::new(&object[..40]).is_none());
        assert!(NetnsObject::new(&[&object[..], &object[..]].concat()).is_none());
    }

    #[test]
    fn the_embedded_object_has_the_places() {
        if let Some(objects) = &KERNEL_OBJECTS {
            assert!(NetnsObject::new(objects.netns).is_some());
            assert!(hide_sections(&mut objects.netns.to_vec(), is_for_debuggers).is_some());
        }
    }
}
