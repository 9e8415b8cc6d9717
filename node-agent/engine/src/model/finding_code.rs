//! The codes and severities of findings: the one list that filters, tables, metrics and the command line use.
//! docs/findings.md explains each code.

/// Severity of a finding; ordered from least to most severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing to do by itself.
    Info,
    /// Worth correcting.
    Low,
    /// Reachable, or opened by a debug container.
    Medium,
    /// In use, on the node's network, or a storm.
    High,
    /// Reached from outside the cluster.
    Critical,
}

impl Severity {
    /// Every severity, most severe first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Info];

    /// Returns the name that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Parses the name that [`Self::as_str`] returns.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

/// What a finding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingCode {
    /// An undeclared port was called from outside the cluster, or through an address that leads in from outside.
    UndeclaredExternal,
    /// An undeclared port was called from another pod.
    UndeclaredActive,
    /// An undeclared port of a hostNetwork pod is bound to the node's addresses.
    UndeclaredHost,
    /// An undeclared port can be called from other pods.
    UndeclaredReachable,
    /// A debug container serves the port.
    EphemeralContainer,
    /// A pod serves so many undeclared ports that one finding replaces theirs.
    PortStorm,
    /// An undeclared port that NetworkPolicies block.
    UndeclaredBlocked,
    /// An undeclared port that something else in the manifests expects.
    UndeclaredExplained,
    /// A Service sends to a port that nothing serves.
    DanglingServicePort,
    /// An undeclared port on loopback.
    UndeclaredLoopback,
    /// A declared port that nothing serves.
    StaleDeclaration,
    /// A port of no known pod.
    Unattributed,
    /// A pod whose sockets this node's kernel does not see.
    OpaqueRuntime,
}

impl FindingCode {
    /// Codes of an undeclared port, the most severe first. A declaration in the manifest would avoid each of them.
    pub const UNDECLARED: [Self; 7] = [
        Self::UndeclaredExternal,
        Self::UndeclaredActive,
        Self::UndeclaredHost,
        Self::UndeclaredReachable,
        Self::UndeclaredBlocked,
        Self::UndeclaredExplained,
        Self::UndeclaredLoopback,
    ];

    /// Every code.
    pub const ALL: [Self; 13] = [
        Self::UndeclaredExternal,
        Self::UndeclaredActive,
        Self::UndeclaredHost,
        Self::UndeclaredReachable,
        Self::EphemeralContainer,
        Self::PortStorm,
        Self::UndeclaredBlocked,
        Self::UndeclaredExplained,
        Self::DanglingServicePort,
        Self::UndeclaredLoopback,
        Self::StaleDeclaration,
        Self::Unattributed,
        Self::OpaqueRuntime,
    ];

    /// Returns the name that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UndeclaredExternal => "undeclared-external",
            Self::UndeclaredActive => "undeclared-active",
            Self::UndeclaredHost => "undeclared-host",
            Self::UndeclaredReachable => "undeclared-reachable",
            Self::EphemeralContainer => "ephemeral-container",
            Self::PortStorm => "port-storm",
            Self::UndeclaredBlocked => "undeclared-blocked",
            Self::UndeclaredExplained => "undeclared-explained",
            Self::DanglingServicePort => "dangling-service-port",
            Self::UndeclaredLoopback => "undeclared-loopback",
            Self::StaleDeclaration => "stale-declaration",
            Self::Unattributed => "unattributed",
            Self::OpaqueRuntime => "opaque-runtime",
        }
    }

    /// Returns true for the codes that calls from beyond the node make. They do not wait for the grace time.
    #[must_use]
    pub(crate) const fn is_of_calls(self) -> bool {
        matches!(self, Self::UndeclaredExternal | Self::UndeclaredActive)
    }

    /// Returns the severity, which is fixed per code.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::UndeclaredExternal => Severity::Critical,
            Self::UndeclaredActive | Self::UndeclaredHost | Self::PortStorm => Severity::High,
            Self::UndeclaredReachable | Self::EphemeralContainer => Severity::Medium,
            Self::UndeclaredBlocked | Self::UndeclaredExplained | Self::DanglingServicePort => Severity::Low,
            Self::UndeclaredLoopback | Self::StaleDeclaration | Self::Unattributed | Self::OpaqueRuntime => {
                Severity::Info
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/findings.md lists each code once, with its severity, and has a section with an example and advice for each.
    #[test]
    fn every_code_is_explained_in_the_documentation() {
        let page = include_str!("../../../../docs/findings.md");
        for code in FindingCode::ALL {
            let name = code.as_str();
            let row = format!("| [`{name}`](#{name}) | {} |", code.severity().as_str());
            assert_eq!(page.matches(&row).count(), 1, "{row}");
            let (_, section) = page.split_once(&format!("\n## {name}\n")).expect(name);
            let section = section.split("\n## ").next().unwrap_or_default();
            assert!(section.contains("\nExample: ") && section.contains("\nDo: "), "{name}: {section}");
        }
        assert_eq!(page.matches("\n## ").count(), FindingCode::ALL.len(), "a section for no code");
    }

    #[test]
    fn every_severity_is_read_back_as_it_is_written() {
        for severity in Severity::ALL {
            assert_eq!(Severity::parse(severity.as_str()), Some(severity));
        }
        assert_eq!(Severity::parse("awful"), None);
    }
}
