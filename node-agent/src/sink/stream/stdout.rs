//! Writes lines to a pipe that can block or break. A bounded queue leads to a separate thread, so that a blocked reader never
//! blocks the agent. Lines that find the queue full are counted, and reported once it has room.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

/// Loss reason: lines that found the queue full.
pub const BLOCKED: &str = "stdout-blocked";
/// Loss reason: lines after the reader closed its end.
pub const CLOSED: &str = "stdout-closed";

/// Loss reason: lines that could not be written, such as on a full disk. Later lines are tried again.
pub const FAILED: &str = "stdout-failed";

/// Loss reason: objects that are too long for a line.
pub const TOO_LONG: &str = "line-too-long";

/// Pause before a retry when a non-blocking output is full.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Maximum number of bytes of one write, if that many are queued.
const GATHER_BYTES: usize = 64 * 1024;

/// Number of lines by outcome.
#[derive(Debug, Default)]
pub struct LineCounts {
    pub written: AtomicU64,
    pub blocked: AtomicU64,
    pub closed: AtomicU64,
    pub failed: AtomicU64,
    is_closed: AtomicBool,
}

/// Queued lines, each with its newline.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    lines: usize,
}

/// The agent's end of the queue.
#[derive(Debug)]
pub struct LineSink {
    queue: Sender<Chunk>,
    /// Number of lines that are not written yet, at most `capacity`.
    waiting: Arc<AtomicUsize>,
    capacity: usize,
    finished: Receiver<()>,
    counts: Arc<LineCounts>,
    /// Number of lines that were lost since the last loss report.
    unreported: u64,
}

impl LineSink {
    /// Starts the thread that writes to `out`, with a queue of `capacity` lines.
    ///
    /// # Errors
    /// If the thread cannot be started.
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
        Ok(Self { queue, waiting, capacity, finished, counts, unreported: 0 })
    }

    /// Returns the counters, for metrics and status.
    #[must_use]
    pub fn counts(&self) -> Arc<LineCounts> {
        Arc::clone(&self.counts)
    }

    /// Queues `lines` lines, each with its newline, or counts all of them as lost. Never blocks. `loss` returns the line that
    /// reports the number of lines lost before.
    pub fn write(&mut self, bytes: Bytes, lines: usize, loss: impl FnOnce(u64) -> Option<Bytes>) {
        self.report_losses(loss);
        if self.unreported > 0 || !self.queue(bytes, lines) {
            self.count_lost(lines);
        }
    }

    /// Reports lost lines once the queue has room. Call it periodically, since no other line may follow.
    pub fn report_losses(&mut self, loss: impl FnOnce(u64) -> Option<Bytes>) {
        if self.unreported == 0 || self.counts.is_closed.load(Ordering::Relaxed) {
            return;
        }
        // If the loss cannot be written as a line, only its counter reports it.
        if loss(self.unreported).is_none_or(|line| self.queue(line, 1)) {
            self.unreported = 0;
        }
    }

    /// Writes the queued lines and ends, after at most `timeout`. Returns true if everything was written.
    pub fn finish(self, timeout: Duration) -> bool {
        drop(self.queue);
        matches!(self.finished.recv_timeout(timeout), Err(RecvTimeoutError::Disconnected))
    }

    /// Queues lines. Returns false if there is no room, or the reader is gone.
    fn queue(&self, bytes: Bytes, lines: usize) -> bool {
        // Only this side adds lines, so the room cannot shrink before the addition.
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
            self.unreported += lines;
            self.counts.blocked.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

/// Writes queued lines until the queue is closed.
fn write_chunks(mut out: impl Write, chunks: &Receiver<Chunk>, counts: &LineCounts, waiting: &AtomicUsize) {
    let mut is_torn = false;
    while let Ok(first) = chunks.recv() {
        let chunk = with_queued(first, chunks);
        let is_closed = counts.is_closed.load(Ordering::Relaxed);
        let (written, fate) =
            if is_closed { (0, OutputState::Closed) } else { write_out(&mut out, &chunk, &mut is_torn) };
        let lost = match fate {
            OutputState::Closed => {
                counts.is_closed.store(true, Ordering::Relaxed);
                &counts.closed
            }
            OutputState::Open => &counts.failed,
        };
        counts.written.fetch_add(written as u64, Ordering::Relaxed);
        lost.fetch_add((chunk.lines - written) as u64, Ordering::Relaxed);
        waiting.fetch_sub(chunk.lines, Ordering::Relaxed);
    }
}

/// Merges `first` and the chunks already queued behind it, up to about the capacity of a pipe.
fn with_queued(first: Chunk, chunks: &Receiver<Chunk>) -> Chunk {
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

/// State of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputState {
    /// Writing can succeed, now or later.
    Open,
    /// The reader is gone for good.
    Closed,
}

/// Writes the chunk. Returns the number of its lines that were written before an error. If the previous error cut a line,
/// a newline is written first.
fn write_out(out: &mut impl Write, chunk: &Chunk, is_torn: &mut bool) -> (usize, OutputState) {
    if *is_torn {
        if let (1.., fate) | (_, fate @ OutputState::Closed) = write_all(out, b"\n") {
            return (0, fate);
        }
        *is_torn = false;
    }
    let (unwritten, fate) = write_all(out, &chunk.bytes);
    let cut = chunk.bytes.len() - unwritten;
    let (written, rest) = chunk.bytes.split_at_checked(cut).unwrap_or_default();
    if rest.is_empty() && fate == OutputState::Open {
        return (chunk.lines, fate);
    }
    *is_torn = written.last().is_some_and(|byte| *byte != b'\n');
    let lost = rest.iter().filter(|byte| **byte == b'\n').count().max(1);
    (chunk.lines.saturating_sub(lost), fate)
}

/// Writes all bytes. Returns the number of unwritten bytes, and whether later writes can succeed.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> (usize, OutputState) {
    let mut rest = bytes;
    let failed = loop {
        if rest.is_empty() {
            break out.flush().err();
        }
        match out.write(rest) {
            Ok(0) => break Some(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process set the shared file description to non-blocking, so this thread waits.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            Err(error) => break Some(error),
        }
    };
    let fate = if failed.as_ref().is_some_and(is_final) { OutputState::Closed } else { OutputState::Open };
    // After a failed flush the arrived part is unknown: the last line counts as lost.
    let left = if failed.is_some() { rest.len().max(1) } else { 0 };
    (left, fate)
}

/// Returns true for a closed pipe or descriptor. Other errors, such as a full disk, can pass.
fn is_final(error: &io::Error) -> bool {
    let bad_descriptor = rustix::io::Errno::BADF.raw_os_error();
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(bad_descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    fn loss(n: u64) -> Option<Bytes> {
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
            sink.write(line(&long), 1, loss);
        }
        let lost = sink.counts().blocked.load(Ordering::Relaxed);
        assert!(lost >= 180, "{lost}");
        // Whenever the thread makes room, each of the 200 lines is either read or reported as lost.
        let lines = lines_of(reader);
        let (mut plain, mut reported, mut silences) = (0, 0, 0);
        while plain + reported < 200 {
            sink.report_losses(loss);
            match lines.recv_timeout(Duration::from_millis(10)) {
                Ok(text) if text.starts_with('x') => plain += 1,
                Ok(text) => reported += text.trim_start_matches("lost ").parse::<u64>().expect("a number"),
                // The thread writes before it counts, so the room can become visible a moment later.
                Err(_) => silences += 1,
            }
            assert!(silences < 1000, "{plain} lines, {reported} reported as lost, and nothing more comes");
        }
        assert_eq!((plain, reported), (200 - lost, lost));
        sink.write(line("after"), 1, loss);
        assert_eq!(lines.recv_timeout(Duration::from_secs(10)).as_deref(), Ok("after"));
        assert!(sink.finish(Duration::from_secs(5)));
    }

    /// Reads the pipe in a separate thread.
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
            sink.write(line("x"), 1, loss);
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
            sink.write(line(&"x".repeat(16_000)), 1, loss);
        }
        assert!(!sink.finish(Duration::from_millis(50)));
    }

    /// Accepts `left` bytes, then fails with a broken pipe.
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
            sink.write("one\ntwo\nend\n".into(), 3, loss);
            assert!(sink.finish(Duration::from_secs(5)));
            let counted = (counts.written.load(Ordering::Relaxed), counts.closed.load(Ordering::Relaxed));
            assert_eq!(counted, (written, 3 - written), "{left} bytes");
        }
    }

    /// A disk that is full after `room` bytes, until the test adds room.
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
        sink.write("one\ntwo\nend\n".into(), 3, loss);
        while lost() < 2 {
            thread::yield_now();
        }
        sink.write(line("nor this"), 1, loss);
        while lost() < 3 {
            thread::yield_now();
        }
        disk.room.store(100, Ordering::SeqCst);
        sink.write(line("again"), 1, loss);
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
            sink.write(long.repeat(60).into(), 60, loss);
        }
        let lost = sink.counts().blocked.load(Ordering::Relaxed);
        assert!(lost >= 6 * 60 && lost.is_multiple_of(60), "{lost}");
    }
}
