//! The view that `kubectl portolan ui` is to open: what a user typed or pasted, and whether the page understands it. The page leaves
//! out what it does not understand, and would show everything in its place.

use jiff::Timestamp;
use portolan_engine::model::finding_code::Severity;
use portolan_report::chart_filter::{RowFilter, STATES};

use super::query::{pairs, typed};

/// Parameters of the page's URL, as `ui/js/state.js` reads them.
const PARAMETERS: [&str; 10] =
    ["q", "severity", "namespace", "caller", "since", "state", "view", "port", "open", "tab"];

/// Returns the query of the page's URL for what a user typed: a query, with its question mark or without, or a whole URL.
///
/// # Errors
/// One line that names the parameter and says what was expected.
pub(super) fn query_of(given: &str) -> Result<String, String> {
    let query = typed(behind_question_mark(given.trim()));
    let (mut filter, now) = (RowFilter::default(), Timestamp::now());
    for (name, value) in pairs(&query) {
        check(&mut filter, &name, &value, now).map_err(|expected| format!("{name:?}: {expected}"))?;
    }
    Ok(query)
}

/// Returns what stands behind the question mark of a URL; what was given, if it is none. A name before `=` is not part of a URL.
fn behind_question_mark(given: &str) -> &str {
    let (head, tail) = given.split_once('?').unwrap_or((given, ""));
    let is_complete = given.contains('?') || given.contains("://");
    let is_url = is_complete && !head.contains(['=', '&']) && head.contains(['/', ':']);
    if is_url { tail.split_once('#').map_or(tail, |(query, _)| query) } else { given }
}

fn check(filter: &mut RowFilter, name: &str, value: &str, now: Timestamp) -> Result<(), String> {
    match name {
        "severity" => all_among(value, &Severity::ALL.map(Severity::as_str)),
        "state" => all_among(value, &STATES),
        "view" => one_of(value, &["chart", "table"]),
        "tab" => one_of(value, &["list", "chart"]),
        "port" | "open" => Ok(()),
        // Without a value it filters nothing.
        "since" if value.trim().is_empty() => Ok(()),
        "since" => filter.add(name, value.trim(), now),
        "q" | "namespace" | "caller" => filter.add(name, value, now),
        _ => Err(format!("unknown parameter; expected one of {}", PARAMETERS.join(", "))),
    }
}

/// Checks a comma-separated list.
fn all_among(value: &str, known: &[&str]) -> Result<(), String> {
    let mut values = value.split(',').map(str::trim).filter(|value| !value.is_empty());
    values.try_for_each(|value| one_of(value, known))
}

fn one_of(value: &str, known: &[&str]) -> Result<(), String> {
    let start = || value.chars().take(60).collect::<String>();
    let is_known = known.contains(&value);
    is_known.then_some(()).ok_or_else(|| format!("{:?}: expected one of {}", start(), known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_question_mark_of_a_url_is_the_view() {
        for (given, then) in [
            ("", ""),
            ("severity=high&q=a b", "severity=high&q=a%20b"),
            ("?view=table", "view=table"),
            (" http://127.0.0.1:8470/?namespace=a ", "namespace=a"),
            ("https://host/portolan/?key=x&namespace=a&port=f#top", "namespace=a&port=f"),
            ("127.0.0.1:8470/?tab=chart", "tab=chart"),
            ("http://127.0.0.1:8470/", ""),
            ("q=http://a/?b=c", "q=http://a/?b=c"),
            (
                "since=&state=open,resolved&open=declared:shop/Deployment/web",
                "since=&state=open,resolved&open=declared:shop/Deployment/web",
            ),
        ] {
            assert_eq!(query_of(given).as_deref(), Ok(then), "{given}");
        }
    }

    #[test]
    fn what_the_page_does_not_understand_is_refused_with_what_was_expected() {
        let long = format!("namespace={}", "a".repeat(513));
        for (given, expected) in [
            ("bogus=1", "\"bogus\": unknown parameter; expected one of q, severity, "),
            ("http", "\"http\": unknown parameter; "),
            ("shop/web", "\"shop/web\": unknown parameter; "),
            (":8080", "\":8080\": unknown parameter; "),
            ("http://127.0.0.1:8470/?namespac=a", "\"namespac\": unknown parameter; "),
            ("code=undeclared-active", "\"code\": unknown parameter; "),
            (
                "severity=high,bogus",
                "\"severity\": \"bogus\": expected one of critical, high, medium, low, info",
            ),
            ("severity=HIGH", "\"severity\": \"HIGH\": expected one of "),
            ("state=gone", "\"state\": \"gone\": expected one of open, suppressed, resolved"),
            ("since=99x", "\"since\": \"99x\": expected a duration such as 24h or 7d, or a time such as "),
            ("view=map", "\"view\": \"map\": expected one of chart, table"),
            ("tab=", "\"tab\": \"\": expected one of list, chart"),
            (long.as_str(), "\"namespace\": a value has more than 512 characters"),
        ] {
            let refused = query_of(given).expect_err(given);
            assert!(refused.starts_with(expected), "{given}: {refused}");
        }
    }

    #[test]
    fn the_parameters_are_those_that_the_page_reads() {
        let source = include_str!("../../../../ui/js/state.js");
        let names: Vec<String> = PARAMETERS.iter().map(|name| format!("{name:?}")).collect();
        assert!(source.contains(&format!("const OWN = new Set([{}]);", names.join(", "))));
    }
}
