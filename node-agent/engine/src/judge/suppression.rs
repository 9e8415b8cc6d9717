//! Finds the exception rule that suppresses a finding.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::exception::{Candidate, Rule};
use crate::model::finding::Suppression;
use crate::model::finding_code::FindingCode;
use crate::model::identity::{BootTime, PodKey, PortId, Protocol};
use crate::model::listener::Exposure;
use crate::model::pod::{Container, Pod};
use crate::model::process::Process;
use crate::rules::container_match::{container, runs_in};
use crate::rules::declaration;
use crate::rules::evaluate::Facts;
use crate::state::bindings::Bindings;
use crate::state::findings::Subject;
use crate::state::storms::StormScope;

impl Engine {
    /// The exception that suppresses this finding of a port.
    pub(crate) fn port_suppression(
        &self,
        (id, pod): (PortId, Option<PodKey>),
        bindings: &Bindings,
        (code, facts): (FindingCode, &Facts),
        now: BootTime,
    ) -> Option<Arc<Suppression>> {
        let record = pod.and_then(|pod| self.pods.get(pod));
        if record.map_or(self.rules.is_empty(), |record| record.exceptions.rules.is_empty()) {
            return None;
        }
        let processes: Vec<Option<&Process>> = bindings.processes().collect();
        let candidate = Candidate {
            container: record.and_then(|record| certain_container(&record.pod, bindings)),
            processes: Some(&processes),
            protocol: Some(id.protocol),
            port: Some(id.port),
            exposure: facts.exposure,
            ephemeral: facts.ephemeral,
            code,
        };
        self.suppression(record.map(|record| record.exceptions.rules.as_slice()), &candidate, now)
    }

    /// The exception that suppresses a finding that is not about a socket.
    pub(crate) fn subject_suppression(
        &self,
        subject: Subject,
        code: FindingCode,
        now: BootTime,
    ) -> Option<Arc<Suppression>> {
        let (key, port): (Option<PodKey>, Option<(Protocol, NonZeroU16)>) = match subject {
            Subject::Stale(key, protocol, port) | Subject::Dangling(key, protocol, port) => {
                (Some(key), Some((protocol, port)))
            }
            Subject::Opaque(key) | Subject::Storm(StormScope::Pod(key)) => (Some(key), None),
            Subject::Storm(StormScope::Netns(_)) | Subject::Port(_) => (None, None),
        };
        let record = key.and_then(|key| self.pods.get(key));
        let pod = record.map(|record| &*record.pod);
        let declaring =
            pod.zip(port).map(|(pod, (protocol, port))| declaration::declaring(pod, protocol, port));
        let candidate = Candidate {
            container: match declaring.as_deref() {
                Some([one]) => Some(one),
                _ => None,
            },
            processes: None,
            protocol: port.map(|(protocol, _)| protocol),
            port: port.map(|(_, port)| port),
            exposure: if pod.is_some_and(|pod| pod.host_network) { Exposure::Host } else { Exposure::Pod },
            ephemeral: false,
            code,
        };
        self.suppression(record.map(|record| record.exceptions.rules.as_slice()), &candidate, now)
    }

    /// The first rule that applies; of a pod's own list, or of those for what belongs to no pod.
    fn suppression(
        &self,
        of_pod: Option<&[Arc<Rule>]>,
        candidate: &Candidate<'_>,
        now: BootTime,
    ) -> Option<Arc<Suppression>> {
        let holds = |rule: &&Arc<Rule>| rule.applies(now) && rule.matches.matches_beside_pod(candidate);
        let found = match of_pod {
            Some(rules) => rules.iter().find(holds),
            None => self.rules.iter().filter(|rule| rule.matches.concerns_no_pod()).find(holds),
        };
        found.map(|rule| Arc::clone(&rule.suppression))
    }
}

/// The container of every process that serves the port.
fn certain_container<'a>(pod: &'a Pod, bindings: &Bindings) -> Option<&'a Container> {
    let mut containers = bindings.processes().map(|process| container_of(pod, process));
    let first = containers.next().flatten()?;
    containers.all(|other| other.is_some_and(|other| std::ptr::eq(other, first))).then_some(first)
}

/// The container, unless the runtime knows its containers and the process was seen outside of all of them.
fn container_of<'a>(pod: &'a Pod, process: Option<&Process>) -> Option<&'a Container> {
    let found = container(pod, process, &[])?;
    let is_elsewhere = process.is_some_and(|process| process.cgroup.is_some())
        && !found.id.is_empty()
        && !runs_in(process, found);
    (!is_elsewhere).then_some(found)
}
