//! The pipeline as the HTTP API reads it: open objects from the engine, recently ended ones from the pipeline's own memory.

use std::sync::Arc;

use portolan_engine::model::connection::Connection;
use portolan_engine::model::finding::Finding;
use portolan_engine::model::fingerprint::parse;
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
use crate::sink::http::query::{PageSelection, ReadModel};
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
        let summaries = self.engine.finding_summaries(wanted.after.and_then(parse));
        let open = filtered(summaries, wanted).filter_map(|id| self.engine.finding_by_id(id));
        let ended = ended(&self.resolved, wanted, |finding| Facts::of_finding(finding));
        merged(open.take(wanted.limit).collect(), ended, wanted.limit, |finding| &finding.id)
    }

    fn listeners(&self, wanted: PageSelection<'_>) -> Vec<Arc<Listener>> {
        let summaries = self.engine.listener_summaries(wanted.after.and_then(parse));
        let open = filtered(summaries, wanted).filter_map(|id| self.engine.listener_by_id(id));
        let ended = ended(&self.closed, wanted, |listener| Facts::of_listener(listener));
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
}

fn filtered<'a>(
    summaries: impl Iterator<Item = Summary<'a>>,
    wanted: PageSelection<'_>,
) -> impl Iterator<Item = u64> {
    let origins = !wanted.filter.origin.is_empty();
    summaries.filter(move |summary| wanted.lets_through(&Facts::of_summary(summary, origins))).map(|o| o.id)
}

fn ended<T>(
    ended: &Ended<T>,
    wanted: PageSelection<'_>,
    facts: impl for<'f> Fn(&'f T) -> Facts<'f>,
) -> Vec<Arc<T>> {
    if !wanted.filter.asks_for_ended() {
        return Vec::new();
    }
    let found = ended.after(wanted.after).filter(|item| wanted.lets_through(&facts(item)));
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
