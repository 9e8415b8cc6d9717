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

/// Reason of lines that could not be written, as on a full disk; what comes later is tried again.
pub const FAILED: &str = "stdout-failed";

/// Reason of objects that are too long for a line.
pub const TOO_LONG: &str = "line-too-long";

/// How long to wait for room where writing does not wait itself.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Bytes that are written in one go, where so many wait.
const GATHER_BYTES: usize = 64 * 1024;

/// How many lines were written and lost so far.
#[derive(Debug, Default)]
pub struct LineCounts {
    pub written: AtomicU64,
    pub blocked: AtomicU64,
    pub closed: AtomicU64,
    pub failed: AtomicU64,
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
    let mut is_torn = false;
    while let Ok(first) = chunks.recv() {
        let chunk = with_followers(first, chunks);
        let is_closed = counts.is_closed.load(Ordering::Relaxed);
        let (written, fate) =
            if is_closed { (0, Fate::Closed) } else { write_out(&mut out, &chunk, &mut is_torn) };
        let lost = match fate {
            Fate::Closed => {
                counts.is_closed.store(true, Ordering::Relaxed);
                &counts.closed
            }
            Fate::Open => &counts.failed,
        };
        counts.written.fetch_add(written as u64, Ordering::Relaxed);
        lost.fetch_add((chunk.lines - written) as u64, Ordering::Relaxed);
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

/// What became of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    /// Nobody will ever read again.
    Closed,
}

/// Writes the chunk; returns how many of its lines got through before an error. Where the last error cut a line, that
/// one is ended first.
fn write_out(out: &mut impl Write, chunk: &Chunk, is_torn: &mut bool) -> (usize, Fate) {
    if *is_torn {
        if let (1.., fate) | (_, fate @ Fate::Closed) = write_all(out, b"\n") {
            return (0, fate);
        }
        *is_torn = false;
    }
    let (unwritten, fate) = write_all(out, &chunk.bytes);
    let cut = chunk.bytes.len() - unwritten;
    let (out_already, rest) = chunk.bytes.split_at_checked(cut).unwrap_or_default();
    if rest.is_empty() && fate == Fate::Open {
        return (chunk.lines, fate);
    }
    *is_torn = out_already.last().is_some_and(|byte| *byte != b'\n');
    let lost = rest.iter().filter(|byte| **byte == b'\n').count().max(1);
    (chunk.lines.saturating_sub(lost), fate)
}

/// How many bytes are left unwritten, and whether it is worth another try later.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> (usize, Fate) {
    let mut rest = bytes;
    let failed = loop {
        if rest.is_empty() {
            break out.flush().err();
        }
        match out.write(rest) {
            Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody who shares it made it so: it is for this thread to wait.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL_PAUSE),
            Err(error) => break Some(error),
        }
    };
    let fate = if failed.as_ref().is_some_and(is_final) { Fate::Closed } else { Fate::Open };
    // A flush that failed leaves open how much arrived: the last line is taken for lost.
    let left = if failed.is_some() { rest.len().max(1) } else { 0 };
    (left, fate)
}

/// A closed pipe or descriptor; a full disk, say, may have room again.
fn is_final(error: &io::Error) -> bool {
    let bad_descriptor = rustix::io::Errno::BADF.raw_os_error();
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(bad_descriptor)
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
        let lines = lines_of(reader);
        let (mut plain, mut told_lost, mut silences) = (0, 0, 0);
        while plain + told_lost < 200 {
            sink.tell(told);
            match lines.recv_timeout(Duration::from_millis(10)) {
                Ok(text) if text.starts_with('x') => plain += 1,
                Ok(text) => told_lost += text.trim_start_matches("lost ").parse::<u64>().expect("a number"),
                // The thread writes before it counts, so that the room may be seen a moment later.
                Err(_) => silences += 1,
            }
            assert!(silences < 1000, "{plain} lines, {told_lost} told as lost, and nothing more comes");
        }
        assert_eq!((plain, told_lost), (200 - lost, lost));
        sink.write(line("after"), 1, told);
        assert_eq!(lines.recv_timeout(Duration::from_secs(10)).as_deref(), Ok("after"));
        assert!(sink.finish(Duration::from_secs(5)));
    }

    /// What is read from the pipe, by a thread of its own.
    fn lines_of(reader: io::PipeReader) -> Receiver<String> {
        let (sender, lines) = channel();
        thread::spawn(move || {
            BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        lines
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

    /// A disk that is full after `room` bytes, until somebody makes `more`.
    #[derive(Clone)]
    struct Disk {
        room: Arc<AtomicUsize>,
        text: Arc<std::sync::Mutex<String>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room.load(Ordering::SeqCst));
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room.fetch_sub(taken, Ordering::SeqCst);
            self.text.lock().expect("lock").push_str(&String::from_utf8_lossy(&bytes[..taken]));
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_that_gets_room_again_gets_whole_lines_again() {
        let disk = Disk { room: Arc::new(AtomicUsize::new(6)), text: Arc::default() };
        let mut sink = LineSink::start(disk.clone(), 64).expect("thread");
        let counts = sink.counts();
        let lost = || counts.failed.load(Ordering::Relaxed);
        sink.write("one\ntwo\nend\n".into(), 3, told);
        while lost() < 2 {
            thread::yield_now();
        }
        sink.write(line("nor this"), 1, told);
        while lost() < 3 {
            thread::yield_now();
        }
        disk.room.store(100, Ordering::SeqCst);
        sink.write(line("again"), 1, told);
        assert!(sink.finish(Duration::from_secs(5)));
        assert_eq!(disk.text.lock().expect("lock").as_str(), "one\ntw\nagain\n");
        assert_eq!((counts.written.load(Ordering::Relaxed), lost()), (2, 3));
        assert_eq!(counts.closed.load(Ordering::Relaxed), 0);
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
