//! Reads the log of a scan's pod. kubelet writes stdout and stderr of a container into one log, so the answer and the
//! diagnostics are separated again.

use serde_json::Value;

use portolan_report::wire::SCHEMA;

/// What the log of one scan says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    /// The findings; `None` if the answer is not there as a whole.
    pub(super) items: Option<Vec<Value>>,
    /// Lines of the diagnostics, without the name of the program.
    pub(super) diagnostics: Vec<String>,
}

/// Separates a log. The answer is one indented JSON object: its lines begin with a brace, a bracket or a space, which the
/// diagnostics do not. It is taken as a whole or not at all: kubelet rotates a log and then gives only its end.
pub(super) fn read(log: &str) -> Said {
    let (answer, diagnostics): (Vec<&str>, Vec<&str>) = log
        .lines()
        .filter(|line| !line.is_empty())
        .partition(|line| line.starts_with(['{', '}', '[', ']', ' ']));
    let list: Option<Value> = serde_json::from_str(&answer.join("\n")).ok();
    let items = list.and_then(|mut list| {
        let is_ours = list.get("schema").and_then(Value::as_str) == Some(SCHEMA);
        list.get_mut("items").filter(|_| is_ours).map(Value::take)
    });
    let items = match items {
        Some(Value::Array(items)) => Some(items),
        _ => None,
    };
    let plain = |line: &str| line.strip_prefix("portolan: ").unwrap_or(line).to_owned();
    Said { items, diagnostics: diagnostics.into_iter().map(plain).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read;

    const ANSWER: &str = "{\n  \"continue\": null,\n  \"generation\": 0,\n  \"items\": [\n    {\n      \"id\": \"a\"\n    }\n  ],\n  \
                          \"schema\": \"portolan/v1\"\n}\n";

    #[test]
    fn diagnostics_between_the_lines_of_the_answer_are_separated() {
        let (start, end) = ANSWER.split_at(ANSWER.find("    {").expect("an item"));
        let log = format!("portolan: 1 UDP ports may be clients'\n{start}portolan: later\n{end}");
        let said = read(&log);
        assert_eq!(said.items, Some(vec![json!({"id": "a"})]));
        assert_eq!(said.diagnostics, ["1 UDP ports may be clients'", "later"]);
    }

    #[test]
    fn an_answer_without_its_start_or_end_is_none() {
        for cut in [&ANSWER[..ANSWER.len() - 4], &ANSWER[40..], "", "{}\n", "{\"items\": []}\n"] {
            assert_eq!(read(cut).items, None, "{cut}");
        }
        let empty = "{\n  \"continue\": null,\n  \"generation\": 0,\n  \"items\": [],\n  \"schema\": \"portolan/v1\"\n}\n";
        assert_eq!(read(empty).items, Some(Vec::new()));
    }
}
