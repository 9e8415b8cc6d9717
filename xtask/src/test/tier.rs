//! The test tiers, in the order in which they run, and what each proves.

use clap::ValueEnum;

/// A group of tests with the same needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    Unit,
    Http,
    Kernel,
    Vm,
    Api,
    Cri,
    Privilege,
    Package,
    Chart,
    Page,
    E2e,
}

impl Tier {
    /// Returns all tiers in the order in which they run.
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Http => "http",
            Self::Kernel => "kernel",
            Self::Vm => "vm",
            Self::Api => "api",
            Self::Cri => "cri",
            Self::Privilege => "privilege",
            Self::Package => "package",
            Self::Chart => "chart",
            Self::Page => "page",
            Self::E2e => "e2e",
        }
    }

    pub fn proves(self) -> &'static str {
        match self {
            Self::Unit => "engine, decoding, parsers, configuration, property tests; every crate",
            Self::Http => "every route over real sockets",
            Self::Kernel => "the agent binary, real programs, real namespaces, real sockets",
            Self::Vm => "the same agent on other kernels",
            Self::Api => "the sources that talk to Kubernetes' API server, against one that stands in for it",
            Self::Cri => "a real container runtime",
            Self::Privilege => {
                "the image in a container with what the chart gives it, and without each part of that"
            }
            Self::Package => {
                "the .deb and the .rpm in a clean Debian system with systemd: installed, used, upgraded, removed"
            }
            Self::Chart => {
                "the Helm chart: schemas, privileges, alerts, and that the agent takes what it gives"
            }
            Self::Page => {
                "the page in a real browser: layout, keyboard, accessibility, hostile names, live changes"
            }
            Self::E2e => "a real cluster: install, find, upgrade, uninstall",
        }
    }
}
