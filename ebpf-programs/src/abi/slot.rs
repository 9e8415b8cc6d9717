//! Slots of one word each, in arrays that many keys share: a fingerprint of the key, and a few bits about it below. A word is
//! read and written at once, so no reader sees half of it. A newer key overwrites an older one.

/// Number of slots of each such array; a power of two.
pub const SLOTS: u32 = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 14;

/// `DIALLED`: bits below the fingerprint, for the port, [`SYN_COUNTED`] and the length of the SYN.
pub const DIALLED_BITS: u32 = 24;
/// `DIALLED`: the SYN was counted as an attempt.
pub const SYN_COUNTED: u64 = 1 << 16;
/// `DIALLED`: position of the length of the SYN from the network header on, in bytes, up to [`SYN_LENGTH_MAX`].
pub const SYN_LENGTH_SHIFT: u32 = 17;
/// Longest SYN without data: an IPv4 and a TCP header with all options.
pub const SYN_LENGTH_MAX: u64 = 127;
/// `ADDRESSED` and `BORN`: bits below the fingerprint, for a time of CLOCK_BOOTTIME in units of 2^[`TIME_SHIFT`] ns and for
/// [`UNPROVEN`].
pub const TIMED_BITS: u32 = 25;
/// 8 ms; the time wraps after 39 hours.
pub const TIME_SHIFT: u32 = 23;
/// Mask of the time.
pub const TIME_MASK: u64 = (1 << 24) - 1;
/// `ADDRESSED`: it is not known who spoke first.
pub const UNPROVEN: u64 = 1 << 24;

/// Where a key's word is, and what its upper bits must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot<const BITS: u32> {
    fingerprint: u64,
}

impl<const BITS: u32> Slot<BITS> {
    /// Computes the slot of a key of four words. `seed` is secret, so that no pod can choose keys that share a slot or a
    /// fingerprint.
    #[inline(always)]
    #[must_use]
    pub const fn of(seed: u64, [a, b, c, d]: [u64; 4]) -> Self {
        // The last round spreads the upper bits of the last word, too: the end of an address.
        Self { fingerprint: mix(mix(mix(mix(mix(seed, a), b), c), d), 0) }
    }

    /// Returns the index of the slot. Its bits are not part of the stored fingerprint.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        self.fingerprint as u32 & (SLOTS - 1)
    }

    /// Returns the bits that `word` holds about the key; `None` if the slot holds another key.
    #[inline(always)]
    #[must_use]
    pub const fn bits_of(self, word: u64) -> Option<u64> {
        if (word ^ self.fingerprint) >> BITS == 0 { Some(word & Self::MASK) } else { None }
    }

    /// Returns the word that holds these bits about the key.
    #[inline(always)]
    #[must_use]
    pub const fn with_bits(self, bits: u64) -> u64 {
        self.fingerprint & !Self::MASK | bits & Self::MASK
    }

    const MASK: u64 = {
        assert!(BITS >= INDEX_BITS && BITS < 64, "the fingerprint has no room");
        (1 << BITS) - 1
    };
}

#[inline(always)]
const fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use super::super::traffic::{PeerKey, PortKey};
    use super::*;

    fn key(port: u16, last: u8) -> [u64; 4] {
        let mut address = [0; 16];
        address[15] = last;
        zerocopy::transmute!(PeerKey { port: PortKey::new(4711, port, 6), address })
    }

    #[test]
    fn a_slot_knows_its_own_key_only() {
        let slot = Slot::<DIALLED_BITS>::of(99, key(8080, 1));
        let word = slot.with_bits(443 | SYN_COUNTED);
        assert_eq!(slot.bits_of(word), Some(443 | SYN_COUNTED));
        for other in [key(8081, 1), key(8080, 2)] {
            assert_eq!(Slot::<DIALLED_BITS>::of(99, other).bits_of(word), None);
        }
        assert_eq!(Slot::<DIALLED_BITS>::of(98, key(8080, 1)).bits_of(word), None, "the seed counts");
        assert_eq!(slot.bits_of(0), None, "an unused slot holds no key");
    }

    /// The ports of one scanner, and the addresses of one network, spread over the slots: as many keys as there are slots use
    /// about 63 % of them.
    #[test]
    fn keys_that_differ_little_spread_over_the_slots() {
        let used = |keys: &mut dyn Iterator<Item = [u64; 4]>| {
            let indexes = keys.map(|key| Slot::<TIMED_BITS>::of(7, key).index());
            indexes.collect::<std::collections::BTreeSet<u32>>().len()
        };
        let ports = used(&mut (0..SLOTS).map(|port| key(u16::try_from(port).unwrap_or_default(), 1)));
        assert!((9_500..11_200).contains(&ports), "{ports}");
        let addresses = used(&mut (0..=u8::MAX).map(|last| key(80, last)));
        assert!(addresses > 245, "{addresses}");
    }
}
