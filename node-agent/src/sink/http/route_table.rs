//! Table of all routes with their parameters. Requests are checked against it, `/openapi.json` is generated from it, and its
//! paths label the request counter.

use portolan_engine::model::finding_code::{FindingCode, Severity};
use portolan_engine::model::identity::Protocol;
use portolan_report::chart_filter::STATES;

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Path as in the router.
    pub path: &'static str,
    pub summary: &'static str,
    /// Parameters of the URL's query.
    pub parameters: &'static [Parameter],
    pub response: ResponseKind,
}

/// A parameter of a URL's query.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub summary: &'static str,
    /// True if it can be repeated, or have several values with commas. The values are alternatives.
    pub repeats: bool,
    /// True if its values are any text, whatever they are elsewhere.
    pub is_text: bool,
    /// The values that it accepts, if they are fewer than elsewhere; else empty.
    pub only: &'static [&'static str],
}

impl Parameter {
    /// Returns the values that it accepts. Empty if any value is accepted.
    #[must_use]
    pub fn values(&self) -> Vec<&'static str> {
        if self.only.is_empty() { values(self.name) } else { self.only.to_vec() }
    }
}

/// Content of a successful response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind {
    List,
    Object,
    Pod,
    Pods,
    Explanation,
    Policy,
    Remedies,
    Chart,
    Agents,
    Events,
    /// The OpenAPI document.
    Description,
    Page,
    PageFile,
    Metrics,
    Health,
}

const fn repeatable(name: &'static str, summary: &'static str) -> Parameter {
    Parameter { name, summary, repeats: true, is_text: false, only: &[] }
}

const fn single(name: &'static str, summary: &'static str) -> Parameter {
    Parameter { name, summary, repeats: false, is_text: false, only: &[] }
}

/// A parameter of the page, which reads it itself.
const fn of_page(name: &'static str, summary: &'static str) -> Parameter {
    Parameter { name, summary, repeats: false, is_text: true, only: &[] }
}

const NAMESPACE: Parameter = repeatable("namespace", "Kubernetes namespace of the pod");
const POD: Parameter = repeatable("pod", "Name of the pod");
const WORKLOAD: Parameter = repeatable("workload", "What made the pod: NAME or KIND/NAME");
const LABELS: Parameter =
    repeatable("labels", "Selector of pods as kubectl's -l takes it; all must hold where it is given again");
const CODE: Parameter = repeatable("code", "Code of the finding");
const SEVERITY: Parameter = repeatable("severity", "Severity of the finding");
const STATE: Parameter = repeatable("state", "State of the finding or listener; without it, what is open");
const PROTOCOL: Parameter = repeatable("protocol", "Transport protocol");
const PORT: Parameter = repeatable("port", "Port, from 1 to 65535");
const ORIGIN: Parameter = repeatable("origin", "Where one of the listed peers is");
const KIND: Parameter = repeatable(
    "kind",
    "Kind of the object; Traffic, only if it is named and without other filters, tells every two seconds what the rows with findings of one port count",
);
const LIMIT: Parameter = single("limit", "Items of the page at most, from 1 to 1000; default: 500");
const CONTINUE: Parameter = single("continue", "`continue` of the page before");

const SINCE: Parameter = single(
    "since",
    "Only what changed its code or state since then, or began then: a time, or a duration such as 24h or 7d",
);

const OF_CHART: &[Parameter] = &[
    repeatable("namespace", "Kubernetes namespace of the pod; with a leading - all others"),
    POD,
    WORKLOAD,
    LABELS,
    repeatable("code", "Code of the row's worst finding"),
    repeatable("severity", "Severity of the row's worst finding"),
    Parameter { only: &STATES, ..repeatable("state", "State of the row; default: open and suppressed") },
    PROTOCOL,
    PORT,
    ORIGIN,
    repeatable("fingerprint", "Only rows with this fingerprint"),
    single(
        "declared",
        "Ports without a finding are rows if there are no more than this, else counts; default: 64",
    ),
    single(
        "q",
        "Words that must all be found in names, port, image, code, callers or nodes; with a leading - none",
    ),
    repeatable(
        "caller",
        "Who calls: a namespace, namespace/workload, address, outside or nodes; with a leading - all others",
    ),
    SINCE,
    single("output", "Form of the answer; default: json"),
];

/// Parameters in the address of the page.
const OF_PAGE: &[Parameter] = &[
    of_page("view", "chart or table"),
    of_page("q", "Words that must be found"),
    of_page("severity", "Severities, with commas"),
    of_page("namespace", "Kubernetes namespaces, with commas"),
    of_page("caller", "Who calls"),
    of_page("since", "Only what changed since then"),
    of_page("state", "States, with commas"),
    of_page("port", "Fingerprint of the row that is shown in detail"),
    of_page("open", "What is unfolded"),
    of_page("tab", "list or chart, on small screens"),
];

const OF_LISTENERS: &[Parameter] =
    &[NAMESPACE, POD, WORKLOAD, LABELS, STATE, PROTOCOL, PORT, ORIGIN, LIMIT, CONTINUE];

/// All routes.
pub const ROUTES: [Route; 20] = [
    Route {
        path: "/v1/findings",
        summary: "Findings: open and suppressed ones, unless a state is asked for",
        parameters: &[
            NAMESPACE, POD, WORKLOAD, LABELS, CODE, SEVERITY, STATE, PROTOCOL, PORT, ORIGIN, SINCE, LIMIT,
            CONTINUE,
        ],
        response: ResponseKind::List,
    },
    Route {
        path: "/v1/findings/{id}",
        summary: "One finding, also one that was resolved lately",
        parameters: &[],
        response: ResponseKind::Object,
    },
    Route {
        path: "/v1/findings/{id}/remedies",
        summary: "Drafts of what can be done about a finding, the best first",
        parameters: &[],
        response: ResponseKind::Remedies,
    },
    Route {
        path: "/v1/chart",
        summary: "Ports of workloads with their findings and callers, one row for all replicas, the worst first",
        parameters: OF_CHART,
        response: ResponseKind::Chart,
    },
    Route {
        path: "/v1/agents",
        summary: "This agent: whether it is up, and what is amiss",
        parameters: &[],
        response: ResponseKind::Agents,
    },
    Route {
        path: "/v1/listeners",
        summary: "Listeners: open ones, unless a state is asked for",
        parameters: OF_LISTENERS,
        response: ResponseKind::List,
    },
    Route {
        path: "/v1/listeners/{id}",
        summary: "One listener, also one that was closed lately",
        parameters: &[],
        response: ResponseKind::Object,
    },
    Route {
        path: "/v1/connections",
        summary: "Connections that have a record of their own, open and closed ones, oldest first",
        parameters: OF_LISTENERS,
        response: ResponseKind::List,
    },
    Route {
        path: "/v1/pods",
        summary: "The live pods of this node, with addresses and labels, by namespace and name",
        parameters: &[LIMIT, CONTINUE],
        response: ResponseKind::Pods,
    },
    Route {
        path: "/v1/pods/{namespace}/{name}",
        summary: "A pod of this node that listens, with its findings and listeners",
        parameters: &[],
        response: ResponseKind::Pod,
    },
    Route {
        path: "/v1/explain",
        summary: "The way in to a pod, a port, a Service or a port of the node",
        parameters: &[
            single(
                "target",
                "[NAMESPACE/]POD[:PORT[/PROTOCOL]], svc/[NAMESPACE/]SERVICE[:PORT], or :PORT of the node",
            ),
            single("namespace", "Kubernetes namespace, where the target names none"),
        ],
        response: ResponseKind::Explanation,
    },
    Route {
        path: "/v1/policy",
        summary: "What a NetworkPolicy for a pod or a workload can be drafted from",
        parameters: &[
            single("namespace", "Kubernetes namespace; without it, whichever has the target"),
            single("pod", "Name of the pod; either this or workload must be given"),
            single("workload", "The workload instead: NAME or KIND/NAME"),
        ],
        response: ResponseKind::Policy,
    },
    Route {
        path: "/v1/status",
        summary: "How the agent is: hooks, sources, limits, and what was lost",
        parameters: &[],
        response: ResponseKind::Object,
    },
    Route {
        path: "/v1/watch",
        summary: "Everything that happens, as server-sent events; Last-Event-ID goes on where one was",
        parameters: &[KIND, NAMESPACE, POD, WORKLOAD, LABELS, CODE, SEVERITY, STATE, PROTOCOL, PORT, ORIGIN],
        response: ResponseKind::Events,
    },
    Route {
        path: "/openapi.json",
        summary: "This description",
        parameters: &[],
        response: ResponseKind::Description,
    },
    Route {
        path: "/",
        summary: "A page for browsers: findings and how the agent is",
        parameters: OF_PAGE,
        response: ResponseKind::Page,
    },
    Route {
        path: "/ui/{file}",
        summary: "A file that the page loads",
        parameters: &[],
        response: ResponseKind::PageFile,
    },
    Route { path: "/metrics", summary: "OpenMetrics text", parameters: &[], response: ResponseKind::Metrics },
    Route {
        path: "/livez",
        summary: "Whether the engine's loop turns",
        parameters: &[],
        response: ResponseKind::Health,
    },
    Route {
        path: "/readyz",
        summary: "Whether everything was looked at once",
        parameters: &[],
        response: ResponseKind::Health,
    },
];

/// Returns the route with this path.
pub fn of(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.path == path)
}

/// Returns the values that a parameter accepts. Empty if any value is accepted.
pub fn values(name: &str) -> Vec<&'static str> {
    match name {
        "severity" => Severity::ALL.map(Severity::as_str).to_vec(),
        "state" => vec!["open", "suppressed", "resolved", "closed"],
        "protocol" => Protocol::ALL.map(Protocol::as_str).to_vec(),
        "origin" => vec!["same-pod", "pod", "node", "service", "external"],
        "kind" => vec!["Finding", "Listener", "Connection", "Loss", "AgentStatus", "Agent", "Traffic"],
        "output" => vec!["json", "csv", "ndjson"],
        "code" => FindingCode::ALL.map(FindingCode::as_str).to_vec(),
        _ => Vec::new(),
    }
}
