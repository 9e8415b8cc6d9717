//! The codes and severities of findings: the one list that filters, tables, metrics and the command line use.
//! docs/findings.md explains each code.

/// How bad a finding is; ordered from least to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// Every severity, the worst first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Info];

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

    /// The severity that is written so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

/// What a finding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingCode {
    UndeclaredExternal,
    UndeclaredActive,
    UndeclaredHost,
    UndeclaredReachable,
    EphemeralContainer,
    PortStorm,
    UndeclaredBlocked,
    UndeclaredExplained,
    DanglingServicePort,
    UndeclaredLoopback,
    StaleDeclaration,
    Unattributed,
    OpaqueRuntime,
}

impl FindingCode {
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

    /// The page that users read lists what the code has: each code once, with its severity, its section, an example and
    /// what to do.
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
