//! Finds which address a client dialled. Recorded connections pass through here on their way to the engine and get the
//! addresses from the node's connection tracking. Runs on its own thread, which enters the node's netns.

pub mod forwarded;
mod lookup_limit;
mod message;
mod table;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use portolan_engine::model::connection::{ConnectionFact, ConnectionOpened};
use portolan_engine::model::identity::BootTime;
use portolan_engine::model::input::Input;
use portolan_engine::model::traffic::Dialled;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::lookup_limit::LookupLimit;
use self::message::{Endpoints, Lookup, LookupError};
use self::table::Table;
use crate::source::clock;
use crate::state::{Reporter, State};

/// Consecutive untracked connections after which connection tracking counts as unavailable.
const UNTRACKED_LIMIT: u32 = 64;
/// Pause before the table is opened again after a failure, if there are connections to look up.
const REOPEN_AFTER: Duration = Duration::from_secs(60);
/// Consecutive failed lookups after which the table counts as broken.
const FAILURE_LIMIT: u32 = 16;
/// Shortest time between two loss reports, and the longest wait for connections before pending losses are reported.
const LOSS_INTERVAL: Duration = Duration::from_secs(10);

/// What the thread is started with.
struct ThreadParts {
    proc_root: PathBuf,
    recorded: mpsc::Receiver<Vec<ConnectionFact>>,
    connections: mpsc::Sender<Vec<ConnectionFact>>,
    inputs: mpsc::Sender<Input>,
    reporter: Reporter,
}

/// Starts the lookup thread between `recorded` and `connections`. `reporter` gets its state. Skipped and failed lookups go
/// to `inputs` as losses. The thread ends when `recorded` has no senders or `connections` no receiver any more.
///
/// # Errors
/// When the kernel provides no thread.
pub fn start(
    proc_root: PathBuf,
    recorded: mpsc::Receiver<Vec<ConnectionFact>>,
    connections: mpsc::Sender<Vec<ConnectionFact>>,
    inputs: mpsc::Sender<Input>,
    reporter: Reporter,
) -> io::Result<()> {
    let lookups = Lookups::new(ThreadParts { proc_root, recorded, connections, inputs, reporter });
    let runtime = Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new()
        .name("conntrack".to_owned())
        .spawn(move || lookups.run(&runtime, LOSS_INTERVAL))?;
    Ok(())
}

struct Lookups {
    parts: ThreadParts,
    table: Option<Table>,
    reopen_at: BootTime,
    limit: LookupLimit,
    /// Number of consecutive untracked connections.
    consecutive_untracked: u32,
    /// Number of consecutive failed lookups.
    consecutive_failures: u32,
    /// Number of lookups skipped by the limit since the last loss report.
    skipped: u64,
    failed: u64,
    losses_reported_at: BootTime,
}

impl Lookups {
    fn new(parts: ThreadParts) -> Self {
        Self {
            parts,
            table: None,
            reopen_at: BootTime(0),
            limit: LookupLimit::default(),
            consecutive_untracked: 0,
            consecutive_failures: 0,
            skipped: 0,
            failed: 0,
            losses_reported_at: BootTime(0),
        }
    }

    /// Runs until a channel closes. Reports pending losses after `report_after` without connections.
    fn run(mut self, runtime: &Runtime, report_after: Duration) {
        self.open(clock::now());
        loop {
            match runtime.block_on(async { timeout(report_after, self.parts.recorded.recv()).await }) {
                Ok(Some(mut facts)) => {
                    self.look_up_all(&mut facts);
                    if self.parts.connections.blocking_send(facts).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(_) => {}
            }
            if self.report_losses().is_none() {
                return;
            }
        }
    }

    fn open(&mut self, now: BootTime) {
        if self.table.is_some() || now < self.reopen_at {
            return;
        }
        self.reopen_at = now.after(REOPEN_AFTER);
        match Table::open(&self.parts.proc_root) {
            Ok(table) => {
                self.table = Some(table);
                self.report_state(None);
            }
            Err(refusal) => {
                self.report_state(Some(format!("{refusal}; which Service a caller dialled is not known")))
            }
        }
    }

    fn look_up_all(&mut self, facts: &mut [ConnectionFact]) {
        let now = clock::now();
        self.open(now);
        for fact in facts {
            if let ConnectionFact::Opened(opened) = fact {
                self.look_up_one(opened, now);
            }
        }
    }

    fn look_up_one(&mut self, opened: &mut ConnectionOpened, now: BootTime) {
        let Some(table) = &mut self.table else { return };
        // Connections of a pod to itself never leave the pod, so none of the node's rules translates them.
        if opened.remote.0.is_loopback() || opened.remote.0 == opened.local {
            return;
        }
        if !self.limit.grant(opened.port, opened.remote.0, now) {
            self.skipped = self.skipped.saturating_add(1);
            return;
        }
        let port = opened.port;
        let endpoints = Endpoints {
            protocol: port.protocol,
            local: (opened.local, port.port.get()),
            remote: opened.remote,
        };
        let answer = table.look_up(&endpoints);
        opened.dialled = self.record_lookup(answer, now);
    }

    fn record_lookup(&mut self, answer: Result<Lookup, LookupError>, now: BootTime) -> Option<Dialled> {
        let dialled = match answer {
            Err(error) => {
                self.record_failure(&error, now);
                return None;
            }
            Ok(Lookup::Untracked) => {
                self.consecutive_failures = 0;
                self.record_untracked();
                return None;
            }
            Ok(Lookup::Untranslated) => None,
            Ok(Lookup::Translated(dialled)) => Some(dialled),
        };
        self.consecutive_failures = 0;
        if self.consecutive_untracked >= UNTRACKED_LIMIT {
            self.report_state(None);
        }
        self.consecutive_untracked = 0;
        dialled
    }

    /// Counts a failed lookup. Closes a table that does not answer any more; the table is opened again later.
    fn record_failure(&mut self, error: &LookupError, now: BootTime) {
        tracing::debug!(%error, "connection tracking was asked in vain");
        self.failed = self.failed.saturating_add(1);
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        if self.consecutive_failures >= FAILURE_LIMIT {
            (self.consecutive_failures, self.consecutive_untracked) = (0, 0);
            self.table = None;
            self.reopen_at = now.after(REOPEN_AFTER);
            self.report_state(Some(format!(
                "the node's connection tracking does not answer any more ({error}); which Service a caller dialled \
                 is not known"
            )));
        }
    }

    fn record_untracked(&mut self) {
        self.consecutive_untracked = self.consecutive_untracked.saturating_add(1);
        if self.consecutive_untracked == UNTRACKED_LIMIT {
            self.report_state(Some(format!(
                "the node's connection tracking knew none of the last {UNTRACKED_LIMIT} connections: Services may be \
                 translated by eBPF or in another network namespace; which Service a caller dialled is not known"
            )));
        }
    }

    fn report_state(&self, reason: Option<String>) {
        self.parts.reporter.report(State::up_unless(reason));
    }

    /// Reports losses as inputs. Returns `None` if the receiver is gone.
    fn report_losses(&mut self) -> Option<()> {
        let now = clock::now();
        if (self.skipped == 0 && self.failed == 0) || now < self.losses_reported_at.after(LOSS_INTERVAL) {
            return Some(());
        }
        self.losses_reported_at = now;
        let losses = [("conntrack-limited", &mut self.skipped), ("conntrack-failed", &mut self.failed)];
        for (reason, count) in losses {
            let count = std::mem::take(count);
            if count > 0 {
                let loss = Input::Lost { reason, count, recovered: false };
                self.parts.inputs.blocking_send(loss).ok()?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Source, StateFeed};

    struct Started {
        lookups: Lookups,
        recorded: mpsc::Sender<Vec<ConnectionFact>>,
        inputs: mpsc::Receiver<Input>,
        reporter: Reporter,
    }

    fn started() -> Started {
        let (sender, recorded) = mpsc::channel(1);
        let (connections, _) = mpsc::channel(1);
        let (losses, inputs) = mpsc::channel(4);
        let reporter = StateFeed::default().reporter(Source::Conntrack);
        reporter.report(State::Up);
        let proc_root = PathBuf::from("/nonexistent");
        let parts =
            ThreadParts { proc_root, recorded, connections, inputs: losses, reporter: reporter.clone() };
        Started { lookups: Lookups::new(parts), recorded: sender, inputs, reporter }
    }

    #[test]
    fn a_table_that_answers_nothing_any_more_is_said_to_be_broken() {
        let Started { mut lookups, reporter, .. } = started();
        let now = BootTime(1);
        let error = || Err(LookupError::Refused(libc::ENOBUFS));
        for _ in 1..FAILURE_LIMIT {
            assert_eq!(lookups.record_lookup(error(), now), None);
        }
        lookups.record_lookup(Ok(Lookup::Untranslated), now);
        lookups.record_lookup(error(), now);
        assert!(reporter.state().is_up(), "one that answers now and then is not broken");
        for _ in 1..FAILURE_LIMIT {
            lookups.record_lookup(error(), now);
        }
        let state = reporter.state();
        assert!(
            !state.is_up()
                && state.reason().is_some_and(|reason| reason.contains("does not answer any more"))
        );
        assert_eq!(
            (lookups.failed, lookups.reopen_at),
            (u64::from(2 * FAILURE_LIMIT) - 1, now.after(REOPEN_AFTER))
        );
    }

    #[test]
    fn a_loss_is_reported_when_nothing_more_comes() {
        let Started { mut lookups, recorded, mut inputs, .. } = started();
        lookups.skipped = 7;
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let thread = std::thread::spawn(move || lookups.run(&runtime, Duration::from_millis(5)));
        let loss = inputs.blocking_recv();
        assert!(matches!(loss, Some(Input::Lost { reason: "conntrack-limited", count: 7, .. })), "{loss:?}");
        drop(recorded);
        thread.join().expect("it ends with its senders");
    }
}
