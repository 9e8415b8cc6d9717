//! What the agent follows while it runs: metadata, the configuration, the kernel's rings; and how each is doing.

use std::io;

use portolan_engine::model::connection::ConnectionFact;
use portolan_engine::model::input::Input;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::{reload, stage_options};
use crate::config::{AgentConfig, MetadataSource};
use crate::source::kernel::Rings;
use crate::source::pods::{SourceState, cri, file};
use crate::source::sighup::Asked;
use crate::source::{conntrack, kubernetes};

/// A source's name and how it is doing.
pub type SourceChange = (String, SourceState);

/// Follows the configuration file, if there is one.
fn start_reload(
    config: &AgentConfig,
    inputs: &mpsc::Sender<Input>,
    sources: &mpsc::Sender<SourceChange>,
    again: &Asked,
) -> Vec<JoinHandle<()>> {
    if config.typed.is_none() {
        return Vec::new();
    }
    let (status, states) = watch::channel(SourceState::default());
    vec![
        tokio::spawn(reload::follow(config.clone(), inputs.clone(), status, again.clone())),
        tokio::spawn(tell_states(reload::SOURCE.to_owned(), states, sources.clone())),
    ]
}

/// Starts whatever is followed while the agent runs: the configuration, and what tells of pods.
pub fn start_sources(
    config: &AgentConfig,
    metadata: Vec<MetadataSource>,
    inputs: &mpsc::Sender<Input>,
    sources: &mpsc::Sender<SourceChange>,
    again: &Asked,
) -> Vec<JoinHandle<()>> {
    let follow = |name: String, states| tokio::spawn(tell_states(name, states, sources.clone()));
    let start = |source: MetadataSource| {
        let name = stage_options::source_name(&source);
        let (status, states) = watch::channel(SourceState::default());
        match source {
            MetadataSource::File(path) => {
                vec![
                    tokio::spawn(file::watch(path, inputs.clone(), status, again.clone())),
                    follow(name, states),
                ]
            }
            MetadataSource::Cri(socket) => {
                vec![tokio::spawn(cri::follow(socket, inputs.clone(), status)), follow(name, states)]
            }
            MetadataSource::Kubernetes => kubernetes::start(&stage_options::kubernetes(config), inputs)
                .into_iter()
                .flat_map(|watching| [watching.task, follow(watching.source.to_owned(), watching.states)])
                .collect(),
        }
    };
    let mut tasks = start_reload(config, inputs, sources, again);
    tasks.extend(metadata.into_iter().flat_map(start));
    tasks
}

/// Connections go by way of connection tracking, all else straight to the engine. `queue`: batches that may wait in between.
///
/// # Errors
/// Where no thread can be started.
pub fn follow_rings(
    rings: Rings,
    inputs: &mpsc::Sender<Input>,
    connections: mpsc::Sender<Vec<ConnectionFact>>,
    sources: &mpsc::Sender<SourceChange>,
    queue: usize,
) -> io::Result<[JoinHandle<()>; 2]> {
    let (seen, recorded) = mpsc::channel(queue);
    let states = conntrack::start("/proc".into(), recorded, connections, inputs.clone())?;
    let states = tell_states(conntrack::SOURCE.to_owned(), states, sources.clone());
    Ok([tokio::spawn(rings.forward(inputs.clone(), seen)), tokio::spawn(states)])
}

/// Passes every change of a source's state on, with its name.
async fn tell_states(
    name: String,
    mut states: watch::Receiver<SourceState>,
    sources: mpsc::Sender<SourceChange>,
) {
    while states.changed().await.is_ok() {
        let state = states.borrow_and_update().clone();
        if sources.send((name.clone(), state)).await.is_err() {
            return;
        }
    }
}
