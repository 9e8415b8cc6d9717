//! Parses the query of a URL to a filter and a page, or to a target. An unknown name or value is an error that points at it.

use std::num::NonZeroU16;

use jiff::Timestamp;
use portolan_engine::read::explain::target::Target;
use portolan_engine::read::policy_basis::{PolicySubject, PolicyTarget};
use portolan_report::chart_filter::since;
use portolan_report::filter::Filter;
use portolan_report::label_selector::{BadSelector, Selector};

use super::problem::Problem;
use super::query::{ListQuery, MAX_LIMIT};
use super::route_table::{Route, values};

/// Checks that the route knows all parameters, and that none is repeated that must not be.
pub fn check(route: &Route, pairs: &[(String, String)]) -> Result<(), Problem> {
    let mut seen: Vec<&str> = Vec::new();
    for (name, _) in pairs {
        let Some(known) = route.parameters.iter().find(|known| known.name == name) else {
            let names: Vec<&str> = route.parameters.iter().map(|known| known.name).collect();
            let detail = match names.as_slice() {
                [] => "unknown parameter; this route takes none".to_owned(),
                names => format!("unknown parameter; expected one of {}", names.join(", ")),
            };
            return Err(Problem::bad_parameter(name, detail));
        };
        if !known.repeats && seen.contains(&known.name) {
            return Err(Problem::bad_parameter(name, "it is given twice".to_owned()));
        }
        seen.push(known.name);
    }
    Ok(())
}

/// Parses the filter and the page from parameters that passed [`check`]. A name can be repeated, and a value can be a
/// comma-separated list of alternatives.
pub fn parse(pairs: &[(String, String)]) -> Result<ListQuery, Problem> {
    let mut list = ListQuery::default();
    for (name, value) in pairs {
        match name.as_str() {
            "limit" => {
                list.limit = value.parse().ok().filter(|n| (1..=MAX_LIMIT).contains(n)).ok_or_else(|| {
                    Problem::bad_parameter(
                        "limit",
                        format!("{value:?}: expected a number from 1 to {MAX_LIMIT}"),
                    )
                })?;
            }
            "continue" => list.after = Some(value.clone()),
            "since" => {
                // Durations are counted back from the time of the answer, which does not matter here.
                since(value, Timestamp::UNIX_EPOCH)
                    .map_err(|detail| Problem::bad_parameter("since", detail))?;
                list.since = Some(value.clone());
            }
            // Commas within a selector separate requirements that must all hold.
            "labels" => {
                let selector = value.parse::<Selector>();
                let wrong = |error: BadSelector| Problem::bad_parameter("labels", error.to_string());
                list.filter.labels.extend(selector.map_err(wrong)?);
            }
            name => {
                for alternative in value.split(',') {
                    add(&mut list, name, alternative)?;
                }
            }
        }
    }
    Ok(list)
}

/// Returns the value of the first parameter with this name.
fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Parses the target of `/v1/explain`: `target`, and `namespace` if the target contains none.
pub fn parse_target(pairs: &[(String, String)]) -> Result<Target, Problem> {
    Target::parse(value(pairs, "target").unwrap_or_default(), value(pairs, "namespace"))
        .map_err(|error| Problem::bad_parameter("target", error.to_string()))
}

/// Parses the target of `/v1/policy`: `namespace`, and `pod` or `workload` (`NAME` or `KIND/NAME`).
pub fn policy_target(pairs: &[(String, String)]) -> Result<PolicyTarget, Problem> {
    let subject = match (value(pairs, "pod"), value(pairs, "workload")) {
        (Some(pod), None) => PolicySubject::Pod(pod.to_owned()),
        (None, Some(workload)) => {
            let (kind, name) = workload.split_once('/').map_or((None, workload), |(k, n)| (Some(k), n));
            PolicySubject::Workload { kind: kind.map(str::to_owned), name: name.to_owned() }
        }
        (None, None) => {
            let detail = "missing; expected pod or workload".to_owned();
            return Err(Problem::bad_parameter("pod", detail));
        }
        (Some(_), Some(_)) => {
            let detail = "pod is given too; expected one of them".to_owned();
            return Err(Problem::bad_parameter("workload", detail));
        }
    };
    Ok(PolicyTarget { namespace: value(pairs, "namespace").map(str::to_owned), subject })
}

/// Checks a value of a parameter that accepts certain ones only.
pub fn check_values(name: &str, value: &str) -> Result<(), Problem> {
    check_among(name, value, &values(name))
}

/// Checks that a value is one of those that are allowed; any value is if there are none.
pub fn check_among(name: &str, value: &str, allowed: &[&str]) -> Result<(), Problem> {
    if !allowed.is_empty() && !allowed.iter().any(|a| a.eq_ignore_ascii_case(value)) {
        let detail = format!("{value:?}: expected one of {}", allowed.join(", "));
        return Err(Problem::bad_parameter(name, detail));
    }
    Ok(())
}

/// Returns true if a follower wants the event `Traffic`, which no other filter than `kind` fits.
pub fn follows_traffic(filter: &Filter) -> Result<bool, Problem> {
    if !filter.kind.iter().any(|kind| kind.eq_ignore_ascii_case("Traffic")) {
        return Ok(false);
    }
    if (Filter { kind: Vec::new(), ..filter.clone() }) != Filter::default() {
        let detail =
            "Traffic cannot be filtered: name it in a request of its own, without other filters".to_owned();
        return Err(Problem::bad_parameter("kind", detail));
    }
    Ok(true)
}

/// Adds one alternative of a parameter to the filter.
fn add(list: &mut ListQuery, name: &str, value: &str) -> Result<(), Problem> {
    check_values(name, value)?;
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
