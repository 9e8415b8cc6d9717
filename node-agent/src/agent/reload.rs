//! Applies changed exceptions of the configuration file while the agent runs. An invalid file changes nothing and is
//! reported. Other settings take effect at the next start, which is reported as well.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portolan_engine::model::exception::Rule;
use portolan_engine::model::input::Input;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::agent::stage_options::rules;
use crate::args::agent::AgentArgs;
use crate::config::{AgentConfig, ConfigError};
use crate::source::directory_watch::DirectoryWatch;
use crate::source::sighup::{Reloads, requested};
use crate::state::{Reporter, State};

/// A file that is unchanged for this time counts as complete.
const UNCHANGED_FOR: Duration = Duration::from_millis(200);
/// The same for a file without exceptions: such a file may be one that is being written.
const NONE_ANY_MORE: Duration = Duration::from_secs(1);
/// Number of reads of a file that keeps changing before the next change is awaited.
const TRIES: u32 = 50;
/// Interval of reads without a change notice: a symbolic link may lead to a directory that is not watched, and a jump of the
/// wall clock moves the expiry times of exceptions.
const READ_EVERY: Duration = Duration::from_secs(10);
/// Difference of expiry times that counts as none, since the wall clock is adjusted all the time.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);
/// Reason in status while the file has other settings than the running agent.
const WAITS: &str = "settings beside `exceptions` changed: they are taken over at the next start";

/// Follows the file that `started` was read from. The engine already has those rules. Ends when the engine is gone. Each
/// request of `reloads` triggers a read at once.
pub async fn follow(
    started: AgentConfig,
    inputs: mpsc::Sender<Input>,
    reporter: Reporter,
    mut reloads: Reloads,
) {
    let Some((typed, path)) = started.typed.clone().and_then(|t| t.config.clone().map(|path| (t, path)))
    else {
        return;
    };
    let mut latest = started.clone();
    let mut applied = rules(&latest.exceptions);
    let directory = DirectoryWatch::of(&path);
    if let Err(error) = &directory {
        tracing::warn!(path = %path.display(), %error, "cannot watch for changes; reading every 10 s");
    }
    reporter.report(State::Up);
    loop {
        tokio::select! {
            () = changed(directory.as_ref().ok()) => {}
            () = requested(&mut reloads) => {}
            () = sleep(READ_EVERY) => {}
            () = inputs.closed() => return,
        }
        let Some(read) = read_unchanged(&typed, &latest).await else { continue };
        report(&reporter, &path, &read, &started);
        if let Ok(read) = read {
            latest = read;
        }
        let now = rules(&latest.exceptions);
        if differ(&applied, &now) {
            tracing::info!(path = %path.display(), rules = now.len(), "exceptions are taken over");
            applied.clone_from(&now);
            if inputs.send(Input::Exceptions(now)).await.is_err() {
                return;
            }
        }
    }
}

async fn changed(directory: Option<&DirectoryWatch>) {
    match directory {
        Some(directory) => directory.changed().await,
        None => std::future::pending().await,
    }
}

/// Reads until two reads agree; `None` if they never do.
async fn read_unchanged(typed: &AgentArgs, latest: &AgentConfig) -> Option<Result<AgentConfig, ConfigError>> {
    let mut before = read(typed).await?;
    for _ in 0..TRIES {
        if before.as_ref().is_ok_and(|config| config == latest) {
            return Some(before);
        }
        let is_emptied = before.as_ref().is_ok_and(|config| config.exceptions.is_empty());
        sleep(if is_emptied { NONE_ANY_MORE } else { UNCHANGED_FOR }).await;
        let after = read(typed).await?;
        if before == after {
            return Some(after);
        }
        before = after;
    }
    None
}

async fn read(typed: &AgentArgs) -> Option<Result<AgentConfig, ConfigError>> {
    let typed = typed.clone();
    tokio::task::spawn_blocking(move || AgentConfig::load(&typed)).await.ok()
}

/// Reports the state, and logs each change once.
fn report(reporter: &Reporter, path: &Path, read: &Result<AgentConfig, ConfigError>, started: &AgentConfig) {
    let state = match read {
        Ok(read) if read.differs_beyond_exceptions(started) => State::Degraded { reason: WAITS.to_owned() },
        Ok(_) => State::Up,
        Err(error) => State::Down { reason: format!("{error}; the exceptions that were read last stay") },
    };
    let is_fine = state == State::Up;
    if reporter.report(state) && is_fine {
        tracing::info!(path = %path.display(), "the configuration file says what runs");
    }
}

/// True if the rules differ in more than small adjustments of the clock.
fn differ(before: &[Arc<Rule>], now: &[Arc<Rule>]) -> bool {
    let bare = |rule: &Rule| Rule { expires: None, ..rule.clone() };
    let is_same = |(a, b): (&Arc<Rule>, &Arc<Rule>)| {
        let ends_alike = match (a.expires, b.expires) {
            (Some(a), Some(b)) => a.since(b).max(b.since(a)) <= CLOCK_TOLERANCE,
            (a, b) => a == b,
        };
        ends_alike && bare(a) == bare(b)
    };
    before.len() != now.len() || !before.iter().zip(now).all(is_same)
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::state::{Source, StateFeed, States};

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Followed {
        inputs: mpsc::Receiver<Input>,
        states: watch::Receiver<States>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Followed {
        fn start(path: &Path) -> Self {
            let typed = AgentArgs { config: Some(path.to_owned()), ..AgentArgs::default() };
            let config = AgentConfig::load(&typed).expect("valid");
            let (sender, inputs) = mpsc::channel(4);
            let feed = StateFeed::default();
            let (_, reloads) = watch::channel(0);
            let task = tokio::spawn(follow(config, sender, feed.reporter(Source::Config), reloads));
            Self { inputs, states: feed.subscribe(), task }
        }

        async fn next(&mut self) -> Vec<String> {
            let input = tokio::time::timeout(PATIENCE, self.inputs.recv()).await.expect("in time");
            let Some(Input::Exceptions(rules)) = input else { panic!("{input:?}") };
            rules.iter().map(|rule| rule.suppression.rule.clone()).collect()
        }

        /// The reason of the next state that is up, or is not.
        async fn reason(&mut self, up: bool) -> Option<String> {
            let has_begun = |state: &State| *state != State::Starting;
            let reached = self.states.wait_for(|states| {
                let state = states.of(Source::Config);
                has_begun(&state) && state.is_up() == up
            });
            let waited = tokio::time::timeout(PATIENCE, reached).await;
            let state = waited.expect("in time").expect("open").of(Source::Config);
            state.reason().map(str::to_owned)
        }
    }

    fn rule(name: &str) -> String {
        format!("- {{name: {name}, reason: known, expires: 2999-01-01, match: {{port: 1}}}}\n")
    }

    #[tokio::test]
    async fn a_swapped_link_is_noticed_and_a_broken_file_keeps_what_was_read_last() {
        // Kubelet mounts a ConfigMap in this way: the file is a link through `..data`, which is swapped.
        let dir = std::env::temp_dir().join(format!("portolan-rules-{}", std::process::id()));
        let swap = |name: &str, text: &str| {
            std::fs::create_dir_all(dir.join(name)).expect("dir");
            std::fs::write(dir.join(name).join("config.yaml"), text).expect("write");
            std::os::unix::fs::symlink(name, dir.join("..data_tmp")).expect("link");
            std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).expect("swap");
        };
        swap("..1", &format!("exceptions:\n{}", rule("one")));
        std::os::unix::fs::symlink("..data/config.yaml", dir.join("config.yaml")).expect("link");
        let mut followed = Followed::start(&dir.join("config.yaml"));
        followed.reason(true).await;
        swap("..2", &format!("exceptions:\n{}{}", rule("one"), rule("two")));
        assert_eq!(followed.next().await, ["one", "two"]);
        swap("..3", "exceptions:\n- name: one\n");
        let reason = followed.reason(false).await.expect("a reason");
        assert!(reason.contains("config.yaml:2: exceptions[0] \"one\": reason is missing"), "{reason}");
        swap("..4", &format!("grace: 1s\nexceptions:\n{}", rule("two")));
        assert_eq!(followed.next().await, ["two"]);
        assert_eq!(followed.reason(true).await.as_deref(), Some(WAITS));
        swap("..5", &format!("grace: 1s\nexceptions:\n{}", rule("three")));
        assert_eq!(followed.next().await, ["three"]);
        assert_eq!(followed.reason(true).await.as_deref(), Some(WAITS), "it runs with what it began with");
        swap("..6", "# nothing\n");
        assert_eq!(followed.next().await, Vec::<String>::new());
        assert_eq!(followed.reason(true).await, None);
        assert!(followed.inputs.try_recv().is_err(), "the broken file told nothing");
        followed.task.abort();
        std::fs::remove_dir_all(&dir).expect("clean");
    }

    #[test]
    fn a_clock_that_is_set_a_little_changes_no_rule() {
        let at = |secs: u64| {
            let rule = crate::config::exceptions::Exception {
                suppression: Arc::new(portolan_engine::model::finding::Suppression {
                    rule: "a".into(),
                    reason: "b".into(),
                }),
                matches: portolan_engine::model::exception::Match::default(),
                expires: Some(jiff::Timestamp::UNIX_EPOCH),
            };
            vec![Arc::new(rule.rule(|_| portolan_engine::model::identity::BootTime(secs * 1_000_000_000)))]
        };
        assert!(!differ(&at(100), &at(101)));
        assert!(differ(&at(100), &at(3700)) && differ(&at(3700), &at(100)));
        assert!(differ(&at(100), &[]));
    }
}
