//! The owner of a pod that outlives it: fingerprints, tables, targets and filters all name it the same way.

use crate::model::pod::Workload;

/// Digits of the time that the CronJob controller appends to the names of Jobs, in minutes since 1970.
const SCHEDULE_DIGITS: usize = 8;
/// Plausible times of a schedule, in minutes since 1970: from 2017 to 2055. Leaves out dates such as `20240101`.
const SCHEDULE_MINUTES: std::ops::Range<u32> = 25_000_000..45_000_000;

/// Returns kind and name of what keeps its name when the workload is replaced: the CronJob of a Job, or the workload itself.
#[must_use]
pub fn lasting<'a>(kind: &'a str, name: &'a str) -> (&'a str, &'a str) {
    let cron_job = if kind == "Job" { cron_job(name) } else { None };
    cron_job.map_or((kind, name), |name| ("CronJob", name))
}

/// Returns true if the workload, or the CronJob behind it, has this name and, if given, this kind in any case.
#[must_use]
pub fn is_named(workload: (&str, &str), kind: Option<&str>, name: &str) -> bool {
    let is = |(its_kind, its_name): (&str, &str)| {
        its_name == name && kind.is_none_or(|kind| its_kind.eq_ignore_ascii_case(kind))
    };
    is(workload) || is(lasting(workload.0, workload.1))
}

/// Returns the name of the CronJob that made a Job of this name.
fn cron_job(job: &str) -> Option<&str> {
    let (name, time) = job.rsplit_once('-')?;
    let is_number = time.len() == SCHEDULE_DIGITS && time.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = is_number && time.parse().is_ok_and(|minutes| SCHEDULE_MINUTES.contains(&minutes));
    (is_time && !name.is_empty()).then_some(name)
}

impl Workload {
    /// Returns kind and name as [`lasting`] does.
    #[must_use]
    pub fn lasting(&self) -> (&str, &str) {
        lasting(&self.kind, &self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_in_minutes_names_the_cron_job() {
        for (job, owner) in [
            ("backup-29901234", ("CronJob", "backup")),
            ("import-20240101", ("Job", "import-20240101")),
            ("load-1700000000", ("Job", "load-1700000000")),
            ("load-99999999", ("Job", "load-99999999")),
            ("load-+9901234", ("Job", "load-+9901234")),
            ("-29901234", ("Job", "-29901234")),
            ("29901234", ("Job", "29901234")),
        ] {
            assert_eq!(lasting("Job", job), owner);
        }
        assert_eq!(lasting("Deployment", "web-29901234"), ("Deployment", "web-29901234"));
    }

    #[test]
    fn a_job_goes_by_its_own_name_and_by_that_of_its_cron_job() {
        let job = ("Job", "backup-29901234");
        assert!(is_named(job, Some("cronjob"), "backup"));
        assert!(is_named(job, None, "backup"));
        assert!(is_named(job, Some("job"), "backup-29901234"));
        assert!(!is_named(job, Some("job"), "backup"));
        assert!(!is_named(job, Some("cronjob"), "other"));
    }
}
