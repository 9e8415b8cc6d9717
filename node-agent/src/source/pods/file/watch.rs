//! Reads the manifests again when they change, and believes only what was left alone for a moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan_engine::model::input::Input;
use tokio::sync::{mpsc, watch as state};

use super::{ManifestError, Objects, Prints, read};
use crate::source::clock;
use crate::source::directory_watch::DirectoryWatch;
use crate::source::pods::SourceState;
use crate::source::sighup::{Asked, asked};

/// A file that is the same after this is not being written; who writes in one go needs far less.
const LEFT_ALONE: Duration = Duration::from_millis(200);
/// So often a file that is being written is looked at before the next change is waited for.
const TRIES: u32 = 50;
/// `kubectl get pods -o yaml > FILE` empties the file, and fills it seconds later: that there are no pods is believed only if
/// it is still so after this, by whether there were some.
const NONE_AT_FIRST: Duration = Duration::from_secs(1);
const NONE_ANY_MORE: Duration = Duration::from_secs(10);
/// Looked at again after this in any case: a link may lead to a directory that is not watched.
const ANYWAY: Duration = Duration::from_secs(10);

/// Tells the objects of `path` now and whenever they change; ends when the engine is gone. A broken manifest goes to `status`,
/// and the last good state stays.
/// It is read at once whenever `again` is counted up.
pub async fn watch(
    path: PathBuf,
    inputs: mpsc::Sender<Input>,
    status: state::Sender<SourceState>,
    mut again: Asked,
) {
    let watch = DirectoryWatch::of(&path);
    if let Err(error) = &watch {
        tracing::warn!(path = %path.display(), %error, "cannot watch for changes; reading every 10 s");
    }
    let mut told: Option<Objects> = None;
    loop {
        let before = Prints::of(&path).ok();
        if !tell(&path, &mut told, &inputs, &status).await {
            return;
        }
        let is_fine = status.borrow().up;
        loop {
            tokio::select! {
                () = changed(watch.as_ref().ok()) => break,
                () = asked(&mut again) => break,
                () = tokio::time::sleep(ANYWAY) => {}
                () = inputs.closed() => return,
            }
            // What was read then was whole and is the same now: parsing it again would say nothing new.
            if !is_fine || before.is_none() || Prints::of(&path).ok() != before {
                break;
            }
        }
    }
}

/// Waits for a change; for ever where nothing is watched.
async fn changed(watch: Option<&DirectoryWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Reads and tells; false when nobody listens.
async fn tell(
    path: &Path,
    told: &mut Option<Objects>,
    inputs: &mpsc::Sender<Input>,
    status: &state::Sender<SourceState>,
) -> bool {
    let result = tokio::select! {
        result = read_believed(path, told.as_ref()) => result,
        () = inputs.closed() => return false,
    };
    let new_state = match &result {
        Ok(_) => SourceState { up: true, reason: None },
        // Whoever gets the state says it.
        Err(error) if told.is_some() => {
            SourceState { up: false, reason: Some(format!("{error}; what was read before stays")) }
        }
        Err(error) => SourceState { up: false, reason: Some(error.to_string()) },
    };
    if let Ok(objects) = result {
        for input in objects.clone().inputs(told.as_ref()) {
            if inputs.send(input).await.is_err() {
                return false;
            }
        }
        *told = Some(objects);
    }
    // After the pods, so that who waits for this source finds them.
    new_state.tell(status);
    true
}

/// Reads what was left alone for a while, and twice where that takes all pods away.
async fn read_believed(path: &Path, told: Option<&Objects>) -> Result<Objects, ManifestError> {
    let objects = read_left_alone(path).await?;
    let pause = match told {
        Some(told) if told.pods.is_empty() => return Ok(objects),
        Some(_) => NONE_ANY_MORE,
        None => NONE_AT_FIRST,
    };
    if !objects.pods.is_empty() {
        return Ok(objects);
    }
    let patience = tokio::time::sleep(pause);
    tokio::pin!(patience);
    loop {
        tokio::select! {
            () = &mut patience => return read_left_alone(path).await,
            () = tokio::time::sleep(LEFT_ALONE) => {}
        }
        let again = read_left_alone(path).await?;
        if !again.pods.is_empty() {
            return Ok(again);
        }
    }
}

async fn read_left_alone(path: &Path) -> Result<Objects, ManifestError> {
    let mut before = Prints::of(path);
    let is_old = before.as_ref().is_ok_and(|prints| prints.are_older_than(LEFT_ALONE, clock::wall_now()));
    let mut pause = if is_old { Duration::ZERO } else { LEFT_ALONE };
    for _ in 0..TRIES {
        tokio::time::sleep(std::mem::replace(&mut pause, LEFT_ALONE)).await;
        let from = path.to_owned();
        let read = tokio::task::spawn_blocking(move || (Prints::of(&from), read(&from), Prints::of(&from)));
        let Ok((now, objects, after)) = read.await else { break };
        let is_same = matches!((&before, &now, &after), (Ok(a), Ok(b), Ok(c)) if a == b && b == c);
        if is_same || now.is_err() {
            return objects;
        }
        before = after;
    }
    Err(ManifestError::BeingWritten { path: path.to_owned() })
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
        let (_again, asked) = state::channel(0);
        let task = tokio::spawn(watch(path.clone(), sender, status, asked));
        assert_eq!(next_port(&mut inputs).await, Some(80));
        std::fs::write(&path, "kind: Pod\n").expect("write");
        let broken = states.wait_for(|state| state.reason.is_some());
        let state = tokio::time::timeout(Duration::from_secs(5), broken)
            .await
            .expect("in time")
            .expect("open")
            .clone();
        let reason = state.reason.expect("a reason");
        assert!(
            !state.up && reason.contains("pods.yaml:1: ") && reason.contains("read before stays"),
            "{reason}"
        );
        std::fs::write(dir.join("new"), manifest(81)).expect("write");
        std::fs::rename(dir.join("new"), &path).expect("rename");
        assert_eq!(next_port(&mut inputs).await, Some(81));
        task.abort();
        std::fs::remove_dir_all(&dir).expect("clean");
    }

    #[tokio::test]
    async fn a_change_that_no_watch_notices_is_read_when_it_is_asked_for() {
        let dir = std::env::temp_dir().join(format!("portolan-asked-{}", std::process::id()));
        let elsewhere = dir.join("elsewhere");
        std::fs::create_dir_all(&elsewhere).expect("dir");
        let (path, real) = (dir.join("pods.yaml"), elsewhere.join("pods.yaml"));
        std::fs::write(&real, manifest(80)).expect("write");
        std::os::unix::fs::symlink(&real, &path).expect("link");
        let (sender, mut inputs) = mpsc::channel(4);
        let (status, _states) = state::channel(SourceState::default());
        let (again, asked) = state::channel(0);
        let task = tokio::spawn(watch(path, sender, status, asked));
        assert_eq!(next_port(&mut inputs).await, Some(80));
        std::fs::write(&real, manifest(81)).expect("write");
        let early = tokio::time::timeout(Duration::from_millis(1500), inputs.recv()).await;
        assert!(early.is_err(), "{early:?}");
        again.send_modify(|count| *count += 1);
        assert_eq!(next_port(&mut inputs).await, Some(81));
        task.abort();
        std::fs::remove_dir_all(&dir).expect("clean");
    }

    #[tokio::test]
    async fn a_file_that_is_emptied_and_filled_later_never_means_that_there_are_no_pods() {
        let dir = std::env::temp_dir().join(format!("portolan-written-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("dir");
        let path = dir.join("pods.yaml");
        std::fs::write(&path, manifest(80)).expect("write");
        let (sender, mut inputs) = mpsc::channel(4);
        let (status, states) = state::channel(SourceState::default());
        let (_again, asked) = state::channel(0);
        let task = tokio::spawn(watch(path.clone(), sender, status, asked));
        assert_eq!(next_port(&mut inputs).await, Some(80));
        std::fs::File::create(&path).expect("emptied");
        let early = tokio::time::timeout(Duration::from_millis(1500), inputs.recv()).await;
        assert!(early.is_err(), "{early:?}");
        assert!(states.borrow().up);
        std::fs::write(&path, manifest(81)).expect("write");
        assert_eq!(next_port(&mut inputs).await, Some(81));
        task.abort();
        std::fs::remove_dir_all(&dir).expect("clean");
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_is_read_when_it_is_whole() {
        let dir = std::env::temp_dir().join(format!("portolan-growing-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("dir");
        let path = dir.join("pods.yaml");
        let mut file = std::fs::File::create(&path).expect("file");
        let writer = std::thread::spawn(move || {
            for byte in manifest(82).bytes() {
                std::io::Write::write_all(&mut file, &[byte]).expect("write");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let objects = read_believed(&path, None).await.expect("read");
        writer.join().expect("written");
        std::fs::remove_dir_all(&dir).expect("clean");
        assert_eq!(objects.pods.len(), 1);
    }

    #[test]
    fn two_pods_that_name_one_netns_are_refused_and_both_named() {
        let path = std::env::temp_dir().join(format!("portolan-shared-{}.yaml", std::process::id()));
        let pod = |name: &str| {
            format!(
                "kind: Pod\nmetadata: {{name: {name}, annotations: {{portolan.dev/netns: x}}}}\nspec: {{containers: [{{name: c}}]}}\n"
            )
        };
        std::fs::write(&path, format!("{}---\n{}", pod("a"), pod("b"))).expect("write");
        let refusal = crate::source::pods::file::read(&path).expect_err("refused").to_string();
        assert!(
            refusal.contains("pods default/a and default/b both name the network namespace"),
            "{refusal}"
        );
        std::fs::remove_file(&path).expect("clean");
    }
}
