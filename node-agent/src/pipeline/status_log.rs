//! When the agent says how it is doing: whenever a hook or a source changes its state, and once a minute.

use std::time::Duration;

use portolan_engine::model::identity::BootTime;
use portolan_report::wire::Report;

use crate::pipeline::Pipeline;
use crate::source::clock;

/// Also where nothing changes.
const EVERY: Duration = Duration::from_secs(60);

/// What was told last.
#[derive(Debug, Default)]
pub struct ToldStatus {
    at: Option<BootTime>,
    /// Name and state of every hook and source. Reasons hold numbers that change at every look, and a hook that is being attached
    /// counts as attached: every new pod has its turn.
    states: Vec<(String, String)>,
}

impl Pipeline {
    /// Publishes the status if it is time to. Call it about once a second.
    pub fn tell_status(&mut self) {
        self.tell_status_at(clock::now());
    }

    pub(crate) fn tell_status_at(&mut self, now: BootTime) {
        let states = self.states();
        let is_due = self.told_status.at.is_none_or(|told| now >= told.after(EVERY));
        if !is_due && states == self.told_status.states {
            return;
        }
        self.told_status = ToldStatus { at: Some(now), states };
        let report = Report::AgentStatus(self.status());
        let converter = self.converter();
        self.publisher.publish(&report, &converter);
    }

    fn states(&self) -> Vec<(String, String)> {
        let hooks = self.kernel.iter().flat_map(|kernel| kernel.statuses());
        let sources = self.sources.iter().map(|(name, source)| {
            (name.clone(), if source.reason.is_none() { "up" } else { "down" }.to_owned())
        });
        let settled = |state: String| if state == "attaching" { "attached".to_owned() } else { state };
        hooks.map(|hook| (hook.name, settled(hook.state))).chain(sources).collect()
    }
}
