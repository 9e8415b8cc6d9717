//! An optional point in time in eight bytes instead of sixteen. The engine keeps several for each port, socket and finding.

use std::num::NonZeroU64;

use crate::model::identity::BootTime;

/// An optional point in time. The last possible one, 584 years after the boot, counts as none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment(Option<NonZeroU64>);

impl Moment {
    /// No point in time.
    pub(crate) const NONE: Self = Self(None);

    /// Returns the point in time.
    #[must_use]
    pub(crate) const fn get(self) -> Option<BootTime> {
        match self.0 {
            Some(complement) => Some(BootTime(!complement.get())),
            None => None,
        }
    }

    /// Replaces the point in time by a later one; an earlier one, or none, changes nothing.
    pub(crate) fn raise(&mut self, at: Option<BootTime>) {
        *self = self.get().max(at).into();
    }
}

impl From<BootTime> for Moment {
    fn from(at: BootTime) -> Self {
        Self(NonZeroU64::new(!at.0))
    }
}

impl From<Option<BootTime>> for Moment {
    fn from(at: Option<BootTime>) -> Self {
        at.map_or(Self::NONE, Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_but_the_last_is_kept() {
        for at in [0, 1, 1 << 63, u64::MAX - 1] {
            assert_eq!(Moment::from(BootTime(at)).get(), Some(BootTime(at)));
        }
        assert_eq!(Moment::from(BootTime(u64::MAX)).get(), None);
        assert_eq!(Moment::default().get(), None);
        assert_eq!(size_of::<Moment>(), 8);
    }

    #[test]
    fn the_later_time_counts() {
        let mut moment = Moment::NONE;
        for (at, expected) in
            [(None, None), (Some(2), Some(2)), (Some(1), Some(2)), (None, Some(2)), (Some(3), Some(3))]
        {
            moment.raise(at.map(BootTime));
            assert_eq!(moment.get(), expected.map(BootTime));
        }
    }
}
