//! Which address a client really dialled: recorded connections pass through here on their way to the engine and get what
//! the node's connection tracking says of them. A thread of its own, since it enters the node's netns.

mod budget;
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

use self::budget::Budget;
use self::message::{Answer, BadAnswer, Ends};
use self::table::Table;
use crate::source::clock;
use crate::source::state::{Reporter, State};

/// So many connections in a row that are not tracked, and none that is, mean that none is.
const BLIND_AFTER: u32 = 64;
/// A table that could not be opened is tried again after this, if there is something to ask.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// So many questions in a row that were asked in vain mean that the table is broken.
const BROKEN_AFTER: u32 = 16;
/// What was not asked is told at most this often, also when nothing more is asked.
const TELL_LOSS: Duration = Duration::from_secs(10);

/// What the thread is made of.
struct Parts {
    proc_root: PathBuf,
    recorded: mpsc::Receiver<Vec<ConnectionFact>>,
    connections: mpsc::Sender<Vec<ConnectionFact>>,
    inputs: mpsc::Sender<Input>,
    reporter: Reporter,
}

/// Starts the thread between `recorded` and `connections`, and says how it is doing; what it could not ask is an input of
/// its own. It ends when nobody sends or takes connections any more.
///
/// # Errors
/// When the kernel gives no thread.
pub fn start(
    proc_root: PathBuf,
    recorded: mpsc::Receiver<Vec<ConnectionFact>>,
    connections: mpsc::Sender<Vec<ConnectionFact>>,
    inputs: mpsc::Sender<Input>,
    reporter: Reporter,
) -> io::Result<()> {
    let lookups = Lookups::new(Parts { proc_root, recorded, connections, inputs, reporter });
    let waiting = Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new()
        .name("conntrack".to_owned())
        .spawn(move || lookups.run(&waiting, TELL_LOSS))?;
    Ok(())
}

struct Lookups {
    parts: Parts,
    table: Option<Table>,
    try_at: BootTime,
    budget: Budget,
    /// In a row.
    untracked: u32,
    /// In a row.
    in_vain: u32,
    /// Since it was told.
    unasked: u64,
    failed: u64,
    told_at: BootTime,
}

impl Lookups {
    fn new(parts: Parts) -> Self {
        Self {
            parts,
            table: None,
            try_at: BootTime(0),
            budget: Budget::default(),
            untracked: 0,
            in_vain: 0,
            unasked: 0,
            failed: 0,
            told_at: BootTime(0),
        }
    }

    /// `patience`: when there was nothing to ask for so long, what was lost before is told all the same.
    fn run(mut self, waiting: &Runtime, patience: Duration) {
        self.open(clock::now());
        loop {
            match waiting.block_on(async { timeout(patience, self.parts.recorded.recv()).await }) {
                Ok(Some(mut facts)) => {
                    self.look_up(&mut facts);
                    if self.parts.connections.blocking_send(facts).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(_) => {}
            }
            if self.tell_losses().is_none() {
                return;
            }
        }
    }

    fn open(&mut self, now: BootTime) {
        if self.table.is_some() || now < self.try_at {
            return;
        }
        self.try_at = now.after(TRY_AGAIN);
        match Table::open(&self.parts.proc_root) {
            Ok(table) => {
                self.table = Some(table);
                self.tell(None);
            }
            Err(refusal) => {
                self.tell(Some(format!("{refusal}; which Service a caller dialled is not known")))
            }
        }
    }

    fn look_up(&mut self, facts: &mut [ConnectionFact]) {
        let now = clock::now();
        self.open(now);
        for fact in facts {
            if let ConnectionFact::Opened(opened) = fact {
                self.ask(opened, now);
            }
        }
    }

    fn ask(&mut self, opened: &mut ConnectionOpened, now: BootTime) {
        let Some(table) = &mut self.table else { return };
        // What a pod sends to itself never leaves it, and so passes none of the node's rules.
        if opened.remote.0.is_loopback() || opened.remote.0 == opened.local {
            return;
        }
        if !self.budget.grant(opened.port, opened.remote.0, now) {
            self.unasked = self.unasked.saturating_add(1);
            return;
        }
        let port = opened.port;
        let ends =
            Ends { protocol: port.protocol, local: (opened.local, port.port.get()), remote: opened.remote };
        let answer = table.ask(&ends);
        opened.dialled = self.answered(answer, now);
    }

    fn answered(&mut self, answer: Result<Answer, BadAnswer>, now: BootTime) -> Option<Dialled> {
        let dialled = match answer {
            Err(error) => {
                self.failed(&error, now);
                return None;
            }
            Ok(Answer::Unknown) => {
                self.in_vain = 0;
                self.missed();
                return None;
            }
            Ok(Answer::AsDialled) => None,
            Ok(Answer::Translated(dialled)) => Some(dialled),
        };
        self.in_vain = 0;
        if self.untracked >= BLIND_AFTER {
            self.tell(None);
        }
        self.untracked = 0;
        dialled
    }

    /// A table that answers nothing any more is opened anew after a while.
    fn failed(&mut self, error: &BadAnswer, now: BootTime) {
        tracing::debug!(%error, "connection tracking was asked in vain");
        self.failed = self.failed.saturating_add(1);
        self.in_vain = self.in_vain.saturating_add(1);
        if self.in_vain >= BROKEN_AFTER {
            (self.in_vain, self.untracked) = (0, 0);
            self.table = None;
            self.try_at = now.after(TRY_AGAIN);
            self.tell(Some(format!(
                "the node's connection tracking does not answer any more ({error}); which Service a caller dialled \
                 is not known"
            )));
        }
    }

    fn missed(&mut self) {
        self.untracked = self.untracked.saturating_add(1);
        if self.untracked == BLIND_AFTER {
            self.tell(Some(format!(
                "the node's connection tracking knew none of the last {BLIND_AFTER} connections: Services may be \
                 translated by eBPF or in another network namespace; which Service a caller dialled is not known"
            )));
        }
    }

    fn tell(&self, reason: Option<String>) {
        self.parts.reporter.report(State::up_unless(reason));
    }

    /// `None`: nobody listens any more.
    fn tell_losses(&mut self) -> Option<()> {
        let now = clock::now();
        if (self.unasked == 0 && self.failed == 0) || now < self.told_at.after(TELL_LOSS) {
            return Some(());
        }
        self.told_at = now;
        let losses = [("conntrack-limited", &mut self.unasked), ("conntrack-failed", &mut self.failed)];
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
    use crate::source::state::{Source, StateFeed};

    struct Started {
        lookups: Lookups,
        recorded: mpsc::Sender<Vec<ConnectionFact>>,
        inputs: mpsc::Receiver<Input>,
        reporter: Reporter,
    }

    fn started() -> Started {
        let (sender, recorded) = mpsc::channel(1);
        let (connections, _) = mpsc::channel(1);
        let (told, inputs) = mpsc::channel(4);
        let reporter = StateFeed::default().reporter(Source::Conntrack);
        reporter.report(State::Up);
        let proc_root = PathBuf::from("/nonexistent");
        let parts = Parts { proc_root, recorded, connections, inputs: told, reporter: reporter.clone() };
        Started { lookups: Lookups::new(parts), recorded: sender, inputs, reporter }
    }

    #[test]
    fn a_table_that_answers_nothing_any_more_is_said_to_be_broken() {
        let Started { mut lookups, reporter, .. } = started();
        let now = BootTime(1);
        let error = || Err(BadAnswer::Refused(libc::ENOBUFS));
        for _ in 1..BROKEN_AFTER {
            assert_eq!(lookups.answered(error(), now), None);
        }
        lookups.answered(Ok(Answer::AsDialled), now);
        lookups.answered(error(), now);
        assert!(reporter.state().is_up(), "one that answers now and then is not broken");
        for _ in 1..BROKEN_AFTER {
            lookups.answered(error(), now);
        }
        let state = reporter.state();
        assert!(
            !state.is_up()
                && state.reason().is_some_and(|reason| reason.contains("does not answer any more"))
        );
        assert_eq!((lookups.failed, lookups.try_at), (u64::from(2 * BROKEN_AFTER) - 1, now.after(TRY_AGAIN)));
    }

    #[test]
    fn a_loss_is_told_when_nothing_more_comes() {
        let Started { mut lookups, recorded, mut inputs, .. } = started();
        lookups.unasked = 7;
        let waiting = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let thread = std::thread::spawn(move || lookups.run(&waiting, Duration::from_millis(5)));
        let told = inputs.blocking_recv();
        assert!(matches!(told, Some(Input::Lost { reason: "conntrack-limited", count: 7, .. })), "{told:?}");
        drop(recorded);
        thread.join().expect("it ends with its senders");
    }
}
