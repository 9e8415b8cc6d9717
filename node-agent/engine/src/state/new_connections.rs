//! New connections of one drain, by origin.

use crate::model::traffic::Origin;

/// New connections of one drain.
#[derive(Debug, Default)]
pub(crate) struct NewConnections {
    /// All of them.
    pub all: u64,
    /// Those of drained peers, by origin.
    pub by_origin: Vec<(Origin, u64)>,
}

impl NewConnections {
    /// Leaves out connections within the pod that are counted for their callers already.
    pub(crate) fn without(mut self, twice: u64) -> Self {
        let mut left = twice;
        for (_, count) in self.by_origin.iter_mut().filter(|(origin, _)| *origin == Origin::SamePod) {
            let same = left.min(*count);
            left = left.saturating_sub(same);
            *count = count.saturating_sub(same);
        }
        self.all = self.all.saturating_sub(twice.saturating_sub(left));
        self
    }
}
