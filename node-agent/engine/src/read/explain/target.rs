//! The target of an explanation as it is typed: a pod, a port of a pod, a Service, or a port of the node.

use std::fmt;
use std::num::NonZeroU16;

use crate::model::identity::Protocol;
use crate::model::pod::PortRef;

/// Every form, as errors and help show them.
pub const FORMS: &str =
    "[NAMESPACE/]POD, [NAMESPACE/]POD:PORT[/UDP], svc/[NAMESPACE/]SERVICE[:PORT], :NODEPORT[/UDP]";

/// Bytes of a target at most.
const MAX_TARGET: usize = 600;

/// Bytes of a Kubernetes name at most.
const MAX_NAME: usize = 253;

/// Bytes of a port's name at most.
const MAX_PORT_NAME: usize = 63;

/// Bytes of what was typed that an error repeats at most.
const MAX_REPEATED: usize = 64;

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Pod {
        named: ObjectName,
        port: Option<RequestedPort>,
    },
    Service {
        named: ObjectName,
        port: Option<RequestedPort>,
    },
    /// A port of the node: a NodePort, a hostPort, or a socket in the node's own network.
    NodePort {
        port: NonZeroU16,
        protocol: Option<Protocol>,
    },
}

/// A name, and its namespace where it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    pub namespace: Option<String>,
    pub name: String,
}

/// A port of a pod or Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedPort {
    pub port: PortRef,
    /// `None`: whatever protocol it has.
    pub protocol: Option<Protocol>,
}

/// Why a target was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("no target is given: expected one of {FORMS}")]
    Empty,
    #[error("{given:?} is no target: expected one of {FORMS}")]
    Form { given: String },
    #[error("{given:?} is no port: expected a number from 1 to 65535, or the name of a port")]
    Port { given: String },
    #[error("{given:?} is no port of a node: expected a number from 1 to 65535")]
    NodePort { given: String },
    #[error("{given:?} is no protocol: expected TCP, UDP or SCTP")]
    Protocol { given: String },
    #[error("{given:?} is no name of a Kubernetes object")]
    Name { given: String },
    #[error("the target says namespace {said:?}, the option {option:?}: leave one out")]
    Namespaces { said: String, option: String },
}

enum Kind {
    Pod,
    Service,
    NodePort,
}

impl Target {
    /// Reads what was typed; `namespace` is that of an option beside it.
    ///
    /// # Errors
    /// [`BadTarget`].
    pub fn parse(text: &str, namespace: Option<&str>) -> Result<Self, BadTarget> {
        if text.is_empty() {
            return Err(BadTarget::Empty);
        }
        if text.len() > MAX_TARGET {
            return Err(BadTarget::Form { given: repeated(text) });
        }
        let (object, port) = match text.split_once(':') {
            Some((object, port)) => (object, Some(port)),
            None => (text, None),
        };
        match port {
            Some(port) if object.is_empty() => return node_port(port),
            None if is_node_port(object) => return node_port(object),
            _ => {}
        }
        let (kind, named) = object_of(object).ok_or_else(|| BadTarget::Form { given: repeated(text) })?;
        if let Kind::NodePort = kind {
            // `nodeport/32264/UDP` has the protocol where others have the name.
            return match (object.split_once('/'), port) {
                (Some((_, port)), None) => node_port(port),
                _ => Err(BadTarget::Form { given: repeated(text) }),
            };
        }
        let named = checked(named, namespace)?;
        let port = port.map(asked_port).transpose()?;
        Ok(match kind {
            Kind::Service => Self::Service { named, port },
            Kind::Pod | Kind::NodePort => Self::Pod { named, port },
        })
    }
}

fn object_of(object: &str) -> Option<(Kind, ObjectName)> {
    let mut parts = object.split('/');
    let parts = (parts.next()?, parts.next(), parts.next(), parts.next());
    let named = |namespace: Option<&str>, name: &str| ObjectName {
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    match parts {
        (name, None, ..) => Some((Kind::Pod, named(None, name))),
        (first, Some(name), None, _) => match kind(first) {
            Some(kind) => Some((kind, named(None, name))),
            None => Some((Kind::Pod, named(Some(first), name))),
        },
        (first, Some(namespace), Some(name), None) => Some((kind(first)?, named(Some(namespace), name))),
        _ => None,
    }
}

fn kind(word: &str) -> Option<Kind> {
    match word {
        "pod" | "pods" | "po" => Some(Kind::Pod),
        "svc" | "service" | "services" => Some(Kind::Service),
        "nodeport" => Some(Kind::NodePort),
        _ => None,
    }
}

/// `32264` or `32264/UDP`: digits alone are a port, not a pod (`pod/32264` is one).
fn is_node_port(text: &str) -> bool {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && protocol_of(protocol).is_some()
}

fn node_port(text: &str) -> Result<Target, BadTarget> {
    let (port, protocol) = with_protocol(text)?;
    let port = number(port).ok_or_else(|| BadTarget::NodePort { given: repeated(port) })?;
    Ok(Target::NodePort { port, protocol })
}

fn asked_port(text: &str) -> Result<RequestedPort, BadTarget> {
    let (port, protocol) = with_protocol(text)?;
    let bad = || BadTarget::Port { given: repeated(port) };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = if is_number {
        PortRef::Number(number(port).ok_or_else(bad)?)
    } else {
        let is_name = port.len() <= MAX_PORT_NAME && is_name(port);
        PortRef::Name(is_name.then(|| port.to_owned()).ok_or_else(bad)?)
    };
    Ok(RequestedPort { port, protocol })
}

fn with_protocol(text: &str) -> Result<(&str, Option<Protocol>), BadTarget> {
    let Some((port, protocol)) = text.split_once('/') else { return Ok((text, None)) };
    let found = protocol_of(protocol).ok_or_else(|| BadTarget::Protocol { given: repeated(protocol) })?;
    Ok((port, Some(found)))
}

fn protocol_of(text: &str) -> Option<Protocol> {
    Protocol::ALL.into_iter().find(|protocol| protocol.as_str().eq_ignore_ascii_case(text))
}

fn number(text: &str) -> Option<NonZeroU16> {
    // `parse` would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn checked(mut named: ObjectName, option: Option<&str>) -> Result<ObjectName, BadTarget> {
    for part in named.namespace.iter().chain([&named.name]).map(String::as_str).chain(option) {
        if part.len() > MAX_NAME || !is_name(part) {
            return Err(BadTarget::Name { given: repeated(part) });
        }
    }
    match (&named.namespace, option) {
        (Some(said), Some(option)) if said != option => {
            return Err(BadTarget::Namespaces { said: said.clone(), option: option.to_owned() });
        }
        (None, Some(option)) => named.namespace = Some(option.to_owned()),
        _ => {}
    }
    Ok(named)
}

pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

fn repeated(text: &str) -> String {
    text.chars().take(MAX_REPEATED).collect()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { named, port } => {
                let prefix = if named.is_mistaken() { "pod/" } else { "" };
                write!(f, "{prefix}{named}{}", Suffix(port.as_ref()))
            }
            Self::Service { named, port } => write!(f, "svc/{named}{}", Suffix(port.as_ref())),
            Self::NodePort { port, protocol: None } => write!(f, ":{port}"),
            Self::NodePort { port, protocol: Some(protocol) } => write!(f, ":{port}/{protocol}"),
        }
    }
}

impl fmt::Display for RequestedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.port {
            PortRef::Number(port) => write!(f, "{port}")?,
            PortRef::Name(name) => f.write_str(name)?,
        }
        self.protocol.map_or(Ok(()), |protocol| write!(f, "/{protocol}"))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl ObjectName {
    /// True if it needs `pod/` before it to be read as a pod.
    fn is_mistaken(&self) -> bool {
        match self.namespace.as_deref() {
            Some(namespace) => kind(namespace).is_some() || is_node_port(&self.to_string()),
            None => is_node_port(&self.name),
        }
    }
}

struct Suffix<'a>(Option<&'a RequestedPort>);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |asked| write!(f, ":{asked}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{BadTarget, Target};
    use proptest::prelude::*;

    fn read(text: &str) -> String {
        match Target::parse(text, None) {
            Ok(target @ Target::Pod { .. }) => format!("pod {target}"),
            Ok(target) => target.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_form_is_understood() {
        for (given, then) in [
            ("web", "pod web"),
            ("shop/web", "pod shop/web"),
            ("pod/web", "pod web"),
            ("po/shop/web", "pod shop/web"),
            ("web-5d4f8c7b9-x:8080", "pod web-5d4f8c7b9-x:8080"),
            ("shop/web:53/udp", "pod shop/web:53/UDP"),
            ("shop/web:http", "pod shop/web:http"),
            ("pod/32264", "pod pod/32264"),
            ("32264/web", "pod 32264/web"),
            ("svc/web", "svc/web"),
            ("service/shop/web:80", "svc/shop/web:80"),
            ("services/shop/web:dns/SCTP", "svc/shop/web:dns/SCTP"),
            (":32264", ":32264"),
            ("32264", ":32264"),
            ("32264/udp", ":32264/UDP"),
            (":32264/UDP", ":32264/UDP"),
            ("nodeport/32264", ":32264"),
            ("nodeport/32264/tcp", ":32264/TCP"),
        ] {
            assert_eq!(read(given), then, "{given}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        for (given, words) in [
            ("", "no target is given: expected one of [NAMESPACE/]POD, "),
            ("deploy/shop/web", "\"deploy/shop/web\" is no target: expected one of [NAMESPACE/]POD, "),
            ("svc/a/b/c", "is no target"),
            ("nodeport/32264:80", "is no target"),
            ("nodeport/0", "\"0\" is no port of a node: expected a number from 1 to 65535"),
            (":http", "\"http\" is no port of a node"),
            ("70000", "\"70000\" is no port of a node"),
            (":+80", "\"+80\" is no port of a node"),
            ("web:0", "\"0\" is no port: expected a number from 1 to 65535, or the name of a port"),
            ("web:", "\"\" is no port"),
            ("web:80:81", "\"80:81\" is no port"),
            ("web:80/QUIC", "\"QUIC\" is no protocol: expected TCP, UDP or SCTP"),
            ("/web", "\"\" is no name"),
            ("web app", "\"web app\" is no name"),
            ("\u{1b}[2J", "\"\\u{1b}[2J\" is no name"),
        ] {
            assert!(read(given).contains(words), "{given}: {}", read(given));
        }
        assert!(read(&"x".repeat(10_000)).len() < 300);
    }

    #[test]
    fn the_option_names_the_namespace_unless_the_target_does() {
        let read = |text| Target::parse(text, Some("shop")).map(|target| target.to_string());
        assert_eq!(read("web:80").as_deref(), Ok("shop/web:80"));
        assert_eq!(read("shop/web").as_deref(), Ok("shop/web"));
        assert_eq!(read(":80").as_deref(), Ok(":80"));
        let error = BadTarget::Namespaces { said: "other".to_owned(), option: "shop".to_owned() };
        assert_eq!(read("svc/other/web"), Err(error));
    }

    proptest! {
        #[test]
        fn nothing_typed_panics_and_what_is_understood_reads_the_same_again(
            text in "(svc/|pod/|nodeport/)?[a-z0-9./:\\PC]{0,40}",
        ) {
            if let Ok(target) = Target::parse(&text, None) {
                prop_assert_eq!(Target::parse(&target.to_string(), None), Ok(target));
            }
        }

        #[test]
        fn no_text_at_all_panics(text in any::<String>(), namespace in any::<Option<String>>()) {
            let _ = Target::parse(&text, namespace.as_deref());
        }
    }
}
