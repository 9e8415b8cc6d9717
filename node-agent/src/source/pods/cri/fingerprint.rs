//! Fingerprints of lists, to detect changes without decoding. Runtimes send items, and the entries of a label map, in any
//! order; the fingerprint does not depend on either order.

use std::hash::{BuildHasher, RandomState};

use bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

/// Computes fingerprints. Those of two instances cannot be compared.
#[derive(Debug, Default)]
pub struct Fingerprints(RandomState);

impl Fingerprints {
    /// Returns the fingerprint of a message, independent of the order of its fields. Undecodable bytes count as they are.
    #[must_use]
    pub fn of_message(&self, message: &[u8]) -> u64 {
        let sum = Fields(message).fold(0_u64, |sum, field| sum.wrapping_add(self.0.hash_one(field)));
        self.0.hash_one(sum)
    }

    /// Returns the fingerprint of a list, independent of the order of its items.
    #[must_use]
    pub fn of_list<'a>(&self, items: impl Iterator<Item = &'a [u8]>) -> u64 {
        items.fold(0, |sum, item| sum.wrapping_add(self.of_message(item)))
    }

    /// Returns the fingerprint of any hashable value.
    #[must_use]
    pub fn of(&self, value: &impl std::hash::Hash) -> u64 {
        self.0.hash_one(value)
    }
}

/// Iterates over the fields of a message, each with its key; the last item holds all bytes that cannot be decoded.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let length = field_length(self.0).unwrap_or(self.0.len());
        let (field, rest) = self.0.split_at_checked(length).unwrap_or((self.0, &[]));
        self.0 = rest;
        Some(field)
    }
}

fn field_length(message: &[u8]) -> Option<usize> {
    let mut rest = message;
    let (_, kind) = decode_key(&mut rest).ok()?;
    let value = match kind {
        WireType::Varint => {
            decode_varint(&mut rest).ok()?;
            0
        }
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::LengthDelimited => usize::try_from(decode_varint(&mut rest).ok()?).ok()?,
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    (message.len() - rest.remaining()).checked_add(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::source::pods::cri::messages::{Container, ListResponse};

    fn container(id: &str, labels: &[(&str, &str)]) -> Vec<u8> {
        // Field by field, so that the test controls the order of the labels.
        let mut bytes = Container { id: id.to_owned(), ..Container::default() }.encode_to_vec();
        for (key, value) in labels {
            let one = Container {
                labels: [((*key).to_owned(), (*value).to_owned())].into(),
                ..Container::default()
            };
            bytes.extend(one.encode_to_vec());
        }
        bytes
    }

    #[test]
    fn order_says_nothing_and_content_says_all() {
        let make = Fingerprints::default();
        let of = |items: &[Vec<u8>]| make.of_list(items.iter().map(Vec::as_slice));
        let a = container("a", &[("x", "1"), ("y", "2")]);
        let same = container("a", &[("y", "2"), ("x", "1")]);
        let b = container("b", &[]);
        assert_ne!(a, same);
        assert_eq!(of(&[a.clone(), b.clone()]), of(&[b.clone(), same]));
        assert_ne!(of(&[a.clone(), b.clone()]), of(&[b.clone(), container("a", &[("x", "2"), ("y", "1")])]));
        assert_ne!(of(&[a.clone(), b.clone()]), of(&[a.clone(), b.clone(), b.clone()]));
        assert_ne!(of(&[a]), of(&[b]));
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_fingerprint(bytes: Vec<u8>) {
            let make = Fingerprints::default();
            prop_assert_eq!(make.of_message(&bytes), make.of_message(&bytes));
            let _ = ListResponse::decode(bytes.as_slice());
        }
    }
}
