//! Follows the pods of a scan until each node has answered, cannot answer, or the deadline has passed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::api::{Failure, ScanApi};
use super::creation::Creation;
use super::job::{self, NODE};
use super::log;
use super::pod_state::{self, PodState};
use crate::query::console::Console;
use crate::query::error::QueryError;

/// Pause between two lists of the pods, and what each node adds to it: the lists of a large cluster are large.
const STEP: Duration = Duration::from_millis(500);
const STEP_PER_NODE: Duration = Duration::from_millis(5);
/// After this time without a pod, the events of the Jobs are asked for the reason.
const POD_IS_DUE: Duration = Duration::from_secs(2);
/// Maximum number of logs that are read at the same time.
const MAX_LOGS: usize = 8;

/// What became of one node.
#[derive(Debug, Default, PartialEq)]
pub(super) struct NodeResult {
    /// The findings; `None` without an answer.
    pub(super) items: Option<Vec<Value>>,
    /// Why the answer is missing or incomplete.
    pub(super) reason: Option<String>,
    /// Further diagnostics of the scan.
    pub(super) remarks: Vec<String>,
}

impl NodeResult {
    fn missing(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::default() }
    }
}

/// The scan of several nodes while it runs.
pub(super) struct Follower<'a> {
    api: &'a ScanApi,
    scan: &'a str,
    /// Job of each node.
    jobs: BTreeMap<String, String>,
    results: BTreeMap<String, NodeResult>,
    /// What each node without a result waits for.
    pending: BTreeMap<String, String>,
    /// Nodes whose pod was there.
    seen: BTreeSet<String>,
    /// Nodes whose log is being read, or will be.
    reading: BTreeSet<String>,
    /// Node, pod and exit code of each container that ended, and whose log is not being read yet. The cluster deletes the pods
    /// after a time, so none waits for another look.
    ended: VecDeque<(String, String, i32)>,
    logs: JoinSet<(String, i32, Result<String, Failure>)>,
}

impl<'a> Follower<'a> {
    /// Follows the scan with this id. `jobs` has the name of the Job of each node.
    pub(super) fn new(api: &'a ScanApi, scan: &'a str, jobs: BTreeMap<String, String>) -> Self {
        Self {
            api,
            scan,
            jobs,
            results: BTreeMap::new(),
            pending: BTreeMap::new(),
            seen: BTreeSet::new(),
            reading: BTreeSet::new(),
            ended: VecDeque::new(),
            logs: JoinSet::new(),
        }
    }

    /// Follows until every node has a result, and returns the results by node.
    ///
    /// # Errors
    /// If stderr is closed.
    pub(super) async fn follow(
        mut self,
        creation: &mut Creation,
        deadline: Duration,
        console: &mut Console<'_>,
    ) -> Result<BTreeMap<String, NodeResult>, QueryError> {
        let begun = Instant::now();
        let nodes = u32::try_from(self.jobs.len()).unwrap_or(u32::MAX);
        let step = STEP.saturating_add(STEP_PER_NODE.saturating_mul(nodes));
        let mut created: Option<Instant> = None;
        let mut lost = None;
        while self.results.len() < self.jobs.len() && begun.elapsed() < deadline {
            let next = Instant::now() + step;
            match self.api.list_pods(&job::selector(self.scan)).await {
                Ok(pods) => {
                    lost = None;
                    self.look(&pods);
                    if created.is_some_and(|created| created.elapsed() >= POD_IS_DUE) {
                        self.look_for_pods_that_were_refused(&pods).await;
                    }
                }
                Err(failure) if failure.is_final => return Ok(self.give_up(&failure.reason)),
                Err(failure) => lost = Some(failure.reason),
            }
            self.gather_until(next.min(begun + deadline), creation, &mut created).await;
            console.progress(&format!("scanned {} of {} nodes", self.results.len(), self.jobs.len()))?;
        }
        let seconds = deadline.as_secs();
        Ok(match lost {
            Some(reason) => self.give_up(&reason),
            None => self.give_up(&format!("not done within {seconds} s (--deadline)")),
        })
    }

    /// Takes in the states of the pods.
    fn look(&mut self, pods: &[Pod]) {
        for pod in pods {
            let Some(node) = pod.annotations().get(NODE).filter(|node| self.jobs.contains_key(*node)) else {
                continue;
            };
            self.seen.insert(node.clone());
            if self.results.contains_key(node) {
                continue;
            }
            match pod_state::of(pod) {
                PodState::Pending(what) => {
                    self.pending.insert(node.clone(), what);
                }
                PodState::Stuck(reason) => {
                    self.results.insert(node.clone(), NodeResult::missing(reason));
                }
                PodState::Ended(code) => self.read_log(node.clone(), pod.name_any(), code),
            }
        }
        let present: BTreeSet<&String> = pods.iter().filter_map(|pod| pod.annotations().get(NODE)).collect();
        let gone = |node: &&String| {
            !present.contains(node) && !self.results.contains_key(*node) && !self.reading.contains(*node)
        };
        let gone: Vec<String> = self.seen.iter().filter(gone).cloned().collect();
        for node in gone {
            let reason =
                "its pod is gone before it answered: deleted by somebody else, or the node was removed";
            self.results.insert(node, NodeResult::missing(reason));
        }
    }

    /// Reads a log once. One beyond the maximum begins when another has arrived.
    fn read_log(&mut self, node: String, pod: String, code: i32) {
        if self.reading.insert(node.clone()) {
            self.ended.push_back((node, pod, code));
        }
        self.begin_logs();
    }

    fn begin_logs(&mut self) {
        while self.logs.len() < MAX_LOGS
            && let Some((node, pod, code)) = self.ended.pop_front()
        {
            let api = self.api.clone();
            self.logs.spawn(async move { (node, code, api.log(&pod).await) });
        }
    }

    /// Takes in the logs, and the failures to create a Job, that arrive until then. Sets `created` once all Jobs are created.
    async fn gather_until(&mut self, until: Instant, creation: &mut Creation, created: &mut Option<Instant>) {
        while self.results.len() < self.jobs.len() {
            tokio::select! {
                () = sleep_until(until) => return,
                failure = creation.next_failure(), if created.is_none() => match failure {
                    Some((node, failure)) => {
                        self.results.insert(node, NodeResult::missing(failure.reason));
                    }
                    None => *created = Some(Instant::now()),
                },
                Some(read) = self.logs.join_next(), if !self.logs.is_empty() => {
                    if let Ok((node, code, log)) = read {
                        self.take_log(node, code, log);
                    }
                    self.begin_logs();
                }
            }
        }
    }

    /// Takes in a log. One that cannot be read now is tried again after the next look.
    fn take_log(&mut self, node: String, code: i32, log: Result<String, Failure>) {
        self.reading.remove(&node);
        match log {
            Ok(log) => {
                self.results.insert(node, judged(&log, code));
            }
            Err(failure) if failure.is_final => {
                self.results.insert(node, NodeResult::missing(failure.reason));
            }
            Err(failure) => {
                self.pending.insert(node, failure.reason);
            }
        }
    }

    /// Gives the nodes a result whose pod the server refuses to create, such as by Pod Security or a quota.
    async fn look_for_pods_that_were_refused(&mut self, pods: &[Pod]) {
        let present: BTreeSet<&String> = pods.iter().filter_map(|pod| pod.annotations().get(NODE)).collect();
        let absent: Vec<(String, String)> = self
            .jobs
            .iter()
            .filter(|(node, _)| {
                // Where a log is being read, the pod was there.
                !present.contains(node) && !self.results.contains_key(*node) && !self.reading.contains(*node)
            })
            .map(|(node, job)| (node.clone(), job.clone()))
            .collect();
        if absent.is_empty() {
            return;
        }
        // Who may not list events only learns the reason later, and less of it.
        let events = self.api.refused_pods().await.unwrap_or_default();
        for (node, job) in absent {
            let of_job = events
                .iter()
                .filter(|event| event.involved_object.name.as_deref() == Some(job.as_str()))
                .max_by_key(|event| will_be_refused_again(event.message.as_deref().unwrap_or_default()));
            match of_job {
                Some(event) => {
                    let why = event.message.as_deref().unwrap_or("no reason is given");
                    if will_be_refused_again(why) {
                        self.results.insert(node, NodeResult::missing(refused(why)));
                    } else {
                        self.pending.insert(node, refused(why));
                    }
                }
                None => {
                    self.pending.insert(
                        node,
                        format!("no pod was created for it (kubectl describe job {job} says more)"),
                    );
                }
            }
        }
    }

    /// Gives every node without a result this reason, and what it waited for.
    fn give_up(mut self, reason: &str) -> BTreeMap<String, NodeResult> {
        for node in self.jobs.keys() {
            let pending = self.pending.get(node);
            self.results.entry(node.clone()).or_insert_with(|| match pending {
                Some(pending) => NodeResult::missing(format!("{reason}: {pending}")),
                None => NodeResult::missing(reason),
            });
        }
        self.results
    }
}

/// Returns true if admission forbids the pod, such as by Pod Security or a quota. After other failures, such as a webhook that does
/// not answer, the Job controller tries again.
fn will_be_refused_again(message: &str) -> bool {
    ["is forbidden", "violates PodSecurity", "exceeded quota"].iter().any(|words| message.contains(words))
}

/// Returns the reason of a refused pod, with what to do about Pod Security.
fn refused(message: &str) -> String {
    let message = message.strip_prefix("Error creating: ").unwrap_or(message);
    let advice = if message.contains("violates PodSecurity") {
        "; --in-namespace names a namespace with the label pod-security.kubernetes.io/enforce=privileged"
    } else {
        ""
    };
    format!("its pod is refused: {message}{advice}")
}

/// Returns the result of a container that ended.
fn judged(log: &str, code: i32) -> NodeResult {
    let mut said = log::read(log);
    let partial = said.diagnostics.iter().position(|line| line.starts_with("the answer is partial: "));
    let error = said.diagnostics.iter().position(|line| line.starts_with("error: "));
    let last = said.diagnostics.len().checked_sub(1);
    let mut words = |position: Option<usize>| position.map(|at| said.diagnostics.remove(at));
    let reason = match (code, said.items.is_some()) {
        (0 | 1, true) => None,
        (3, true) => {
            let words = words(partial).unwrap_or_else(|| "the scan says that its answer is partial".to_owned());
            Some(words.strip_prefix("the answer is partial: ").unwrap_or(&words).to_owned())
        }
        (0 | 1 | 3, false) if partial.is_some() || code != 3 => Some(
            "its log is not a whole answer: kubelet rotates long logs (10 MiB); -n, -l or --severity make it shorter"
                .to_owned(),
        ),
        (code, _) => Some(
            words(error.or(last)).unwrap_or_else(|| format!("portolan scan ended with code {code} and gave no reason")),
        ),
    };
    NodeResult { items: said.items, reason, remarks: said.diagnostics }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{judged, will_be_refused_again};

    const ANSWER: &str = "{\n  \"items\": [\n    {\"id\": \"a\"}\n  ],\n  \"schema\": \"portolan/v1\"\n}\n";

    #[track_caller]
    fn check(log: &str, code: i32, items: usize, reason: Option<&str>) {
        let result = judged(log, code);
        assert_eq!(result.items.as_ref().map_or(0, Vec::len), items, "{result:?}");
        match (&result.reason, reason) {
            (None, None) => {}
            (Some(given), Some(part)) => assert!(given.contains(part), "{given}"),
            _ => panic!("{result:?}"),
        }
    }

    #[test]
    fn exit_code_and_log_decide_together() {
        check(ANSWER, 0, 1, None);
        let partial =
            format!("{ANSWER}portolan: the answer is partial: 2 namespaces could not be looked at\n");
        check(&partial, 3, 1, Some("2 namespaces"));
        let refused = "portolan: this node does not allow it: CAP_SYS_ADMIN is missing\n";
        check(refused, 4, 0, Some("this node does not allow it: CAP_SYS_ADMIN"));
        check(&ANSWER[20..], 0, 0, Some("not a whole answer"));
        check(
            "error: unexpected argument '--node-name' found\n\nUsage: portolan scan\n",
            2,
            0,
            Some("unexpected"),
        );
        check("", 137, 0, Some("code 137"));
    }

    #[test]
    fn only_what_admission_forbids_is_refused_for_good() {
        for message in [
            "Error creating: pods \"a-x7k2p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces",
            "Error creating: pods \"a-x7k2p\" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=4, limited: pods=4",
        ] {
            assert!(will_be_refused_again(message), "{message}");
        }
        for message in [
            "Error creating: Internal error occurred: failed calling webhook \"a.b.c\": context deadline exceeded",
            "Error creating: etcdserver: request timed out",
        ] {
            assert!(!will_be_refused_again(message), "{message}");
        }
    }

    #[test]
    fn other_diagnostics_are_remarks() {
        let result = judged(&format!("portolan: 3 UDP ports may be clients'\n{ANSWER}"), 0);
        assert_eq!(result.remarks, ["3 UDP ports may be clients'"]);
        assert_eq!(result.items, Some(vec![json!({"id": "a"})]));
    }
}
