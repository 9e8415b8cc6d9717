//! Finds the exception rule that suppresses a finding.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::judge::context::JudgeContext;
use crate::model::exception::{Candidate, Rule};
use crate::model::finding::Suppression;
use crate::model::finding_code::FindingCode;
use crate::model::identity::{PodKey, PortId, Protocol};
use crate::model::listener::Exposure;
use crate::model::pod::{Container, Pod};
use crate::model::process::Process;
use crate::rules::container_match::runs_in;
use crate::rules::declaration;
use crate::rules::evaluate::PortFacts;
use crate::state::bindings::Bindings;
use crate::state::findings::Subject;
use crate::state::port::Port;
use crate::state::storms::StormScope;

impl JudgeContext<'_> {
    /// Returns the exception that suppresses this finding of a port.
    pub(crate) fn port_suppression(
        &self,
        (id, port): (PortId, &Port),
        bindings: &Bindings,
        (code, facts): (FindingCode, &PortFacts),
    ) -> Option<Arc<Suppression>> {
        let record = port.pod.and_then(|pod| self.facts.pods.get(pod));
        if record.map_or(self.facts.exceptions.is_empty(), |record| record.exceptions.rules.is_empty()) {
            return None;
        }
        // A process that can be reached is not covered by a rule for another one beside it.
        let processes: Vec<Option<&Process>> = bindings.reachable().collect();
        let candidate = Candidate {
            container: self.certain_container(port, bindings),
            processes: Some(&processes),
            protocol: Some(id.protocol),
            port: Some(id.port),
            exposure: facts.exposure,
            ephemeral: facts.ephemeral,
            code,
        };
        self.suppression(record.map(|record| record.exceptions.rules.as_slice()), &candidate)
    }

    /// Returns the container of the pod in which every process that can be reached runs. `None` if another pod's process
    /// serves the port, or the runtime knows the container and a process was seen outside it.
    fn certain_container(&self, port: &Port, bindings: &Bindings) -> Option<&Container> {
        let container = self.facts.container(port).filter(|_| port.served_from.is_none())?;
        let is_outside = |process: Option<&Process>| {
            process.is_some_and(|process| process.cgroup.is_some())
                && !container.id.is_empty()
                && !runs_in(process, container)
        };
        (!bindings.reachable().any(is_outside)).then_some(container)
    }

    /// Returns the exception that suppresses a finding that is not about a served port.
    pub(crate) fn subject_suppression(
        &self,
        subject: Subject,
        code: FindingCode,
    ) -> Option<Arc<Suppression>> {
        let (key, port): (Option<PodKey>, Option<(Protocol, NonZeroU16)>) = match subject {
            Subject::Stale(key, protocol, port) | Subject::Dangling(key, protocol, port) => {
                (Some(key), Some((protocol, port)))
            }
            Subject::Opaque(key)
            | Subject::MissingName(key, _)
            | Subject::Storm(StormScope::Pod(key) | StormScope::QuietPod(key)) => (Some(key), None),
            Subject::Storm(StormScope::Netns(_)) | Subject::Port(_) => (None, None),
        };
        let record = key.and_then(|key| self.facts.pods.get(key));
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
            exposure: exposure(code, pod),
            ephemeral: false,
            code,
        };
        self.suppression(record.map(|record| record.exceptions.rules.as_slice()), &candidate)
    }

    /// Returns the first rule that applies, from the pod's own list, or from the rules for findings without a pod.
    fn suppression(
        &self,
        of_pod: Option<&[Arc<Rule>]>,
        candidate: &Candidate<'_>,
    ) -> Option<Arc<Suppression>> {
        let holds = |rule: &&Arc<Rule>| rule.applies(self.now) && rule.matches.matches_beside_pod(candidate);
        let found = match of_pod {
            Some(rules) => rules.iter().find(holds),
            None => self.facts.exceptions.iter().filter(|rule| rule.matches.concerns_no_pod()).find(holds),
        };
        found.map(|rule| Arc::clone(&rule.suppression))
    }
}

/// Returns the exposure of a finding that is not about a served port.
fn exposure(code: FindingCode, pod: Option<&Pod>) -> Exposure {
    match (code, pod) {
        (FindingCode::UndeclaredLoopback, _) => Exposure::Loopback,
        (_, Some(pod)) if pod.host_network => Exposure::Host,
        _ => Exposure::Pod,
    }
}
