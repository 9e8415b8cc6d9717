//! Filter for objects, as in the query of a list or of `/v1/watch`.

use portolan_engine::model::owner::is_named;

use crate::facts::Facts;
use crate::label_selector::Selector;

/// States of findings and listeners that have ended.
const ENDED_STATES: [&str; 2] = ["resolved", "closed"];

/// Conditions on an object. All fields must match; a field matches if it is empty or contains the object's value. Text is
/// compared without regard to ASCII case, except the name of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Values of `kind`, such as `Finding`.
    pub kind: Vec<String>,
    /// Kubernetes namespaces of the pod.
    pub namespace: Vec<String>,
    /// Names of the pod.
    pub pod: Vec<String>,
    /// Workloads of the pod, each as NAME or KIND/NAME. A Job also matches the name of its CronJob.
    pub workload: Vec<String>,
    /// Codes of a finding.
    pub code: Vec<String>,
    /// Severities of a finding.
    pub severity: Vec<String>,
    /// States of a finding, listener or connection.
    pub state: Vec<String>,
    /// Protocols of the port.
    pub protocol: Vec<String>,
    /// Port numbers.
    pub port: Vec<u16>,
    /// Origins of peers. The object matches if at least one of its peers has one of these origins.
    pub origin: Vec<String>,
    /// Selector for the labels of the pod.
    pub labels: Selector,
}

impl Filter {
    /// Returns true if an object with these facts matches.
    #[must_use]
    pub fn lets_through(&self, facts: &Facts<'_>) -> bool {
        among(&self.kind, Some(facts.kind))
            && among(&self.namespace, facts.namespace)
            && among(&self.pod, facts.pod)
            && self.workload_matches(facts.workload)
            && self.labels.selects(facts.labels.map(|labels| &**labels))
            && among(&self.code, facts.code)
            && among(&self.severity, facts.severity)
            && among(&self.state, facts.state)
            && among(&self.protocol, facts.protocol)
            && (self.port.is_empty() || facts.port.is_some_and(|port| self.port.contains(&port)))
            && (self.origin.is_empty()
                || facts.origins.iter().any(|origin| among(&self.origin, Some(origin))))
    }

    /// Returns true if the filter names a state of ended objects. Lists contain ended objects only then.
    #[must_use]
    pub fn asks_for_ended(&self) -> bool {
        self.state.iter().any(|state| ENDED_STATES.iter().any(|ended| state.eq_ignore_ascii_case(ended)))
    }

    fn workload_matches(&self, workload: Option<(&str, &str)>) -> bool {
        self.workload.is_empty()
            || workload.is_some_and(|workload| {
                self.workload.iter().any(|wanted| match wanted.split_once('/') {
                    Some((kind, name)) => is_named(workload, Some(kind), name),
                    None => is_named(workload, None, wanted),
                })
            })
    }
}

fn among(wanted: &[String], value: Option<&str>) -> bool {
    wanted.is_empty() || value.is_some_and(|value| wanted.iter().any(|w| w.eq_ignore_ascii_case(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_of_a_cron_job_match_its_name_and_that_of_their_job() {
        let facts = Facts { workload: Some(("Job", "backup-29901234")), ..Facts::default() };
        for (wanted, matches) in [
            ("backup", true),
            ("cronjob/backup", true),
            ("Job/backup-29901234", true),
            ("job/backup", false),
            ("other", false),
        ] {
            let filter = Filter { workload: vec![wanted.to_owned()], ..Filter::default() };
            assert_eq!(filter.lets_through(&facts), matches, "{wanted}");
        }
    }
}
