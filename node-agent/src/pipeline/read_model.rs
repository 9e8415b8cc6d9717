//! The pipeline as the HTTP API reads it: open objects from the engine, recently ended ones from the pipeline's own memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use portolan_engine::model::connection::Connection;
use portolan_engine::model::finding::Finding;
use portolan_engine::model::fingerprint::parse;
use portolan_engine::model::identity::BootTime;
use portolan_engine::model::listener::Listener;
use portolan_engine::model::pod::Pod;
use portolan_engine::read::explain::answer::{ExplainError, Explained};
use portolan_engine::read::explain::target::Target;
use portolan_engine::read::policy_basis::{PolicyBasis, PolicyTarget};
use portolan_engine::read::summary::Summary;
use portolan_report::facts::Facts;
use portolan_report::wire::AgentStatus;

use crate::pipeline::Pipeline;
use crate::sink::convert::Converter;
use crate::sink::convert::workload_port::of_finding;
use crate::sink::http::query::{PageSelection, PortCounts, ReadModel};
use crate::sink::stream::ended::Ended;

impl ReadModel for Pipeline {
    fn generation(&self) -> u64 {
        self.engine.generation()
    }

    fn converter(&self) -> Converter {
        Self::converter(self)
    }

    fn finding(&self, id: &str) -> Option<Arc<Finding>> {
        self.engine.finding(id).or_else(|| self.resolved.get(id).cloned())
    }

    fn listener(&self, id: &str) -> Option<Arc<Listener>> {
        self.engine.listener(id).or_else(|| self.closed.get(id).cloned())
    }

    fn findings(&self, wanted: PageSelection<'_>) -> Vec<Arc<Finding>> {
        let after = wanted.after.and_then(parse);
        let open: Vec<Arc<Finding>> = if let Some(fingerprints) = wanted.fingerprints {
            let ids = self.index.ids(fingerprints).into_iter();
            let found = ids.filter(|id| after.is_none_or(|after| *id > after));
            let found = found.filter_map(|id| self.engine.finding_by_id(id));
            found.filter(|finding| wanted.selects_finding(finding)).take(wanted.limit).collect()
        } else {
            let ids = filtered(self.engine.finding_summaries(after), wanted);
            ids.filter_map(|id| self.engine.finding_by_id(id)).take(wanted.limit).collect()
        };
        let is_wanted = |finding: &Finding| {
            wanted.selects_finding(finding)
                && wanted.has_fingerprint(|| of_finding(finding, &self.agent.node))
        };
        let ended = ended(&self.resolved, wanted, is_wanted);
        merged(open, ended, wanted.limit, |finding| &finding.id)
    }

    fn listeners(&self, wanted: PageSelection<'_>) -> Vec<Arc<Listener>> {
        let summaries = self.engine.listener_summaries(wanted.after.and_then(parse));
        let open = filtered(summaries, wanted).filter_map(|id| self.engine.listener_by_id(id));
        let ended =
            ended(&self.closed, wanted, |listener| wanted.lets_through(&Facts::of_listener(listener)));
        merged(open.take(wanted.limit).collect(), ended, wanted.limit, |listener| &listener.id)
    }

    fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.engine.connections()
    }

    fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.engine.live_pods()
    }

    fn explain(&self, target: &Target) -> Result<Explained, ExplainError> {
        self.engine.explain(target)
    }

    fn policy_basis(&self, target: &PolicyTarget) -> PolicyBasis {
        self.engine.policy_basis(target)
    }

    fn status(&self) -> AgentStatus {
        Self::status(self)
    }

    fn started_at(&self) -> BootTime {
        self.started
    }

    fn minutes(&self, minute: i64, wanted: Option<&BTreeSet<u128>>) -> Vec<(u128, Vec<u32>)> {
        self.index.minutes(minute, wanted)
    }

    fn port_counts(&self) -> Vec<PortCounts> {
        self.index.counts(&self.engine)
    }
}

fn filtered<'a>(
    summaries: impl Iterator<Item = Summary<'a>>,
    wanted: PageSelection<'_>,
) -> impl Iterator<Item = u64> {
    let origins = !wanted.filter.origin.is_empty();
    summaries
        .filter(move |summary| wanted.since.is_none_or(|since| summary.changed_at >= since))
        .filter(move |summary| wanted.lets_through(&Facts::of_summary(summary, origins)))
        .map(|summary| summary.id)
}

fn ended<T>(ended: &Ended<T>, wanted: PageSelection<'_>, is_wanted: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
    if !wanted.filter.asks_for_ended() {
        return Vec::new();
    }
    let found = ended.after(wanted.after).filter(|item| is_wanted(item));
    found.take(wanted.limit).cloned().collect()
}

/// Merges both lists in the order of ids. An id is either open or ended.
fn merged<T>(open: Vec<Arc<T>>, ended: Vec<Arc<T>>, most: usize, id: impl Fn(&T) -> &String) -> Vec<Arc<T>> {
    let mut all = open;
    if !ended.is_empty() {
        all.extend(ended);
        all.sort_by(|a, b| id(a).cmp(id(b)));
        all.truncate(most);
    }
    all
}
