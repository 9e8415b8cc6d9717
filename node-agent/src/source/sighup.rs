//! SIGHUP: the configuration file and the manifests are read again at once, without waiting for a change to be noticed. An
//! agent that was started from a terminal still ends with it, as every program does.

use std::future::pending;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Counts how often everything was to be read again.
pub type Asked = watch::Receiver<u64>;

/// Follows the signal.
///
/// # Errors
/// Where signals cannot be had.
pub fn start() -> io::Result<(Asked, Option<JoinHandle<()>>)> {
    let (count, asked) = watch::channel(0);
    // Without a controlling terminal there is nothing to open.
    if std::fs::File::open("/dev/tty").is_ok() {
        return Ok((asked, None));
    }
    let mut hangups = signal(SignalKind::hangup())?;
    let task = tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::info!("SIGHUP: reading the configuration file and the manifests again");
            count.send_modify(|count| *count += 1);
        }
    });
    Ok((asked, Some(task)))
}

/// Waits until it is asked for; for ever where nobody asks.
pub async fn asked(asked: &mut Asked) {
    if asked.changed().await.is_err() {
        pending::<()>().await;
    }
}
