//! Takes the exceptions of a changed configuration file over while the agent runs. A file that is wrong changes nothing, and is
//! said; other settings wait for the next start, which is said too.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portolan_engine::model::exception::Rule;
use portolan_engine::model::input::Input;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::agent::stage_options::rules;
use crate::args::agent::AgentArgs;
use crate::config::{AgentConfig, ConfigError};
use crate::source::directory_watch::DirectoryWatch;
use crate::source::pods::SourceState;
use crate::source::sighup::{Asked, asked};

/// Name of the source in `status`.
pub const SOURCE: &str = "config";
/// A file that is the same after this is not being written.
const LEFT_ALONE: Duration = Duration::from_millis(200);
/// One that holds no exception any more may be one that is about to be written.
const NONE_ANY_MORE: Duration = Duration::from_secs(1);
/// So often a file that is being written is looked at before the next change is waited for.
const TRIES: u32 = 50;
/// Read again after this in any case: a link may lead to a directory that is not watched, and a jump of the wall clock moves
/// the ends of exceptions.
const ANYWAY: Duration = Duration::from_secs(10);
/// The wall clock is set a little all the time.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);
/// Of a file whose other settings are not those that run.
const WAITS: &str = "settings beside `exceptions` changed: they are taken over at the next start";

/// Follows the file that `started` was read from, whose rules the engine has; ends when the engine is gone.
/// It is read at once whenever `again` is counted up.
pub async fn follow(
    started: AgentConfig,
    inputs: mpsc::Sender<Input>,
    status: watch::Sender<SourceState>,
    mut again: Asked,
) {
    let Some((typed, path)) = started.typed.clone().and_then(|t| t.config.clone().map(|path| (t, path)))
    else {
        return;
    };
    let mut latest = started.clone();
    let mut told = rules(&latest.exceptions);
    let directory = DirectoryWatch::of(&path);
    if let Err(error) = &directory {
        tracing::warn!(path = %path.display(), %error, "cannot watch for changes; reading every 10 s");
    }
    status.send_replace(SourceState { up: true, reason: None });
    loop {
        tokio::select! {
            () = changed(directory.as_ref().ok()) => {}
            () = asked(&mut again) => {}
            () = sleep(ANYWAY) => {}
            () = inputs.closed() => return,
        }
        let Some(read) = read_left_alone(&typed, &latest).await else { continue };
        say(&status, &path, &read, &started);
        if let Ok(read) = read {
            latest = read;
        }
        let now = rules(&latest.exceptions);
        if differ(&told, &now) {
            tracing::info!(path = %path.display(), rules = now.len(), "exceptions are taken over");
            told.clone_from(&now);
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

/// Reads until two readings agree; `None` if they never do.
async fn read_left_alone(
    typed: &AgentArgs,
    latest: &AgentConfig,
) -> Option<Result<AgentConfig, ConfigError>> {
    let mut before = read(typed).await?;
    for _ in 0..TRIES {
        if before.as_ref().is_ok_and(|config| config == latest) {
            return Some(before);
        }
        let is_emptied = before.as_ref().is_ok_and(|config| config.exceptions.is_empty());
        sleep(if is_emptied { NONE_ANY_MORE } else { LEFT_ALONE }).await;
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

/// Status and diagnostics, once for each change.
fn say(
    status: &watch::Sender<SourceState>,
    path: &Path,
    read: &Result<AgentConfig, ConfigError>,
    started: &AgentConfig,
) {
    let state = match read {
        Ok(read) if read.differs_beyond_exceptions(started) => {
            SourceState { up: true, reason: Some(WAITS.to_owned()) }
        }
        Ok(_) => SourceState { up: true, reason: None },
        // Whoever gets the state says it.
        Err(error) => SourceState {
            up: false,
            reason: Some(format!("{error}; the exceptions that were read last stay")),
        },
    };
    let is_fine = state.reason.is_none();
    if state.tell(status) && is_fine {
        tracing::info!(path = %path.display(), "the configuration file says what runs");
    }
}

/// Alike but for what the clock was set meanwhile.
fn differ(told: &[Arc<Rule>], now: &[Arc<Rule>]) -> bool {
    let bare = |rule: &Rule| Rule { expires: None, ..rule.clone() };
    let is_same = |(a, b): (&Arc<Rule>, &Arc<Rule>)| {
        let ends_alike = match (a.expires, b.expires) {
            (Some(a), Some(b)) => a.since(b).max(b.since(a)) <= CLOCK_TOLERANCE,
            (a, b) => a == b,
        };
        ends_alike && bare(a) == bare(b)
    };
    told.len() != now.len() || !told.iter().zip(now).all(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Followed {
        inputs: mpsc::Receiver<Input>,
        states: watch::Receiver<SourceState>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Followed {
        fn start(path: &Path) -> Self {
            let typed = AgentArgs { config: Some(path.to_owned()), ..AgentArgs::default() };
            let config = AgentConfig::load(&typed).expect("valid");
            let (sender, inputs) = mpsc::channel(4);
            let (status, states) = watch::channel(SourceState::default());
            let (_, asked) = watch::channel(0);
            Self { inputs, states, task: tokio::spawn(follow(config, sender, status, asked)) }
        }

        async fn next(&mut self) -> Vec<String> {
            let input = tokio::time::timeout(PATIENCE, self.inputs.recv()).await.expect("in time");
            let Some(Input::Exceptions(rules)) = input else { panic!("{input:?}") };
            rules.iter().map(|rule| rule.suppression.rule.clone()).collect()
        }

        async fn state(&mut self, up: bool) -> SourceState {
            let waited = tokio::time::timeout(PATIENCE, self.states.wait_for(|state| state.up == up)).await;
            waited.expect("in time").expect("open").clone()
        }
    }

    fn rule(name: &str) -> String {
        format!("- {{name: {name}, reason: known, expires: 2999-01-01, match: {{port: 1}}}}\n")
    }

    #[tokio::test]
    async fn a_swapped_link_is_noticed_and_a_broken_file_keeps_what_was_read_last() {
        // As kubelet mounts a ConfigMap: the file is a link through `..data`, which is swapped.
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
        followed.state(true).await;
        swap("..2", &format!("exceptions:\n{}{}", rule("one"), rule("two")));
        assert_eq!(followed.next().await, ["one", "two"]);
        swap("..3", "exceptions:\n- name: one\n");
        let reason = followed.state(false).await.reason.expect("a reason");
        assert!(reason.contains("config.yaml:2: exceptions[0] \"one\": reason is missing"), "{reason}");
        swap("..4", &format!("grace: 1s\nexceptions:\n{}", rule("two")));
        assert_eq!(followed.next().await, ["two"]);
        assert_eq!(followed.state(true).await.reason.as_deref(), Some(WAITS));
        swap("..5", &format!("grace: 1s\nexceptions:\n{}", rule("three")));
        assert_eq!(followed.next().await, ["three"]);
        assert_eq!(
            followed.state(true).await.reason.as_deref(),
            Some(WAITS),
            "it runs with what it began with"
        );
        swap("..6", "# nothing\n");
        assert_eq!(followed.next().await, Vec::<String>::new());
        assert_eq!(followed.state(true).await.reason, None);
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
