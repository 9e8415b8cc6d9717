//! Whether a caller is beyond the audience of its port.

use crate::model::reach::Reach;
use crate::model::selector::Selects;
use crate::rules::audience::{Caller, KnownLabels, PortAudience};

/// Whether a caller is beyond the audience of its port.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// True if the caller is beyond the audience, by the latest judgement.
    pub is_beyond: bool,
    /// True if the policies that list callers did not list this one when it was last known who it is. Stays when its pod
    /// is forgotten.
    is_stranger: bool,
}

impl Standing {
    /// Judges the caller.
    pub(crate) fn settle(
        &mut self,
        reach: Reach,
        audience: &PortAudience<'_>,
        caller: Caller<'_>,
        labels: &dyn KnownLabels,
    ) {
        if reach <= audience.up_to() {
            self.is_beyond = false;
        } else if audience.is_selective() {
            match audience.lists(caller, labels) {
                Selects::Yes => self.is_stranger = false,
                Selects::No => self.is_stranger = true,
                Selects::Maybe => {}
            }
            self.is_beyond = self.is_stranger;
        } else {
            self.is_beyond = true;
        }
    }
}

/// How far callers are away that are not kept.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnlistedReach {
    /// Of all of them.
    pub all: Reach,
    /// Of those that no policy was known to list when they were dropped.
    strangers: Reach,
}

impl UnlistedReach {
    /// Adds a caller.
    pub(crate) fn raise(&mut self, reach: Reach, is_listed: bool) {
        self.all = self.all.max(reach);
        if !is_listed {
            self.strangers = self.strangers.max(reach);
        }
    }

    /// Returns true if no caller can raise it.
    #[must_use]
    pub(crate) fn is_farthest(self) -> bool {
        self.strangers == Reach::External
    }

    /// Returns the farthest reach beyond the audience; nothing if none is beyond it.
    #[must_use]
    pub(crate) fn beyond(self, audience: &PortAudience<'_>) -> Reach {
        let reach = if audience.is_selective() { self.strangers } else { self.all };
        if reach > audience.up_to() { reach } else { Reach::Nothing }
    }
}
