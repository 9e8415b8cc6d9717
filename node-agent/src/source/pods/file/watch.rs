//! Reads the manifests again when they change, once no write has happened for a moment.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portolan_engine::model::input::Input;
use tokio::sync::mpsc;

use super::manifest_files::{ManifestError, Prints};
use super::object_name::ObjectName;
use super::objects::Objects;
use super::reading::Reading;
use super::{missing_netns, read};
use crate::source::clock;
use crate::source::directory_watch::DirectoryWatch;
use crate::source::kubernetes::objects::faulty::{INVALID, OVER_LIMIT};
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

/// Sends the objects of `path` now and after every change; ends when the engine is gone. An object that cannot be understood is
/// reported, and its last valid version stays; so does everything if the path cannot be read. Each request of `reloads`
/// triggers a read at once.
pub async fn watch(path: PathBuf, inputs: mpsc::Sender<Input>, reporter: Reporter, mut reloads: Reloads) {
    let watch = DirectoryWatch::of(&path);
    if let Err(error) = &watch {
        tracing::warn!(path = %path.display(), %error, "cannot watch for changes; reading every 10 s");
    }
    let mut follower = Follower { path, inputs, reporter, sent: None, reported: BTreeSet::new() };
    loop {
        let before = Prints::of(&follower.path).ok();
        if !follower.send().await {
            return;
        }
        let is_fine = follower.reporter.state().is_up();
        loop {
            tokio::select! {
                () = changed(watch.as_ref().ok()) => break,
                () = requested(&mut reloads) => break,
                () = tokio::time::sleep(CHECK_EVERY) => {}
                () = follower.inputs.closed() => return,
            }
            // The last read was valid and the files are unchanged, so another parse would give the same objects.
            if !is_fine || before.is_none() || Prints::of(&follower.path).ok() != before {
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

/// Follows one path.
struct Follower {
    path: PathBuf,
    inputs: mpsc::Sender<Input>,
    reporter: Reporter,
    /// The objects that the engine knows.
    sent: Option<Objects>,
    /// Faults and remarks that were logged, and still hold.
    reported: BTreeSet<String>,
}

impl Follower {
    /// Reads the manifests and sends the changes; false when the engine is gone.
    async fn send(&mut self) -> bool {
        let result = tokio::select! {
            result = read_accepted(&self.path, self.sent.as_ref()) => result,
            () = self.inputs.closed() => return false,
        };
        let new_state = match result {
            Ok(reading) => {
                let amiss = amiss(&reading);
                if !self.send_reading(reading).await {
                    return false;
                }
                State::up_with(amiss)
            }
            Err(error) if self.sent.is_some() => {
                State::Down { reason: format!("{error}; what was read before stays") }
            }
            Err(error) => State::Down { reason: error.to_string() },
        };
        // The state follows the pods, so that the pods are known once this source is up.
        self.reporter.report(new_state);
        true
    }

    /// Sends what changed since the last reading, and reports what is newly amiss; false when the engine is gone.
    async fn send_reading(&mut self, reading: Reading) -> bool {
        let lost = self.report(&reading);
        let Reading { mut objects, faults, cuts, .. } = reading;
        if let Some(sent) = self.sent.as_ref().filter(|_| !faults.is_empty()) {
            let faulty: Option<BTreeSet<ObjectName>> = faults.into_iter().map(|fault| fault.object).collect();
            // Without the name of what cannot be understood, everything that is missing may be meant.
            objects.add_missing(sent, |name| faulty.as_ref().is_none_or(|faulty| faulty.contains(name)));
        }
        let is_news = self.sent.as_ref() != Some(&objects);
        let losses = [(INVALID, lost), (OVER_LIMIT, if is_news { cuts } else { 0 })];
        let losses = losses.into_iter().filter(|(_, count)| *count > 0);
        let losses = losses.map(|(reason, count)| Input::Lost { reason, count, recovered: false });
        for input in objects.clone().inputs(self.sent.as_ref()).into_iter().chain(losses) {
            if self.inputs.send(input).await.is_err() {
                return false;
            }
        }
        self.sent = Some(objects);
        true
    }

    /// Logs what is amiss and was not logged before; returns the number of new faults.
    fn report(&mut self, reading: &Reading) -> u64 {
        let faults: BTreeSet<String> = reading.faults.iter().map(ToString::to_string).collect();
        let new_faults = faults.iter().filter(|fault| !self.reported.contains(*fault));
        let mut lost = 0_u64;
        for fault in new_faults {
            lost = lost.saturating_add(1);
            tracing::warn!(
                "an object of the manifests cannot be understood, and does not count: {fault}; what was read of it before stays"
            );
        }
        let missing = missing_netns(&reading.objects, |netns| Path::new(netns).exists());
        let remarks: BTreeSet<String> = reading.remarks.iter().cloned().chain(missing).collect();
        for remark in remarks.iter().filter(|remark| !self.reported.contains(*remark)) {
            tracing::warn!("{remark}");
        }
        self.reported = faults.into_iter().chain(remarks).collect();
        lost
    }
}

/// Returns in one line what is amiss with a reading that is valid in part.
fn amiss(reading: &Reading) -> Option<String> {
    let count = reading.faults.len();
    let faults = reading.faults.first().map(|first| match count {
        1 => format!("1 object cannot be understood: {first}"),
        _ => format!("{count} objects cannot be understood, the first: {first}"),
    });
    let parts: Vec<&str> =
        faults.as_deref().into_iter().chain(reading.remarks.first().map(String::as_str)).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Reads once the files are unchanged for a while; reads again later before accepting that there are no pods any more.
async fn read_accepted(path: &Path, sent: Option<&Objects>) -> Result<Reading, ManifestError> {
    let reading = read_complete(path).await?;
    let pause = match sent {
        Some(sent) if sent.pods.is_empty() => return Ok(reading),
        Some(_) => NONE_ANY_MORE,
        None => NONE_AT_FIRST,
    };
    if !reading.objects.pods.is_empty() {
        return Ok(reading);
    }
    let patience = tokio::time::sleep(pause);
    tokio::pin!(patience);
    loop {
        tokio::select! {
            () = &mut patience => return read_complete(path).await,
            () = tokio::time::sleep(UNCHANGED_FOR) => {}
        }
        let again = read_complete(path).await?;
        if !again.objects.pods.is_empty() {
            return Ok(again);
        }
    }
}

/// Reads the manifests once they are unchanged for a moment, so that no file is read while it is being written.
///
/// # Errors
/// As [`read`], and for files that change all the time.
pub async fn read_complete(path: &Path) -> Result<Reading, ManifestError> {
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
        let objects = read_accepted(&path, None).await.expect("read").objects;
        writer.join().expect("written");
        std::fs::remove_dir_all(&dir).expect("clean");
        assert_eq!(objects.pods.len(), 1);
    }
}
