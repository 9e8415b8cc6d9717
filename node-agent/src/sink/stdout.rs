//! Lines to a pipe that may block or break: a bounded queue to a thread of its own, so that a reader who stands still
//! never stalls the agent. What the queue refuses is counted and told as soon as it flows again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

/// Reason of lines that found the queue full.
pub const BLOCKED: &str = "stdout-blocked";
/// Reason of lines after the reader closed its end.
pub const CLOSED: &str = "stdout-closed";

/// Reason of objects that are too long for a line.
pub const TOO_LONG: &str = "line-too-long";

/// How many lines were written and lost so far.
#[derive(Debug, Default)]
pub struct LineCounts {
    pub written: AtomicU64,
    pub blocked: AtomicU64,
    pub closed: AtomicU64,
    is_closed: AtomicBool,
}

/// The agent's end of the queue.
#[derive(Debug)]
pub struct LineSink {
    queue: SyncSender<Bytes>,
    finished: Receiver<()>,
    counts: Arc<LineCounts>,
    /// Refused since the last line that went through.
    untold: u64,
}

impl LineSink {
    /// Starts the thread that writes to `out`; `capacity` lines may wait.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(out: impl Write + Send + 'static, capacity: usize) -> io::Result<Self> {
        let (queue, lines) = sync_channel(capacity);
        let (ending, finished) = channel();
        let counts = Arc::new(LineCounts::default());
        let shared = Arc::clone(&counts);
        thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            write_lines(out, &lines, &shared);
            drop(ending);
        })?;
        Ok(Self { queue, finished, counts, untold: 0 })
    }

    /// The counters, for metrics and status.
    #[must_use]
    pub fn counts(&self) -> Arc<LineCounts> {
        Arc::clone(&self.counts)
    }

    /// Queues a line (with its newline), or counts it as lost. Never waits. `loss` writes the line that tells of `n`
    /// lines lost before.
    pub fn write(&mut self, line: Bytes, loss: impl FnOnce(u64) -> Option<Bytes>) {
        self.tell(loss);
        if self.untold > 0 || !self.queue_line(line) {
            self.count_lost();
        }
    }

    /// Tells of lost lines once there is room, also when nothing else happens. Call it from time to time.
    pub fn tell(&mut self, loss: impl FnOnce(u64) -> Option<Bytes>) {
        if self.untold == 0 || self.counts.is_closed.load(Ordering::Relaxed) {
            return;
        }
        // Where the loss itself cannot be written, its counter is what tells of it.
        if loss(self.untold).is_none_or(|line| self.queue_line(line)) {
            self.untold = 0;
        }
    }

    /// Writes what waits and ends; gives up after `patience`. True if everything was written.
    pub fn finish(self, patience: Duration) -> bool {
        drop(self.queue);
        matches!(self.finished.recv_timeout(patience), Err(RecvTimeoutError::Disconnected))
    }

    fn queue_line(&self, line: Bytes) -> bool {
        if self.counts.is_closed.load(Ordering::Relaxed) {
            return false;
        }
        match self.queue.try_send(line) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    fn count_lost(&mut self) {
        if self.counts.is_closed.load(Ordering::Relaxed) {
            self.counts.closed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.untold += 1;
            self.counts.blocked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_lines(mut out: impl Write, lines: &Receiver<Bytes>, counts: &LineCounts) {
    while let Ok(line) = lines.recv() {
        if counts.is_closed.load(Ordering::Relaxed) {
            counts.closed.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if out.write_all(&line).and_then(|()| out.flush()).is_ok() {
            counts.written.fetch_add(1, Ordering::Relaxed);
        } else {
            counts.is_closed.store(true, Ordering::Relaxed);
            counts.closed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    fn told(n: u64) -> Option<Bytes> {
        Some(Bytes::from(format!("lost {n}\n")))
    }

    fn line(text: &str) -> Bytes {
        Bytes::from(format!("{text}\n"))
    }

    #[test]
    fn a_pipe_that_nobody_reads_never_stalls_and_says_what_was_lost() {
        let (reader, writer) = io::pipe().expect("pipe");
        let mut sink = LineSink::start(writer, 4).expect("thread");
        let long = "x".repeat(8000);
        for _ in 0..200 {
            sink.write(line(&long), told);
        }
        let lost = sink.counts().blocked.load(Ordering::Relaxed);
        assert!(lost >= 180, "{lost}");
        // However often the writing thread made room meanwhile, each of the 200 is either here or told as lost.
        let mut read = BufReader::new(reader).lines().map(|line| line.expect("line"));
        let (mut plain, mut told_lost) = (0, 0);
        while plain + told_lost < 200 {
            sink.tell(told);
            let text = read.next().expect("the pipe is open");
            match text.strip_prefix("lost ") {
                Some(n) => told_lost += n.parse::<u64>().expect("a number"),
                None => plain += 1,
            }
        }
        assert_eq!((plain, told_lost), (200 - lost, lost));
        sink.write(line("after"), told);
        assert_eq!(read.next().as_deref(), Some("after"));
        assert!(sink.finish(Duration::from_secs(5)));
    }

    #[test]
    fn a_closed_pipe_is_counted_and_ends_nothing() {
        let (reader, writer) = io::pipe().expect("pipe");
        drop(reader);
        let mut sink = LineSink::start(writer, 16).expect("thread");
        let counts = sink.counts();
        for _ in 0..10 {
            sink.write(line("x"), told);
        }
        assert!(sink.finish(Duration::from_secs(5)));
        assert_eq!(counts.closed.load(Ordering::Relaxed), 10);
        assert_eq!(counts.written.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn finish_gives_up_on_a_blocked_pipe() {
        let (_reader, writer) = io::pipe().expect("pipe");
        let mut sink = LineSink::start(writer, 64).expect("thread");
        for _ in 0..32 {
            sink.write(line(&"x".repeat(16_000)), told);
        }
        assert!(!sink.finish(Duration::from_millis(50)));
    }
}
