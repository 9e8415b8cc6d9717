//! Resolves the target of `portolan explain` (a pod, Service or node port) to the pod ports at which its paths end. The
//! number of ends, pods and Services in one answer is bounded.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::engine::Engine;
use crate::model::fingerprint::{Owner, dangling_id, opaque_id, quiet_storm_id, stale_id, storm_id};
use crate::model::identity::{PodKey, PortId, Protocol};
use crate::model::listener::{Declaration, DeclarationStatus, Exposure, ListenerState};
use crate::model::policy::PolicyVerdict;
use crate::model::service::{Service, ServicePort};
use crate::read::explain::answer::{
    End, EndState, EntryPoint, EntryPointKind, ExplainError, Explained, MAX_ENDS, MAX_NAMED, MAX_PER_END,
    MAX_PODS, MAX_SERVICES, PodStep, ServiceStep,
};
use crate::read::explain::entry_points;
use crate::read::explain::lookup::some_of;
use crate::read::explain::target::{ObjectName, RequestedPort, Target};
use crate::read::render;
use crate::rules::declaration::{declared_ports, service_targets};
use crate::rules::manifests::ServedPort;
use crate::rules::{declaration, isolation};
use crate::state::pod_record::PodRecord;
use crate::state::port::Port;

/// Collects an answer, without its sentences.
pub(crate) struct AnswerBuilder<'a> {
    engine: &'a Engine,
    found: Explained,
    /// Ends that were added, to avoid duplicates.
    ends: BTreeSet<(PodKey, Protocol, Option<NonZeroU16>)>,
    /// Pods that were added, to avoid duplicates.
    pods: BTreeSet<PodKey>,
}

impl<'a> AnswerBuilder<'a> {
    pub(crate) fn new(engine: &'a Engine, target: &Target) -> Self {
        let found = Explained {
            target: target.clone(),
            answer: Vec::new(),
            notes: Vec::new(),
            partial: Vec::new(),
            next: Vec::new(),
            services: Vec::new(),
            pods: Vec::new(),
            ends: Vec::new(),
            truncated: false,
        };
        Self { engine, found, ends: BTreeSet::new(), pods: BTreeSet::new() }
    }

    pub(crate) fn explained(self) -> Explained {
        self.found
    }

    /// Follows a pod, or one port of it.
    pub(crate) fn follow_pod(
        &mut self,
        named: &ObjectName,
        port: Option<&RequestedPort>,
    ) -> Result<(), ExplainError> {
        let engine = self.engine;
        let key = engine.pod_called(named)?;
        let Some(record) = engine.facts.pods.get(key) else { return Ok(()) };
        self.add_pod(key, record);
        match port {
            Some(asked) => {
                for (protocol, port) in engine.ports_asked(key, record, asked)? {
                    self.add_end(key, record, protocol, port);
                }
            }
            None => self.follow_every_port(key, record),
        }
        for (service, entry) in self.services_of_entry_points() {
            self.add_service(&service, &[entry]);
        }
        Ok(())
    }

    /// Adds the ports of a pod: first some undeclared ones, then the expected ones, then others, so that neither can
    /// crowd out the other.
    fn follow_every_port(&mut self, key: PodKey, record: &'a PodRecord) {
        let expected: BTreeSet<(Protocol, NonZeroU16)> =
            declared_ports(&record.pod).chain(service_targets(record.manifests())).collect();
        let served = || record.ports.iter().filter(|id| self.engine.is_shown(id));
        let named = |id: &PortId| (id.protocol, id.port);
        let undeclared: Vec<(Protocol, NonZeroU16)> =
            served().filter(|id| self.is_undeclared(id)).take(MAX_ENDS / 2).map(named).collect();
        let some: Vec<(Protocol, NonZeroU16)> = served().take(MAX_ENDS).map(named).collect();
        let is_cut = served().nth(MAX_ENDS).is_some();
        self.found.truncated |= is_cut;
        for (protocol, port) in undeclared.into_iter().chain(expected).chain(some) {
            self.add_end(key, record, protocol, port);
        }
        self.found.ends.sort_by_key(|end| (end.protocol, end.port));
    }

    /// Follows a Service, or one port of it, to its pods on this node.
    pub(crate) fn follow_service(
        &mut self,
        named: &ObjectName,
        asked: Option<&RequestedPort>,
    ) -> Result<(), ExplainError> {
        if !self.engine.facts.services.known() && self.engine.facts.services.iter().next().is_none() {
            return Ok(());
        }
        let service = self.engine.service_called(named)?;
        let entries: Vec<ServicePort> = service
            .ports
            .iter()
            .filter(|entry| asked.is_none_or(|asked| asked.means(entry)))
            .cloned()
            .collect();
        if let Some(asked) = asked.filter(|_| entries.is_empty()) {
            return Err(ExplainError::NoPort {
                what: "Service",
                name: format!("{}/{}", service.namespace, service.name),
                port: asked.to_string(),
                known: some_of(service.ports.iter().map(|entry| (entry.protocol, entry.port))),
            });
        }
        self.follow_entries(&service, &entries);
        Ok(())
    }

    /// Follows a port of the node: NodePorts, hostPorts, and a socket in the host's netns.
    pub(crate) fn follow_node_port(&mut self, port: NonZeroU16, protocol: Option<Protocol>) {
        let engine = self.engine;
        let wanted = |one: Protocol| protocol.is_none_or(|protocol| protocol == one);
        for service in engine.facts.services.iter() {
            let entries: Vec<ServicePort> = service
                .ports
                .iter()
                .filter(|entry| entry.node_port == Some(port) && wanted(entry.protocol))
                .cloned()
                .collect();
            let checked = service.health_check() == Some(port);
            if !entries.is_empty() || (checked && wanted(Protocol::Tcp)) {
                self.follow_entries(service, &entries);
            }
        }
        let mut publishing: Vec<(PodKey, &PodRecord, Protocol, NonZeroU16)> = Vec::new();
        for (key, record) in engine.facts.pods.live().filter(|(_, record)| !record.pod.host_network) {
            let ports = record.pod.containers.iter().flat_map(|container| &container.ports);
            let ports = ports.filter(|known| known.host_port == Some(port) && wanted(known.protocol));
            publishing.extend(ports.map(|known| (key, record, known.protocol, known.port)));
        }
        publishing.sort_by_key(|(key, _, protocol, port)| (*key, *protocol, *port));
        for (key, record, protocol, port) in publishing {
            self.add_pod(key, record);
            self.add_end(key, record, protocol, port);
        }
        for protocol in Protocol::ALL.into_iter().filter(|one| wanted(*one)) {
            self.follow_host_socket(protocol, port);
        }
    }

    fn follow_host_socket(&mut self, protocol: Protocol, port: NonZeroU16) {
        let engine = self.engine;
        let Some(netns) = engine.facts.netns.host() else { return };
        let id = PortId { netns, protocol, port };
        let Some(known) = engine.ports.get(id).filter(|known| known.is_served()) else { return };
        if let Some((key, record)) = known.pod.and_then(|key| Some((key, engine.facts.pods.get(key)?))) {
            self.add_pod(key, record);
            self.add_end(key, record, protocol, port);
        } else {
            self.found.ends.push(engine.own_end(id, known));
        }
    }

    /// Follows these ports of a Service to each pod of this node that it selects.
    fn follow_entries(&mut self, service: &Arc<Service>, entries: &[ServicePort]) {
        let engine = self.engine;
        self.add_service(service, entries);
        for key in engine.pods_of(service).take(MAX_PODS) {
            let Some(record) = engine.facts.pods.get(key) else { continue };
            if !entries.is_empty() {
                self.add_pod(key, record);
            }
            for entry in entries.iter().take(MAX_ENDS) {
                match entry.target_in(&record.pod) {
                    Some(port) => self.add_end(key, record, entry.protocol, port),
                    None => self.add_unresolved(key, record, service, entry),
                }
            }
        }
    }

    fn add_service(&mut self, service: &Arc<Service>, entries: &[ServicePort]) {
        let same = |step: &&mut ServiceStep| Arc::ptr_eq(&step.service, service);
        if let Some(step) = self.found.services.iter_mut().find(same) {
            let new = entries.iter().filter(|entry| !step.ports.contains(entry)).cloned();
            let new: Vec<ServicePort> = new.collect();
            step.ports.extend(new);
            return;
        }
        if self.found.services.len() >= MAX_SERVICES {
            self.found.truncated = true;
            return;
        }
        let pods_here = self.engine.pods_of(service).count();
        self.found.truncated |= pods_here > MAX_PODS || entries.len() > MAX_ENDS;
        let ports = entries.iter().take(MAX_ENDS).cloned().collect();
        self.found.services.push(ServiceStep { service: Arc::clone(service), ports, pods_here });
    }

    fn add_pod(&mut self, key: PodKey, record: &PodRecord) {
        if !self.pods.insert(key) {
            return;
        }
        if self.found.pods.len() >= 2 * MAX_PODS {
            self.found.truncated = true;
            return;
        }
        let engine = self.engine;
        let pod = &record.pod;
        let about_pod = [opaque_id(&pod.uid), storm_id(Owner::Pod(&pod.uid)), quiet_storm_id(&pod.uid)];
        self.found.pods.push(PodStep {
            pod: (*record.reference).clone(),
            addresses: pod.addresses.iter().take(MAX_PER_END).copied().collect(),
            ready: pod.gets_service_traffic(),
            opaque_runtime: pod.opaque_runtime.clone(),
            has_guest: engine.facts.has_guest(key),
            netns: engine.facts.netns_of(key).map(|netns| render::netns_ref(&engine.facts, netns)),
            listening: record.ports.iter().filter(|id| engine.is_shown(id)).count(),
            undeclared: record
                .ports
                .iter()
                .filter(|id| engine.is_shown(id) && self.is_undeclared(id))
                .count(),
            findings: about_pod.into_iter().filter_map(|id| engine.finding_by_id(id)).collect(),
        });
    }

    fn is_undeclared(&self, id: &PortId) -> bool {
        self.engine.ports.get(*id).is_some_and(|port| port.is_undeclared())
    }

    /// Returns false if the end was added before, or the answer is full.
    fn makes_room(&mut self, end: (PodKey, Protocol, Option<NonZeroU16>)) -> bool {
        if self.ends.contains(&end) {
            return false;
        }
        let has_room = self.found.ends.len() < MAX_ENDS;
        self.found.truncated |= !has_room;
        has_room && self.ends.insert(end)
    }

    fn add_end(&mut self, key: PodKey, record: &PodRecord, protocol: Protocol, port: NonZeroU16) {
        if self.makes_room((key, protocol, Some(port))) {
            let mut end = self.engine.end(key, record, protocol, port);
            self.found.truncated |= end.entry_points.len() > MAX_PER_END;
            end.entry_points.truncate(MAX_PER_END);
            self.found.ends.push(end);
        }
    }

    fn add_unresolved(
        &mut self,
        key: PodKey,
        record: &PodRecord,
        service: &Arc<Service>,
        entry: &ServicePort,
    ) {
        if self.makes_room((key, entry.protocol, None)) {
            let entry_points = entry_points::of_service_port(service, entry);
            self.found
                .ends
                .push(End { entry_points, ..bare(record, entry.protocol, None, EndState::Unresolved) });
        }
    }

    fn services_of_entry_points(&self) -> Vec<(Arc<Service>, ServicePort)> {
        self.found
            .ends
            .iter()
            .flat_map(|end| &end.entry_points)
            .filter_map(|entry_point| entry_point.service.clone())
            .collect()
    }
}

impl Engine {
    /// Returns true if the port was reported. An ephemeral UDP port, mostly a client's, is not.
    fn is_shown(&self, id: &PortId) -> bool {
        self.is_served(id) && self.ports.get(*id).is_some_and(|port| port.reported.is_some())
    }

    /// Returns the live pods of this node that a Service selects.
    fn pods_of(&self, service: &Arc<Service>) -> impl Iterator<Item = PodKey> + '_ {
        let selected = self.facts.pods.selected_by(std::slice::from_ref(service));
        let service = Arc::clone(service);
        selected.into_iter().filter(move |key| {
            let record = self.facts.pods.get(*key).filter(|record| record.departed.is_none());
            record.is_some_and(|record| record.services.iter().any(|(known, _)| Arc::ptr_eq(known, &service)))
        })
    }

    /// Returns one port of a pod with everything known about it.
    fn end(&self, key: PodKey, record: &PodRecord, protocol: Protocol, port: NonZeroU16) -> End {
        let uid = &record.pod.uid;
        let known = self.port_of(key, record, protocol, port);
        let served = known.filter(|(_, known)| known.is_served() && known.bindings.is_some());
        let listener =
            served.map(|(id, known)| Arc::new(render::listener(&self.facts, id, known, ListenerState::Open)));
        let state = self.end_state(key, record, served.is_some());
        let exposure = listener.as_ref().map(|listener| listener.exposure);
        let exposure = exposure.unwrap_or(default_exposure(record));
        let ids = [known.map(|(_, known)| known.id), Some(stale_id(uid, protocol, port.get()))];
        let ids = ids.into_iter().flatten().chain([dangling_id(uid, protocol, port.get())]);
        let unserved = state == EndState::Silent;
        let unserved_declaration =
            || declaration::describe(Some(record.manifests()), ServedPort::unserved(protocol, port));
        End {
            entry_points: entry_points::of_pod_port(record, protocol, port, exposure)
                .take(MAX_PER_END + 1)
                .collect(),
            declaration: listener
                .as_ref()
                .map_or_else(unserved_declaration, |listener| listener.declaration.clone()),
            exposure,
            policy: isolation::verdict(self.facts.policies.known(), record.manifests(), protocol, port),
            policies: isolation::opinions(record.manifests(), protocol, port).take(MAX_PER_END).collect(),
            findings: ids.filter_map(|id| self.finding_by_id(id)).collect(),
            nearest: if unserved { self.nearest(key, record, protocol, port) } else { Vec::new() },
            listener,
            ..bare(record, protocol, Some(port), state)
        }
    }

    /// Returns a port that the node itself serves.
    fn own_end(&self, id: PortId, known: &Port) -> End {
        let listener = Arc::new(render::listener(&self.facts, id, known, ListenerState::Open));
        End {
            pod: None,
            protocol: id.protocol,
            port: Some(id.port),
            state: EndState::Served,
            entry_points: vec![EntryPoint {
                kind: if listener.exposure == Exposure::Loopback {
                    EntryPointKind::Loopback
                } else {
                    EntryPointKind::HostNetwork
                },
                addresses: Vec::new(),
                port: id.port,
                service: None,
            }],
            declaration: listener.declaration.clone(),
            exposure: listener.exposure,
            policy: PolicyVerdict::Unknown,
            policies: Vec::new(),
            findings: self.finding_by_id(known.id).into_iter().collect(),
            nearest: Vec::new(),
            listener: Some(listener),
        }
    }

    fn end_state(&self, key: PodKey, record: &PodRecord, served: bool) -> EndState {
        if served {
            EndState::Served
        } else if record.pod.opaque_runtime.is_some() || self.facts.has_guest(key) {
            EndState::Opaque
        } else if self.facts.is_scanned(key) {
            EndState::Silent
        } else {
            EndState::Unseen
        }
    }

    /// Finds the port in the pod's own netns, else in another netns inside the pod.
    fn port_of(
        &self,
        key: PodKey,
        record: &PodRecord,
        protocol: Protocol,
        port: NonZeroU16,
    ) -> Option<(PortId, &Port)> {
        let netns = self.facts.netns_of(key);
        let main = netns.map(|netns| PortId { netns, protocol, port }).filter(|id| record.ports.contains(id));
        let of_number = |id: &&PortId| (id.protocol, id.port) == (protocol, port);
        let id = main.or_else(|| record.ports.iter().find(of_number).copied())?;
        Some((id, self.ports.get(id)?))
    }

    /// Returns served ports of the pod: first the same number of another protocol, then the nearest numbers.
    fn nearest(
        &self,
        key: PodKey,
        record: &PodRecord,
        protocol: Protocol,
        port: NonZeroU16,
    ) -> Vec<(Protocol, NonZeroU16)> {
        let Some(netns) = self.facts.netns_of(key) else { return Vec::new() };
        let served = |id: &&PortId| self.is_served(id);
        let mut near = Vec::new();
        for one in Protocol::ALL {
            let middle = PortId { netns, protocol: one, port };
            let in_reach = |id: &&PortId| (id.netns, id.protocol) == (netns, one);
            let below = record.ports.range(..middle).rev().take_while(in_reach).filter(served);
            let above = record.ports.range(middle..).take_while(in_reach).filter(served);
            near.extend(below.take(MAX_NAMED).chain(above.take(MAX_NAMED)).map(|id| (id.protocol, id.port)));
        }
        near.sort_by_key(|(one, number)| {
            (*number != port, *one != protocol, number.get().abs_diff(port.get()), *number)
        });
        near.truncate(MAX_NAMED);
        near
    }
}

fn default_exposure(record: &PodRecord) -> Exposure {
    if record.pod.host_network { Exposure::Host } else { Exposure::Pod }
}

fn bare(record: &PodRecord, protocol: Protocol, port: Option<NonZeroU16>, state: EndState) -> End {
    End {
        pod: Some((*record.reference).clone()),
        protocol,
        port,
        state,
        entry_points: Vec::new(),
        listener: None,
        declaration: Declaration {
            status: DeclarationStatus::Undeclared,
            declared_by: Vec::new(),
            explained_by: Vec::new(),
        },
        exposure: default_exposure(record),
        policy: PolicyVerdict::Unknown,
        policies: Vec::new(),
        findings: Vec::new(),
        nearest: Vec::new(),
    }
}
