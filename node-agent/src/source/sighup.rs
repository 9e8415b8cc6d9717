//! SIGHUP makes the agent read the configuration file and the manifests again at once, without waiting for a file change.
//! In an agent with a controlling terminal SIGHUP keeps its default action and ends the agent.

use std::future::pending;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Number of reloads that were requested so far.
pub type Reloads = watch::Receiver<u64>;

/// Starts the task that counts the signals; no task where there is a controlling terminal.
///
/// # Errors
/// When the signal handler cannot be installed.
pub fn start() -> io::Result<(Reloads, Option<JoinHandle<()>>)> {
    let (count, reloads) = watch::channel(0);
    // The open fails where there is no controlling terminal.
    if std::fs::File::open("/dev/tty").is_ok() {
        return Ok((reloads, None));
    }
    let mut hangups = signal(SignalKind::hangup())?;
    let task = tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::info!("SIGHUP: reading the configuration file and the manifests again");
            count.send_modify(|count| *count += 1);
        }
    });
    Ok((reloads, Some(task)))
}

/// Waits for the next request; for ever once nothing can request a reload.
pub async fn requested(reloads: &mut Reloads) {
    if reloads.changed().await.is_err() {
        pending::<()>().await;
    }
}
