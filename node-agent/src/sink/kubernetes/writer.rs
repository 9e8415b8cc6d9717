//! Brings what is due to the API server, one write at a time, at a bounded rate, and slower the more the server is in trouble.
//! Nobody waits for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portolan_engine::model::identity::BootTime;
use tokio::time::sleep;

use super::bucket::Bucket;
use super::desk::{Desk, Order, Outcome, Times};
use super::report_object::Author;
use crate::kubernetes_api::access::{ApiAccess, Verb};
use crate::kubernetes_api::backoff::{Backoff, Pace, part_of, random};
use crate::kubernetes_api::fault::ApiFault;
use crate::sink::convert::Wall;
use crate::source::state::{Reporter, State};

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Namespaces that are remembered for refusing.
const MAX_REFUSALS: usize = 64;
/// After so many that forbid it one after the other, they may all do.
const SEVERAL: u32 = 3;

/// How many writes came to which end.
#[derive(Debug, Default)]
pub struct WriteCounts {
    pub written: AtomicU64,
    /// The server does not take them.
    pub refused: AtomicU64,
    /// The server did not answer, or was in trouble.
    pub failed: AtomicU64,
}

/// What the writers of one agent have in common.
#[derive(Clone)]
pub struct Office {
    pub access: Arc<ApiAccess>,
    pub node: Arc<str>,
    pub now: fn() -> BootTime,
    pub wall: fn() -> Wall,
    pub times: Times,
    pub pace: Pace,
}

/// The writer of one kind of object.
pub struct Writer<D: Desk> {
    pub desk: Arc<Mutex<D>>,
    pub office: Office,
    pub bucket: Bucket,
    pub counts: Arc<WriteCounts>,
    pub reporter: Reporter,
}

/// How the server stands to us.
struct Standing {
    backoff: Backoff,
    /// Nothing is tried before.
    pause: BootTime,
    /// What ails the server, or the way to it.
    trouble: Option<String>,
    /// What it does not take, by namespace: rights may differ.
    refusals: BTreeMap<String, Refusal>,
    /// How many namespaces forbade it, one after the other.
    forbidden: u32,
}

#[derive(Clone, Debug)]
struct Refusal {
    reason: String,
    /// Nothing of this namespace is sent before.
    until: BootTime,
}

impl<D: Desk> Writer<D> {
    /// Writes until it is dropped.
    pub async fn run(mut self) {
        let now = (self.office.now)();
        let mut standing = Standing {
            backoff: Backoff::new(&self.office.pace),
            pause: now.after(part_of(self.office.times.start_within, random())),
            trouble: None,
            refusals: BTreeMap::new(),
            forbidden: 0,
        };
        loop {
            let now = (self.office.now)();
            match self.order(&standing, now) {
                Ok(order) => self.carry_out(order, &mut standing).await,
                Err(at) => {
                    self.tell(&mut standing, now);
                    sleep(at.since(now).clamp(Duration::from_millis(1), self.look_every())).await;
                }
            }
        }
    }

    fn look_every(&self) -> Duration {
        self.office.times.gather.min(LOOK_EVERY)
    }

    fn desk(&self) -> MutexGuard<'_, D> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be written now, or when to look again. What a namespace would refuse goes back without a question.
    fn order(&mut self, standing: &Standing, now: BootTime) -> Result<Order<D::Key>, BootTime> {
        let later = now.after(self.look_every());
        let due = self.desk().next_due().unwrap_or(later).max(standing.pause);
        if due > now {
            return Err(due);
        }
        self.bucket.take(now)?;
        let author = Author { node: &self.office.node, wall: (self.office.wall)() };
        let mut desk = self.desk();
        loop {
            let order = desk.take(author, now).ok_or(later)?;
            match standing.refusals.get(&order.namespace).filter(|refusal| refusal.until > now) {
                None => return Ok(order),
                Some(refusal) => desk.done(order.key, Outcome::Refused(refusal.until), now),
            }
        }
    }

    async fn carry_out(&mut self, order: Order<D::Key>, standing: &mut Standing) {
        let Order { key, namespace, write } = order;
        let verb = write.verb;
        let result = self.office.access.write(write, self.office.pace.answer_within).await;
        let now = (self.office.now)();
        let outcome = match result {
            Ok(()) => Outcome::Written,
            // Told before, perhaps by the agent that was here before us.
            Err(ApiFault::Refused { code: 409, .. }) if verb == Verb::Create => Outcome::Written,
            Err(fault) => match Class::of(&fault) {
                None => Outcome::Again(self.in_trouble(&fault, standing, now)),
                Some(class) => Outcome::Refused(self.refused(class, &fault, &namespace, standing, now)),
            },
        };
        if outcome == Outcome::Written {
            self.counts.written.fetch_add(1, Ordering::Relaxed);
            standing.backoff.progress(now);
            standing.forbidden = 0;
            standing.refusals.remove(&namespace);
            self.answered(standing, now);
        }
        self.desk().done(key, outcome, now);
        self.tell(standing, now);
    }

    /// The server answers, whatever it says.
    fn answered(&mut self, standing: &mut Standing, now: BootTime) {
        if standing.trouble.take().is_some() {
            self.bucket.drain(now);
        }
    }

    /// Says when anything may be tried again.
    fn in_trouble(&mut self, fault: &ApiFault, standing: &mut Standing, now: BootTime) -> BootTime {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        self.office.access.renew();
        self.bucket.drain(now);
        // A time that many agents were told is not the time at which all of them come.
        let wait = standing.backoff.next(random()) + fault.asked_delay().unwrap_or_default();
        standing.pause = now.after(wait);
        standing.trouble = Some(fault.to_string());
        standing.pause
    }

    /// Says when this may be tried again.
    fn refused(
        &mut self,
        class: Class,
        fault: &ApiFault,
        namespace: &str,
        standing: &mut Standing,
        now: BootTime,
    ) -> BootTime {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        self.answered(standing, now);
        let seldom = self.office.times.seldom;
        let much_later = now.after(seldom).after(part_of(seldom, random()));
        standing.forbidden = if class == Class::Forbidden { standing.forbidden.saturating_add(1) } else { 0 };
        match class {
            Class::NotServed => {
                standing.pause = much_later;
                standing.trouble =
                    Some(format!("{fault}: is the kind installed? It is asked for again later"));
            }
            Class::Forbidden => {
                if standing.forbidden >= SEVERAL {
                    standing.pause = now.after(self.office.pace.most);
                }
                let reason = format!("{} (needed: {})", without_name(fault), D::NEEDS);
                standing.refuses(namespace, Refusal { reason, until: much_later }, now);
            }
            Class::NotAccepted => {
                standing.refuses(namespace, Refusal { reason: without_name(fault), until: now }, now);
            }
            Class::Leaving => drop(standing.refusals.remove(namespace)),
        }
        much_later
    }

    /// Says what does not work, as long as something waits for it; of several reasons the one that was said before.
    fn tell(&self, standing: &mut Standing, now: BootTime) {
        let reason = if standing.is_well() { None } else { self.reason(standing, now) };
        self.reporter.report(State::up_unless(reason));
    }

    fn reason(&self, standing: &mut Standing, now: BootTime) -> Option<String> {
        let desk = self.desk();
        let owed = desk.owed();
        if owed.is_empty() && standing.pause <= now {
            standing.trouble = None;
        }
        let refusals = standing.refusals.iter().filter(|(namespace, _)| owed.contains(namespace.as_str()));
        let reasons = refusals.map(|(_, refusal)| &refusal.reason);
        let told = self.reporter.state();
        let first = reasons
            .clone()
            .find(|reason| Some(reason.as_str()) == told.reason())
            .or_else(|| reasons.clone().next());
        standing.trouble.as_ref().or(first).cloned()
    }
}

impl Standing {
    fn is_well(&self) -> bool {
        self.trouble.is_none() && self.refusals.is_empty()
    }

    fn refuses(&mut self, namespace: &str, refusal: Refusal, now: BootTime) {
        if self.refusals.len() >= MAX_REFUSALS {
            self.refusals.retain(|_, refusal| refusal.until > now);
        }
        if self.refusals.len() < MAX_REFUSALS || self.refusals.contains_key(namespace) {
            self.refusals.insert(namespace.to_owned(), refusal);
        }
    }
}

/// What the server said of one object, as it would say it of the next.
fn without_name(fault: &ApiFault) -> String {
    let text = fault.to_string();
    let Some((answer, said)) = text.split_once(": ") else { return text };
    let parts = said.split_once(" is forbidden: ").or_else(|| said.split_once(" is invalid: "));
    format!("{answer}: {}", parts.map_or(said, |(_, why)| why))
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The server has no such kind.
    NotServed,
    /// We may not.
    Forbidden,
    /// This object, not others.
    NotAccepted,
    /// Its namespace is going, or gone.
    Leaving,
}

impl Class {
    /// `None`: the server or the way to it is in trouble.
    fn of(fault: &ApiFault) -> Option<Self> {
        let ApiFault::Refused { code, reason, .. } = fault else { return None };
        Some(match code {
            403 if reason.contains("being terminated") => Self::Leaving,
            404 if reason.starts_with("namespaces ") => Self::Leaving,
            403 => Self::Forbidden,
            404 | 405 => Self::NotServed,
            401 | 429 | 500.. => return None,
            _ => Self::NotAccepted,
        })
    }
}
