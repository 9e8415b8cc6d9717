//! Writes the sentences of an answer: who serves the target, notes, what is unknown, and what to do next.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use crate::model::identity::Protocol;
use crate::model::listener::{DeclarationStatus, Exposure, ServedBy};
use crate::model::pod::PodRef;
use crate::model::policy::PolicyVerdict;
use crate::model::service::{Service, ServiceKind};
use crate::read::advice::{self, Advice};
use crate::read::explain::answer::{End, EndState, EntryPointKind, Explained, MAX_NAMED, ServiceStep};
use crate::read::explain::lookup::some_of;
use crate::read::explain::target::{Target, is_name};
use crate::read::message::{process_name, safe};

/// Maximum number of ends that are described one by one.
pub(crate) const MAX_DESCRIBED: usize = 4;

/// What the agent can see besides what was found.
#[derive(Clone)]
pub(crate) struct Visibility {
    /// True if all Services are known.
    pub services: bool,
    /// True if the sockets of the host's netns were scanned.
    pub host_sockets: bool,
    /// Services without a selector in the namespaces of the found pods.
    pub without_selector: Vec<String>,
}

/// Fills in the sentences of an answer.
pub(crate) fn complete(mut found: Explained, visibility: Visibility) -> Explained {
    let mut sentences = Sentences::new(&found, visibility);
    match &found.target {
        Target::NodePort { port, .. } => sentences.of_node_port(*port),
        Target::Service { named, .. } => sentences.of_service(&named.to_string()),
        Target::Pod { port: Some(_), .. } => sentences.of_ends(),
        Target::Pod { port: None, .. } => sentences.of_pod(),
    }
    sentences.notes_on_services();
    sentences.notes_on_pods();
    sentences.notes_on_ends();
    if !matches!(&found.target, Target::Service { .. }) {
        sentences.notes_on_unknown_endpoints();
    }
    let Sentences { answer, notes, partial, next, .. } = sentences;
    let unique = |all: Vec<String>| {
        let mut seen = BTreeSet::new();
        all.into_iter().filter(|one| seen.insert(one.clone())).collect::<Vec<String>>()
    };
    (found.answer, found.notes) = (unique(answer), unique(notes));
    (found.partial, found.next) = (unique(partial), unique(next));
    found
}

/// The sentences while they are written.
struct Sentences<'a> {
    found: &'a Explained,
    visibility: Visibility,
    answer: Vec<String>,
    notes: Vec<String>,
    partial: Vec<String>,
    next: Vec<String>,
}

impl<'a> Sentences<'a> {
    fn new(found: &'a Explained, visibility: Visibility) -> Self {
        Self {
            found,
            visibility,
            answer: Vec::new(),
            notes: Vec::new(),
            partial: Vec::new(),
            next: Vec::new(),
        }
    }

    fn of_node_port(&mut self, port: NonZeroU16) {
        let leads = |end: &End, kind| {
            end.entry_points.iter().any(|entry_point| entry_point.kind == kind && entry_point.port == port)
        };
        let by_service = !self.found.services.iter().all(|step| step.ports.is_empty());
        let by_host_port = self.found.ends.iter().any(|end| leads(end, EntryPointKind::HostPort));
        if by_service {
            self.answer.push(format!(
                "netstat on the node does not show port {port}, because no socket has it: a NodePort is a NAT rule \
                 that kube-proxy (or what does its work) writes on every node."
            ));
            self.next.push(format!(
                "see the rule on the node: iptables-save -t nat | grep -w {port}   (or: nft list ruleset | grep -w {port})"
            ));
        } else if by_host_port {
            self.answer.push(format!(
                "netstat on the node does not show port {port}, because no socket has it: a hostPort is a NAT rule of \
                 the network plugin."
            ));
        }
        for end in &self.found.ends {
            if leads(end, EntryPointKind::HostNetwork) || end.pod.is_none() {
                self.of_host_socket(end, port, by_service || by_host_port);
            }
        }
        let behind_nat =
            |end: &&End| leads(end, EntryPointKind::NodePort) || leads(end, EntryPointKind::HostPort);
        let behind: Vec<&End> = self.found.ends.iter().filter(behind_nat).collect();
        self.describe_sockets(&behind);
        self.of_services_without_ends();
        for step in self.found.services.iter().filter(|step| step.service.health_check() == Some(port)) {
            self.answer.push(format!(
                "Port {port}/TCP is the health check of Service {}: kube-proxy itself answers it on every node, and says \
                 whether this node has pods of the Service.",
                name_of(&step.service)
            ));
        }
        if self.answer.is_empty() {
            let services = if self.visibility.services { "no Service has it as a NodePort, " } else { "" };
            let sockets = if self.visibility.host_sockets {
                "and no socket is seen on it in the node's own network."
            } else {
                "and whether a socket of the node itself has it is not known."
            };
            self.answer.push(format!(
                "Nobody is known to serve port {port} here: {services}no pod of this node has it as a hostPort, {sockets}"
            ));
            self.unless_host_seen();
        }
        self.unless_services_known("whether it is a NodePort");
    }

    fn of_host_socket(&mut self, end: &End, port: NonZeroU16, has_rule: bool) {
        let who = served_by(end);
        let whose = match &end.pod {
            Some(pod) => format!("pod {}, which has no network of its own (hostNetwork)", name(pod)),
            None => "the node itself, of no pod that is known".to_owned(),
        };
        let socket = format!("port {port}/{} is a socket in the node's own network", end.protocol);
        if has_rule {
            self.notes
                .push(format!("Besides, {socket}: {who} of {whose}. The NAT rule takes connections first."));
        } else {
            self.answer
                .push(format!("{}: netstat on the node shows it. It is {who} of {whose}.", upper(&socket)));
        }
    }

    /// Describes where the sockets behind a NAT rule are.
    fn describe_sockets(&mut self, ends: &[&End]) {
        let (served, others): (Vec<&End>, Vec<&End>) =
            ends.iter().partition(|end| end.state == EndState::Served);
        for end in served.iter().take(MAX_DESCRIBED) {
            let Some(pod) = &end.pod else { continue };
            self.answer.push(format!(
                "The socket is in the network namespace of pod {}: port {}, {}.",
                name(pod),
                port_of(end),
                served_by(end)
            ));
        }
        if served.len() > MAX_DESCRIBED {
            self.answer.push(format!("So it is in {} more pods of this node.", served.len() - MAX_DESCRIBED));
        }
        for end in others.iter().take(MAX_DESCRIBED) {
            self.describe_end(end);
        }
    }

    fn of_service(&mut self, asked: &str) {
        self.unless_services_known(&format!("what Service {} is", safe(asked)));
        for step in &self.found.services {
            let service = &step.service;
            self.answer.push(match service.kind {
                ServiceKind::ExternalName => format!(
                    "Service {} is a name in DNS for something outside (ExternalName): nothing is forwarded, and no pod is \
                     behind it.",
                    name_of(service)
                ),
                _ if !service.selects_pods() => continue,
                _ => format!(
                    "Service {} sends to {} of this node.",
                    name_of(service),
                    counted(step.pods_here, "pod", "pods")
                ),
            });
        }
        self.of_ends();
        self.of_services_without_ends();
    }

    fn of_services_without_ends(&mut self) {
        for step in self.found.services.iter().filter(|step| !step.ports.is_empty()) {
            self.of_service_elsewhere(step);
        }
    }

    fn of_service_elsewhere(&mut self, step: &ServiceStep) {
        let service = &step.service;
        let who = name_of(service);
        if service.kind == ServiceKind::ExternalName {
            return;
        }
        if !service.selects_pods() {
            self.answer.push(format!(
                "Service {who} has no selector: where it sends to stands in EndpointSlices that somebody else writes."
            ));
            self.partial.push(format!(
                "the agent does not read EndpointSlices, so what is behind Service {who} is not known"
            ));
        } else if step.pods_here == 0 {
            self.answer.push(format!(
                "No pod of Service {who} runs on this node: the socket is in the network namespace of a pod on another one, \
                 if there is any."
            ));
            self.partial.push(format!(
                "no pod of Service {who} runs on this node, and an agent sees its own node only"
            ));
        } else {
            return;
        }
        if is_name(&service.namespace) && is_name(&service.name) {
            self.next.push(format!(
                "find the pods: kubectl get endpointslices -n {} -l kubernetes.io/service-name={} -o yaml   (nodeName says \
                 which agent to ask)",
                service.namespace, service.name
            ));
        }
    }

    fn of_pod(&mut self) {
        let Some(step) = self.found.pods.first() else { return };
        let served: Vec<&End> = self.found.ends.iter().filter(|end| end.state == EndState::Served).collect();
        let who = name(&step.pod);
        if step.opaque_runtime.is_some() {
            self.answer.push(format!("What pod {who} listens on cannot be seen from this node's kernel."));
        } else if step.netns.is_none() {
            self.answer.push(format!("What pod {who} listens on is not known yet."));
        } else {
            let ports = served.iter().filter_map(|end| Some((end.protocol, end.port?)));
            let ports: Vec<(Protocol, NonZeroU16)> = ports.collect();
            let listening = counted(step.listening, "port", "ports");
            let undeclared = step.undeclared;
            self.answer.push(match (step.listening, undeclared) {
                (0, _) => format!("Pod {who} listens on no port."),
                (_, 0) => format!("Pod {who} listens on {listening}: {}.", some_of(ports.into_iter())),
                _ => format!(
                    "Pod {who} listens on {listening}: {}. No container declares {undeclared} of them.",
                    some_of(ports.into_iter())
                ),
            });
        }
        for end in self.found.ends.iter().filter(|end| end.state == EndState::Silent).take(MAX_DESCRIBED) {
            self.describe_end(end);
        }
    }

    fn of_ends(&mut self) {
        for end in self.found.ends.iter().take(MAX_DESCRIBED) {
            self.describe_end(end);
        }
        if self.found.ends.len() > MAX_DESCRIBED {
            let more = self.found.ends.len() - MAX_DESCRIBED;
            self.answer.push(format!("{more} more ways end on this node, as shown below."));
        }
    }

    fn describe_end(&mut self, end: &End) {
        let Some(pod) = &end.pod else { return };
        let place = format!("port {} of pod {}", port_of(end), name(pod));
        self.answer.push(match end.state {
            EndState::Served => {
                let declared = match end.declaration.status {
                    DeclarationStatus::Declared => "and declared",
                    DeclarationStatus::Explained => "not declared, but expected",
                    DeclarationStatus::Undeclared => "and not declared",
                    DeclarationStatus::Unknown => "and not known to be declared",
                };
                format!("{} is {}, {declared}.", upper(&place), served_by(end))
            }
            EndState::Silent => format!("Nobody listens on {place}: who calls it is refused."),
            EndState::Unresolved => {
                let target = end.entry_points.iter().find_map(|entry_point| entry_point.service.as_ref());
                let target = target.map(|(_, entry)| match &entry.target {
                    crate::model::pod::PortRef::Name(port) => safe(port),
                    crate::model::pod::PortRef::Number(port) => port.to_string(),
                });
                format!(
                    "Pod {} declares no {} port of the name {:?}, so that nothing is sent to it.",
                    name(pod),
                    end.protocol,
                    target.unwrap_or_default()
                )
            }
            EndState::Unseen => format!("Whether anybody listens on {place} is not known yet."),
            EndState::Opaque => {
                format!("Whether anybody listens on {place} cannot be seen from this node's kernel.")
            }
        });
    }

    fn notes_on_services(&mut self) {
        for step in &self.found.services {
            let (service, who) = (&step.service, name_of(&step.service));
            let outside = service.outside.as_deref();
            let is_open = matches!(service.kind, ServiceKind::NodePort | ServiceKind::LoadBalancer);
            if outside.is_some_and(|outside| outside.local_only) && is_open {
                self.notes.push(if step.pods_here == 0 {
                    format!(
                        "externalTrafficPolicy of Service {who} is Local: this node drops what comes to it from outside, since \
                         no pod of the Service runs here."
                    )
                } else {
                    format!("externalTrafficPolicy of Service {who} is Local: each node sends to its own pods only.")
                });
            }
            if service.kind == ServiceKind::LoadBalancer && outside.is_none_or(|it| it.balancer.is_empty()) {
                self.notes.push(format!("The load balancer of Service {who} has no address (yet)."));
            }
        }
    }

    fn notes_on_pods(&mut self) {
        for step in &self.found.pods {
            let who = name(&step.pod);
            if step.ready == Some(false) {
                self.notes
                    .push(format!("Pod {who} is not ready: its Services send nothing to it until it is."));
            }
            if step.has_guest {
                self.partial.push(format!(
                    "a virtual machine runs in pod {who}, whose sockets this node's kernel does not see"
                ));
            }
            if let Some(runtime) = &step.opaque_runtime {
                self.partial.push(format!(
                    "pod {who} runs in a sandbox of runtime {}, whose sockets this node's kernel does not see",
                    safe(runtime)
                ));
                if is_name(&step.pod.namespace) && is_name(&step.pod.name) {
                    let PodRef { namespace, name, .. } = &step.pod;
                    self.next
                        .push(format!("look from within: kubectl exec -n {namespace} {name} -- ss -ltnup"));
                }
            } else if step.netns.is_none() {
                self.partial.push(format!("the network namespace of pod {who} was not found (yet)"));
                self.next.push("see what the agent waits for: portolan status".to_owned());
            }
        }
    }

    fn notes_on_ends(&mut self) {
        for end in self.found.ends.iter().take(MAX_DESCRIBED) {
            self.notes_on_end(end);
        }
    }

    /// Says which Services may send to the pods without that the agent knows it.
    fn notes_on_unknown_endpoints(&mut self) {
        for service in std::mem::take(&mut self.visibility.without_selector) {
            self.notes.push(format!(
                "Service {service} has no selector: whether the EndpointSlices that somebody else writes for it name a pod \
                 shown here is not known to the agent."
            ));
        }
    }

    fn notes_on_end(&mut self, end: &End) {
        let Some(pod) = &end.pod else { return };
        let through_service = end.entry_points.iter().any(|entry_point| entry_point.service.is_some());
        match end.state {
            EndState::Silent => {
                if !end.nearest.is_empty() {
                    let near = some_of(end.nearest.iter().copied());
                    let more = if end.nearest.len() < MAX_NAMED { "" } else { " and perhaps more" };
                    self.notes.push(format!("Pod {} does listen on: {near}{more}.", name(pod)));
                }
                self.next.push(if through_service {
                    "correct the Service's targetPort or its selector, or start the process".to_owned()
                } else {
                    "start the process, or correct the port that is called".to_owned()
                });
            }
            EndState::Unresolved => {
                self.next
                    .push("name the port in the container's ports, or give targetPort a number".to_owned());
            }
            EndState::Unseen => {
                self.partial.push(format!("the sockets of pod {} were not looked at yet", name(pod)));
            }
            EndState::Served => self.notes_on_socket(end, through_service),
            EndState::Opaque => {}
        }
    }

    fn notes_on_socket(&mut self, end: &End, through_service: bool) {
        if end.exposure == Exposure::Loopback && through_service {
            let (place, advice) = advice::of_unreachable(end.listener.as_deref());
            self.notes.push(format!(
                "The process {place}, so that what a Service sends to port {} is refused.",
                port_of(end)
            ));
            self.next.push(advice.to_owned());
        }
        if end.policy == PolicyVerdict::Blocked {
            self.notes
                .push(format!("NetworkPolicies isolate the pod, and none admits port {}.", port_of(end)));
        }
        if end.declaration.status != DeclarationStatus::Declared && end.exposure != Exposure::Loopback {
            let advice = end.listener.as_ref().map(|listener| match end.declaration.status {
                DeclarationStatus::Explained => advice::of_expected(listener),
                _ => Advice::of(listener).declare_or_close(),
            });
            self.next.extend(advice);
        }
        let process = end.listener.as_ref().and_then(|listener| listener.process.as_ref());
        if let (Some(process), Some(port), false) = (process, end.port, is_host(end)) {
            let kind = match end.protocol {
                Protocol::Tcp => "t",
                Protocol::Udp => "u",
                Protocol::Sctp => "S",
            };
            self.next.push(format!(
                "see the socket where it is: nsenter -t {} -n ss -l{kind}np 'sport = :{port}'",
                process.pid
            ));
        }
    }

    fn unless_host_seen(&mut self) {
        if !self.visibility.host_sockets {
            self.partial.push("the sockets of the node's own network were not looked at".to_owned());
            self.next.push(
                "let the agent look at the node's own sockets: start it with --include-host   (or see them: ss -ltnup)"
                    .to_owned(),
            );
        }
    }

    fn unless_services_known(&mut self, what: &str) {
        if !self.visibility.services {
            self.partial
                .push(format!("the agent was not told all Services, so {what} is not known for certain"));
            self.next.push(
                "give the agent Services: --metadata kubernetes with the right to list them, or file=PATH with them; \
                 portolan status says what failed"
                    .to_owned(),
            );
        }
    }
}

fn is_host(end: &End) -> bool {
    end.pod.as_ref().is_none_or(|pod| pod.host_network)
}

fn served_by(end: &End) -> String {
    let Some(listener) = &end.listener else { return "served by nobody".to_owned() };
    let process = match (&listener.process, listener.served_by, listener.forwarded_to) {
        (Some(process), ..) if process.name.trim().is_empty() => {
            format!("served by {}", process_name(process))
        }
        (Some(process), ..) => format!("served by {} (pid {})", process_name(process), process.pid),
        (None, _, Some((address, port))) => format!("forwarded to {}", SocketAddr::new(address, port)),
        (None, ServedBy::Kernel, None) => "served by the kernel".to_owned(),
        (None, ..) => "served by an unknown process".to_owned(),
    };
    match &listener.container {
        Some(container) => format!("{process} in container {}", safe(&container.name)),
        None => process,
    }
}

fn port_of(end: &End) -> String {
    end.port.map_or_else(|| format!("?/{}", end.protocol), |port| format!("{port}/{}", end.protocol))
}

fn name(pod: &PodRef) -> String {
    format!("{}/{}", safe(&pod.namespace), safe(&pod.name))
}

fn name_of(service: &Service) -> String {
    format!("{}/{}", safe(&service.namespace), safe(&service.name))
}

fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        0 => format!("no {one}"),
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

fn upper(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
