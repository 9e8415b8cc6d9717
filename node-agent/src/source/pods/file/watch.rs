//! Reads the manifests again when they change. Directories are watched rather than files: editors rename, and a mounted
//! ConfigMap swaps a symbolic link.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch as state};

use super::{Objects, read};
use crate::engine::input::Input;
use crate::source::pods::SourceState;

/// Changes come in bursts: one reading after the last.
const SETTLE: Duration = Duration::from_millis(50);
/// Read again after this in any case: a link may lead to a directory that is not watched.
const ANYWAY: Duration = Duration::from_secs(10);

/// Tells the objects of `path` now and whenever they change; ends when the engine is gone. A broken manifest goes to `status`,
/// and the last good state stays.
pub async fn watch(path: PathBuf, inputs: mpsc::Sender<Input>, status: state::Sender<SourceState>) {
    let watch = inotify(&path).and_then(watched);
    if let Err(error) = &watch {
        tracing::warn!(path = %path.display(), %error, "cannot watch for changes; reading every 10 s");
    }
    let mut told: Option<Objects> = None;
    loop {
        if !tell(&path, &mut told, &inputs, &status).await {
            return;
        }
        tokio::select! {
            () = changed(watch.as_ref().ok()) => {}
            () = tokio::time::sleep(ANYWAY) => {}
            () = inputs.closed() => return,
        }
    }
}

/// Reads and tells; false when nobody listens.
async fn tell(
    path: &Path,
    told: &mut Option<Objects>,
    inputs: &mpsc::Sender<Input>,
    status: &state::Sender<SourceState>,
) -> bool {
    let from = path.to_owned();
    let Ok(result) = tokio::task::spawn_blocking(move || read(&from)).await else { return false };
    let new_state = match &result {
        Ok(_) => SourceState { up: true, reason: None },
        Err(error) => SourceState { up: false, reason: Some(error.to_string()) },
    };
    let changed = status.send_if_modified(|old| {
        let changed = *old != new_state;
        *old = new_state.clone();
        changed
    });
    match result {
        Ok(objects) => {
            for input in objects.clone().inputs(told.as_ref()) {
                if inputs.send(input).await.is_err() {
                    return false;
                }
            }
            *told = Some(objects);
            true
        }
        Err(error) if changed => {
            tracing::error!("{error}; the last good state stays");
            true
        }
        _ => true,
    }
}

fn watched(inotify: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: `OwnedFd` gives the same open descriptor as long as it lives, and `AsyncFd` owns it.
    unsafe { AsyncFd::register(inotify) }.map_err(io::Error::from)
}

fn inotify(path: &Path) -> io::Result<OwnedFd> {
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let flags = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::CLOSE_WRITE;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = if path.is_dir() { path } else { parent };
    add_watch(&inotify, dir, flags)?;
    Ok(inotify)
}

/// Waits for a change, and until it has settled. Never ends without a watch.
async fn changed(watch: Option<&AsyncFd<OwnedFd>>) {
    let Some(watch) = watch else { return std::future::pending().await };
    let Ok(mut ready) = watch.readable().await else { return std::future::pending().await };
    tokio::time::sleep(SETTLE).await;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    let mut reader = Reader::new(watch.get_ref().as_fd(), &mut buffer);
    while reader.next().is_ok() {}
    ready.clear_ready();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(port: u16) -> String {
        format!(
            "kind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: c, ports: [{{containerPort: {port}}}]}}]}}\n"
        )
    }

    async fn next_port(inputs: &mut mpsc::Receiver<Input>) -> Option<u16> {
        let input = tokio::time::timeout(Duration::from_secs(5), inputs.recv()).await.expect("in time")?;
        let Input::Pods { pods, .. } = input else { return None };
        Some(pods.first()?.containers.first()?.ports.first()?.port.get())
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
        let dir = std::env::temp_dir().join(format!("portolan-manifest-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("dir");
        let path = dir.join("pods.yaml");
        std::fs::write(&path, manifest(80)).expect("write");
        let (sender, mut inputs) = mpsc::channel(4);
        let (status, mut states) = state::channel(SourceState::default());
        let task = tokio::spawn(watch(path.clone(), sender, status));
        assert_eq!(next_port(&mut inputs).await, Some(80));
        std::fs::write(&path, "kind: Pod\n").expect("write");
        let broken = states.wait_for(|state| state.reason.is_some());
        let state = tokio::time::timeout(Duration::from_secs(5), broken)
            .await
            .expect("in time")
            .expect("open")
            .clone();
        assert!(!state.up && state.reason.is_some_and(|reason| reason.contains("pods.yaml:1: ")));
        std::fs::write(dir.join("new"), manifest(81)).expect("write");
        std::fs::rename(dir.join("new"), &path).expect("rename");
        assert_eq!(next_port(&mut inputs).await, Some(81));
        task.abort();
        std::fs::remove_dir_all(&dir).expect("clean");
    }
}
