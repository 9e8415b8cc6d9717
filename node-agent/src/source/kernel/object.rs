//! The kernel object that build.rs embedded, and the one constant that is written into it per netns.

use portolan_ebpf::abi::netns::NETNS_COOKIE_UNSET;

use crate::engine::identity::NetnsId;

/// The object; `None` in a development build on a machine that cannot build it.
pub static KERNEL_OBJECT: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/kernel_object.rs"));

/// A copy of the object whose netns cookie can be set again and again.
#[derive(Debug)]
pub struct NetnsObject {
    /// u64 for the alignment that ELF parsing wants.
    bytes: Vec<u64>,
    length: usize,
    place: usize,
}

impl NetnsObject {
    /// `None` if the place of the cookie is not there exactly once: the object is not ours.
    #[must_use]
    pub fn new(object: &[u8]) -> Option<Self> {
        let unset = NETNS_COOKIE_UNSET.to_ne_bytes();
        let mut places = object.windows(unset.len()).enumerate().filter(|(_, window)| *window == unset);
        let (place, _) = places.next()?;
        if places.next().is_some() {
            return None;
        }
        let bytes = object
            .chunks(8)
            .map(|chunk| {
                let mut word = [0; 8];
                word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
                u64::from_ne_bytes(word)
            })
            .collect();
        Some(Self { bytes, length: object.len(), place })
    }

    /// The object for one netns.
    #[must_use]
    pub fn for_netns(&mut self, netns: NetnsId) -> &[u8] {
        use zerocopy::IntoBytes;
        if let Some(cookie) =
            self.bytes.as_mut_bytes().get_mut(self.place..).and_then(|rest| rest.get_mut(..8))
        {
            cookie.copy_from_slice(&netns.0.to_ne_bytes());
        }
        self.bytes.as_bytes().get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_written_where_it_belongs_and_nowhere_else() {
        let mut object = vec![7; 21];
        object[5..13].copy_from_slice(&NETNS_COOKIE_UNSET.to_ne_bytes());
        let mut patched = NetnsObject::new(&object).unwrap();
        let bytes = patched.for_netns(NetnsId(0x1122_3344)).to_vec();
        assert_eq!(bytes[5..13], 0x1122_3344_u64.to_ne_bytes());
        assert!(bytes[..5].iter().chain(&bytes[13..]).all(|byte| *byte == 7) && bytes.len() == 21);
    }

    #[test]
    fn an_object_without_the_place_or_with_two_is_refused() {
        let mut object = vec![0; 16];
        assert!(NetnsObject::new(&object).is_none());
        object[..8].copy_from_slice(&NETNS_COOKIE_UNSET.to_ne_bytes());
        object[8..].copy_from_slice(&NETNS_COOKIE_UNSET.to_ne_bytes());
        assert!(NetnsObject::new(&object).is_none());
    }

    #[test]
    fn the_embedded_object_has_the_place() {
        if let Some(object) = KERNEL_OBJECT {
            assert!(NetnsObject::new(object).is_some());
        }
    }
}
