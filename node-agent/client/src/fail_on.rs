//! The rule of `--fail-on`, shared by `portolan scan`, `portolan findings` and `kubectl portolan findings`.

use portolan_engine::model::finding_code::Severity;
use serde_json::Value;

/// States in which a finding never makes a command fail.
const ACCEPTED_STATES: [&str; 2] = ["suppressed", "resolved"];

/// Returns true if a finding makes the command fail: the finding is open, and at least as severe as `fail_on`.
#[must_use]
pub fn reaches(state: &str, severity: Severity, fail_on: Option<Severity>) -> bool {
    !ACCEPTED_STATES.contains(&state) && fail_on.is_some_and(|least| severity >= least)
}

/// Applies [`reaches`] to the JSON of an object. Objects without a known severity, such as listeners, never reach it.
#[must_use]
pub fn object_reaches(object: &Value, fail_on: Option<Severity>) -> bool {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let severity = text("severity").and_then(Severity::parse);
    severity.is_some_and(|severity| reaches(text("state").unwrap_or_default(), severity, fail_on))
}

#[cfg(test)]
mod tests {
    use portolan_engine::model::finding_code::Severity;
    use serde_json::json;

    use super::object_reaches;

    #[test]
    fn only_open_findings_of_that_severity_or_worse_reach_it() {
        let finding = |state: &str, severity: &str| json!({ "state": state, "severity": severity });
        let reaches = |object| object_reaches(&object, Some(Severity::High));
        assert!(reaches(finding("open", "high")));
        assert!(reaches(finding("open", "critical")));
        assert!(!reaches(finding("open", "medium")));
        assert!(!reaches(finding("suppressed", "critical")));
        assert!(!reaches(finding("resolved", "critical")));
        assert!(!reaches(json!({ "kind": "Listener", "state": "open" })));
        assert!(!object_reaches(&finding("open", "critical"), None));
    }
}
