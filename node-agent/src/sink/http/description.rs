//! Every route, what it does and which parameters it takes: what requests are checked against, what `/openapi.json` is made of,
//! and the names under which requests are counted.

use portolan_engine::model::finding_code::{FindingCode, Severity};
use portolan_engine::model::identity::Protocol;

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// As the router knows it.
    pub path: &'static str,
    pub does: &'static str,
    /// Of its query.
    pub parameters: &'static [Parameter],
    pub answer: Answer,
}

/// A parameter of a query.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub does: &'static str,
    /// It may be given more than once, and with commas: alternatives.
    pub repeats: bool,
}

/// What a 200 carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    List,
    Object,
    Pod,
    Explanation,
    Policy,
    Events,
    /// The document that describes this API.
    Description,
    Page,
    Script,
    Style,
    Metrics,
    Health,
}

const fn many(name: &'static str, does: &'static str) -> Parameter {
    Parameter { name, does, repeats: true }
}

const fn once(name: &'static str, does: &'static str) -> Parameter {
    Parameter { name, does, repeats: false }
}

const NAMESPACE: Parameter = many("namespace", "Kubernetes namespace of the pod");
const POD: Parameter = many("pod", "Name of the pod");
const WORKLOAD: Parameter = many("workload", "What made the pod: NAME or KIND/NAME");
const LABELS: Parameter =
    many("labels", "Selector of pods as kubectl's -l takes it; all must hold where it is given again");
const CODE: Parameter = many("code", "Code of the finding");
const SEVERITY: Parameter = many("severity", "Severity of the finding");
const STATE: Parameter = many("state", "State of the finding or listener; without it, what is open");
const PROTOCOL: Parameter = many("protocol", "Transport protocol");
const PORT: Parameter = many("port", "Port, from 1 to 65535");
const ORIGIN: Parameter = many("origin", "Where one of the listed peers is");
const KIND: Parameter = many("kind", "Kind of the object");
const LIMIT: Parameter = once("limit", "Items of the page at most, from 1 to 1000; default: 500");
const CONTINUE: Parameter = once("continue", "`continue` of the page before");

const OF_LISTENERS: &[Parameter] =
    &[NAMESPACE, POD, WORKLOAD, LABELS, STATE, PROTOCOL, PORT, ORIGIN, LIMIT, CONTINUE];

/// All of them.
pub const ROUTES: [Described; 17] = [
    Described {
        path: "/v1/findings",
        does: "Findings: open and suppressed ones, unless a state is asked for",
        parameters: &[
            NAMESPACE, POD, WORKLOAD, LABELS, CODE, SEVERITY, STATE, PROTOCOL, PORT, ORIGIN, LIMIT, CONTINUE,
        ],
        answer: Answer::List,
    },
    Described {
        path: "/v1/findings/{id}",
        does: "One finding, also one that was resolved lately",
        parameters: &[],
        answer: Answer::Object,
    },
    Described {
        path: "/v1/listeners",
        does: "Listeners: open ones, unless a state is asked for",
        parameters: OF_LISTENERS,
        answer: Answer::List,
    },
    Described {
        path: "/v1/listeners/{id}",
        does: "One listener, also one that was closed lately",
        parameters: &[],
        answer: Answer::Object,
    },
    Described {
        path: "/v1/connections",
        does: "Connections that have a record of their own, open and closed ones",
        parameters: OF_LISTENERS,
        answer: Answer::List,
    },
    Described {
        path: "/v1/pods/{namespace}/{name}",
        does: "A pod of this node that listens, with its findings and listeners",
        parameters: &[],
        answer: Answer::Pod,
    },
    Described {
        path: "/v1/explain",
        does: "The way in to a pod, a port, a Service or a port of the node",
        parameters: &[
            once(
                "target",
                "[NAMESPACE/]POD[:PORT[/PROTOCOL]], svc/[NAMESPACE/]SERVICE[:PORT], or :PORT of the node",
            ),
            once("namespace", "Kubernetes namespace, where the target names none"),
        ],
        answer: Answer::Explanation,
    },
    Described {
        path: "/v1/policy",
        does: "What a NetworkPolicy for a pod or a workload can be drafted from",
        parameters: &[
            once("namespace", "Kubernetes namespace; without it, whichever has the target"),
            once("pod", "Name of the pod"),
            once("workload", "The workload instead: NAME or KIND/NAME"),
        ],
        answer: Answer::Policy,
    },
    Described {
        path: "/v1/status",
        does: "How the agent is: hooks, sources, limits, and what was lost",
        parameters: &[],
        answer: Answer::Object,
    },
    Described {
        path: "/v1/watch",
        does: "Everything that happens, as server-sent events; Last-Event-ID goes on where one was",
        parameters: &[KIND, NAMESPACE, POD, WORKLOAD, LABELS, CODE, SEVERITY, STATE, PROTOCOL, PORT, ORIGIN],
        answer: Answer::Events,
    },
    Described {
        path: "/openapi.json",
        does: "This description",
        parameters: &[],
        answer: Answer::Description,
    },
    Described {
        path: "/",
        does: "A page for browsers: findings and how the agent is",
        parameters: &[],
        answer: Answer::Page,
    },
    Described { path: "/page.js", does: "What the page runs", parameters: &[], answer: Answer::Script },
    Described { path: "/page.css", does: "How the page looks", parameters: &[], answer: Answer::Style },
    Described { path: "/metrics", does: "OpenMetrics text", parameters: &[], answer: Answer::Metrics },
    Described {
        path: "/livez",
        does: "Whether the engine's loop turns",
        parameters: &[],
        answer: Answer::Health,
    },
    Described {
        path: "/readyz",
        does: "Whether everything was looked at once",
        parameters: &[],
        answer: Answer::Health,
    },
];

/// The route of that path.
pub fn of(path: &str) -> Option<&'static Described> {
    ROUTES.iter().find(|route| route.path == path)
}

/// The values that a parameter may have; empty: any.
pub fn values(name: &str) -> Vec<&'static str> {
    match name {
        "severity" => Severity::ALL.map(Severity::as_str).to_vec(),
        "state" => vec!["open", "suppressed", "resolved", "closed"],
        "protocol" => Protocol::ALL.map(Protocol::as_str).to_vec(),
        "origin" => vec!["same-pod", "pod", "node", "service", "external"],
        "kind" => vec!["Finding", "Listener", "Connection", "Loss", "AgentStatus"],
        "code" => FindingCode::ALL.map(FindingCode::as_str).to_vec(),
        _ => Vec::new(),
    }
}
