//! `kubectl portolan scan`: looks at the nodes of a cluster without installing anything. A Job on each node runs
//! `portolan scan`, the answers are merged, and everything is deleted.

mod api;
pub(super) mod args;
mod creation;
mod follow;
mod interrupt;
mod job;
mod log;
mod nodes;
mod pod_state;
mod removal;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use portolan_report::escape::terminal;

use self::api::{Failure, ScanApi};
use self::args::ScanArgs;
use self::creation::Creation;
use self::follow::{Follower, NodeResult};
use self::interrupt::Interrupt;
use self::nodes::Chosen;
use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Answers, Missing, Respondents};
use super::{agents, list};
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::filters::WhenEmpty;
use crate::query::show::FindingRows;

/// Said below every answer: a look is no watch.
const NOT_SEEN: &str = "One look: who calls these ports is unknown, and so is what was open for moments only. \
                        The agent sees both.";

/// Scans the nodes and shows their findings.
pub(super) async fn scan(
    cluster: &ClusterArgs,
    args: &ScanArgs,
    console: &mut Console<'_>,
) -> Result<Exit, ClusterError> {
    let image = args.image().ok_or(ClusterError::NoImage)?;
    let client = agents::client(cluster).await?;
    let api = ScanApi::new(client, &args.in_namespace, Duration::from_secs(cluster.timeout));
    let (chosen, now) = (choose(&api, args).await?, Timestamp::now());
    remove_leftovers(&api, now, console).await?;
    let id = scan_id(now);
    let jobs = jobs(&chosen, &id, image, args)?;
    let names = jobs.iter().map(|(node, job)| (node.clone(), job.name_any())).collect();
    // Until here nothing has been created, and a signal just ends the process.
    let mut interrupt = Interrupt::listen().map_err(ClusterError::Start)?;
    let mut creation = Creation::begin(&api, jobs);
    let deadline = Duration::from_secs(args.deadline.into());
    let followed = tokio::select! {
        results = Follower::new(&api, &id, names).follow(&mut creation, deadline, console) => Some(results),
        () = interrupt.next() => None,
    };
    let removal = Removal { api: &api, id: &id, kept: job::kept(chosen.targets.len()), cluster, args };
    let Some(results) = followed else {
        let said = console.message("stopped: deleting what the scan created (once more Ctrl-C leaves it)");
        creation.stop().await;
        // What is created is deleted whether or not stderr can be written. If its reader is gone, the scan was stopped all the same.
        let finished = removal.finish(&mut interrupt, console).await;
        return match said.map_err(ClusterError::from).and(finished) {
            Err(error) if !error.is_closed_pipe() => Err(error),
            _ => Ok(Exit::Partial),
        };
    };
    creation.stop().await;
    let is_clean = removal.finish(&mut interrupt, console).await?;
    let answers = merged(chosen, results?, console)?;
    let rows = FindingRows::wanted(args.findings.pods);
    let fail_on = args.findings.fail_on;
    let is_narrowed = !(args.filter.pairs().is_empty() && args.findings.pairs().is_empty());
    let empty = WhenEmpty { is_narrowed, suppressed: 0 };
    let mut shown = list::write_findings(&answers, empty, (args.output, &rows), fail_on, console);
    if shown.is_ok() && !answers.nodes.is_empty() {
        shown = console.message(NOT_SEEN).map_err(ClusterError::from);
    }
    Ok(match list::finish_shown(shown, &answers, fail_on, console)? {
        Exit::Fine if !is_clean => Exit::Partial,
        exit => exit,
    })
}

async fn choose(api: &ScanApi, args: &ScanArgs) -> Result<Chosen, ClusterError> {
    let listed = api.nodes(args.node_selector.as_deref()).await.map_err(failed)?;
    let chosen = nodes::choose(&listed, &args.nodes);
    if chosen.targets.is_empty() && chosen.missing.is_empty() {
        return Err(ClusterError::Scan("no node has the labels of --node-selector".to_owned()));
    }
    Ok(chosen)
}

/// Deletes what earlier scans left. A failure is no reason not to scan.
async fn remove_leftovers(
    api: &ScanApi,
    now: Timestamp,
    console: &mut Console<'_>,
) -> Result<(), ClusterError> {
    match removal::remove_leftovers(api, now).await {
        Ok(0) => {}
        Ok(count) => console.message(&format!("deleted {count} Jobs that an earlier scan left"))?,
        // Without these rights the own Jobs could not be deleted either.
        Err(failure) if failure.is_final => return Err(failed(failure)),
        Err(failure) => console.message(&terminal(&failure.reason))?,
    }
    Ok(())
}

fn failed(failure: Failure) -> ClusterError {
    ClusterError::Scan(failure.reason)
}

/// Returns an id that tells scans apart: the time in nanoseconds and the process, in letters that names and labels may have.
fn scan_id(now: Timestamp) -> String {
    let mut number = now.as_nanosecond().unsigned_abs() ^ (u128::from(std::process::id()) << 40);
    let mut id = String::new();
    while id.len() < 10 {
        let digit = u32::try_from(number % 36).unwrap_or(0);
        id.extend(char::from_digit(digit, 36));
        number /= 36;
    }
    id
}

fn jobs(chosen: &Chosen, id: &str, image: &str, args: &ScanArgs) -> Result<Vec<(String, Job)>, ClusterError> {
    let kept = job::kept(chosen.targets.len());
    let jobs = chosen.targets.iter().enumerate().map(|(number, target)| {
        let job = job::job(target, number, (id, kept), image, args);
        job.map(|job| (target.node.clone(), job)).map_err(|error| ClusterError::Scan(error.to_string()))
    });
    jobs.collect()
}

/// The deletion of what a scan created.
struct Removal<'a> {
    api: &'a ScanApi,
    id: &'a str,
    /// Seconds for which the cluster keeps an ended Job.
    kept: u32,
    cluster: &'a ClusterArgs,
    args: &'a ScanArgs,
}

impl Removal<'_> {
    /// Deletes, and says what could not be deleted. Returns true if nothing is left.
    async fn finish(
        &self,
        interrupt: &mut Interrupt,
        console: &mut Console<'_>,
    ) -> Result<bool, ClusterError> {
        let removed = tokio::select! {
            removed = removal::remove(self.api, self.id) => removed,
            () = interrupt.next() => Err("stopped".to_owned()),
        };
        let Err(reason) = removed else { return Ok(true) };
        console.message(&terminal(&format!("what the scan created is perhaps not deleted: {reason}")))?;
        console.message(&format!(
            "the cluster ends and deletes it within {} s by itself; to delete it now: {}",
            job::active_deadline(self.args).saturating_add(self.kept),
            self.command()
        ))?;
        Ok(false)
    }

    /// The command of kubectl that deletes the objects of this scan.
    fn command(&self) -> String {
        let file = self.cluster.kubeconfig.as_ref().map(|path| format!(" --kubeconfig {}", path.display()));
        let context = self.cluster.context.as_ref().map(|context| format!(" --context {context}"));
        terminal(&format!(
            "kubectl{}{} -n {} delete jobs -l {}={}",
            file.unwrap_or_default(),
            context.unwrap_or_default(),
            self.args.in_namespace,
            job::SCAN,
            self.id
        ))
    }
}

/// Merges the results of the nodes, and passes on what the scans remarked.
fn merged(
    chosen: Chosen,
    results: BTreeMap<String, NodeResult>,
    console: &mut Console<'_>,
) -> Result<Answers, ClusterError> {
    let mut answers = Answers { from: Respondents::Scan, ..Answers::default() };
    let missing = |node: &str, reason: &str, answered: bool| Missing {
        node: terminal(node),
        reason: terminal(reason),
        answered,
    };
    for (node, reason) in &chosen.missing {
        answers.missing.push(missing(node, reason, false));
    }
    for (node, result) in results {
        for remark in &result.remarks {
            console.message(&terminal(&format!("{node}: {remark}")))?;
        }
        let answered = result.items.is_some();
        if answered {
            answers.nodes.insert(node.clone());
        }
        answers.items.extend(result.items.into_iter().flatten());
        if let Some(reason) = result.reason {
            answers.missing.push(missing(&node, &reason, answered));
        }
    }
    answers.missing.sort();
    Ok(answers)
}
