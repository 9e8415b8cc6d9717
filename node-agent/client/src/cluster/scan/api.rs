//! The requests of a scan to the API server. Each has a time limit, and each failure is one sentence.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, LogParams, PostParams};
use kube::{Client, Error};
use tokio::time::timeout;

use super::job::CONTAINER;
use crate::cluster::refusal;

/// Number of objects per page of a list.
const PAGE: u32 = 500;

/// Reason why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// A sentence.
    pub(super) reason: String,
    /// True if the server refuses: the same request will fail again.
    pub(super) is_final: bool,
}

/// Access to the objects of a scan.
#[derive(Clone)]
pub(super) struct ScanApi {
    client: Client,
    namespace: String,
    time_limit: Duration,
}

impl ScanApi {
    /// Returns access to the scan's namespace. No request takes longer than the limit.
    #[must_use]
    pub(super) fn new(client: Client, namespace: &str, time_limit: Duration) -> Self {
        Self { client, namespace: namespace.to_owned(), time_limit }
    }

    /// Lists the nodes with these labels, page by page.
    pub(super) async fn nodes(&self, selector: Option<&str>) -> Result<Vec<Node>, Failure> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut params = ListParams::default().limit(PAGE);
        params.label_selector = selector.map(str::to_owned);
        let mut found = Vec::new();
        loop {
            let page = self.within(nodes.list(&params), "list nodes").await?;
            found.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(found),
            }
        }
    }

    /// Creates a Job. One that is there already is the answer to an earlier request of which only the answer was lost.
    pub(super) async fn create(&self, job: &Job) -> Result<(), Failure> {
        match self.within(self.jobs().create(&PostParams::default(), job), "create jobs").await {
            Err(failure) if failure.reason.contains("already exists") => Ok(()),
            created => created.map(drop),
        }
    }

    /// Lists the Jobs with these labels.
    pub(super) async fn list_jobs(&self, selector: &str) -> Result<Vec<Job>, Failure> {
        let params = ListParams::default().labels(selector);
        Ok(self.within(self.jobs().list(&params), "list jobs").await?.items)
    }

    /// Deletes a Job; its pods follow. One that is gone is no failure.
    pub(super) async fn delete_job(&self, name: &str) -> Result<(), Failure> {
        let jobs = self.jobs();
        let params = DeleteParams::background();
        let deleted = async {
            match jobs.delete(name, &params).await {
                Err(Error::Api(status)) if status.code == 404 => Ok(()),
                deleted => deleted.map(drop),
            }
        };
        self.within(deleted, "delete jobs").await
    }

    /// Lists the pods with these labels.
    pub(super) async fn list_pods(&self, selector: &str) -> Result<Vec<Pod>, Failure> {
        let params = ListParams::default().labels(selector);
        Ok(self.within(self.pods().list(&params), "list pods").await?.items)
    }

    /// Reads the log of a pod's container.
    pub(super) async fn log(&self, pod: &str) -> Result<String, Failure> {
        let params = LogParams { container: Some(CONTAINER.to_owned()), ..LogParams::default() };
        self.within(self.pods().logs(pod, &params), "get pods/log").await
    }

    /// Lists the events that say why a Job has no pod.
    pub(super) async fn refused_pods(&self) -> Result<Vec<Event>, Failure> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = ListParams::default().fields("involvedObject.kind=Job,reason=FailedCreate").limit(PAGE);
        Ok(self.within(events.list(&params), "list events").await?.items)
    }

    fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn within<T>(
        &self,
        request: impl Future<Output = Result<T, Error>>,
        what: &str,
    ) -> Result<T, Failure> {
        match timeout(self.time_limit, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Failure {
                reason: refusal::of_request(&error, what),
                is_final: matches!(&error, Error::Api(status) if (400..500).contains(&status.code) && status.code != 429),
            }),
            Err(_) => {
                let seconds = self.time_limit.as_secs();
                let reason = format!("cannot {what}: the API server gave no answer within {seconds} s");
                Err(Failure { reason, is_final: false })
            }
        }
    }
}
