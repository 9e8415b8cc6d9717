//! Deletes what scans created: this one's Jobs and pods, and what earlier scans left that were ended without a chance to
//! delete.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use tokio::time::{sleep, timeout};

use super::api::{Failure, ScanApi};
use super::job::{self, MANAGED_BY};

/// How long the deletion may take until it is reported as failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at what is left.
const STEP: Duration = Duration::from_millis(300);
/// Seconds that clocks may differ: a Job that could still belong to a running scan is not deleted.
const CLOCK_SLACK: i64 = 300;

/// Deletes the Jobs of a scan, and waits until they and their pods are gone.
///
/// # Errors
/// Why something is left.
pub(super) async fn remove(api: &ScanApi, scan: &str) -> Result<(), String> {
    let selector = job::selector(scan);
    let mut last = format!("objects are still there after {} s", PATIENCE.as_secs());
    let removed = timeout(PATIENCE, async {
        loop {
            match step(api, &selector).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(failure) if failure.is_final => return Err(failure.reason),
                Err(failure) => last = failure.reason,
            }
            sleep(STEP).await;
        }
    });
    removed.await.unwrap_or(Err(last))
}

/// Deletes what is there. Returns true if nothing was.
async fn step(api: &ScanApi, selector: &str) -> Result<bool, Failure> {
    let jobs = api.list_jobs(selector).await?;
    for job in jobs.iter().filter(|job| job.metadata.deletion_timestamp.is_none()) {
        api.delete_job(&job.name_any()).await?;
    }
    Ok(jobs.is_empty() && api.list_pods(selector).await?.is_empty())
}

/// Deletes the Jobs of scans that must have ended. Returns their number.
///
/// # Errors
/// If the Jobs cannot be listed or deleted.
pub(super) async fn remove_leftovers(api: &ScanApi, now: Timestamp) -> Result<usize, Failure> {
    let jobs = api.list_jobs(&format!("{}={},{}", MANAGED_BY.0, MANAGED_BY.1, job::SCAN)).await?;
    let mut removed = 0;
    for job in jobs.iter().filter(|job| is_left_over(job, now)) {
        api.delete_job(&job.name_any()).await?;
        removed += 1;
    }
    Ok(removed)
}

/// Returns true if the deadline of the Job and the time in which its log is read have passed.
fn is_left_over(job: &Job, now: Timestamp) -> bool {
    let created = job.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let deadline = job.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
    let kept = job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished).unwrap_or_default();
    let (Some(created), Some(deadline)) = (created, deadline) else { return false };
    let age = now.as_second().saturating_sub(created.as_second());
    age > deadline.saturating_add(i64::from(kept)).saturating_add(CLOCK_SLACK)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::is_left_over;

    #[test]
    fn only_a_job_past_its_deadline_is_left_over() {
        let job = serde_json::from_value(json!({
            "metadata": { "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "activeDeadlineSeconds": 150, "ttlSecondsAfterFinished": 60, "template": {} },
        }));
        let job = job.expect("a job");
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert!(!is_left_over(&job, at("2026-01-01T00:08:00Z")));
        assert!(is_left_over(&job, at("2026-01-01T00:09:00Z")));
        assert!(!is_left_over(&job, at("2025-12-31T00:00:00Z")), "a clock that is late");
    }
}
