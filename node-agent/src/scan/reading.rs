//! Reads the sources of pods and the netns of the node, and gives both to the judge. Manifests are read while threads look at
//! the netns, and each netns is judged while they look at the next.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Builder};

use portolan_client::exit::Exit;
use portolan_engine::model::identity::PodUid;
use portolan_engine::model::input::Input;
use portolan_engine::model::netns::NetnsFacts;

use crate::config::MetadataSource;
use crate::outcome::report;
use crate::scan::collect::{CollectedNetns, Gaps, collect};
use crate::scan::host_pods::{HostPod, host_pods};
use crate::scan::host_root;
use crate::scan::judge::Judge;
use crate::scan::say;
use crate::source::annotation_lint::AnnotationLint;
use crate::source::netns::{HostNetns, NetnsOptions};
use crate::source::pods::file::Reading;
use crate::source::pods::{cri, file};

/// Maximum number of netns that wait for the judge.
const MAX_WAITING: usize = 1024;

/// What was read of the node, beside what the judge took.
#[derive(Debug, Default)]
pub(super) struct NodeReading {
    /// Every netns that could be entered, with its number of sockets; `None` for those of the host's netns unless requested.
    pub netns: Vec<(NetnsFacts, Option<usize>)>,
    pub gaps: Gaps,
    pub manifests: Vec<Reading>,
    pub host_pods: BTreeMap<PodUid, HostPod>,
    /// What is wrong with annotations, one line each.
    pub remarks: Vec<String>,
}

/// Reads each source and each netns once. Names on stderr what failed.
///
/// # Errors
/// The exit code, if a source cannot be read, or the netns cannot be listed.
pub(super) fn read(
    options: &NetnsOptions,
    host_root: Option<&Path>,
    sources: &[MetadataSource],
    judge: &mut Judge,
) -> Result<NodeReading, Exit> {
    let (files, runtimes): (Vec<_>, Vec<_>) =
        sources.iter().partition(|source| matches!(source, MetadataSource::File(_)));
    // A socket must not seem to be older than what its runtime tells: that is asked first. When a file is read does not matter.
    let mut pods = Pods::default();
    pods.read(&runtimes).map_err(|error| report(&error, Exit::WrongUse))?;
    let host = OnceLock::new();
    let (sender, found) = sync_channel(MAX_WAITING);
    thread::scope(|scope| {
        // When it ends, the collection ends too.
        let found: Receiver<CollectedNetns> = found;
        let host = &host;
        let collection = move || collect(options, host, &sender);
        let running = Builder::new().name("scan".to_owned()).spawn_scoped(scope, collection);
        let running = running.map_err(|error| cannot_look(&error))?;
        let read = pods.read(&files);
        let host_pods = host_pods(&pods.inputs);
        // A manifest as `kubectl get -o yaml` writes it has the UID and the container ids that cgroups name.
        let is_wanted = !host_pods.is_empty() && options.host == HostNetns::FactsOnly;
        // The threads wait for it, also if nothing else is to be done.
        let _first = host.set(if is_wanted { HostNetns::Listed } else { options.host });
        read.map_err(|error| report(&error, Exit::WrongUse))?;
        if host_root.is_some() {
            say(&host_root::missing_dirs(&options.dirs));
        }
        let mut reading = NodeReading { manifests: pods.manifests, host_pods, ..NodeReading::default() };
        let rename = |paths: &mut [String]| {
            if let Some(root) = host_root {
                host_root::rename(root, paths);
            }
        };
        let mut lint = AnnotationLint::default();
        for input in pods.inputs {
            reading.remarks.extend(lint.remarks(&input));
            judge.apply(input);
        }
        for mut netns in found {
            rename(&mut netns.facts.paths);
            let sockets = netns.scan.as_ref().map(|scan| scan.sockets.len());
            reading.netns.push((netns.facts.clone(), sockets));
            judge.apply_netns(netns);
        }
        let gaps = running.join().unwrap_or_else(|_| Err(io::Error::other("a scan thread panicked")));
        reading.gaps = gaps.map_err(|error| cannot_look(&error))?;
        reading.gaps.failed.iter_mut().for_each(|failed| rename(&mut failed.candidate.paths));
        Ok(reading)
    })
}

fn cannot_look(error: &io::Error) -> Exit {
    report(&format!("cannot look at the network namespaces: {error}"), Exit::Refused)
}

/// What the sources of pods gave so far.
#[derive(Debug, Default)]
struct Pods {
    inputs: Vec<Input>,
    /// What manifests held.
    manifests: Vec<Reading>,
}

impl Pods {
    /// Reads each source once.
    fn read(&mut self, sources: &[&MetadataSource]) -> Result<(), String> {
        if sources.is_empty() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        for source in sources {
            match source {
                MetadataSource::File(path) => {
                    let reading =
                        runtime.block_on(file::read_complete(path)).map_err(|error| error.to_string())?;
                    self.inputs.extend(reading.objects.clone().inputs(None));
                    self.manifests.push(reading);
                }
                MetadataSource::Cri(socket) => {
                    let pods =
                        runtime.block_on(cri::read(socket.clone())).map_err(|error| error.to_string())?;
                    self.inputs.push(Input::Pods { source: cri::SOURCE, pods });
                }
                MetadataSource::Kubernetes => {
                    return Err("--metadata kubernetes: only the agent follows the API server; give scan cri, or a file=PATH such \
                                as the output of `kubectl get pods -A -o yaml`"
                        .to_owned());
                }
            }
        }
        Ok(())
    }
}
