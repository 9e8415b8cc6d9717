//! Reads the two rings: converts every record to a fact and counts those that do not decode.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use portolan_engine::model::connection::ConnectionFact;
use portolan_engine::model::identity::BootTime;
use portolan_engine::model::input::Input;
use portolan_engine::model::process::Process;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::decode::{self, DecodeError};
use crate::source::process;

/// Clock ticks of /proc/PID/stat are 10 ms on every architecture that Kubernetes runs on (USER_HZ is 100).
const TICK: Duration = Duration::from_millis(10);

/// Time that connection records gather in their ring after the first one. Nobody waits for them, and reading a hundred
/// costs little more than reading one. The kernel wakes the reader only if the ring was empty before.
const GATHER: Duration = Duration::from_millis(25);
/// Maximum number of connection records per batch.
const CONNECTION_BATCH: usize = 512;

/// Reading ends of the rings.
pub struct Rings {
    pub(super) listeners: RingBuf<MapData>,
    pub(super) connections: RingBuf<MapData>,
    pub(super) undecodable: Arc<AtomicU64>,
}

impl Rings {
    /// Reads until a receiver is gone: listener records at once, connection records a little later in batches. While
    /// the engine is slow the reader waits, the ring fills, and the kernel counts what it drops.
    pub async fn forward(self, facts: mpsc::Sender<Input>, connections: mpsc::Sender<Vec<ConnectionFact>>) {
        // SAFETY: a RingBuf owns its map's descriptor and hands out no way to close or replace it.
        let registered = unsafe { (AsyncFd::register(self.listeners), AsyncFd::register(self.connections)) };
        let (Ok(listener_ring), Ok(connection_ring)) = registered else {
            tracing::error!("the rings of the kernel programs cannot be polled");
            return;
        };
        let undecodable = &self.undecodable;
        tokio::select! {
            () = forward_listeners(listener_ring, facts, undecodable) => {}
            () = forward_connections(connection_ring, connections, undecodable) => {}
        }
    }
}

async fn forward_listeners(
    mut ring: AsyncFd<RingBuf<MapData>>,
    facts: mpsc::Sender<Input>,
    undecodable: &AtomicU64,
) {
    while let Ok(mut guard) = ring.readable_mut().await {
        loop {
            let decoded = guard.get_inner_mut().next().map(|record| listener(&record));
            let Some(decoded) = decoded else { break };
            if let Some(fact) = checked(decoded, undecodable)
                && facts.send(fact).await.is_err()
            {
                return;
            }
        }
        guard.clear_ready();
    }
}

async fn forward_connections(
    mut ring: AsyncFd<RingBuf<MapData>>,
    facts: mpsc::Sender<Vec<ConnectionFact>>,
    undecodable: &AtomicU64,
) {
    while let Ok(mut guard) = ring.readable_mut().await {
        tokio::time::sleep(GATHER).await;
        loop {
            let batch = read_batch(guard.get_inner_mut(), undecodable);
            if batch.is_empty() {
                break;
            }
            if facts.send(batch).await.is_err() {
                return;
            }
        }
        guard.clear_ready();
    }
}

/// Reads up to one batch of records; the result is empty only if the ring is empty.
fn read_batch(ring: &mut RingBuf<MapData>, undecodable: &AtomicU64) -> Vec<ConnectionFact> {
    let mut batch = Vec::new();
    while batch.len() < CONNECTION_BATCH {
        let Some(record) = ring.next() else { break };
        batch.extend(checked(decode::connection(&record), undecodable));
    }
    batch
}

fn checked<T>(decoded: Result<T, DecodeError>, undecodable: &AtomicU64) -> Option<T> {
    decoded
        .inspect_err(|error| {
            if undecodable.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::error!(%error, "a record of the kernel programs cannot be decoded");
            }
        })
        .ok()
}

/// Decodes a listener record and adds what /proc shows of the process while it lives.
fn listener(bytes: &[u8]) -> Result<Input, DecodeError> {
    let mut fact = decode::listener(bytes)?;
    if let Input::SocketOpened(socket) = &mut fact {
        socket.process =
            socket.process.take().and_then(|bound| described(Path::new("/proc"), bound, socket.at));
    }
    Ok(fact)
}

/// Returns the process that bound a socket, as /proc shows it while it lives. Of a process that has ended, only what the
/// kernel recorded is certain: `None` if it recorded no name, because another thread than the main one bound the socket.
fn described(proc_root: &Path, bound: Process, opened: BootTime) -> Option<Process> {
    let living = process::start_time(proc_root, bound.pid).filter(|started| {
        // A process that started after the socket opened has the reused pid of one that is gone.
        let started_ns = u128::from(*started) * TICK.as_nanos();
        started_ns <= u128::from(opened.0) + TICK.as_nanos() && !has_ended(proc_root, bound.pid)
    });
    let found = living.and_then(|started| process::read_process(proc_root, bound.pid, Some(started)));
    found.or_else(|| (!bound.name.is_empty()).then_some(bound))
}

/// Returns true if the process has ended and only waits for its parent: /proc still shows a name and no executable.
fn has_ended(proc_root: &Path, pid: u32) -> bool {
    let stat = std::fs::read(proc_root.join(format!("{pid}/stat"))).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    // The name is in parentheses and may itself contain spaces and parentheses.
    let state = stat.rsplit_once(')').and_then(|(_, fields)| fields.trim_start().chars().next());
    matches!(state, Some('Z' | 'X' | 'x'))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn bound(pid: u32, name: &str) -> Process {
        Process { pid, name: name.to_owned(), executable: None, cgroup: None }
    }

    #[test]
    fn a_living_process_has_the_name_of_its_main_thread() {
        let own = bound(std::process::id(), "");
        let found = described(Path::new("/proc"), own, BootTime(u64::MAX)).expect("this process");
        let name = std::fs::read_to_string("/proc/self/comm").expect("its name");
        assert_eq!(found.name, name.trim_end());
        assert!(found.executable.is_some());
    }

    #[test]
    fn of_a_zombie_only_what_the_kernel_recorded_is_told() {
        let mut child = Command::new("true").stdout(Stdio::null()).spawn().expect("a process");
        let stat = format!("/proc/{}/stat", child.id());
        let deadline = portolan_testing::waiting::Deadline::after(Duration::from_secs(10));
        while !has_ended(Path::new("/proc"), child.id()) {
            assert!(
                !deadline.remaining().is_zero(),
                "{}",
                std::fs::read_to_string(&stat).unwrap_or_default()
            );
            std::thread::yield_now();
        }
        let named = described(Path::new("/proc"), bound(child.id(), "server"), BootTime(u64::MAX));
        assert_eq!(named, Some(bound(child.id(), "server")));
        assert_eq!(described(Path::new("/proc"), bound(child.id(), ""), BootTime(u64::MAX)), None);
        child.wait().expect("its end");
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let own = std::process::id();
        assert_eq!(described(Path::new("/proc"), bound(own, ""), BootTime(0)), None);
        assert_eq!(described(Path::new("/proc"), bound(own, "old"), BootTime(0)), Some(bound(own, "old")));
    }
}
