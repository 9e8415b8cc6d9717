//! Lines to a pipe that may block or break: a bounded queue to a thread of its own, so that a reader who stands still
//! never stalls the agent. What the queue refuses is counted and told as soon as it flows again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

/// Reason of lines that found the queue full.
pub const BLOCKED: &str = "stdout-blocked";
/// Reason of lines after the reader closed its end.
pub const CLOSED: &str = "stdout-closed";

/// Reason of objects that are too long for a line.
pub const TOO_LONG: &str = "line-too-long";

/// Bytes that are written in one go, where so many wait.
const GATHER_BYTES: usize = 64 * 1024;

/// How many lines were written and lost so far.
#[derive(Debug, Default)]
pub struct LineCounts {
    pub written: AtomicU64,
    pub blocked: AtomicU64,
    pub closed: AtomicU64,
    is_closed: AtomicBool,
}

/// Lines, each with its newline.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    lines: usize,
}

/// The agent's end of the queue.
#[derive(Debug)]
pub struct LineSink {
    queue: Sender<Chunk>,
    /// Lines that are not written yet, of `capacity` that may be.
    waiting: Arc<AtomicUsize>,
    capacity: usize,
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
        let (queue, chunks) = channel();
        let (ending, finished) = channel();
        let counts = Arc::new(LineCounts::default());
        let waiting = Arc::new(AtomicUsize::new(0));
        let shared = (Arc::clone(&counts), Arc::clone(&waiting));
        thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            write_chunks(out, &chunks, &shared.0, &shared.1);
            drop(ending);
        })?;
        Ok(Self { queue, waiting, capacity, finished, counts, untold: 0 })
    }

    /// The counters, for metrics and status.
    #[must_use]
    pub fn counts(&self) -> Arc<LineCounts> {
        Arc::clone(&self.counts)
    }

    /// Queues `lines` lines, each with its newline, or counts all of them as lost. Never waits. `loss` writes the line
    /// that tells of `n` lines lost before.
    pub fn write(&mut self, bytes: Bytes, lines: usize, loss: impl FnOnce(u64) -> Option<Bytes>) {
        self.tell(loss);
        if self.untold > 0 || !self.queue(bytes, lines) {
            self.count_lost(lines);
        }
    }

    /// Tells of lost lines once there is room, also when nothing else happens. Call it from time to time.
    pub fn tell(&mut self, loss: impl FnOnce(u64) -> Option<Bytes>) {
        if self.untold == 0 || self.counts.is_closed.load(Ordering::Relaxed) {
            return;
        }
        // Where the loss itself cannot be written, its counter is what tells of it.
        if loss(self.untold).is_none_or(|line| self.queue(line, 1)) {
            self.untold = 0;
        }
    }

    /// Writes what waits and ends; gives up after `patience`. True if everything was written.
    pub fn finish(self, patience: Duration) -> bool {
        drop(self.queue);
        matches!(self.finished.recv_timeout(patience), Err(RecvTimeoutError::Disconnected))
    }

    fn queue(&self, bytes: Bytes, lines: usize) -> bool {
        // Only this side adds, so that nobody takes the room in between.
        let waiting = self.waiting.load(Ordering::Relaxed);
        let has_room = waiting == 0 || waiting + lines <= self.capacity;
        if !has_room || self.counts.is_closed.load(Ordering::Relaxed) {
            return false;
        }
        self.waiting.fetch_add(lines, Ordering::Relaxed);
        self.queue.send(Chunk { bytes, lines }).is_ok()
    }

    fn count_lost(&mut self, lines: usize) {
        let lines = lines as u64;
        if self.counts.is_closed.load(Ordering::Relaxed) {
            self.counts.closed.fetch_add(lines, Ordering::Relaxed);
        } else {
            self.untold += lines;
            self.counts.blocked.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

fn write_chunks(mut out: impl Write, chunks: &Receiver<Chunk>, counts: &LineCounts, waiting: &AtomicUsize) {
    while let Ok(first) = chunks.recv() {
        let chunk = with_followers(first, chunks);
        let written = if counts.is_closed.load(Ordering::Relaxed) { 0 } else { write_out(&mut out, &chunk) };
        if written < chunk.lines {
            counts.is_closed.store(true, Ordering::Relaxed);
        }
        counts.written.fetch_add(written as u64, Ordering::Relaxed);
        counts.closed.fetch_add((chunk.lines - written) as u64, Ordering::Relaxed);
        waiting.fetch_sub(chunk.lines, Ordering::Relaxed);
    }
}

/// `first` and what waits behind it already, as one piece of about what a pipe takes at once.
fn with_followers(first: Chunk, chunks: &Receiver<Chunk>) -> Chunk {
    let Ok(second) = chunks.try_recv() else { return first };
    let mut bytes = Vec::with_capacity(GATHER_BYTES);
    let mut lines = 0;
    for chunk in [first, second].into_iter().chain(chunks.try_iter()) {
        bytes.extend_from_slice(&chunk.bytes);
        lines += chunk.lines;
        if bytes.len() >= GATHER_BYTES {
            break;
        }
    }
    Chunk { bytes: bytes.into(), lines }
}

/// Writes the chunk; returns how many of its lines got through before an error.
fn write_out(out: &mut impl Write, chunk: &Chunk) -> usize {
    let mut rest: &[u8] = &chunk.bytes;
    while !rest.is_empty() {
        match out.write(rest) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
        }
    }
    if rest.is_empty() && out.flush().is_ok() {
        return chunk.lines;
    }
    let unwritten = rest.iter().filter(|byte| **byte == b'\n').count().max(1);
    chunk.lines.saturating_sub(unwritten)
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
            sink.write(line(&long), 1, told);
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
        sink.write(line("after"), 1, told);
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
            sink.write(line("x"), 1, told);
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
            sink.write(line(&"x".repeat(16_000)), 1, told);
        }
        assert!(!sink.finish(Duration::from_millis(50)));
    }

    /// Takes `left` bytes and then refuses.
    struct Refusing {
        left: usize,
    }

    impl Write for Refusing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            if taken == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn of_lines_that_go_out_together_each_is_counted() {
        for (left, written) in [(0, 0), (3, 0), (4, 1), (11, 2), (12, 3), (100, 3)] {
            let mut sink = LineSink::start(Refusing { left }, 16).expect("thread");
            let counts = sink.counts();
            sink.write("one\ntwo\nend\n".into(), 3, told);
            assert!(sink.finish(Duration::from_secs(5)));
            let counted = (counts.written.load(Ordering::Relaxed), counts.closed.load(Ordering::Relaxed));
            assert_eq!(counted, (written, 3 - written), "{left} bytes");
        }
    }

    #[test]
    fn lines_that_find_no_room_together_are_lost_together() {
        let (_reader, writer) = io::pipe().expect("pipe");
        let mut sink = LineSink::start(writer, 64).expect("thread");
        let long = "x".repeat(1023) + "\n";
        for _ in 0..10 {
            sink.write(long.repeat(60).into(), 60, told);
        }
        let lost = sink.counts().blocked.load(Ordering::Relaxed);
        assert!(lost >= 6 * 60 && lost.is_multiple_of(60), "{lost}");
    }
}
