//! Checks what the user may do, by `SelfSubjectAccessReview`, which every user may create.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use portolan_report::escape::terminal;
use tokio::time::timeout;

use super::check::Check;
use crate::cluster::refusal::{self, ROLE};
use crate::cluster::scan::args::NAMESPACE;

/// Name of the checks.
const NAME: &str = "rights";
/// First minor version of Kubernetes 1 that asks for `create` on pods/portforward.
const CREATE_SINCE: u32 = 35;

/// What `kubectl portolan scan` does in the namespace of its Jobs.
const OF_SCAN: [(&str, &str); 5] =
    [("create", "jobs"), ("list", "jobs"), ("delete", "jobs"), ("list", "pods"), ("get", "pods/log")];

/// A verb on a resource.
#[derive(Clone, Debug)]
struct Right {
    verb: &'static str,
    /// Plural, with the subresource after a slash.
    resource: &'static str,
    /// Namespace; `None`: all, or the resource has none.
    namespace: Option<String>,
}

impl Right {
    fn new(verb: &'static str, resource: &'static str, namespace: Option<&str>) -> Self {
        Self { verb, resource, namespace: namespace.map(str::to_owned) }
    }

    fn review(&self) -> SelfSubjectAccessReview {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.resource, None),
        };
        let attributes = ResourceAttributes {
            verb: Some(self.verb.to_owned()),
            group: Some(if resource == "jobs" { "batch" } else { "" }.to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            namespace: self.namespace.clone(),
            ..ResourceAttributes::default()
        };
        SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
            ..Default::default()
        }
    }

    /// Where the right is asked for, as the end of a sentence.
    fn place(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!(" in namespace {}", terminal(namespace)),
            None if self.resource == "nodes" => String::new(),
            None => " in all namespaces".to_owned(),
        }
    }
}

/// Asks the API server what its user may do.
pub(super) struct Reviewer {
    api: Api<SelfSubjectAccessReview>,
    client: Client,
    time_limit: Duration,
}

impl Reviewer {
    /// No request takes longer than the limit.
    pub(super) fn new(client: &Client, time_limit: Duration) -> Self {
        Self { api: Api::all(client.clone()), client: client.clone(), time_limit }
    }

    /// Checks the rights that the verbs need: on pods in the namespace of `--agents-namespace`, or in all; on port-forwards in the
    /// namespaces that have agents; on nodes; and those of `scan`. If the server does not review, there is one warning.
    pub(super) async fn checks(&self, listed_in: Option<&str>, agents_in: &BTreeSet<&str>) -> Vec<Check> {
        match self.all(listed_in, agents_in).await {
            Ok(checks) => checks,
            Err(reason) => vec![Check::warn(
                NAME,
                format!("unknown what you may do: {}", terminal(&reason)),
                "compare with `kubectl auth can-i --list`",
            )],
        }
    }

    async fn all(&self, listed_in: Option<&str>, agents_in: &BTreeSet<&str>) -> Result<Vec<Check>, String> {
        let mut checks = self.of_verbs(listed_in, agents_in).await?;
        if checks.is_empty() {
            // Port-forwards are asked for where agents are.
            let and_forward = if agents_in.is_empty() { "" } else { " and use pods/portforward" };
            checks.push(Check::ok(NAME, format!("you may list the agents' pods{and_forward}")));
        }
        checks.extend(self.of_nodes().await?);
        checks.extend(self.of_scan().await?);
        Ok(checks)
    }

    /// Returns a check for each missing right without which agents cannot be asked.
    async fn of_verbs(
        &self,
        listed_in: Option<&str>,
        agents_in: &BTreeSet<&str>,
    ) -> Result<Vec<Check>, String> {
        let mut checks = Vec::new();
        let list = Right::new("list", "pods", listed_in);
        if !self.may(&list).await? {
            let fix = match listed_in {
                Some(_) => format!("{ROLE}, bound to you there, allows it"),
                None => {
                    format!("{ROLE} allows it in the agents' namespace: name that with --agents-namespace")
                }
            };
            checks.push(Check::fail(NAME, missing(&list), fix));
        }
        let asks_for_create = self.asks_for_create().await;
        for namespace in agents_in {
            let fix = format!("{ROLE}, bound to you there, allows it");
            let get = Right::new("get", "pods/portforward", Some(namespace));
            if !self.may(&get).await? {
                checks.push(Check::fail(NAME, missing(&get), fix.clone()));
            }
            let create = Right::new("create", "pods/portforward", Some(namespace));
            if !self.may(&create).await? {
                checks.push(if asks_for_create {
                    Check::fail(NAME, missing(&create), fix)
                } else {
                    let found =
                        format!("{}, which Kubernetes 1.{CREATE_SINCE} and newer ask for", missing(&create));
                    Check::warn(NAME, found, fix)
                });
            }
        }
        Ok(checks)
    }

    /// `doctor` compares the agents with the nodes, and `scan` lists them.
    async fn of_nodes(&self) -> Result<Option<Check>, String> {
        let right = Right::new("list", "nodes", None);
        let fix = "a ClusterRole with `list` on nodes, bound to you, allows it; `doctor` and `scan` need it";
        Ok((!self.may(&right).await?).then(|| Check::warn(NAME, missing(&right), fix)))
    }

    async fn of_scan(&self) -> Result<Option<Check>, String> {
        let mut lacking = Vec::new();
        for (verb, resource) in OF_SCAN {
            if !self.may(&Right::new(verb, resource, Some(NAMESPACE))).await? {
                lacking.push(format!("{verb} {resource}"));
            }
        }
        let found = format!(
            "you may not {} in namespace {NAMESPACE}, which `kubectl portolan scan` needs",
            lacking.join(", ")
        );
        let fix = "bind the Role portolan-scan of docs/operations.md, or choose another --in-namespace";
        Ok((!lacking.is_empty()).then(|| Check::warn(NAME, found, fix)))
    }

    /// Returns true if the server is so new that a port-forward needs `create`. An unknown version counts as older, since a refused
    /// port-forward shows by itself.
    async fn asks_for_create(&self) -> bool {
        let Ok(Ok(version)) = timeout(self.time_limit, self.client.apiserver_version()).await else {
            return false;
        };
        // Distributions write `35+`.
        let minor = version.minor.trim_end_matches(|one: char| !one.is_ascii_digit());
        version.major == "1" && minor.parse::<u32>().is_ok_and(|minor| minor >= CREATE_SINCE)
    }

    /// Returns true if the user has the right.
    ///
    /// # Errors
    /// Why the server does not say it.
    async fn may(&self, right: &Right) -> Result<bool, String> {
        let params = PostParams::default();
        let review = right.review();
        match timeout(self.time_limit, self.api.create(&params, &review)).await {
            Ok(Ok(answer)) => Ok(answer.status.is_some_and(|status| status.allowed)),
            Ok(Err(error)) => Err(refusal::of_request(&error, "create selfsubjectaccessreviews")),
            Err(_) => Err(format!("the API server gave no answer within {} s", self.time_limit.as_secs())),
        }
    }
}

/// Returns the sentence about a missing right.
fn missing(right: &Right) -> String {
    format!("you may not {} {}{}", right.verb, right.resource, right.place())
}
