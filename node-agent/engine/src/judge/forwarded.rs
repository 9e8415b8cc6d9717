//! Ports that rules of their netns lead to other ports, other netns or virtual machines.

use std::net::{IpAddr, Ipv4Addr};

use crate::judge::port::{Outcome, PortJudge};
use crate::model::identity::{BootTime, PortId};
use crate::rules::mesh;
use crate::state::forward::{FORWARD_LIFE, Forward};
use crate::state::redirects::TargetState;

impl PortJudge<'_> {
    /// Tells the ports that are redirected to this one what serves it.
    pub(crate) fn settle_target(&mut self) {
        if !self.index.redirects.is_target(self.id) {
            return;
        }
        let state = if self.port.sockets.is_empty() {
            TargetState::Unserved
        } else if self.is_mesh() {
            TargetState::Mesh
        } else {
            TargetState::Served
        };
        self.context.agenda.judge_all(self.index.redirects.update(self.id, state));
    }

    /// True for a port that a mesh's proxy certainly opened.
    fn is_mesh(&self) -> bool {
        let facts = &*self.context.facts;
        let record = self.port.pod.and_then(|pod| facts.pods.get(pod));
        record.is_some_and(|record| {
            mesh::opened_by(&record.pod, facts.served_port(self.id, self.port)).is_some()
        })
    }

    /// Follows the redirection of a port that no socket serves. A mesh's proxy accepts connections to every port, so that
    /// nothing needs to be behind this one: its calls are the proxy's. Any other target serves the port as well.
    pub(crate) fn settle_redirect(&mut self, hold: BootTime) -> Option<Outcome> {
        let (seen_at, port) = self.port.redirect.filter(|_| self.port.sockets.is_empty())?;
        let to = PortId { port, ..self.id };
        let state = self.index.redirects.state(to);
        if self.context.now < hold && self.port.forward.is_none() {
            // A socket of the port, or of the target, may become known.
            return Some(Outcome::Keep(Some(hold)));
        }
        match state {
            TargetState::Mesh if self.port.bindings.is_none() || self.port.forward.is_some() => {
                return Some(Outcome::Fold(to));
            }
            // The port was served, and closes like others.
            TargetState::Mesh => {}
            TargetState::Unserved => self.end_forward(),
            TargetState::Served => {
                let own = self.context.facts.own_addresses(self.id.netns, self.port.pod);
                let own = own.0.or(own.1).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                let first_at = self.port.first_heard_at.min(seen_at);
                let forward = Forward { to: (own, port.get()), first_at, seen_at };
                self.port.forward.get_or_insert_with(|| Box::new(forward)).learn(forward);
                self.index.end_closing(self.id);
            }
        }
        None
    }

    /// Ends the forwarding of a port whose netns ended or that had no connection for long. Returns when that will be.
    /// What the pod's manifests expect stays: to be called rarely does not make it stale.
    pub(crate) fn settle_forward(&mut self) -> Option<BootTime> {
        let seen_at = self.port.forward.as_ref()?.seen_at;
        let is_over = self.context.facts.netns.ended_at(self.id.netns).is_some_and(|ended| ended >= seen_at);
        let stays = self.port.status.is_expected();
        let due = seen_at.after(FORWARD_LIFE);
        if is_over || (!stays && self.context.now >= due) {
            self.end_forward();
            if let Some((_, to)) = self.port.redirect.take() {
                self.index.redirects.remove(self.id, PortId { port: to, ..self.id });
            }
            return None;
        }
        self.port.settle_forward();
        (!stays).then_some(due)
    }

    /// Ends the forwarding of the port. Unless a socket serves it, the port closes once its last traffic is drained.
    fn end_forward(&mut self) {
        if self.port.forward.take().is_some() && self.port.sockets.is_empty() {
            self.port.closed_at = self.port.closed_at.get().unwrap_or(self.context.now).into();
            self.index.begin_closing(self.id);
        }
    }
}
