//! Filter of chart rows, as the page's URL and `/v1/chart` have it. The page filters by the same rules: the cases in
//! `node-agent/ui/tests/filter_cases.json` hold for both.

use jiff::{SignedDuration, Timestamp};

use crate::chart::{ChartCaller, ChartRow, DeclaredPorts};
use crate::wire::Workload;

/// Maximum number of values of one parameter.
pub const MAX_VALUES: usize = 64;
/// Maximum number of characters of one value.
pub const MAX_LENGTH: usize = 512;
/// States of rows.
pub const STATES: [&str; 3] = ["open", "suppressed", "resolved"];
/// States of the rows that match if the filter names none.
const DEFAULT_STATES: [&str; 2] = ["open", "suppressed"];

/// Conditions on a row. All must hold. Within one of them one value must match, and none that is excluded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowFilter {
    /// Lower-case words that must all be found.
    words: Vec<String>,
    /// Lower-case words that must not be found.
    absent_words: Vec<String>,
    namespaces: Values,
    callers: Values,
    severities: Vec<String>,
    codes: Vec<String>,
    states: Vec<String>,
    fingerprints: Vec<String>,
    since: Option<Timestamp>,
}

/// Values to include and to exclude.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Values {
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Values {
    fn add(&mut self, value: &str) {
        match value.strip_prefix('-') {
            Some("") => {}
            Some(excluded) => self.exclude.push(excluded.to_owned()),
            None => self.include.push(value.to_owned()),
        }
    }

    fn let_through(&self, is: impl Fn(&str) -> bool) -> bool {
        !self.exclude.iter().any(|value| is(value))
            && (self.include.is_empty() || self.include.iter().any(|value| is(value)))
    }
}

/// Names of the parameters that [`RowFilter::add`] knows.
pub const PARAMETERS: [&str; 8] =
    ["q", "namespace", "caller", "severity", "code", "state", "fingerprint", "since"];

impl RowFilter {
    /// Adds a parameter of a URL's query. Its value can be a comma-separated list of alternatives, except `q` and `since`.
    ///
    /// # Errors
    /// One line that says what was expected, if the value is too long, there are too many of them, or `since` is neither a time
    /// nor a duration.
    pub fn add(&mut self, name: &str, value: &str, now: Timestamp) -> Result<(), String> {
        if name == "q" {
            return self.add_words(value);
        }
        if name == "since" {
            self.since = Some(since(value, now)?);
            return Ok(());
        }
        let mut values: Vec<&str> =
            value.split(',').map(str::trim).filter(|value| !value.is_empty()).collect();
        // Without a value, they would restrict nothing, and match everything. No namespace has an empty name, as in `Filter`.
        match name {
            "fingerprint" if values.is_empty() => {
                return Err(format!("{value:?}: expected a fingerprint, or several with commas"));
            }
            "namespace" if values.is_empty() => values.push(""),
            _ => {}
        }
        for value in values {
            if value.chars().count() > MAX_LENGTH {
                return Err(format!("a value has more than {MAX_LENGTH} characters: make it shorter"));
            }
            match name {
                "namespace" => self.namespaces.add(value),
                "caller" => self.callers.add(value),
                "severity" => self.severities.push(value.to_owned()),
                "code" => self.codes.push(value.to_owned()),
                "state" => self.states.push(value.to_owned()),
                "fingerprint" => self.fingerprints.push(value.to_owned()),
                _ => return Err(format!("unknown; expected one of {}", PARAMETERS.join(", "))),
            }
        }
        self.check_number(name)
    }

    fn add_words(&mut self, text: &str) -> Result<(), String> {
        if text.chars().count() > MAX_LENGTH {
            return Err(format!("the text has more than {MAX_LENGTH} characters: make it shorter"));
        }
        for word in text.to_lowercase().split_whitespace() {
            match word.strip_prefix('-') {
                Some("") => {}
                Some(absent) => self.absent_words.push(absent.to_owned()),
                None => self.words.push(word.to_owned()),
            }
        }
        Ok(())
    }

    fn check_number(&self, name: &str) -> Result<(), String> {
        let number = match name {
            "namespace" => self.namespaces.include.len() + self.namespaces.exclude.len(),
            "caller" => self.callers.include.len() + self.callers.exclude.len(),
            // Severities, codes and states are few, and the page asks for many fingerprints at once.
            _ => return Ok(()),
        };
        if number > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values: name fewer"));
        }
        Ok(())
    }

    /// Returns the fingerprints to which rows are restricted; empty if they are not.
    #[must_use]
    pub fn fingerprints(&self) -> &[String] {
        &self.fingerprints
    }

    /// Returns the namespaces to which rows are restricted, apart from exclusions; empty if they are not.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces.include
    }

    /// Returns true if a row of resolved findings can match.
    #[must_use]
    pub fn asks_for_resolved(&self) -> bool {
        among(&self.states, Some("resolved")) && !self.states.is_empty()
    }

    /// Returns true if the row matches.
    #[must_use]
    pub fn lets_through(&self, row: &ChartRow) -> bool {
        let in_state = if self.states.is_empty() {
            DEFAULT_STATES.contains(&row.state.as_str())
        } else {
            among(&self.states, Some(&row.state))
        };
        let namespace = row.namespace.as_deref();
        in_state
            && among(&self.severities, row.severity.as_deref())
            && among(&self.codes, row.code.as_deref())
            && among(&self.fingerprints, Some(&row.fingerprint))
            && self.namespaces.let_through(|value| namespace.is_some_and(|it| it.eq_ignore_ascii_case(value)))
            && self.callers.let_through(|value| is_called_by(row, value))
            && self.since.is_none_or(|since| changed_at(row).is_some_and(|at| at >= since))
            && self.has_words(|| text(row))
    }

    /// Returns true if declared ports that are only counted can match. Namespace, workload and one pod are all that is known of
    /// them; they have neither a finding nor listed callers.
    #[must_use]
    pub fn lets_through_declared(&self, ports: &DeclaredPorts) -> bool {
        let is_of_findings = !self.severities.is_empty() || !self.codes.is_empty();
        let is_of_rows =
            !self.fingerprints.is_empty() || self.since.is_some() || !self.callers.include.is_empty();
        let namespace = ports.namespace.as_deref();
        !is_of_findings
            && !is_of_rows
            && among(&self.states, Some("open"))
            && self.namespaces.let_through(|value| namespace.is_some_and(|it| it.eq_ignore_ascii_case(value)))
            && self.has_words(|| {
                let owner = owner(namespace, ports.workload.as_ref(), None);
                let parts: Vec<String> = [owner, ports.pod.clone()].into_iter().flatten().collect();
                parts.join("\n").to_lowercase()
            })
    }

    fn has_words(&self, text: impl FnOnce() -> String) -> bool {
        if self.words.is_empty() && self.absent_words.is_empty() {
            return true;
        }
        let text = text();
        self.words.iter().all(|word| text.contains(word.as_str()))
            && !self.absent_words.iter().any(|word| text.contains(word.as_str()))
    }
}

/// Parses a time (RFC 3339), or a duration back from `now`: a number with `s`, `m`, `h` or `d`.
///
/// # Errors
/// One line that says what was expected.
pub fn since(value: &str, now: Timestamp) -> Result<Timestamp, String> {
    let back = || {
        let (number, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        let is_number = (1..=6).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit());
        let number = number.parse::<i64>().ok().filter(|_| is_number)?;
        now.checked_sub(SignedDuration::from_secs(number * seconds)).ok()
    };
    let value_start = || value.chars().take(60).collect::<String>();
    back().or_else(|| value.parse::<Timestamp>().ok()).ok_or_else(|| {
        format!(
            "{:?}: expected a duration such as 24h or 7d, or a time such as 2027-01-31T12:00:00Z",
            value_start()
        )
    })
}

fn changed_at(row: &ChartRow) -> Option<Timestamp> {
    row.changed_at.as_ref().unwrap_or(&row.first_seen).parse().ok()
}

fn among(wanted: &[String], value: Option<&str>) -> bool {
    wanted.is_empty() || value.is_some_and(|value| wanted.iter().any(|w| w.eq_ignore_ascii_case(value)))
}

/// Returns true if a caller of the row matches. The code says that somebody outside calls it, also if no such caller is listed.
fn is_called_by(row: &ChartRow, value: &str) -> bool {
    row.callers.iter().any(|caller| is_caller(caller, value))
        || (value.eq_ignore_ascii_case("outside") && row.code.as_deref() == Some("undeclared-external"))
}

/// Returns true if the value names the caller: `outside`, `nodes`, a namespace, `namespace/workload`, `namespace/pod` or an address.
fn is_caller(caller: &ChartCaller, value: &str) -> bool {
    match value {
        place if place.eq_ignore_ascii_case("outside") => return caller.origin == "external",
        place if place.eq_ignore_ascii_case("nodes") => return caller.origin == "node",
        address if address == caller.address => return true,
        _ => {}
    }
    let Some(namespace) = &caller.namespace else { return false };
    let Some(name) = value.strip_prefix(namespace.as_str()) else { return false };
    let Some(name) = name.strip_prefix('/') else { return name.is_empty() };
    caller.workload.as_ref().is_some_and(|workload| workload.name == name)
        || caller.pod.as_deref() == Some(name)
}

/// Returns the lower-case text in which words are searched, a line for each part.
fn text(row: &ChartRow) -> String {
    let port = row.port.map(|port| format!("{port}/{}", row.protocol.as_deref().unwrap_or_default()));
    let own = [
        port,
        row.process.clone(),
        owner(row.namespace.as_deref(), row.workload.as_ref(), None),
        row.pod.clone(),
        row.image.clone(),
        row.container.clone(),
        row.code.clone(),
    ];
    let callers = row.callers.iter().flat_map(|caller| {
        let name = owner(caller.namespace.as_deref(), caller.workload.as_ref(), caller.pod.as_deref());
        [name, caller.pod.clone(), Some(caller.address.clone()), caller.node.clone()]
    });
    let parts: Vec<String> =
        own.into_iter().chain(callers).flatten().chain(row.nodes.iter().cloned()).collect();
    parts.join("\n").to_lowercase()
}

fn owner(namespace: Option<&str>, workload: Option<&Workload>, pod: Option<&str>) -> Option<String> {
    let name = workload.map(|workload| workload.name.as_str()).or(pod);
    let parts: Vec<&str> = [namespace, name].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn now() -> Timestamp {
        "2026-03-04T12:00:00Z".parse().expect("a time")
    }

    /// The cases that the page's own filter passes, too.
    #[derive(Deserialize)]
    struct Cases {
        now: String,
        rows: Vec<serde_json::Value>,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        query: String,
        matching: Vec<String>,
    }

    /// Parses the part of a URL's query that the cases use.
    fn pairs(query: &str) -> Vec<(String, String)> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').expect("a value");
            let mut bytes = Vec::new();
            let mut rest = value.bytes();
            while let Some(byte) = rest.next() {
                bytes.push(match byte {
                    b'+' => b' ',
                    b'%' => {
                        let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
                        let digits = std::str::from_utf8(&digits).expect("digits").to_owned();
                        u8::from_str_radix(&digits, 16).expect("digits")
                    }
                    byte => byte,
                });
            }
            (name.to_owned(), String::from_utf8(bytes).expect("UTF-8"))
        });
        pairs.collect()
    }

    #[test]
    fn a_row_matches_where_the_page_says_that_it_matches() {
        let cases: Cases =
            serde_json::from_str(include_str!("../../ui/tests/filter_cases.json")).expect("the cases");
        let rows: Vec<ChartRow> =
            cases.rows.into_iter().map(|row| serde_json::from_value(row).expect("a row")).collect();
        assert!(!rows.is_empty() && !cases.cases.is_empty());
        let now = cases.now.parse().expect("a time");
        for case in cases.cases {
            let mut filter = RowFilter::default();
            for (name, value) in pairs(&case.query) {
                filter.add(&name, &value, now).expect(&case.name);
            }
            let matching: Vec<&str> = rows
                .iter()
                .filter(|row| filter.lets_through(row))
                .map(|row| row.fingerprint.as_str())
                .collect();
            assert_eq!(matching, case.matching, "{}", case.name);
        }
    }

    #[test]
    fn counted_ports_match_by_namespace_and_words_and_never_where_a_finding_or_a_caller_is_asked_for() {
        let workload = Workload { kind: "Deployment".to_owned(), name: "web".to_owned() };
        let ports = DeclaredPorts {
            namespace: Some("shop".to_owned()),
            workload: Some(workload),
            pod: Some("web-1".to_owned()),
            ports: 3,
            connections: 0,
        };
        for (name, value, matches) in [
            ("namespace", "Shop", true),
            ("namespace", "-shop", false),
            ("namespace", "other", false),
            ("q", "shop/web -redis", true),
            ("q", "redis", false),
            ("state", "open,resolved", true),
            ("state", "resolved", false),
            ("severity", "high", false),
            ("code", "undeclared-active", false),
            ("since", "24h", false),
            ("caller", "outside", false),
            ("caller", "-outside", true),
            ("fingerprint", "a", false),
        ] {
            let mut filter = RowFilter::default();
            filter.add(name, value, now()).expect(value);
            assert_eq!(filter.lets_through_declared(&ports), matches, "{name}={value}");
        }
        assert!(RowFilter::default().lets_through_declared(&ports));
    }

    #[test]
    fn codes_and_fingerprints_restrict_rows() {
        let row = |fingerprint: &str, code: &str| ChartRow {
            fingerprint: fingerprint.to_owned(),
            code: Some(code.to_owned()),
            state: "open".to_owned(),
            ..ChartRow::default()
        };
        let mut filter = RowFilter::default();
        filter.add("fingerprint", "a,b", now()).expect("fingerprints");
        filter.add("code", "port-storm", now()).expect("a code");
        assert!(filter.lets_through(&row("a", "port-storm")));
        assert!(!filter.lets_through(&row("a", "unattributed")));
        assert!(!filter.lets_through(&row("c", "port-storm")));
    }

    #[test]
    fn a_fingerprint_and_the_place_of_callers_match_in_either_case() {
        let row = ChartRow {
            fingerprint: "0a1b".to_owned(),
            code: Some("undeclared-active".to_owned()),
            state: "open".to_owned(),
            callers: ["external", "node"]
                .map(|origin| ChartCaller { origin: origin.to_owned(), ..ChartCaller::default() })
                .to_vec(),
            ..ChartRow::default()
        };
        for (name, value, matches) in [
            ("fingerprint", "0A1B", true),
            ("fingerprint", "0A1C", false),
            ("caller", "Outside", true),
            ("caller", "-OUTSIDE", false),
            ("caller", "Nodes", true),
        ] {
            let mut filter = RowFilter::default();
            filter.add(name, value, now()).expect(value);
            assert_eq!(filter.lets_through(&row), matches, "{name}={value}");
        }
    }

    #[test]
    fn an_empty_fingerprint_is_refused_and_an_empty_namespace_matches_no_row() {
        let open = |namespace: Option<&str>| ChartRow {
            namespace: namespace.map(ToOwned::to_owned),
            state: "open".to_owned(),
            ..ChartRow::default()
        };
        for value in ["", ",", " , "] {
            let problem = RowFilter::default().add("fingerprint", value, now()).expect_err(value);
            assert!(problem.starts_with(&format!("{value:?}: expected")), "{problem}");
            let mut filter = RowFilter::default();
            filter.add("namespace", value, now()).expect(value);
            assert!(!filter.lets_through(&open(Some("shop"))) && !filter.lets_through(&open(None)));
        }
        let mut filter = RowFilter::default();
        filter.add("fingerprint", "a,", now()).expect("one");
        assert_eq!(filter.fingerprints(), ["a"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_was_expected() {
        let mut filter = RowFilter::default();
        for value in ["", "yesterday", "5", "h", "1234567d", "-1h", "é"] {
            let problem = filter.add("since", value, now()).expect_err(value);
            assert!(problem.contains("24h or 7d") && !problem.contains('\n'), "{problem}");
        }
        assert!(filter.add("q", &"x".repeat(MAX_LENGTH + 1), now()).is_err());
        assert!(filter.add("caller", &"x".repeat(MAX_LENGTH + 1), now()).is_err());
        assert!(filter.add("caller", &"x,".repeat(MAX_VALUES + 1), now()).is_err());
        assert!(filter.add("colour", "red", now()).is_err());
    }

    #[test]
    fn resolved_rows_are_wanted_only_if_they_are_named() {
        let mut filter = RowFilter::default();
        assert!(!filter.asks_for_resolved());
        filter.add("state", "open", now()).expect("a state");
        assert!(!filter.asks_for_resolved());
        filter.add("state", "Resolved", now()).expect("a state");
        assert!(filter.asks_for_resolved());
    }
}
