//! Command-line options of the commands that query one agent. Doc comments of fields are the help texts.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use portolan_engine::model::finding_code::{FindingCode, Severity};
use portolan_report::chart_filter::STATES;
use portolan_report::idle::Period;
use portolan_report::label_selector::Selector;

use crate::query::policy::object::is_dns_label;

/// Which objects are shown.
#[derive(Clone, Debug, Default, Args)]
pub struct FilterArgs {
    /// Only pods of this Kubernetes namespace
    #[arg(short, long, value_parser = namespace)]
    pub namespace: Option<String>,
    /// Pods of all namespaces (the default, said aloud)
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Only pods with these labels, such as app=web,tier in (front,back),!canary
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<Selector>,
}

/// Returns a parser for codes of findings. An unknown code is refused, because it would match nothing and look like "no
/// findings".
fn codes() -> PossibleValuesParser {
    PossibleValuesParser::new(FindingCode::ALL.map(FindingCode::as_str))
}

/// Returns a parser for severities. The engine owns the type, but does not depend on clap.
fn severities() -> impl TypedValueParser<Value = Severity> {
    PossibleValuesParser::new(Severity::ALL.map(Severity::as_str))
        .try_map(|text| Severity::parse(&text).ok_or("expected a severity"))
}

/// Parses the name of a Kubernetes namespace (RFC 1123 label). No other name can exist: it would match nothing, or break the path of
/// a request.
pub(crate) fn namespace(text: &str) -> Result<String, &'static str> {
    is_dns_label(text).then(|| text.to_owned()).ok_or(
        "a namespace has 1 to 63 lower-case letters, digits and hyphens, and begins and ends with a letter or digit",
    )
}

/// Parses a number of 1 or more. A table with a limit of 0 would look as if there were nothing to show.
fn one_or_more(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|number| *number > 0).ok_or("expected a number, 1 or more")
}

/// Which findings are shown, and which make the command fail.
#[derive(Clone, Debug, Default, Args)]
pub struct FindingFilterArgs {
    /// Only these codes, such as undeclared-active
    #[arg(long, value_delimiter = ',', value_name = "CODE", value_parser = codes(), hide_possible_values = true)]
    pub code: Vec<String>,
    /// Only these severities
    #[arg(long, value_delimiter = ',', value_name = "SEVERITY", value_parser = severities())]
    pub severity: Vec<Severity>,
    /// Show each pod in the table [default: one row for each workload's port, with the number of its pods]
    #[arg(long)]
    pub pods: bool,
    /// Exit with code 1 if a finding that is shown is this bad, or worse (`findings --watch` ends at the first)
    #[arg(long, value_name = "SEVERITY", value_parser = severities())]
    pub fail_on: Option<Severity>,
}

/// Output format of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "doc comments of variants would become help texts")]
pub enum Format {
    #[default]
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

/// Output format of a list of findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "doc comments of variants would become help texts")]
pub enum FindingsFormat {
    #[default]
    Table,
    Wide,
    Json,
    Yaml,
    Name,
    Junit,
}

impl FindingsFormat {
    /// Returns true for the formats that show a table.
    #[must_use]
    pub const fn is_table(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }

    /// Returns the format of lists of all kinds; `None` for a JUnit report.
    #[must_use]
    pub const fn of_lists(self) -> Option<Format> {
        match self {
            Self::Table => Some(Format::Table),
            Self::Wide => Some(Format::Wide),
            Self::Json => Some(Format::Json),
            Self::Yaml => Some(Format::Yaml),
            Self::Name => Some(Format::Name),
            Self::Junit => None,
        }
    }
}

/// Which agent is asked.
#[derive(Clone, Debug, Args)]
pub struct AddressArgs {
    /// The agent's HTTP address: http://HOST:PORT or unix:PATH
    #[arg(long, env = "PORTOLAN_SERVER", default_value = "http://127.0.0.1:9470", value_name = "URL")]
    pub server: String,
}

/// Where the agent is asked, and how the answer is shown.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Which agent is asked.
    #[command(flatten)]
    pub agent: AddressArgs,
    /// How to show it
    #[arg(short, long, default_value = "table")]
    pub output: Format,
}

/// Options of `portolan findings`.
#[derive(Debug, Args)]
pub struct FindingsArgs {
    /// Which agent is asked.
    #[command(flatten)]
    pub agent: AddressArgs,
    /// How to show it; junit is a report for CI systems
    #[arg(short, long, default_value = "table")]
    pub output: FindingsFormat,
    /// Filters for all objects.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Filters for findings.
    #[command(flatten)]
    pub findings: FindingFilterArgs,
    /// Which states: open, suppressed, resolved, or several; --watch of open ones shows their end too
    #[arg(long, value_delimiter = ',', default_value = "open", value_name = "STATE", value_parser = STATES, hide_possible_values = true)]
    pub state: Vec<String>,
    /// Keep running and show what changes
    #[arg(short, long)]
    pub watch: bool,
}

/// Options of `portolan baseline`.
#[derive(Debug, Args)]
pub struct BaselineArgs {
    /// Which agent is asked.
    #[command(flatten)]
    pub agent: AddressArgs,
    /// The rules, and the findings that they are for.
    #[command(flatten)]
    pub rules: RuleArgs,
}

/// Which findings a baseline has rules for, and what the rules say.
#[derive(Clone, Debug, Args)]
pub struct RuleArgs {
    /// Why these are accepted, and by whom: stands in each rule and in each finding that it suppresses
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// When the rules end: a day such as 2027-03-31 (its end, UTC), or a time such as 2027-03-31T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub expires: Option<String>,
    /// Filters for all objects.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only these codes, such as undeclared-explained
    #[arg(long, value_delimiter = ',', value_name = "CODE", value_parser = codes(), hide_possible_values = true)]
    pub code: Vec<String>,
    /// Only these severities
    #[arg(long, value_delimiter = ',', value_name = "SEVERITY", value_parser = severities())]
    pub severity: Vec<Severity>,
}

/// Whether only idle ports are listed.
#[derive(Clone, Debug, Default, Args)]
pub struct IdleArgs {
    /// Only ports that are open and were not called for this time, such as 7d, 12h or 30m, by the clock of their node
    /// [without a time: since the agent counts]. Calls of the node itself, as the kubelet's probes, do not count and are shown;
    /// ports of which it is not known are left out, and stderr says how many and why
    #[arg(long, value_name = "TIME", num_args = 0..=1, value_parser = Period::parse)]
    pub idle: Option<Option<Period>>,
}

impl IdleArgs {
    /// Returns the period in which idle ports were not called; `None` if all ports are listed.
    #[must_use]
    pub fn period(&self) -> Option<Period> {
        self.idle.map(|given| given.unwrap_or(Period::Counted))
    }
}

/// Options of `portolan listeners`.
#[derive(Debug, Args)]
pub struct ListenersArgs {
    /// Server, filters and `--watch`.
    #[command(flatten)]
    pub list: ListArgs,
    /// Whether only idle ports are listed.
    #[command(flatten)]
    pub idle: IdleArgs,
}

/// Options of `portolan connections`, and those that `portolan listeners` shares with it.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Server and output format.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Filters for all objects.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Keep running and show what changes
    #[arg(short, long)]
    pub watch: bool,
}

/// Which ports are at the top, and how many.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// What counts
    #[arg(long, default_value = "connections", value_name = "AMOUNT")]
    pub by: TopOrder,
    /// How many ports are shown, 1 or more
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = one_or_more)]
    pub limit: usize,
    /// Only ports that are not declared
    #[arg(long)]
    pub undeclared: bool,
}

/// Amount by which `top` sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "doc comments of variants would become help texts")]
pub enum TopOrder {
    Connections,
    Bytes,
    Packets,
    Attempts,
}

/// Options of `portolan top`.
#[derive(Debug, Args)]
pub struct NodeTopArgs {
    /// Server and output format.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Filters for all objects.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Order and number of rows.
    #[command(flatten)]
    pub top: TopArgs,
}

/// Options of `portolan explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// [NAMESPACE/]POD, [NAMESPACE/]POD:PORT[/UDP], svc/[NAMESPACE/]SERVICE[:PORT], or a port of the node (a NodePort, a
    /// hostPort): :PORT[/UDP]. PORT is a number or, but for the node's, a name
    pub target: String,
    /// Kubernetes namespace of the pod or Service, where the target does not say it
    #[arg(short, long, value_parser = namespace)]
    pub namespace: Option<String>,
    /// Server and output format.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Options of `portolan policy`.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Which agent is asked.
    #[command(flatten)]
    pub agent: AddressArgs,
    /// Target and form of the policy.
    #[command(flatten)]
    pub draft: DraftArgs,
}

/// For which pods a policy is drafted, whom it admits, and how it is written.
#[derive(Clone, Debug, Args)]
pub struct DraftArgs {
    /// NAMESPACE/POD, KIND/NAME of a workload (deployment/web), NAMESPACE/KIND/NAME, or a pod's name
    pub target: String,
    /// The Kubernetes namespace [default: whichever has the target]
    #[arg(short, long, value_parser = namespace)]
    pub namespace: Option<String>,
    /// Admit on each port only those who were seen calling it
    #[arg(long)]
    pub observed: bool,
    /// How to write it; in json the comments go to stderr
    #[arg(short, long, default_value = "yaml")]
    pub output: ManifestFormat,
}

/// Output format of a manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "doc comments of variants would become help texts")]
pub enum ManifestFormat {
    #[default]
    Yaml,
    Json,
}

/// Options of `portolan status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Server and output format.
    #[command(flatten)]
    pub server: ServerArgs,
}
