//! Which exception suppresses which finding, and what is judged again when exceptions come, go or run out: only the ports of
//! the pods that they name.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::Engine;
use super::attribution::{container, runs_in};
use super::change::{Exposure, Suppression};
use super::crowd::CrowdOf;
use super::declaration;
use super::evaluate::Facts;
use super::exception::{Candidate, Rule};
use super::exception_annotation::{Annotated, AnnotationSource, OF_POD};
use super::finding_code::FindingCode;
use super::finding_store::Subject;
use super::fingerprint::{Owner, storm_id};
use super::identity::{BootTime, NetnsId, PortId, Protocol};
use super::input::Process;
use super::pod::{Container, Pod};
use super::pod_index::PodKey;
use super::port::Face;
use super::timers::Timer;

/// The rules that may concern one pod, and what its annotations came to.
#[derive(Debug, Default)]
pub struct PodExceptions {
    /// In the order in which they are asked.
    pub rules: Vec<Arc<Rule>>,
    own: Annotated,
}

impl Engine {
    pub(super) fn exceptions_told(&mut self, rules: Vec<Arc<Rule>>, now: BootTime) {
        let changed = self.rules.replace(rules);
        self.timers.set(Timer::Exceptions, self.rules.next_expiry());
        self.judge_concerned(&changed, now);
    }

    /// Exceptions ran out: what they suppressed is open again.
    pub(super) fn exceptions_run_out(&mut self, now: BootTime) {
        let ran_out = self.rules.run_out(now);
        self.timers.set(Timer::Exceptions, self.rules.next_expiry());
        self.judge_concerned(&ran_out, now);
    }

    /// Judges again what one of these rules may match.
    fn judge_concerned(&mut self, rules: &[Arc<Rule>], now: BootTime) {
        if rules.is_empty() {
            return;
        }
        self.renew();
        let live =
            self.pods.live().filter(|(_, record)| rules.iter().any(|r| r.matches.concerns_pod(&record.pod)));
        let concerned: Vec<PodKey> = live.map(|(key, _)| key).collect();
        for key in concerned {
            self.select_exceptions(key);
            let Some(record) = self.pods.get(key) else { continue };
            let mine: Vec<&Arc<Rule>> =
                rules.iter().filter(|r| r.matches.concerns_pod(&record.pod)).collect();
            let on = |id: &&PortId| mine.iter().any(|rule| rule.matches.concerns_port(id.protocol, id.port));
            self.dirty.extend(record.ports.iter().filter(on).copied());
            self.check_pod(key, now);
        }
        let mut podless = rules.iter().filter(|rule| rule.matches.concerns_no_pod()).peekable();
        if podless.peek().is_some() {
            self.dirty.extend(self.unattributed.iter().copied());
            self.check_crowds(now);
        }
    }

    /// The storms of netns without a pod.
    fn check_crowds(&mut self, now: BootTime) {
        let netns = self.findings.iter().filter_map(|(_, record)| match record.subject {
            Subject::Storm(CrowdOf::Netns(netns)) => Some(netns),
            _ => None,
        });
        let netns: Vec<NetnsId> = netns.collect();
        for netns in netns {
            self.check_storm(storm_id(Owner::Netns(netns)), now);
        }
    }

    /// Finds the rules that may concern a pod. True if they are others than before.
    pub(super) fn select_exceptions(&mut self, key: PodKey) -> bool {
        let Some(record) = self.pods.get(key) else { return false };
        let pod = &record.pod;
        let listed = self.rules.iter().filter(|rule| rule.matches.concerns_pod(pod));
        let mut rules: Vec<Arc<Rule>> = listed.cloned().collect();
        let source = self.options.exception_annotations;
        if source >= AnnotationSource::Namespace
            && let Some(rule) = self.namespaces.exception(&pod.namespace).rule()
        {
            rules.push(Arc::clone(rule));
        }
        let own = if source == AnnotationSource::Pod {
            Annotated::of(OF_POD, &pod.annotations)
        } else {
            Annotated::Nothing
        };
        rules.extend(own.rule().cloned());
        rules.shrink_to_fit();
        let turned_invalid = own == Annotated::Invalid && record.exceptions.own != own;
        let before = &record.exceptions.rules;
        let is_same =
            before.len() == rules.len() && before.iter().zip(&rules).all(|(a, b)| Arc::ptr_eq(a, b));
        if let Some(record) = self.pods.get_mut(key) {
            record.exceptions = PodExceptions { rules, own };
        }
        if turned_invalid {
            self.refuse("exception-annotation-invalid");
        }
        !is_same
    }

    /// A namespace's annotations changed: its pods are judged again.
    pub(super) fn namespace_exception_changed(&mut self, namespace: &str, now: BootTime) {
        if self.options.exception_annotations == AnnotationSource::Off {
            return;
        }
        if *self.namespaces.exception(namespace) == Annotated::Invalid {
            self.refuse("exception-annotation-invalid");
        }
        let pods: Vec<PodKey> = self.pods.in_namespace(namespace).collect();
        for key in pods {
            self.select_exceptions(key);
            self.judge_pod(key, now);
        }
    }

    /// The exception that suppresses this finding of a port.
    pub(super) fn port_suppression(
        &self,
        (id, pod): (PortId, Option<PodKey>),
        face: &Face,
        (code, facts): (FindingCode, &Facts),
        now: BootTime,
    ) -> Option<Arc<Suppression>> {
        let record = pod.and_then(|pod| self.pods.get(pod));
        if record.map_or(self.rules.is_empty(), |record| record.exceptions.rules.is_empty()) {
            return None;
        }
        let candidate = Candidate {
            container: record.and_then(|record| certain_container(&record.pod, face)),
            face: Some(face),
            protocol: Some(id.protocol),
            port: Some(id.port),
            exposure: facts.exposure,
            ephemeral: facts.ephemeral,
            code,
        };
        self.suppression(record.map(|record| record.exceptions.rules.as_slice()), &candidate, now)
    }

    /// The exception that suppresses a finding that is not about a socket.
    pub(super) fn subject_suppression(
        &self,
        subject: Subject,
        code: FindingCode,
        now: BootTime,
    ) -> Option<Arc<Suppression>> {
        let (key, port): (Option<PodKey>, Option<(Protocol, NonZeroU16)>) = match subject {
            Subject::Stale(key, protocol, port) | Subject::Dangling(key, protocol, port) => {
                (Some(key), Some((protocol, port)))
            }
            Subject::Opaque(key) | Subject::Storm(CrowdOf::Pod(key)) => (Some(key), None),
            Subject::Storm(CrowdOf::Netns(_)) | Subject::Port(_) => (None, None),
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
            face: None,
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
        found.map(|rule| Arc::clone(&rule.says))
    }

    /// How many rules apply, and how many ran out.
    #[must_use]
    pub fn exceptions(&self, now: BootTime) -> (usize, usize) {
        let applying = self.rules.iter().filter(|rule| rule.applies(now)).count();
        (applying, self.rules.len().saturating_sub(applying))
    }
}

/// The container of every process that serves the port.
fn certain_container<'a>(pod: &'a Pod, face: &Face) -> Option<&'a Container> {
    let mut containers = face.processes().map(|process| container_of(pod, process));
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
