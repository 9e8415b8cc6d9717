//! `/v1/chart` of all nodes: from what is kept, or, for filters that rows do not tell, from the agents.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use jiff::Timestamp;
use portolan_engine::model::finding_code::{FindingCode, Severity};
use portolan_report::chart::{Chart, ChartRow, DEFAULT_DECLARED, MAX_DECLARED, MissingNode, declared_limit};
use portolan_report::chart_export::{ExportFile, Form, export};
use portolan_report::chart_filter::{self, RowFilter, STATES};
use portolan_report::chart_fold::{narrow, narrow_declared};
use portolan_report::escape::terminal;
use portolan_report::facts::Facts;
use portolan_report::filter::Filter;
use portolan_report::label_selector::Selector;
use portolan_report::wire::Workload;
use serde::Deserialize;

use super::host::Host;
use super::node::{now, set_node};
use super::node_answer::{CHART, fit};
use super::query::Pairs;
use super::response::{Answer, Problem, json, whole};
use crate::cluster::fleet::{Answers, Question};
use crate::query::url::with_query;

/// Filters that rows do not tell: only the agents know labels, all pods and all callers of a port.
const AGENT_FILTERS: [&str; 3] = ["labels", "pod", "origin"];
/// Filters that are equal for all rows of one fingerprint.
const PORT_FILTERS: [&str; 3] = ["workload", "protocol", "port"];

/// What is asked.
#[derive(Debug)]
struct ChartQuery {
    rows: RowFilter,
    port: Filter,
    /// Filters that the agents are asked with.
    of_agents: Vec<(&'static str, String)>,
    declared: usize,
    form: Form,
}

/// Answers `/v1/chart`.
pub(super) async fn answer(host: &Arc<Host>, pairs: &Pairs) -> Result<Answer, Problem> {
    let query = ChartQuery::parse(pairs)?;
    let mut chart = if query.of_agents.is_empty() { query.of_store(host) } else { query.ask(host).await? };
    narrow_declared(&mut chart, |ports| {
        query.rows.lets_through_declared(ports) && query.is_workload(ports.workload.as_ref())
    });
    narrow(&mut chart, query.declared, |row| query.lets_through(row));
    let file = export(&chart, query.form).map_err(|error| Problem::new(500, error.to_string()))?;
    file.map_or_else(|| json(&chart), |file| Ok(answer_with(file, &chart)))
}

/// Returns an answer that a browser stores as a file. Its name says if rows are missing, and headers say how much is not in it.
fn answer_with(file: ExportFile, chart: &Chart) -> Answer {
    let mut answer = whole(StatusCode::OK, file.content_type, file.text);
    let headers = answer.headers_mut();
    for (name, value) in file.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    headers.insert("portolan-missing-nodes", HeaderValue::from(chart.missing.len()));
    answer
}

impl ChartQuery {
    fn parse(pairs: &Pairs) -> Result<Self, Problem> {
        let mut query = Self {
            rows: RowFilter::default(),
            port: Filter::default(),
            of_agents: Vec::new(),
            declared: DEFAULT_DECLARED,
            form: Form::Json,
        };
        let time = Timestamp::now();
        for (name, value) in pairs {
            let wrong = |detail: String| Problem::bad_parameter(name, detail);
            if let Some(known) = AGENT_FILTERS.iter().find(|known| *known == name) {
                if *known == "labels" {
                    value.parse::<Selector>().map_err(|error| wrong(error.to_string()))?;
                }
                query.of_agents.push((known, value.clone()));
            } else if PORT_FILTERS.contains(&name.as_str()) {
                query.add_of_port(name, value).map_err(wrong)?;
            } else if chart_filter::PARAMETERS.contains(&name.as_str()) {
                check_values(name, value).map_err(wrong)?;
                query.rows.add(name, value, time).map_err(wrong)?;
            } else {
                query.add_form(name, value).map_err(wrong)?;
            }
        }
        Ok(query)
    }

    fn add_of_port(&mut self, name: &str, value: &str) -> Result<(), String> {
        for value in value.split(',') {
            match name {
                "workload" => self.port.workload.push(value.to_owned()),
                "protocol" => self.port.protocol.push(value.to_owned()),
                _ => {
                    let port = value.parse::<u16>().ok().filter(|port| *port > 0);
                    let wrong = || format!("{value:?}: expected a number from 1 to 65535");
                    self.port.port.push(port.ok_or_else(wrong)?);
                }
            }
        }
        Ok(())
    }

    /// Adds how much is listed, and in which form.
    fn add_form(&mut self, name: &str, value: &str) -> Result<(), String> {
        match (name, value) {
            ("declared", value) => self.declared = declared_limit(value)?,
            ("output", value) => {
                let wrong = || format!("{value:?}: expected json, csv or ndjson");
                self.form = Form::of(value).ok_or_else(wrong)?;
            }
            _ => {
                let known: Vec<&str> =
                    [&chart_filter::PARAMETERS[..], &PORT_FILTERS, &AGENT_FILTERS, &["declared", "output"]]
                        .concat();
                return Err(format!("unknown parameter; expected one of {}", known.join(", ")));
            }
        }
        Ok(())
    }

    fn lets_through(&self, row: &ChartRow) -> bool {
        self.rows.lets_through(row) && self.is_port(row)
    }

    fn is_port(&self, row: &ChartRow) -> bool {
        self.port.lets_through(&Facts {
            workload: row.workload.as_ref().map(|workload| (workload.kind.as_str(), workload.name.as_str())),
            protocol: row.protocol.as_deref(),
            port: row.port,
            ..Facts::default()
        })
    }

    /// Returns true if ports of this workload match that are only counted: neither their numbers nor their protocols are known.
    fn is_workload(&self, workload: Option<&Workload>) -> bool {
        self.port.lets_through(&Facts {
            workload: workload.map(|workload| (workload.kind.as_str(), workload.name.as_str())),
            ..Facts::default()
        })
    }

    /// Returns the rows that are kept. Those of one port are merged alone, so that a change of few rows is a small answer. Of more
    /// rows than an answer has, those that match are merged alone: among the first of all there may be none of them.
    fn of_store(&self, host: &Host) -> Chart {
        let mut shared = host.shared();
        let (ports, namespaces) = (self.rows.fingerprints(), self.rows.namespaces());
        let is_narrow = !ports.is_empty() || !namespaces.is_empty() || self.port != Filter::default();
        let mut chart = if is_narrow || shared.store.has_more_than_fits() {
            let ports = ports.iter().map(String::as_str).collect();
            let is_of_ports = |row: &ChartRow| {
                let namespace = row.namespace.as_deref().unwrap_or_default();
                (namespaces.is_empty() || namespaces.iter().any(|it| it.eq_ignore_ascii_case(namespace)))
                    && self.is_port(row)
            };
            shared.store.merged_where(&ports, is_of_ports, |row| self.lets_through(row))
        } else {
            Chart::clone(&shared.store.merged())
        };
        chart.as_of = shared.events.id_before(shared.events.next()).unwrap_or_default();
        chart
    }

    /// Asks the agents, with the filters that only they know.
    async fn ask(&self, host: &Arc<Host>) -> Result<Chart, Problem> {
        let mut pairs = vec![("declared", MAX_DECLARED.to_string()), ("state", STATES.join(","))];
        pairs.extend(self.of_agents.iter().cloned());
        let (fleet, as_of) = {
            let shared = host.shared();
            (shared.fleet.clone(), shared.events.id_before(shared.events.next()))
        };
        let answers = fleet.ask(&Question::Object(with_query(CHART, &pairs))).await;
        let answers = answers.map_err(|error| Problem::new(502, error.to_string()))?;
        let (charts, unfit) = charts_of(&answers);
        let mut shared = host.shared();
        let directory = shared.store.directory();
        let mut chart = shared.store.finished(charts, &directory, |row| self.lets_through(row));
        let (time, known) = (now(), chart.missing.clone());
        let missing = answers.missing.into_iter().map(|missing| (missing.node, missing.reason));
        let missing = missing.chain(unfit).filter(|new| known.iter().all(|old| old.node != new.0));
        chart.missing.extend(missing.map(|(node, reason)| MissingNode {
            node,
            reason,
            since: time.clone(),
            pods: None,
        }));
        chart.as_of = as_of.unwrap_or_default();
        Ok(chart)
    }
}

/// Returns the agents' charts, each as that of its node, and the nodes whose answer is no chart, with the reason.
fn charts_of(answers: &Answers) -> (Vec<Chart>, Vec<(String, String)>) {
    let (mut charts, mut unfit) = (Vec::new(), Vec::new());
    for (node, items) in answers.by_node() {
        for item in items {
            match Chart::deserialize(item).map_err(|error| error.to_string()).and_then(fit) {
                Ok(mut chart) => {
                    set_node(&mut chart, node);
                    charts.push(chart);
                }
                Err(reason) => unfit.push((terminal(node), terminal(&reason))),
            }
        }
    }
    (charts, unfit)
}

/// Refuses values of which there are only few.
fn check_values(name: &str, value: &str) -> Result<(), String> {
    let known: Vec<&str> = match name {
        "severity" => Severity::ALL.map(Severity::as_str).to_vec(),
        "code" => FindingCode::ALL.map(FindingCode::as_str).to_vec(),
        "state" => STATES.to_vec(),
        _ => return Ok(()),
    };
    let mut values = value.split(',').map(str::trim).filter(|value| !value.is_empty());
    let unknown = values.find(|value| !known.iter().any(|known| known.eq_ignore_ascii_case(value)));
    unknown.map_or(Ok(()), |value| Err(format!("{value:?}: expected one of {}", known.join(", "))))
}
