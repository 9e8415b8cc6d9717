//! Creates the Jobs of a scan, several at a time. Requests that are under way when the scan is stopped are waited for: the
//! server may still carry them out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::api::{Failure, ScanApi};

/// Maximum number of requests at the same time.
const MAX_CONCURRENT: usize = 16;
/// How long requests under way are waited for after a stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// The requests that create Jobs.
pub(super) struct Creation {
    tasks: JoinSet<(String, Result<(), Failure>)>,
    is_stopped: Arc<AtomicBool>,
}

impl Creation {
    /// Begins to create the Jobs, which are given with their nodes.
    pub(super) fn begin(api: &ScanApi, jobs: Vec<(String, Job)>) -> Self {
        let slots = Arc::new(Semaphore::new(MAX_CONCURRENT));
        let is_stopped = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for (node, job) in jobs {
            let (api, slots, is_stopped) = (api.clone(), Arc::clone(&slots), Arc::clone(&is_stopped));
            tasks.spawn(async move {
                // Acquiring cannot fail, because the semaphore is never closed.
                let _slot = slots.acquire_owned().await;
                if is_stopped.load(Ordering::Relaxed) {
                    return (node, Ok(()));
                }
                let created = api.create(&job).await;
                (node, created)
            });
        }
        Self { tasks, is_stopped }
    }

    /// Returns a node whose Job could not be created; `None` once all requests are answered.
    pub(super) async fn next_failure(&mut self) -> Option<(String, Failure)> {
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok((node, Err(failure))) = ended {
                return Some((node, failure));
            }
        }
        None
    }

    /// Begins no further request, and waits for those under way, for a bounded time.
    pub(super) async fn stop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let _ = timeout(PATIENCE, async { while self.tasks.join_next().await.is_some() {} }).await;
    }
}
