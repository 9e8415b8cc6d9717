//! Brings what is due to the API server, one write at a time, at a bounded rate, and slower the more the server is in trouble.
//! Nobody waits for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::bucket::Bucket;
use super::desk::{Desk, Order, Outcome, Times};
use super::report_object::Author;
use crate::api_server::access::{ApiAccess, Verb};
use crate::api_server::backoff::{Backoff, Pace, part_of, random};
use crate::api_server::fault::ApiFault;
use crate::engine::identity::BootTime;
use crate::sink::convert::Wall;

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Namespaces that are remembered for refusing.
const MAX_COMPLAINTS: usize = 64;

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
    /// Why it does not work; `None`: it does.
    pub status: watch::Sender<Option<String>>,
}

/// How the server stands to us.
struct Standing {
    backoff: Backoff,
    /// Nothing is tried before.
    pause: BootTime,
    /// What ails the server, or the way to it.
    trouble: Option<String>,
    /// What it said, by namespace: rights may differ.
    complaints: BTreeMap<String, String>,
}

impl<D: Desk> Writer<D> {
    /// Writes until it is dropped.
    pub async fn run(mut self) {
        let now = (self.office.now)();
        let mut standing = Standing {
            backoff: Backoff::new(&self.office.pace),
            pause: now.after(part_of(self.office.times.start_within, random())),
            trouble: None,
            complaints: BTreeMap::new(),
        };
        loop {
            let now = (self.office.now)();
            match self.order(&standing, now) {
                Ok(order) => self.carry_out(order, &mut standing).await,
                Err(at) => sleep(at.since(now).clamp(Duration::from_millis(1), self.look_every())).await,
            }
        }
    }

    fn look_every(&self) -> Duration {
        self.office.times.gather.min(LOOK_EVERY)
    }

    fn desk(&self) -> MutexGuard<'_, D> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be written now, or when to look again.
    fn order(&mut self, standing: &Standing, now: BootTime) -> Result<Order<D::Key>, BootTime> {
        let later = now.after(self.look_every());
        let due = self.desk().next_due().unwrap_or(later).max(standing.pause);
        if due > now {
            return Err(due);
        }
        self.bucket.take(now)?;
        let author = Author { node: &self.office.node, wall: (self.office.wall)() };
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.take(author, now).ok_or(later)
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
            Err(fault) => Outcome::Again(self.failed(&fault, &namespace, standing, now)),
        };
        if outcome == Outcome::Written {
            self.counts.written.fetch_add(1, Ordering::Relaxed);
            standing.backoff.progress(now);
            if standing.trouble.take().is_some() {
                self.bucket.drain(now);
            }
            standing.complaints.remove(&namespace);
        }
        self.desk().done(key, outcome, now);
        self.tell(standing);
    }

    /// Says when this may be tried again; others too, where the fault is not this one's alone.
    fn failed(
        &mut self,
        fault: &ApiFault,
        namespace: &str,
        standing: &mut Standing,
        now: BootTime,
    ) -> BootTime {
        let seldom = self.office.times.seldom;
        let much_later = now.after(seldom).after(part_of(seldom, random()));
        let Some(class) = Class::of(fault) else {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            self.office.access.renew();
            self.bucket.drain(now);
            let wait = standing.backoff.next(random()).max(fault.asked_delay().unwrap_or_default());
            standing.pause = now.after(wait);
            standing.trouble = Some(fault.to_string());
            return standing.pause;
        };
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        match class {
            Class::NotServed => {
                standing.pause = much_later;
                standing.trouble =
                    Some(format!("{fault}: is the kind installed? It is asked for again later"));
            }
            Class::Forbidden => {
                // Perhaps in this namespace only.
                standing.pause = now.after(self.office.pace.most);
                complain(standing, namespace, format!("{fault} (needed: {})", D::NEEDS));
            }
            Class::NotAccepted => complain(standing, namespace, fault.to_string()),
            Class::Leaving => {}
        }
        much_later
    }

    fn tell(&self, standing: &Standing) {
        let reason = standing.trouble.clone().or_else(|| standing.complaints.values().next().cloned());
        self.status.send_if_modified(|known| {
            let differs = *known != reason;
            *known = reason;
            differs
        });
    }
}

fn complain(standing: &mut Standing, namespace: &str, reason: String) {
    if standing.complaints.len() < MAX_COMPLAINTS || standing.complaints.contains_key(namespace) {
        standing.complaints.insert(namespace.to_owned(), reason);
    }
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
