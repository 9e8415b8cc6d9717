//! Exceptions that Kubernetes objects carry themselves, if the operator allows it: `portolan.dev/allow-ports` with
//! `portolan.dev/allow-reason`. They cover what a declaration could, never what a debug container opens.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::exception::{Match, PortRange, Rule};
use crate::model::finding::Suppression;
use crate::model::finding_code::FindingCode;

/// Annotation key: ports and ranges, separated by commas.
pub const PORTS: &str = "portolan.dev/allow-ports";

/// Annotation key: why the ports may be open.
pub const REASON: &str = "portolan.dev/allow-reason";

/// Name of the rule that a namespace's annotations make.
pub(crate) const OF_NAMESPACE: &str = "annotation/namespace";

/// Name of the rule that a pod's annotations make.
pub(crate) const OF_POD: &str = "annotation/pod";

/// Maximum number of ports and ranges in one annotation.
const MAX_PORTS: usize = 64;

/// Maximum length of a reason, in characters.
const MAX_REASON: usize = 256;

/// The exception that an object's annotations make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Annotated {
    /// The object has none of the annotations.
    #[default]
    Nothing,
    /// A valid exception.
    Rule(Arc<Rule>),
    /// The annotations are invalid and allow nothing.
    Invalid,
}

impl Annotated {
    /// Parses the annotations of an object into a rule called `name`.
    #[must_use]
    pub(crate) fn of(name: &str, annotations: &BTreeMap<String, String>) -> Self {
        let Some(ports) = annotations.get(PORTS) else {
            return if annotations.contains_key(REASON) { Self::Invalid } else { Self::Nothing };
        };
        let reason = annotations.get(REASON).map(|reason| reason.trim()).unwrap_or_default();
        match ranges(ports) {
            Some(port) if !reason.is_empty() => {
                let reason = reason.chars().take(MAX_REASON).collect();
                Self::Rule(Arc::new(Rule {
                    suppression: Arc::new(Suppression { rule: name.to_owned(), reason }),
                    matches: Match {
                        port,
                        code: FindingCode::UNDECLARED.to_vec(),
                        never_ephemeral: true,
                        ..Match::default()
                    },
                    expires: None,
                }))
            }
            _ => Self::Invalid,
        }
    }

    /// Returns the rule, if there is a valid one.
    #[must_use]
    pub(crate) const fn rule(&self) -> Option<&Arc<Rule>> {
        match self {
            Self::Rule(rule) => Some(rule),
            Self::Nothing | Self::Invalid => None,
        }
    }
}

/// Parses a list of ports and ranges; `None` if any part is invalid, because half of a wrong list is not what its
/// author meant.
fn ranges(text: &str) -> Option<Vec<PortRange>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let ranges: Vec<PortRange> = parts.take(MAX_PORTS + 1).map(PortRange::parse).collect::<Option<_>>()?;
    (1..=MAX_PORTS).contains(&ranges.len()).then_some(ranges)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(ports: Option<&str>, reason: Option<&str>) -> Annotated {
        let both = [(PORTS, ports), (REASON, reason)];
        let present = both.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
        Annotated::of(OF_POD, &present.collect())
    }

    #[test]
    fn ports_with_a_reason_make_a_rule_and_everything_else_none() {
        let Annotated::Rule(rule) = read(Some("9090/TCP, 8000-8010,"), Some(" known ")) else {
            panic!("no rule");
        };
        assert_eq!((rule.matches.port.len(), rule.suppression.reason.as_str()), (2, "known"));
        assert!(
            rule.matches.never_ephemeral && !rule.matches.code.contains(&FindingCode::EphemeralContainer)
        );
        assert_eq!(read(None, None), Annotated::Nothing);
        let many = vec!["80"; MAX_PORTS + 1].join(",");
        for (ports, reason) in [
            (Some("9090"), None),
            (Some("9090"), Some("  ")),
            (None, Some("why")),
            (Some(""), Some("why")),
            (Some("9090;80"), Some("why")),
            (Some("9090,http"), Some("why")),
            (Some(many.as_str()), Some("why")),
        ] {
            assert_eq!(read(ports, reason), Annotated::Invalid, "{ports:?} {reason:?}");
        }
        assert!(matches!(read(Some("1"), Some(&"é".repeat(9000))), Annotated::Rule(_)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(ports in "\\PC*", list in "([0-9]{1,6}[-/,TCP]{0,3}){0,9}", reason in "\\PC*") {
            for ports in [ports, list] {
                let _ = read(Some(&ports), Some(&reason));
            }
        }
    }
}
