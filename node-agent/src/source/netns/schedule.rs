//! Schedules the looks at each netns: several soon after it appears, then one per rotation. The cost of a look sets the pace
//! of the rotation.

use std::time::Duration;

use portolan_engine::model::identity::BootTime;

use super::budget::{AverageCost, Budget, RotationPace};
use super::known_netns::EARLY_LOOKS_MS;

/// State from which the times of the next looks are computed.
#[derive(Debug, Default)]
pub(super) struct LookSchedule {
    /// State of the number sequence that spreads the first looks of the rotation.
    spread: u64,
    /// CPU time of one look.
    cost: AverageCost,
    pub pace: RotationPace,
}

impl LookSchedule {
    /// Records a look that ended at `ended`. Slows the rotation if the look was part of it.
    pub fn looked(
        &mut self,
        ended: BootTime,
        cost: Duration,
        was_rotating: bool,
        netns: usize,
        budget: Budget,
    ) {
        self.cost.add(cost);
        if was_rotating {
            self.pace.looked(ended, cost, netns, budget);
        }
    }

    /// Returns when a netns is due again that has had `looks` looks after the first one, the last of them at `at`. `netns`
    /// is the number of known netns, `rotation` the shortest time for one look at each of them.
    pub fn next_look(
        &mut self,
        looks: usize,
        at: BootTime,
        netns: usize,
        budget: Budget,
        rotation: Duration,
    ) -> BootTime {
        if let Some(pause) = EARLY_LOOKS_MS.get(looks) {
            return at.after(Duration::from_millis(*pause));
        }
        let all = self.cost.get().saturating_mul(u32::try_from(netns).unwrap_or(u32::MAX));
        let rotation = budget.pause(all, rotation);
        if looks > EARLY_LOOKS_MS.len() {
            return at.after(rotation);
        }
        // The first look of the rotation is spread evenly, so that netns created together drift apart.
        self.spread = self.spread.wrapping_add(0x9E37_79B9_7F4A_7C15);
        at.after(rotation.mul_f64(0.25 + 0.75 * ((self.spread >> 11) as f64 / (1_u64 << 53) as f64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_looks_follow_soon_and_the_rotation_begins_at_different_times() {
        let mut schedule = LookSchedule::default();
        let rotation = Duration::from_secs(15);
        let mut pause =
            |looks| schedule.next_look(looks, BootTime(0), 3, Budget::default(), rotation).since(BootTime(0));
        assert_eq!([pause(0), pause(5)], [20, 800].map(Duration::from_millis));
        let (first, second) = (pause(6), pause(6));
        assert!(first != second && [first, second].iter().all(|spread| *spread >= rotation / 4));
        assert_eq!(pause(7), rotation);
    }
}
