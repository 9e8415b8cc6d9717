//! Which objects are wanted. Every field holds alternatives; an empty one lets everything through.

use crate::facts::Facts;
use crate::label_selector::Selector;

/// States of what is no more.
const ENDED_STATES: [&str; 2] = ["resolved", "closed"];

/// A filter, as the query of a URL gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub kind: Vec<String>,
    pub namespace: Vec<String>,
    pub pod: Vec<String>,
    /// NAME or KIND/NAME.
    pub workload: Vec<String>,
    pub code: Vec<String>,
    pub severity: Vec<String>,
    pub state: Vec<String>,
    pub protocol: Vec<String>,
    pub port: Vec<u16>,
    /// An object passes if one of its peers is of one of these.
    pub origin: Vec<String>,
    /// What the pod's labels must be.
    pub labels: Selector,
}

impl Filter {
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

    /// Whether what ended may pass, which is listed only for those who ask for its state.
    #[must_use]
    pub fn asks_for_ended(&self) -> bool {
        self.state.iter().any(|state| ENDED_STATES.iter().any(|ended| state.eq_ignore_ascii_case(ended)))
    }

    fn workload_matches(&self, workload: Option<(&str, &str)>) -> bool {
        self.workload.is_empty()
            || workload.is_some_and(|(kind, name)| {
                self.workload.iter().any(|wanted| match wanted.split_once('/') {
                    Some((wanted_kind, wanted_name)) => {
                        wanted_kind.eq_ignore_ascii_case(kind) && wanted_name == name
                    }
                    None => wanted == name,
                })
            })
    }
}

fn among(wanted: &[String], value: Option<&str>) -> bool {
    wanted.is_empty() || value.is_some_and(|value| wanted.iter().any(|w| w.eq_ignore_ascii_case(value)))
}
