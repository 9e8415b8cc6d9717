//! Reads the state file at the start, and writes it on a thread of its own while the agent runs, since a disk may block for
//! long.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::time::Duration;
use std::{io, thread};

use portolan_engine::model::identity::BootTime;
use portolan_engine::model::remembered::RememberedFinding;

use super::directory::{FILE, REJECTED, StateDirectory, Unreadable};
use super::format::{self, Refusal, Subject};
use crate::state::{Reporter, State};

/// How often the state file failed. The totals are losses in status and metrics.
#[derive(Debug, Default)]
pub struct MemoryCounts {
    /// Files that were set aside.
    pub rejected: AtomicU64,
    /// Writes that failed.
    pub failed: AtomicU64,
    /// Most findings for which a file had no room.
    pub beyond: AtomicU64,
}

/// The findings of this run, for the next one.
#[derive(Debug)]
pub struct FindingMemory {
    pub counts: Arc<MemoryCounts>,
    findings: SyncSender<Snapshot>,
    /// Closed when the thread ends.
    ended: Receiver<()>,
    /// What was handed over last, and how many writes had failed by then.
    last: Option<(Vec<RememberedFinding>, u64)>,
}

/// What to write, and when it was so.
type Snapshot = (Vec<RememberedFinding>, BootTime);

/// The file and everything that it needs.
struct Keeper {
    path: PathBuf,
    directory: Option<StateDirectory>,
    subject: Subject,
    /// Maximum number of findings.
    most: usize,
    reporter: Reporter,
    counts: Arc<MemoryCounts>,
}

impl FindingMemory {
    /// Reads what an earlier run left in the directory, and starts the thread that writes. Trouble with the file or the
    /// directory is reported, and the agent runs on.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        path: PathBuf,
        subject: Subject,
        most: usize,
        now: BootTime,
        reporter: Reporter,
    ) -> io::Result<(Self, Vec<RememberedFinding>)> {
        let counts = Arc::new(MemoryCounts::default());
        let shared = Arc::clone(&counts);
        let mut keeper = Keeper { path, directory: None, subject, most, reporter, counts: shared };
        let remembered = keeper.read(now);
        let (findings, to_write) = sync_channel(1);
        let (end, ended) = channel();
        thread::Builder::new().name("state-file".to_owned()).spawn(move || {
            keeper.write_all(&to_write);
            drop(end);
        })?;
        Ok((Self { counts, findings, ended, last: None }, remembered))
    }

    /// Hands over what is to be remembered. Does nothing if it is the same as before, or if the thread still writes; then the
    /// next call hands it over.
    pub fn remember(&mut self, mut findings: Vec<RememberedFinding>, now: BootTime) {
        findings.sort_by_key(|finding| finding.id);
        // A write that failed is tried again.
        let failed = self.counts.failed.load(Ordering::Relaxed);
        let is_known =
            self.last.as_ref().is_some_and(|(last, before)| *last == findings && *before == failed);
        if !is_known && self.findings.try_send((findings.clone(), now)).is_ok() {
            self.last = Some((findings, failed));
        }
    }

    /// Writes for the last time. Returns false if that takes longer than `wait`.
    #[must_use]
    pub fn finish(self, findings: Vec<RememberedFinding>, now: BootTime, wait: Duration) -> bool {
        let Self { findings: sender, ended, .. } = self;
        // A disk that blocks must not block the end, so the wait is another thread's.
        let handed_over = thread::Builder::new().spawn(move || drop(sender.send((findings, now))));
        handed_over.is_ok() && ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout)
    }
}

impl Keeper {
    /// Reads the file of an earlier run. One that is not believed is set aside.
    fn read(&mut self, now: BootTime) -> Vec<RememberedFinding> {
        let directory = match StateDirectory::open(&self.path) {
            Ok(directory) => self.directory.insert(directory),
            Err(error) => {
                self.fail(&error);
                return Vec::new();
            }
        };
        let bytes = match directory.read(format::max_bytes(self.most)) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                self.reporter.report(State::Up);
                return Vec::new();
            }
            Err(Unreadable::Io(error)) => {
                self.reject(&format!("it cannot be read ({error})"));
                return Vec::new();
            }
            Err(refusal) => {
                self.reject(&refusal.to_string());
                return Vec::new();
            }
        };
        match format::decode(&bytes, &self.subject, now, self.most) {
            Ok(findings) => {
                tracing::info!(findings = findings.len(), "findings of the last run are remembered");
                self.reporter.report(State::Up);
                findings
            }
            Err(Refusal::OtherBoot) => {
                // Nothing is lost: every socket of that boot is gone.
                let aside = directory.set_aside();
                tracing::info!(
                    ?aside,
                    "the node was booted since the state file was written: it is set aside"
                );
                self.reporter.report(State::Up);
                Vec::new()
            }
            Err(refusal) => {
                self.reject(&refusal.to_string());
                Vec::new()
            }
        }
    }

    fn reject(&self, reason: &str) {
        self.counts.rejected.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(FILE);
        let path = path.display();
        let aside = match self.directory.as_ref().map(StateDirectory::set_aside) {
            Some(Err(error)) => format!("it could not be set aside ({error})"),
            _ => format!("it is set aside as {REJECTED}"),
        };
        let reason = format!(
            "the state file {path} is not used: {reason}; {aside}, and what the last run knew of findings is forgotten"
        );
        self.reporter.report(State::Degraded { reason });
    }

    fn fail(&self, error: &io::Error) {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        let path = self.path.display();
        let reason = format!(
            "the state directory {path} cannot be used ({error}): after a restart findings lose the severity that traffic \
             gave them"
        );
        self.reporter.report(State::Down { reason });
    }

    /// Writes whatever is handed over, until the other side is gone.
    fn write_all(&mut self, to_write: &Receiver<Snapshot>) {
        while let Ok((findings, now)) = to_write.recv() {
            match self.write(findings, now) {
                Ok(()) => _ = self.reporter.report(State::Up),
                Err(error) => self.fail(&error),
            }
        }
    }

    fn write(&mut self, findings: Vec<RememberedFinding>, now: BootTime) -> io::Result<()> {
        let (bytes, beyond) = format::encode(&self.subject, now, findings, self.most);
        self.counts.beyond.fetch_max(u64::try_from(beyond).unwrap_or(u64::MAX), Ordering::Relaxed);
        let directory = match self.directory.take() {
            Some(directory) => directory,
            None => StateDirectory::open(&self.path)?,
        };
        // A directory that failed is opened again the next time.
        directory.write(&bytes)?;
        self.directory = Some(directory);
        Ok(())
    }
}
