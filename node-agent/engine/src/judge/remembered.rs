//! Takes over what an earlier run of the agent knew of a port.

use crate::judge::port::PortJudge;

impl PortJudge<'_> {
    /// Takes over how far the port's callers of the earlier run were away.
    pub(crate) fn recall(&mut self) {
        let remembered = &mut self.context.findings.remembered;
        let known = remembered.port(self.port.id, self.id.netns);
        if known.is_some() && self.port.is_served() {
            remembered.claim(self.port.id);
        }
        self.port.earlier = known.map(|known| known.reach);
    }

    /// Forgets what the earlier run knew, because the port is closed.
    pub(crate) fn forget_remembered(&mut self) {
        let remembered = &mut self.context.findings.remembered;
        if remembered.port(self.port.id, self.id.netns).is_some() {
            remembered.forget(self.port.id);
        }
    }
}
