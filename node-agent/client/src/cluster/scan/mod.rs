//! `kubectl portolan scan`: looks at the nodes of a cluster without installing anything. A Job on each node runs
//! `portolan scan`, the answers are merged, and everything is deleted.

mod api;
pub(super) mod args;
mod creation;
mod follow;
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
use self::nodes::Chosen;
use super::args::ClusterArgs;
use super::error::ClusterError;
use super::fleet::{Answers, Missing, Respondents};
use super::interrupt::Interrupt;
use super::{agents, list};
use crate::exit::Exit;
use crate::query::console::Console;
use crate::query::error::QueryError;
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
    let mut messages = Messages::default();
    remove_leftovers(&api, now, &mut messages, console).await?;
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
        messages.say("stopped: deleting what the scan created (once more Ctrl-C leaves it)", console);
        creation.stop().await;
        // What is created is deleted whether or not stderr can be written. If its reader is gone, the scan was stopped all the same.
        removal.finish(&mut interrupt, &mut messages, console).await;
        let written = list::write_unanswered("stopped".to_owned(), args.output, console);
        return match written.and(messages.end()) {
            Err(error) if !error.is_closed_pipe() => Err(error),
            _ => Ok(Exit::Partial),
        };
    };
    creation.stop().await;
    let is_clean = removal.finish(&mut interrupt, &mut messages, console).await;
    let answers = merged(chosen, results?, &mut messages, console);
    let rows = FindingRows::wanted(args.findings.pods);
    let fail_on = args.findings.fail_on;
    let is_narrowed = !(args.filter.pairs().is_empty() && args.findings.pairs().is_empty());
    let empty = WhenEmpty { is_narrowed, suppressed: 0 };
    let mut shown = list::write_findings(&answers, empty, (args.output, &rows), fail_on, console);
    if shown.is_ok() {
        if !answers.nodes.is_empty() {
            messages.say(NOT_SEEN, console);
        }
        shown = messages.end();
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

/// The messages of a scan. One that cannot be written ends the command only after the findings are written.
#[derive(Default)]
struct Messages {
    /// The first failure.
    failure: Option<QueryError>,
}

impl Messages {
    fn say(&mut self, text: &str, console: &mut Console<'_>) {
        if let Err(error) = console.message(text) {
            self.failure.get_or_insert(error);
        }
    }

    /// Fails if a message could not be written.
    fn end(self) -> Result<(), ClusterError> {
        self.failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Deletes what earlier scans left. A failure is no reason not to scan.
async fn remove_leftovers(
    api: &ScanApi,
    now: Timestamp,
    messages: &mut Messages,
    console: &mut Console<'_>,
) -> Result<(), ClusterError> {
    match removal::remove_leftovers(api, now).await {
        Ok(0) => {}
        Ok(count) => messages.say(&format!("deleted {count} Jobs that an earlier scan left"), console),
        // Without these rights the own Jobs could not be deleted either.
        Err(failure) if failure.is_final => return Err(failed(failure)),
        Err(failure) => messages.say(&terminal(&failure.reason), console),
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
        messages: &mut Messages,
        console: &mut Console<'_>,
    ) -> bool {
        let removed = tokio::select! {
            removed = removal::remove(self.api, self.id) => removed,
            () = interrupt.next() => Err("stopped".to_owned()),
        };
        let Err(reason) = removed else { return true };
        messages.say(&terminal(&format!("what the scan created is perhaps not deleted: {reason}")), console);
        let advice = format!(
            "the cluster ends and deletes it within {} s by itself; to delete it now: {}",
            job::active_deadline(self.args).saturating_add(self.kept),
            self.command()
        );
        messages.say(&advice, console);
        false
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
    messages: &mut Messages,
    console: &mut Console<'_>,
) -> Answers {
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
            messages.say(&terminal(&format!("{node}: {remark}")), console);
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
    answers
}
