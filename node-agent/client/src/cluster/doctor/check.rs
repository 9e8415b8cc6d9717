//! Result of one check, and how checks are shown.

use portolan_report::name_list::first_names;
use portolan_report::table::lay_out;
use portolan_report::wire::SCHEMA;
use serde_json::{Value, json};

/// Maximum number of names in one text.
const MAX_NAMES: usize = 20;

/// Result of one check: what was found and, if something is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    name: String,
    state: State,
    found: String,
    fix: String,
}

/// State of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

impl Check {
    pub(super) fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state: State::Ok, found: found.into(), fix: String::new() }
    }

    pub(super) fn warn(name: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state: State::Warn, found: found.into(), fix: fix.into() }
    }

    pub(super) fn fail(name: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state: State::Fail, found: found.into(), fix: fix.into() }
    }

    /// Returns true if the check failed. A warning is no failure.
    pub(super) fn is_failure(&self) -> bool {
        self.state == State::Fail
    }
}

/// Returns the checks as a table.
pub(super) fn table(checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| {
        let arrow = if check.fix.is_empty() { "" } else { " → " };
        vec![
            check.name.clone(),
            check.state.as_str().to_owned(),
            format!("{}{arrow}{}", check.found, check.fix),
        ]
    });
    lay_out(&["CHECK", "STATE", "FOUND, AND WHAT TO DO"], rows)
}

/// Returns the checks as an object.
pub(super) fn object(checks: &[Check]) -> Value {
    let one = |check: &Check| {
        let state = check.state.as_str().to_lowercase();
        json!({ "name": check.name, "state": state, "found": check.found, "fix": check.fix })
    };
    json!({ "schema": SCHEMA, "checks": checks.iter().map(one).collect::<Vec<_>>() })
}

/// Joins names, at most 20 of them, and says how many more there are.
pub(super) fn names<'a>(all: impl IntoIterator<Item = &'a str>) -> String {
    first_names(all, MAX_NAMES)
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn many_names_are_counted() {
        assert_eq!(names(["a", "b"]), "a, b");
        let many: Vec<String> = (0..3000).map(|number| format!("node-{number}")).collect();
        let text = names(many.iter().map(String::as_str));
        assert!(text.starts_with("node-0, node-1, ") && text.ends_with(", node-19 and 2980 more"), "{text}");
    }
}
