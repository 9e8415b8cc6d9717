//! Starts whatever the agent follows while it runs: the configuration file, the sources of metadata, and the kernel's rings.

use std::io;

use portolan_engine::model::connection::ConnectionFact;
use portolan_engine::model::input::Input;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{reload, stage_options};
use crate::config::{AgentConfig, MetadataSource};
use crate::source::kernel::Rings;
use crate::source::pods::{cri, file};
use crate::source::sighup::Reloads;
use crate::source::{conntrack, kubernetes};
use crate::state::{Source, StateFeed};

/// Starts the followers of the configuration file and of every source of metadata.
pub fn start_sources(
    config: &AgentConfig,
    metadata: Vec<MetadataSource>,
    inputs: &mpsc::Sender<Input>,
    feed: &StateFeed,
    reloads: &Reloads,
) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    if config.typed.is_some() {
        let reporter = feed.reporter(Source::Config);
        tasks.push(tokio::spawn(reload::follow(config.clone(), inputs.clone(), reporter, reloads.clone())));
    }
    for source in metadata {
        match source {
            MetadataSource::File(path) => {
                let reporter = feed.reporter(Source::File(path.clone()));
                tasks.push(tokio::spawn(file::watch(path, inputs.clone(), reporter, reloads.clone())));
            }
            MetadataSource::Cri(socket) => {
                let reporter = feed.reporter(Source::Cri(socket.clone()));
                tasks.push(tokio::spawn(cri::follow(socket, inputs.clone(), reporter)));
            }
            MetadataSource::Kubernetes => {
                tasks.extend(kubernetes::start(&stage_options::kubernetes(config), inputs, feed));
            }
        }
    }
    tasks
}

/// Forwards the records of the rings: connections pass through connection tracking, everything else goes to the engine.
/// `queue`: maximum number of batches between the rings and connection tracking.
///
/// # Errors
/// When the thread for connection tracking cannot be started.
pub fn follow_rings(
    rings: Rings,
    inputs: &mpsc::Sender<Input>,
    connections: mpsc::Sender<Vec<ConnectionFact>>,
    feed: &StateFeed,
    queue: usize,
) -> io::Result<JoinHandle<()>> {
    let (seen, recorded) = mpsc::channel(queue);
    let reporter = feed.reporter(Source::Conntrack);
    conntrack::start("/proc".into(), recorded, connections, inputs.clone(), reporter)?;
    Ok(tokio::spawn(rings.forward(inputs.clone(), seen)))
}
