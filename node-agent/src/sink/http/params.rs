//! The query of a URL to a filter and a page. An unknown name or value is an error that points at it.

use std::num::NonZeroU16;

use super::problem::Problem;
use super::question::{ListQuery, MAX_LIMIT};
use crate::engine::explain::target::Target;
use crate::engine::finding_code::{FindingCode, Severity};
use crate::engine::policy_basis::{PolicyTarget, Who};
use crate::sink::selector::{BadSelector, Selector};

const FINDING_FIELDS: &[&str] =
    &["namespace", "pod", "workload", "labels", "code", "severity", "state", "protocol", "port", "origin"];
const LISTENER_FIELDS: &[&str] =
    &["namespace", "pod", "workload", "labels", "state", "protocol", "port", "origin"];
const WATCH_FIELDS: &[&str] = &[
    "kind",
    "namespace",
    "pod",
    "workload",
    "labels",
    "code",
    "severity",
    "state",
    "protocol",
    "port",
    "origin",
];

/// Which parameters a route knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Findings,
    Listeners,
    Watch,
}

impl Route {
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Findings => FINDING_FIELDS,
            Self::Listeners => LISTENER_FIELDS,
            Self::Watch => WATCH_FIELDS,
        }
    }
}

/// Parses decoded pairs; a name may be repeated, and a value may be a comma-separated list of alternatives.
pub fn parse(route: Route, pairs: &[(String, String)]) -> Result<ListQuery, Problem> {
    let mut list = ListQuery::default();
    for (name, value) in pairs {
        match (name.as_str(), route) {
            ("limit", Route::Findings | Route::Listeners) => {
                list.limit = value.parse().ok().filter(|n| (1..=MAX_LIMIT).contains(n)).ok_or_else(|| {
                    Problem::bad_parameter(
                        "limit",
                        format!("{value:?}: expected a number from 1 to {MAX_LIMIT}"),
                    )
                })?;
            }
            ("continue", Route::Findings | Route::Listeners) => list.after = Some(value.clone()),
            // Its own commas mean that all must hold.
            ("labels", _) => {
                let selector = value.parse::<Selector>();
                let wrong = |error: BadSelector| Problem::bad_parameter("labels", error.to_string());
                list.filter.labels.extend(selector.map_err(wrong)?);
            }
            (name, _) if route.fields().contains(&name) => {
                for alternative in value.split(',') {
                    add(&mut list, name, alternative)?;
                }
            }
            (name, _) => {
                let known = route.fields().join(", ");
                let page = if route == Route::Watch { "" } else { ", limit, continue" };
                return Err(Problem::bad_parameter(
                    name,
                    format!("unknown parameter; expected one of {known}{page}"),
                ));
            }
        }
    }
    Ok(list)
}

/// The target of `/v1/explain`: `target`, and `namespace` where the target names none.
pub fn parse_target(pairs: &[(String, String)]) -> Result<Target, Problem> {
    let (mut target, mut namespace) = (None, None);
    for (name, value) in pairs {
        let place = match name.as_str() {
            "target" => &mut target,
            "namespace" => &mut namespace,
            other => {
                let detail = "unknown parameter; expected one of target, namespace".to_owned();
                return Err(Problem::bad_parameter(other, detail));
            }
        };
        if place.replace(value.as_str()).is_some() {
            return Err(Problem::bad_parameter(name, "it is given twice".to_owned()));
        }
    }
    Target::parse(target.unwrap_or_default(), namespace)
        .map_err(|error| Problem::bad_parameter("target", error.to_string()))
}

/// `namespace`, and `pod` or `workload` (`NAME` or `KIND/NAME`).
pub fn policy_target(pairs: &[(String, String)]) -> Result<PolicyTarget, Problem> {
    let (mut namespace, mut who) = (None, None);
    for (name, value) in pairs {
        match name.as_str() {
            "namespace" => namespace = Some(value.clone()),
            "pod" => who = Some(Who::Pod(value.clone())),
            "workload" => {
                let (kind, name) =
                    value.split_once('/').map_or((None, value.as_str()), |(k, n)| (Some(k), n));
                who = Some(Who::Workload { kind: kind.map(str::to_owned), name: name.to_owned() });
            }
            name => {
                let detail = "unknown parameter; expected one of namespace, pod, workload".to_owned();
                return Err(Problem::bad_parameter(name, detail));
            }
        }
    }
    let missing = || Problem::bad_parameter("pod", "missing; expected pod or workload".to_owned());
    Ok(PolicyTarget { namespace, who: who.ok_or_else(missing)? })
}

fn add(list: &mut ListQuery, name: &str, value: &str) -> Result<(), Problem> {
    let allowed: &[&str] = match name {
        "severity" => &Severity::ALL.map(Severity::as_str),
        "state" => &["open", "suppressed", "resolved", "closed"],
        "protocol" => &["TCP", "UDP", "SCTP"],
        "origin" => &["same-pod", "pod", "node", "service", "external"],
        "kind" => &["Finding", "Listener", "Connection", "Loss", "AgentStatus"],
        "code" => &FindingCode::ALL.map(FindingCode::as_str),
        _ => &[],
    };
    if !allowed.is_empty() && !allowed.iter().any(|a| a.eq_ignore_ascii_case(value)) {
        let detail = format!("{value:?}: expected one of {}", allowed.join(", "));
        return Err(Problem::bad_parameter(name, detail));
    }
    let filter = &mut list.filter;
    let field = match name {
        "kind" => &mut filter.kind,
        "namespace" => &mut filter.namespace,
        "pod" => &mut filter.pod,
        "workload" => &mut filter.workload,
        "code" => &mut filter.code,
        "severity" => &mut filter.severity,
        "state" => &mut filter.state,
        "protocol" => &mut filter.protocol,
        "port" => {
            let port: Option<NonZeroU16> = value.parse().ok();
            filter.port.push(port.map(NonZeroU16::get).ok_or_else(|| {
                Problem::bad_parameter("port", format!("{value:?}: expected a number from 1 to 65535"))
            })?);
            return Ok(());
        }
        _ => &mut filter.origin,
    };
    field.push(value.to_owned());
    Ok(())
}
