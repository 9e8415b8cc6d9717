//! The agent's status: what it holds, and when it is published.

use std::collections::BTreeMap;

use portolan_engine::model::identity::BootTime;
use portolan_report::wire::{AgentStatus, HookStatus, Limit, Report, SourceStatus};

use crate::pipeline::Pipeline;
use crate::pipeline::finding_index::{LIMIT, MAX_PORTS};
use crate::sink::convert::Converter;
use crate::source::clock;
use crate::source::kernel::KernelHooks;
use crate::state::{Hook, Source, States};

impl Pipeline {
    /// Publishes the status if a hook or source changed its state, and once a minute. Call it about once a second.
    pub fn emit_status(&mut self) {
        self.emit_status_at(clock::now());
    }

    pub(super) fn emit_status_at(&mut self, now: BootTime) {
        let settled = self.states.borrow().settled();
        if !self.status_schedule.is_due(settled, now) {
            return;
        }
        let report = Report::AgentStatus(self.status());
        let converter = self.converter();
        self.publisher.publish(&report, &converter);
    }

    /// Returns the status of now.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        let converter = self.converter();
        // Counting visits every port.
        let counts = self.engine.counts();
        let lost = self.all_losses(counts.totals.lost);
        // Reads kernel maps, so it comes before the states are borrowed: reporters wait for that long.
        let limits = self.limits();
        let states = self.states.borrow();
        AgentStatus {
            envelope: converter.envelope(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Some(converter.wall.rfc3339(self.started)),
            kernel: self.kernel_release.clone(),
            hooks: hook_statuses(&states),
            sources: source_statuses(&states, &converter),
            namespaces: counts.netns,
            listeners: counts.listeners.values().sum::<u64>() as usize,
            lost: lost.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect(),
            limits,
        }
    }

    fn limits(&self) -> BTreeMap<String, Limit> {
        let engine = self
            .engine
            .limits()
            .into_iter()
            .map(|(name, used, max)| (name.to_owned(), Limit { used: used as u64, max: max as u64 }));
        let maps = self.kernel.iter().flat_map(KernelHooks::map_usage);
        let maps = maps.map(|(name, used, max)| (format!("map:{name}"), Limit { used, max }));
        let minutes = Limit { used: self.index.wanted() as u64, max: MAX_PORTS as u64 };
        engine.chain(maps).chain([(LIMIT.to_owned(), minutes)]).collect()
    }
}

fn hook_statuses(states: &States) -> Vec<HookStatus> {
    let status = |(hook, state)| HookStatus {
        name: Hook::as_str(hook).to_owned(),
        state: Hook::word(state).to_owned(),
        reason: state.reason().map(str::to_owned),
    };
    states.hooks().map(status).collect()
}

/// Sources in the order of their names.
fn source_statuses(states: &States, converter: &Converter) -> Vec<SourceStatus> {
    let mut sources: Vec<SourceStatus> = states
        .sources()
        .map(|(source, entry)| SourceStatus {
            name: source.to_string(),
            state: Source::word(&entry.state).to_owned(),
            since: converter.wall.rfc3339(entry.since),
            reason: entry.state.reason().map(str::to_owned),
        })
        .collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}
