//! A set of IP address families.

use std::net::IpAddr;

/// A set of IP address families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// Both families.
    pub(crate) const BOTH: Self = Self { v4: true, v6: true };

    /// Returns the families of these addresses.
    #[must_use]
    pub(crate) fn of(addresses: impl Iterator<Item = IpAddr>) -> Self {
        addresses.fold(Self::default(), |all, address| Self {
            v4: all.v4 || address.is_ipv4(),
            v6: all.v6 || address.is_ipv6(),
        })
    }

    /// Returns true if the address is of one of the families.
    #[must_use]
    pub(crate) const fn contains(self, address: &IpAddr) -> bool {
        if address.is_ipv4() { self.v4 } else { self.v6 }
    }

    #[must_use]
    pub(crate) const fn is_empty(self) -> bool {
        !self.v4 && !self.v6
    }

    /// Returns the families that are in either set.
    #[must_use]
    pub(crate) const fn or(self, other: Self) -> Self {
        Self { v4: self.v4 || other.v4, v6: self.v6 || other.v6 }
    }

    /// Returns the families that are in both sets.
    #[must_use]
    pub(crate) const fn and(self, other: Self) -> Self {
        Self { v4: self.v4 && other.v4, v6: self.v6 && other.v6 }
    }
}
