//! Reads the manifests again when they change, once no write has happened for a moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan_engine::model::input::Input;
use tokio::sync::mpsc;

use super::{ManifestError, Objects, Prints, read};
use crate::source::clock;
use crate::source::directory_watch::DirectoryWatch;
use crate::source::sighup::{Reloads, requested};
use crate::state::{Reporter, State};

/// A file that is unchanged for this time counts as complete; writing a file in one go takes far less.
const UNCHANGED_FOR: Duration = Duration::from_millis(200);
/// Number of reads of a file that keeps changing before the next change is awaited.
const TRIES: u32 = 50;
/// Time after which a file without pods is accepted at the start. `kubectl get pods -o yaml > FILE` empties the file and fills
/// the file seconds later.
const NONE_AT_FIRST: Duration = Duration::from_secs(1);
/// Time after which a file without pods is accepted if the file had pods before.
const NONE_ANY_MORE: Duration = Duration::from_secs(10);
/// Interval of checks without a change notice, since a symbolic link may lead to a directory that is not watched.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// Sends the objects of `path` now and after every change; ends when the engine is gone. An invalid manifest is reported, and
/// the last valid state stays. Each request of `reloads` triggers a read at once.
pub async fn watch(path: PathBuf, inputs: mpsc::Sender<Input>, reporter: Reporter, mut reloads: Reloads) {
    let watch = DirectoryWatch::of(&path);
    if let Err(error) = &watch {
        tracing::warn!(path = %path.display(), %error, "cannot watch for changes; reading every 10 s");
    }
    let mut sent: Option<Objects> = None;
    loop {
        let before = Prints::of(&path).ok();
        if !send(&path, &mut sent, &inputs, &reporter).await {
            return;
        }
        let is_fine = reporter.state().is_up();
        loop {
            tokio::select! {
                () = changed(watch.as_ref().ok()) => break,
                () = requested(&mut reloads) => break,
                () = tokio::time::sleep(CHECK_EVERY) => {}
                () = inputs.closed() => return,
            }
            // The last read was valid and the files are unchanged, so another parse would give the same objects.
            if !is_fine || before.is_none() || Prints::of(&path).ok() != before {
                break;
            }
        }
    }
}

/// Waits for a change; for ever if the directory is not watched.
async fn changed(watch: Option<&DirectoryWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Reads the manifests and sends the changes; false when the engine is gone.
async fn send(
    path: &Path,
    sent: &mut Option<Objects>,
    inputs: &mpsc::Sender<Input>,
    reporter: &Reporter,
) -> bool {
    let result = tokio::select! {
        result = read_accepted(path, sent.as_ref()) => result,
        () = inputs.closed() => return false,
    };
    let new_state = match &result {
        Ok(_) => State::Up,
        Err(error) if sent.is_some() => {
            State::Down { reason: format!("{error}; what was read before stays") }
        }
        Err(error) => State::Down { reason: error.to_string() },
    };
    if let Ok(objects) = result {
        for input in objects.clone().inputs(sent.as_ref()) {
            if inputs.send(input).await.is_err() {
                return false;
            }
        }
        *sent = Some(objects);
    }
    // The state follows the pods, so that the pods are known once this source is up.
    reporter.report(new_state);
    true
}

/// Reads once the files are unchanged for a while; reads again later before accepting that there are no pods any more.
async fn read_accepted(path: &Path, sent: Option<&Objects>) -> Result<Objects, ManifestError> {
    let objects = read_unchanged(path).await?;
    let pause = match sent {
        Some(sent) if sent.pods.is_empty() => return Ok(objects),
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
            () = &mut patience => return read_unchanged(path).await,
            () = tokio::time::sleep(UNCHANGED_FOR) => {}
        }
        let again = read_unchanged(path).await?;
        if !again.pods.is_empty() {
            return Ok(again);
        }
    }
}

async fn read_unchanged(path: &Path) -> Result<Objects, ManifestError> {
    let mut before = Prints::of(path);
    let is_old = before.as_ref().is_ok_and(|prints| prints.are_older_than(UNCHANGED_FOR, clock::wall_now()));
    let mut pause = if is_old { Duration::ZERO } else { UNCHANGED_FOR };
    for _ in 0..TRIES {
        tokio::time::sleep(std::mem::replace(&mut pause, UNCHANGED_FOR)).await;
        let from = path.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let now = Prints::of(&from)?;
            Ok((now, read(&from), Prints::of(&from)))
        });
        let Ok(read) = read.await else { break };
        let (now, objects, after) = read?;
        if before.as_ref().is_ok_and(|before| *before == now)
            && after.as_ref().is_ok_and(|after| *after == now)
        {
            return objects;
        }
        before = after;
    }
    Err(ManifestError::BeingWritten { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch as register;

    use super::*;
    use crate::state::{Source, StateFeed};

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
        let (feed, source) = (StateFeed::default(), Source::File(path.clone()));
        let (reporter, mut states) = (feed.reporter(source.clone()), feed.subscribe());
        let (_requests, reloads) = register::channel(0);
        let task = tokio::spawn(watch(path.clone(), sender, reporter, reloads));
        assert_eq!(next_port(&mut inputs).await, Some(80));
        std::fs::write(&path, "kind: Pod\n").expect("write");
        let broken = states.wait_for(|states| states.of(source.clone()).reason().is_some());
        let state = tokio::time::timeout(Duration::from_secs(5), broken)
            .await
            .expect("in time")
            .expect("open")
            .of(source.clone());
        let reason = state.reason().expect("a reason");
        assert!(
            !state.is_up() && reason.contains("pods.yaml:1: ") && reason.contains("read before stays"),
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
        let reporter = StateFeed::default().reporter(Source::File(path.clone()));
        let (requests, reloads) = register::channel(0);
        let task = tokio::spawn(watch(path, sender, reporter, reloads));
        assert_eq!(next_port(&mut inputs).await, Some(80));
        std::fs::write(&real, manifest(81)).expect("write");
        let early = tokio::time::timeout(Duration::from_millis(1500), inputs.recv()).await;
        assert!(early.is_err(), "{early:?}");
        requests.send_modify(|count| *count += 1);
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
        let reporter = StateFeed::default().reporter(Source::File(path.clone()));
        let (_requests, reloads) = register::channel(0);
        let task = tokio::spawn(watch(path.clone(), sender, reporter.clone(), reloads));
        assert_eq!(next_port(&mut inputs).await, Some(80));
        std::fs::File::create(&path).expect("emptied");
        let early = tokio::time::timeout(Duration::from_millis(1500), inputs.recv()).await;
        assert!(early.is_err(), "{early:?}");
        assert!(reporter.state().is_up());
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
        let objects = read_accepted(&path, None).await.expect("read");
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
