//! Turns filter options into query parameters, and into the sentence for an empty answer.

use portolan_report::table;

use crate::args::{FilterArgs, FindingFilterArgs};

/// Names and values of the parameters of a URL.
pub type Pairs = Vec<(&'static str, String)>;

/// How much of a cluster a command asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The agent of one node.
    OneNode,
    /// The agents of all nodes.
    AllNodes,
}

/// What the message about an empty table has to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WhenEmpty {
    /// True if the user gave filters: an empty answer then does not mean that there is nothing.
    pub(crate) is_narrowed: bool,
    /// Number of suppressed findings that match the same filters.
    pub(crate) suppressed: usize,
}

impl WhenEmpty {
    /// Returns the message about an empty table. `nothing` is the one of a list without filters.
    pub(crate) fn message(self, nothing: &str) -> String {
        match (self.is_narrowed, self.suppressed) {
            (true, 0) => {
                "Nothing matches what was asked; without these filters there may be more.".to_owned()
            }
            (true, count) => {
                format!("No open finding matches what was asked. {}", table::suppressed_note(count))
            }
            (false, 0) => nothing.trim_end_matches('\n').to_owned(),
            (false, count) => table::no_open_findings(count),
        }
    }
}

impl Scope {
    /// Returns the program that asks them, as users call it.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::OneNode => "portolan",
            Self::AllNodes => "kubectl portolan",
        }
    }
}

impl FilterArgs {
    /// Returns a sentence that says that nothing matches, names the filters, and says what to do.
    ///
    /// `what` is a singular noun. `undeclared` means that only undeclared ports were asked for.
    #[must_use]
    pub fn nothing_found(&self, what: &str, undeclared: bool, scope: Scope) -> String {
        let undeclared = if undeclared { "undeclared " } else { "" };
        let place = if scope == Scope::OneNode { " on this node" } else { "" };
        let labels = self.selector.as_ref().map(|selector| format!(" of pods with the labels {selector}"));
        let namespace = self.namespace.as_ref().map(|name| format!(" in namespace {name:?}"));
        let elsewhere = match scope {
            Scope::OneNode => "; an agent sees its own node only, `kubectl portolan` asks all",
            Scope::AllNodes => "",
        };
        let advice = match (&namespace, &labels) {
            (Some(_), _) => {
                format!(
                    ": is the name right (`kubectl get namespaces`)? Without -n all of them are shown{elsewhere}"
                )
            }
            (None, Some(_)) => format!(": without -l all of them are shown{elsewhere}"),
            (None, None) => String::new(),
        };
        let all = [labels, namespace].into_iter().flatten().collect::<String>();
        format!("No {undeclared}{what} is known{all}{place}{advice}.")
    }

    /// Returns the query parameters of these options.
    #[must_use]
    pub fn pairs(&self) -> Pairs {
        let namespace = self.namespace.iter().map(|namespace| ("namespace", namespace.clone()));
        let selector = self.selector.iter().map(|selector| ("labels", selector.to_string()));
        namespace.chain(selector).collect()
    }

    /// Returns the query parameters of these options, restricted to open objects.
    #[must_use]
    pub fn open_pairs(&self) -> Pairs {
        let mut pairs = self.pairs();
        pairs.push(("state", "open".to_owned()));
        pairs
    }
}

impl FindingFilterArgs {
    /// Returns the query parameters of these options.
    #[must_use]
    pub fn pairs(&self) -> Pairs {
        let severities: Vec<String> =
            self.severity.iter().map(|severity| severity.as_str().to_owned()).collect();
        alternatives("code", &self.code).into_iter().chain(alternatives("severity", &severities)).collect()
    }
}

/// Returns a parameter with several alternatives, or none if there are no values.
pub(super) fn alternatives(name: &'static str, values: &[String]) -> Option<(&'static str, String)> {
    (!values.is_empty()).then(|| (name, values.join(",")))
}

/// Returns the same filters for suppressed findings instead of open ones.
#[must_use]
pub(crate) fn suppressed_only(filters: &[(&'static str, String)]) -> Pairs {
    let others = filters.iter().filter(|(name, _)| *name != "state").cloned();
    others.chain([("state", "suppressed".to_owned())]).collect()
}
