//! Candidates for completion that the command line does not contain: contexts of the kubeconfig, and namespaces and pods of
//! the cluster. They may be missing: whoever waits for them waits for the shell.

use std::ffi::{OsStr, OsString};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, ListParams};
use kube::config::Kubeconfig;
use kube::{Client, ResourceExt};

use super::agents;
use super::args::{Cli, ClusterArgs};

/// How long a shell waits for the cluster. Programs for credentials that the kubeconfig names are included.
const PATIENCE: Duration = Duration::from_secs(3);
/// Maximum number of objects that are listed.
const MOST: u32 = 500;

/// Lets the options of a command, and of its subcommands, complete values from kubeconfig and cluster. The words before the
/// completed one say which cluster.
pub(super) fn attach(command: Command, words: &[OsString]) -> Command {
    let line = [OsString::from("kubectl-portolan")].into_iter().chain(words.iter().cloned());
    let typed = Cli::command().ignore_errors(true).try_get_matches_from(line).ok();
    let Some(cluster) = typed.as_ref().and_then(|typed| ClusterArgs::from_arg_matches(typed).ok()) else {
        return command;
    };
    let namespace = typed.as_ref().and_then(namespace);
    attach_to(command, &cluster, namespace.as_deref())
}

/// Returns the value of `--namespace` of the subcommand.
fn namespace(typed: &ArgMatches) -> Option<String> {
    let (_, typed) = typed.subcommand()?;
    typed.try_get_one::<String>("namespace").ok().flatten().cloned()
}

fn attach_to(command: Command, cluster: &ClusterArgs, namespace: Option<&str>) -> Command {
    command
        .mut_args(|arg| attach_to_argument(arg, cluster, namespace))
        .mut_subcommands(|command| attach_to(command, cluster, namespace))
}

fn attach_to_argument(arg: Arg, cluster: &ClusterArgs, namespace: Option<&str>) -> Arg {
    let cluster = cluster.clone();
    match arg.get_id().as_str() {
        "context" => {
            arg.add(ArgValueCompleter::new(move |typed: &OsStr| starting_with(typed, contexts(&cluster))))
        }
        "namespace" | "agents_namespace" => arg.add(ArgValueCompleter::new(move |typed: &OsStr| {
            starting_with(typed, listed(&cluster, |client| list_namespaces(client, "")))
        })),
        "target" => {
            let namespace = namespace.map(str::to_owned);
            arg.add(ArgValueCompleter::new(move |typed: &OsStr| {
                starting_with(typed, targets(&cluster, namespace.clone(), typed))
            }))
        }
        _ => arg,
    }
}

fn starting_with(typed: &OsStr, names: Vec<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    names.into_iter().filter(|name| name.starts_with(&*typed)).map(CompletionCandidate::new).collect()
}

fn contexts(cluster: &ClusterArgs) -> Vec<String> {
    let file = match &cluster.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    file.map(|file| file.contexts.into_iter().map(|context| context.name).collect()).unwrap_or_default()
}

/// Returns pods: of the namespace of `--namespace`, else of the namespace before the slash, else namespaces with a slash.
fn targets(cluster: &ClusterArgs, namespace: Option<String>, typed: &OsStr) -> Vec<String> {
    let typed = typed.to_string_lossy();
    match (namespace, typed.split_once('/')) {
        (Some(namespace), _) => listed(cluster, move |client| list_pods(client, namespace, String::new())),
        (None, Some((namespace, _))) => {
            let (namespace, prefix) = (namespace.to_owned(), format!("{namespace}/"));
            listed(cluster, move |client| list_pods(client, namespace, prefix))
        }
        (None, None) => listed(cluster, |client| list_namespaces(client, "/")),
    }
}

async fn list_namespaces(client: Client, suffix: &'static str) -> Option<Vec<String>> {
    let list = Api::<Namespace>::all(client).list_metadata(&ListParams::default().limit(MOST)).await.ok()?;
    Some(list.items.into_iter().map(|item| item.name_any() + suffix).collect())
}

async fn list_pods(client: Client, namespace: String, prefix: String) -> Option<Vec<String>> {
    let pods = Api::<Pod>::namespaced(client, &namespace);
    let list = pods.list_metadata(&ListParams::default().limit(MOST)).await.ok()?;
    Some(list.items.into_iter().map(|item| format!("{prefix}{}", item.name_any())).collect())
}

/// Returns what the cluster lists within [`PATIENCE`], or nothing.
///
/// A thread of its own does the work: the Kubernetes client runs a program for credentials without yielding. The thread ends
/// with the process.
fn listed<F>(cluster: &ClusterArgs, list: impl FnOnce(Client) -> F + Send + 'static) -> Vec<String>
where
    F: Future<Output = Option<Vec<String>>>,
{
    let cluster = cluster.clone();
    let (done, names) = mpsc::channel();
    thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        let found = runtime.block_on(async { list(agents::client(&cluster).await.ok()?).await });
        // The receiver is gone once patience is over.
        let _ = done.send(found.unwrap_or_default());
    });
    names.recv_timeout(PATIENCE).unwrap_or_default()
}
