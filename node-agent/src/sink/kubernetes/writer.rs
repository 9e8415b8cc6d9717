//! Writes due objects to the API server: one write at a time, at a limited rate, with back-off while the server is in
//! trouble. Nothing waits for the writer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portolan_engine::model::identity::BootTime;
use tokio::time::sleep;

use super::pending_writes::{PendingWrites, WriteOutcome, WriteRequest, WriteTimings};
use super::report_object::Author;
use super::token_bucket::TokenBucket;
use crate::kubernetes_api::access::{ApiAccess, WriteVerb};
use crate::kubernetes_api::fault::ApiFault;
use crate::kubernetes_api::timings::ApiTimings;
use crate::retry::backoff::{Backoff, random, random_part};
use crate::sink::convert::{AgentIdentity, Wall};
use crate::state::{Reporter, State};

/// Maximum interval at which the writer checks for due writes.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of Kubernetes namespaces whose rejections are remembered.
const MAX_REJECTIONS: usize = 64;
/// Consecutive forbidden writes after which all namespaces may forbid them, and the writer pauses.
const MANY_FORBIDDEN: u32 = 3;

/// Number of writes by outcome.
#[derive(Debug, Default)]
pub struct WriteCounts {
    /// The server has the object.
    pub written: AtomicU64,
    /// The server rejected the write.
    pub refused: AtomicU64,
    /// The server did not answer, or reported a temporary failure.
    pub failed: AtomicU64,
}

/// What all writers of one agent share.
#[derive(Clone)]
pub struct WriterContext {
    pub access: Arc<ApiAccess>,
    pub agent: AgentIdentity,
    pub now: fn() -> BootTime,
    pub wall: fn() -> Wall,
    pub timings: WriteTimings,
    pub api_timings: ApiTimings,
}

/// The writer of one kind of object.
pub struct Writer<P: PendingWrites> {
    pub pending: Arc<Mutex<P>>,
    pub context: WriterContext,
    pub tokens: TokenBucket,
    pub counts: Arc<WriteCounts>,
    /// Reports why writing fails.
    pub reporter: Reporter,
}

/// The state of the server, as the writer sees it.
struct ServerState {
    backoff: Backoff,
    /// No write before this time.
    pause: BootTime,
    /// Why the server does not answer, or cannot be reached.
    trouble: Option<String>,
    /// Rejections by Kubernetes namespace: permissions may differ.
    rejections: BTreeMap<String, Rejection>,
    /// Number of consecutive forbidden writes.
    forbidden: u32,
}

/// Why the server rejects the writes of one namespace.
#[derive(Clone, Debug)]
struct Rejection {
    reason: String,
    /// No write to this namespace before this time.
    until: BootTime,
}

impl<P: PendingWrites> Writer<P> {
    /// Runs until the task is dropped.
    pub async fn run(mut self) {
        let now = (self.context.now)();
        let mut server = ServerState {
            backoff: self.context.api_timings.backoff(),
            pause: now.after(random_part(self.context.timings.start_within, random())),
            trouble: None,
            rejections: BTreeMap::new(),
            forbidden: 0,
        };
        loop {
            let now = (self.context.now)();
            match self.next_request(&server, now) {
                Ok(request) => self.send(request, &mut server).await,
                Err(at) => {
                    self.report_status(&mut server, now);
                    sleep(at.since(now).clamp(Duration::from_millis(1), self.check_interval())).await;
                }
            }
        }
    }

    fn check_interval(&self) -> Duration {
        self.context.timings.gather.min(CHECK_INTERVAL)
    }

    fn pending(&self) -> MutexGuard<'_, P> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next due write, or the time of the next check. A write to a namespace with a current rejection is returned
    /// to its sink without a request.
    fn next_request(
        &mut self,
        server: &ServerState,
        now: BootTime,
    ) -> Result<WriteRequest<P::Key>, BootTime> {
        let later = now.after(self.check_interval());
        let due = self.pending().next_due().unwrap_or(later).max(server.pause);
        if due > now {
            return Err(due);
        }
        self.tokens.take(now)?;
        let author = Author { agent: &self.context.agent, wall: (self.context.wall)() };
        let mut pending = self.pending();
        loop {
            let request = pending.take(author, now).ok_or(later)?;
            match server.rejections.get(&request.namespace).filter(|rejection| rejection.until > now) {
                None => return Ok(request),
                Some(rejection) => pending.done(request.key, WriteOutcome::Refused(rejection.until), now),
            }
        }
    }

    /// Sends a write and takes in its outcome.
    async fn send(&mut self, request: WriteRequest<P::Key>, server: &mut ServerState) {
        let WriteRequest { key, namespace, write } = request;
        let verb = write.verb;
        let result = self.context.access.write(write, self.context.api_timings.answer_within).await;
        let now = (self.context.now)();
        let outcome = match result {
            Ok(()) => WriteOutcome::Written,
            // The Event exists, perhaps by an earlier agent.
            Err(ApiFault::Refused { code: 409, .. }) if verb == WriteVerb::Create => WriteOutcome::Written,
            Err(fault) => match RejectionKind::of(&fault) {
                None => WriteOutcome::Retry(self.in_trouble(&fault, server, now)),
                Some(kind) => WriteOutcome::Refused(self.rejected(kind, &fault, &namespace, server, now)),
            },
        };
        if outcome == WriteOutcome::Written {
            self.counts.written.fetch_add(1, Ordering::Relaxed);
            server.backoff.progress(now);
            server.forbidden = 0;
            server.rejections.remove(&namespace);
            self.answered(server, now);
        }
        self.pending().done(key, outcome, now);
        self.report_status(server, now);
    }

    /// Ends the trouble: the server answered, even if with a rejection.
    fn answered(&mut self, server: &mut ServerState, now: BootTime) {
        if server.trouble.take().is_some() {
            self.tokens.drain(now);
        }
    }

    /// Takes in a temporary failure. Returns when any write may be retried.
    fn in_trouble(&mut self, fault: &ApiFault, server: &mut ServerState, now: BootTime) -> BootTime {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        self.context.access.renew();
        self.tokens.drain(now);
        // Many agents may get the same Retry-After, so each adds its own random wait.
        let wait = server.backoff.next(random()) + fault.asked_delay().unwrap_or_default();
        server.pause = now.after(wait);
        server.trouble = Some(fault.to_string());
        server.pause
    }

    /// Takes in a rejection. Returns when this object may be written again.
    fn rejected(
        &mut self,
        kind: RejectionKind,
        fault: &ApiFault,
        namespace: &str,
        server: &mut ServerState,
        now: BootTime,
    ) -> BootTime {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        self.answered(server, now);
        let seldom = self.context.timings.seldom;
        let much_later = now.after(seldom).after(random_part(seldom, random()));
        server.forbidden =
            if kind == RejectionKind::Forbidden { server.forbidden.saturating_add(1) } else { 0 };
        match kind {
            RejectionKind::NotServed => {
                server.pause = much_later;
                server.trouble = Some(format!("{fault}: is the kind installed? It is asked for again later"));
            }
            RejectionKind::Forbidden => {
                if server.forbidden >= MANY_FORBIDDEN {
                    server.pause = now.after(self.context.api_timings.most);
                }
                let reason = format!("{} (needed: {})", without_name(fault), P::NEEDS);
                server.reject(namespace, Rejection { reason, until: much_later }, now);
            }
            RejectionKind::NotAccepted => {
                server.reject(namespace, Rejection { reason: without_name(fault), until: now }, now);
            }
            RejectionKind::NamespaceGone => drop(server.rejections.remove(namespace)),
        }
        much_later
    }

    /// Publishes why writing fails, while a write waits for it. Of several reasons the published one is kept.
    fn report_status(&self, server: &mut ServerState, now: BootTime) {
        let reason = if server.is_well() { None } else { self.reason(server, now) };
        self.reporter.report(State::up_unless(reason));
    }

    /// Returns the reason to publish. Forgets the trouble if no failed write waits any more.
    fn reason(&self, server: &mut ServerState, now: BootTime) -> Option<String> {
        let pending = self.pending();
        let failed = pending.failed_namespaces();
        if failed.is_empty() && server.pause <= now {
            server.trouble = None;
        }
        let current = server.rejections.iter().filter(|(namespace, _)| failed.contains(namespace.as_str()));
        let reasons = current.map(|(_, rejection)| &rejection.reason);
        let published = self.reporter.state();
        let first = reasons
            .clone()
            .find(|reason| Some(reason.as_str()) == published.reason())
            .or_else(|| reasons.clone().next());
        server.trouble.as_ref().or(first).cloned()
    }
}

impl ServerState {
    /// Returns true if nothing is wrong.
    fn is_well(&self) -> bool {
        self.trouble.is_none() && self.rejections.is_empty()
    }

    /// Remembers a rejection, within [`MAX_REJECTIONS`].
    fn reject(&mut self, namespace: &str, rejection: Rejection, now: BootTime) {
        if self.rejections.len() >= MAX_REJECTIONS {
            self.rejections.retain(|_, rejection| rejection.until > now);
        }
        if self.rejections.len() < MAX_REJECTIONS || self.rejections.contains_key(namespace) {
            self.rejections.insert(namespace.to_owned(), rejection);
        }
    }
}

/// Returns the fault without the name of the object, so that the next object has the same reason.
fn without_name(fault: &ApiFault) -> String {
    let text = fault.to_string();
    let Some((answer, message)) = text.split_once(": ") else { return text };
    let parts = message.split_once(" is forbidden: ").or_else(|| message.split_once(" is invalid: "));
    format!("{answer}: {}", parts.map_or(message, |(_, why)| why))
}

/// What a rejection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RejectionKind {
    /// The server does not serve the kind of object.
    NotServed,
    /// The agent lacks the permission.
    Forbidden,
    /// The server rejects this object, not others.
    NotAccepted,
    /// The namespace is being deleted, or is deleted.
    NamespaceGone,
}

impl RejectionKind {
    /// Returns `None` if the server or the network is in trouble.
    fn of(fault: &ApiFault) -> Option<Self> {
        let ApiFault::Refused { code, reason, .. } = fault else { return None };
        Some(match code {
            403 if reason.contains("being terminated") => Self::NamespaceGone,
            404 if reason.starts_with("namespaces ") => Self::NamespaceGone,
            403 => Self::Forbidden,
            404 | 405 => Self::NotServed,
            401 | 429 | 500.. => return None,
            _ => Self::NotAccepted,
        })
    }
}
