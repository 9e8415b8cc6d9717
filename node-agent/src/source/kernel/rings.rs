//! The two rings, read as they fill: every record becomes a fact, a bad one is counted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::decode::{self, DecodeError};
use crate::engine::input::{Input, OpenedSocket};
use crate::source::process;

/// Clock ticks of /proc/PID/stat are 10 ms on every architecture that Kubernetes runs on (USER_HZ is 100).
const TICK: Duration = Duration::from_millis(10);

/// Reading ends of the rings.
pub struct Rings {
    pub(super) listeners: RingBuf<MapData>,
    pub(super) connections: RingBuf<MapData>,
    pub(super) undecodable: Arc<AtomicU64>,
}

impl Rings {
    /// Reads until the receiver of `facts` is gone. Listener records first; where the engine is slow this waits, the
    /// ring fills, and the kernel counts what it drops.
    pub async fn forward(self, facts: mpsc::Sender<Input>) {
        let undecodable = self.undecodable;
        // SAFETY: a RingBuf owns its map's descriptor and hands out no way to close or replace it.
        let registered = unsafe { (AsyncFd::register(self.listeners), AsyncFd::register(self.connections)) };
        let (Ok(mut listeners), Ok(mut connections)) = registered else {
            tracing::error!("the rings of the kernel programs cannot be polled");
            return;
        };
        loop {
            let alive = tokio::select! {
                biased;
                ready = listeners.readable_mut() => forward_ready(ready, &facts, &undecodable, listener).await,
                ready = connections.readable_mut() => forward_ready(ready, &facts, &undecodable, decode::connection).await,
            };
            if !alive {
                return;
            }
        }
    }
}

type Ready<'a> = std::io::Result<tokio::io::unix::AsyncFdReadyMutGuard<'a, RingBuf<MapData>>>;

/// Sends what a ring holds now. False: nobody wants it any more.
async fn forward_ready(
    ready: Ready<'_>,
    facts: &mpsc::Sender<Input>,
    undecodable: &AtomicU64,
    decode: fn(&[u8]) -> Result<Input, DecodeError>,
) -> bool {
    let Ok(mut guard) = ready else { return false };
    loop {
        let decoded = guard.get_inner_mut().next().map(|record| decode(&record));
        match decoded {
            None => break,
            Some(Ok(fact)) => {
                if facts.send(fact).await.is_err() {
                    return false;
                }
            }
            Some(Err(error)) => {
                if undecodable.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(%error, "a record of the kernel programs cannot be decoded");
                }
            }
        }
    }
    guard.clear_ready();
    true
}

/// As [`decode::listener`], with what /proc tells of the process while it lives.
fn listener(bytes: &[u8]) -> Result<Input, DecodeError> {
    let mut fact = decode::listener(bytes)?;
    if let Input::SocketOpened(socket) = &mut fact {
        describe_process(socket);
    }
    Ok(fact)
}

fn describe_process(socket: &mut OpenedSocket) {
    let proc_root = Path::new("/proc");
    let Some(known) = &mut socket.process else { return };
    let Some(started) = process::start_time(proc_root, known.pid) else { return };
    // A process that started after the socket opened has the pid of one that is gone.
    let started_ns = u128::from(started) * TICK.as_nanos();
    if started_ns > u128::from(socket.at.0) + TICK.as_nanos() {
        return;
    }
    if let Some(found) = process::look_up(proc_root, known.pid, Some(started)) {
        known.executable = found.executable;
        known.cgroup = found.cgroup;
    }
}
