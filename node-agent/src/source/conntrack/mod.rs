//! Which address a client really dialled: recorded connections pass through here on their way to the engine and get what
//! the node's connection tracking says of them. A thread of its own, since it enters the node's netns.

mod budget;
mod message;
mod table;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use self::budget::Budget;
use self::message::{Answer, Ends};
use self::table::Table;
use crate::engine::identity::BootTime;
use crate::engine::input::{ConnectionFact, ConnectionOpened, Input};
use crate::source::clock;
use crate::source::pods::SourceState;

/// How it is called in status.
pub const SOURCE: &str = "conntrack";

/// So many connections in a row that are not tracked, and none that is, mean that none is.
const BLIND_AFTER: u32 = 64;
/// A table that could not be opened is tried again after this, if there is something to ask.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// What was not asked is told at most this often.
const TELL_LOSS: Duration = Duration::from_secs(10);

/// What the thread is made of.
struct Parts {
    proc_root: PathBuf,
    recorded: mpsc::Receiver<Vec<ConnectionFact>>,
    connections: mpsc::Sender<Vec<ConnectionFact>>,
    inputs: mpsc::Sender<Input>,
    status: watch::Sender<SourceState>,
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
) -> io::Result<watch::Receiver<SourceState>> {
    let (status, states) = watch::channel(SourceState::default());
    let lookups = Lookups::new(Parts { proc_root, recorded, connections, inputs, status });
    std::thread::Builder::new().name(SOURCE.to_owned()).spawn(move || lookups.run())?;
    Ok(states)
}

struct Lookups {
    parts: Parts,
    table: Option<Table>,
    try_at: BootTime,
    budget: Budget,
    /// In a row.
    untracked: u32,
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
            unasked: 0,
            failed: 0,
            told_at: BootTime(0),
        }
    }

    fn run(mut self) {
        self.open(clock::now());
        while let Some(mut facts) = self.parts.recorded.blocking_recv() {
            self.look_up(&mut facts);
            if self.parts.connections.blocking_send(facts).is_err() || self.tell_losses().is_none() {
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
        // Over loopback nothing leaves the pod, and so nothing passes the node's rules.
        if opened.remote.0.is_loopback() {
            return;
        }
        if !self.budget.grant(opened.port, opened.remote.0, now) {
            self.unasked = self.unasked.saturating_add(1);
            return;
        }
        let port = opened.port;
        let ends =
            Ends { protocol: port.protocol, local: (opened.local, port.port.get()), remote: opened.remote };
        match table.ask(&ends) {
            Ok(Answer::Unknown) => return self.missed(),
            Ok(Answer::AsDialled) => {}
            Ok(Answer::Translated(dialled)) => opened.dialled = Some(dialled),
            Err(error) => {
                tracing::debug!(%error, "connection tracking was asked in vain");
                self.failed = self.failed.saturating_add(1);
                return;
            }
        }
        if self.untracked >= BLIND_AFTER {
            self.tell(None);
        }
        self.untracked = 0;
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
        self.parts.status.send_replace(SourceState { up: reason.is_none(), reason });
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
