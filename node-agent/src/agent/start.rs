//! The first steps of the agent: checks what the node allows, loads the kernel programs, and makes the pipeline.

use std::io;
use std::sync::Arc;

use portolan_engine::Engine;
use portolan_engine::model::input::Input;

use crate::agent::error::AgentError;
use crate::agent::netns_actor::Attach;
use crate::agent::stage_options;
use crate::config::{AgentConfig, ListenAddress, MetadataSource};
use crate::finding_memory::FindingMemory;
use crate::finding_memory::format::Subject;
use crate::pipeline::Pipeline;
use crate::sink::convert::AgentIdentity;
use crate::sink::metrics::Metrics;
use crate::sink::stream::publish::Publisher;
use crate::sink::stream::stdout::LineSink;
use crate::sink::stream::watch_log::WatchLog;
use crate::source::kernel::{Capabilities, KernelHooks, root_cgroup};
use crate::source::{clock, node_access};
use crate::state::{Source, State, StateFeed};

/// Maximum number of lines that wait for stdout.
const STDOUT_QUEUE: usize = 16_384;

/// Loads the kernel programs, unless the agent only scans.
///
/// # Errors
/// Lists everything that the node or this pod's manifest denies the agent.
pub fn load_kernel(
    config: &AgentConfig,
    feed: &StateFeed,
) -> Result<(Option<KernelHooks>, Option<Attach>), AgentError> {
    let missing = missing(config);
    if !missing.is_empty() {
        return Err(AgentError::Blind(missing));
    }
    if config.scan_only {
        return Ok((None, None));
    }
    let (hooks, programs) = KernelHooks::load(&stage_options::kernel(config), feed)?;
    let attach = Attach { programs, has_socket_events: hooks.has_socket_events() };
    Ok((Some(hooks), Some(attach)))
}

fn missing(config: &AgentConfig) -> Vec<String> {
    let own = Capabilities::own();
    let mut missing = if config.scan_only { own.missing_to_enter() } else { own.missing() };
    let metadata = stage_options::agent_metadata(config);
    missing.extend(node_access::missing(&stage_options::node_access(&config.netns_dirs, &metadata)));
    if !config.scan_only {
        missing.extend(root_cgroup().err().into_iter().flat_map(|refusal| refusal.missing));
    }
    missing
}

/// Makes the pipeline with its engine and its sinks on stdout and the watch log.
///
/// # Errors
/// When the stdout thread cannot be started.
pub fn pipeline(
    config: &AgentConfig,
    kernel: Option<KernelHooks>,
    watch_log: Arc<WatchLog>,
    feed: &StateFeed,
) -> Result<Pipeline, AgentError> {
    let lines =
        LineSink::start(io::stdout(), STDOUT_QUEUE).map_err(AgentError::start("the stdout thread"))?;
    let publisher = Publisher::new(lines, config.output.clone(), watch_log);
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let node = config.node_name.clone().unwrap_or_else(|| uname.nodename().to_string_lossy().into_owned());
    let mut pipeline = Pipeline::new(
        Engine::new(stage_options::engine(config, kernel.as_ref())),
        kernel,
        publisher,
        Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), release.clone())),
        AgentIdentity { node: node.into(), cluster: config.cluster_name.as_deref().map(Into::into) },
        release,
        feed.subscribe(),
    );
    // Before anything is judged.
    pipeline.apply(Input::Exceptions(stage_options::rules(&config.exceptions)));
    remember(config, &mut pipeline, feed)?;
    Ok(pipeline)
}

/// Tells the engine what the last run remembered, and keeps it for the next one.
fn remember(config: &AgentConfig, pipeline: &mut Pipeline, feed: &StateFeed) -> Result<(), AgentError> {
    let Some(path) = config.state_dir.clone() else { return Ok(()) };
    let reporter = feed.reporter(Source::StateFile);
    let boot_id = match clock::boot_id() {
        Ok(boot_id) => boot_id,
        Err(error) => {
            let reason = format!("no state is kept: the id of this boot cannot be read ({error})");
            reporter.report(State::Down { reason });
            return Ok(());
        }
    };
    let subject = Subject { boot_id, node: pipeline.agent.node.to_string() };
    let most = usize::try_from(config.caps.listeners).unwrap_or(usize::MAX);
    let (memory, remembered) = FindingMemory::start(path, subject, most, clock::now(), reporter)
        .map_err(AgentError::start("the state file's thread"))?;
    pipeline.memory = Some(memory);
    pipeline.apply(Input::Remembered(remembered));
    Ok(())
}

/// Warns of settings that are allowed but rarely intended.
pub fn warn_of(config: &AgentConfig, metadata: &[MetadataSource]) {
    if metadata.is_empty() {
        tracing::warn!(
            "no source of metadata is given (--metadata): nothing tells which pods there are, so every port \
             will be `unattributed`"
        );
    }
    if let ListenAddress::Tcp(address) = &config.api
        && !address.ip().is_loopback()
    {
        tracing::warn!(
            %address,
            "--api is open to other hosts and asks nobody who they are: whoever reaches it reads every finding"
        );
    }
}
