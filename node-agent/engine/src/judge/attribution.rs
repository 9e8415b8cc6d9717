//! Attributes a port to its pod, and classifies its peers from that pod's point of view.

use std::sync::Arc;

use crate::judge::nat_path::{peer_origin, trace};
use crate::judge::port::PortJudge;
use crate::model::fingerprint::{Owner, port_id};
use crate::model::identity::PodKey;
use crate::model::listener::DeclarationStatus;
use crate::model::reach::Reach;
use crate::rules::attribution::{Attribution, attribute};
use crate::rules::audience::PortAudience;
use crate::rules::container_match::runs_in;
use crate::rules::{cgroup, declaration};
use crate::state::bindings::Bindings;
use crate::state::nat_paths::NatPath;
use crate::state::pod_record::PodRecord;
use crate::state::port::Port;

impl PortJudge<'_> {
    /// Finds the port's pod, id and declaration status. A changed id withdraws what was reported under the old one.
    pub(crate) fn attribute(&mut self) {
        let found = self.find_pod();
        let pod = found.map(|found| found.pod);
        let next = self.finding_id(found);
        if self.port.id != next && self.port.id != 0 && self.port.reported.is_some() {
            self.withdraw();
            self.port.reported = None;
        }
        if self.port.pod != pod {
            self.move_to(pod);
        }
        self.port.id = next;
        self.find_foreign_server();
        let record = pod.and_then(|pod| self.context.facts.pods.get(pod));
        self.port.status = record.map_or(DeclarationStatus::Unknown, |record| {
            declaration::status(record.manifests(), self.context.facts.served_port(self.id, self.port))
        });
        self.settle_target();
    }

    /// Finds out whether a process of another pod serves the port, as a node's proxy does in the netns of other pods.
    fn find_foreign_server(&mut self) {
        let pods = &self.context.facts.pods;
        let process = self.port.representative();
        let record = self.port.pod.and_then(|pod| pods.get(pod));
        let is_own = |record: &PodRecord| record.pod.containers.iter().any(|one| runs_in(process, one));
        let path = process.and_then(|process| process.cgroup.as_deref()).filter(|path| *path != "/");
        let Some(path) = path.filter(|_| record.is_some_and(|record| !is_own(record))) else {
            self.port.served_from = None;
            self.index.set_strange(self.id, false);
            return;
        };
        let named = cgroup::pod(path, |uid| pods.by_uid(uid));
        self.port.served_from = named.filter(|named| Some(*named) != self.port.pod);
        self.index.set_strange(self.id, named != self.port.pod);
    }

    fn find_pod(&self) -> Option<Attribution> {
        let pods = &self.context.facts.pods;
        let netns = &self.context.facts.netns;
        let facts = netns.facts(self.id.netns).map(Arc::as_ref);
        // Of two netns that had the same path in turn, the present one is the pod's.
        let is_here = |path: &str| netns.at_path(path).is_none_or(|at| at == self.id.netns);
        let processes = self.port.bindings.iter().flat_map(Bindings::processes).chain([None]);
        let found = processes.into_iter().find_map(|process| attribute(pods, facts, &is_here, process));
        // A deleted pod keeps its ports until it is forgotten. So does a pod whose netns only the runtime knew, after the
        // runtime stopped reporting it.
        let stays = |record: &PodRecord| {
            record.departed.is_some() || (record.pod.netns_path.is_none() && !record.pod.host_network)
        };
        found.or_else(|| {
            let pod = self.port.pod.filter(|pod| pods.get(*pod).is_some_and(stays))?;
            Some(Attribution { pod, main_netns: true })
        })
    }

    fn finding_id(&self, found: Option<Attribution>) -> u64 {
        let record =
            found.and_then(|found| Some((found.main_netns, self.context.facts.pods.get(found.pod)?)));
        let owner = match record {
            None => Owner::Netns(self.id.netns),
            Some((true, record)) => Owner::Pod(&record.pod.uid),
            Some((false, record)) => Owner::PodNetns(&record.pod.uid, self.id.netns),
        };
        port_id(owner, self.id.protocol, self.id.port.get())
    }

    fn move_to(&mut self, pod: Option<PodKey>) {
        let id = self.id;
        self.count_finding(None);
        if let Some(record) = self.port.pod.and_then(|before| self.context.facts.pods.get_mut(before)) {
            record.ports.remove(&id);
        }
        let is_first = self.port.pod.is_none();
        self.port.pod = pod;
        self.index.set_attributed(id, pod.is_some());
        let Some(pod) = pod else { return };
        if let Some(record) = self.context.facts.pods.get_mut(pod) {
            record.ports.insert(id);
        }
        if is_first {
            if let Some(paths) = self.port.nat_paths.as_deref_mut() {
                paths.retrace();
            }
            let facts = &*self.context.facts;
            let serving = facts.serving(id.netns, Some(pod));
            let paths = self.port.nat_paths.as_deref();
            let resolve = |peer| peer_origin(facts, peer, serving, paths);
            if let Some(traffic) = &mut self.port.traffic {
                traffic.resolve_all(id.protocol, &resolve);
            }
        }
    }

    /// Traces NAT paths and classifies peers whose origin is not certain yet.
    pub(crate) fn settle_origins(&mut self) {
        let (id, pod, now) = (self.id, self.port.pod, self.context.now);
        let hold = self.context.options.attribution_hold;
        let facts = &*self.context.facts;
        let port = &mut *self.port;
        if let Some(paths) = port.nat_paths.as_deref_mut()
            && paths.settle(
                now,
                hold,
                &|path: &NatPath| trace(facts, id, pod, path.peer, path.dialled),
                &facts.is_listed(pod, (id.protocol, id.port)),
            )
        {
            port.traffic.get_or_insert_default().apply_nat_paths(id.protocol, paths);
        }
        let serving = facts.serving(id.netns, pod);
        let paths = port.nat_paths.as_deref();
        let resolve = |peer| peer_origin(facts, peer, serving, paths);
        if let Some(traffic) = &mut port.traffic {
            traffic.settle(id.protocol, now, hold, &resolve);
        }
    }

    /// Judges which callers of an explained port no explanation explains.
    pub(crate) fn settle_audience(&mut self) {
        let (id, facts) = (self.id, &*self.context.facts);
        let Port { pod, status, bindings, served_from, traffic, nat_paths, earlier, beyond, .. } =
            &mut *self.port;
        let record = pod.and_then(|pod| facts.pods.get(pod));
        let record = record.filter(|_| *status == DeclarationStatus::Explained);
        let audience = record.map(|record| {
            let process = bindings.as_ref().and_then(Bindings::representative);
            PortAudience::of(record.manifests(), facts.served(id, process, *served_from))
        });
        self.index.set_selective(id, audience.as_ref().is_some_and(PortAudience::is_selective));
        *beyond = audience.map_or(Reach::Nothing, |audience| {
            let paths = nat_paths.as_deref_mut();
            let by_path = paths.map(|paths| paths.settle_audience(&audience, facts)).unwrap_or_default();
            let by_peer = traffic
                .as_deref_mut()
                .map(|traffic| traffic.settle_audience(id.protocol, &audience, facts, nat_paths.as_deref()));
            // Who the callers of an earlier run were is not known, only how far away.
            let earlier = earlier.filter(|reach| *reach > audience.up_to()).unwrap_or_default();
            by_path.max(by_peer.unwrap_or_default()).max(earlier)
        });
    }
}
