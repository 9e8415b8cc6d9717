//! Rows of a chart as files: comma-separated values (RFC 4180) for spreadsheets, and one JSON object a line.

use crate::chart::{Chart, ChartCaller, ChartRow};
use crate::escape::{json_text, terminal};
use crate::wire::Workload;

/// Names of the columns of [`csv`].
pub const COLUMNS: [&str; 29] = [
    "severity",
    "code",
    "state",
    "namespace",
    "workload",
    "pod",
    "container",
    "image",
    "port",
    "protocol",
    "process",
    "declaration",
    "exposure",
    "policy",
    "pods",
    "podsTotal",
    "nodes",
    "attempts",
    "connections",
    "packets",
    "bytes",
    "firstSeen",
    "lastSeen",
    "changedAt",
    "previousCode",
    "reason",
    "callers",
    "findings",
    "fingerprint",
];

/// Characters that begin a formula, also in their wide forms.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Form of the answer of `/v1/chart`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The chart as a JSON object.
    #[default]
    Json,
    /// A file of [`csv`].
    Csv,
    /// A file of [`ndjson`].
    Ndjson,
}

impl Form {
    /// Returns the form with this value of the parameter `output`.
    #[must_use]
    pub fn of(value: &str) -> Option<Self> {
        match value {
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            "ndjson" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// Rows of a chart as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFile {
    /// Media type.
    pub content_type: &'static str,
    /// Further headers of an answer with the file. Some say how much is not in it: rows that the chart leaves out, and ports that
    /// it only counts.
    pub headers: [(&'static str, String); 3],
    /// Content.
    pub text: String,
}

/// Returns the rows as a file of this form; `None` for JSON, which is no file.
///
/// # Errors
/// The serializer's error. Rows have none.
pub fn export(chart: &Chart, form: Form) -> Result<Option<ExportFile>, serde_json::Error> {
    let (content_type, extension, text) = match form {
        Form::Json => return Ok(None),
        Form::Csv => ("text/csv; charset=utf-8", "csv", csv(&chart.rows)),
        Form::Ndjson => ("application/x-ndjson", "ndjson", ndjson(&chart.rows)?),
    };
    let headers = [
        ("content-disposition", format!("attachment; filename=\"{}\"", file_name(chart, extension))),
        ("portolan-unlisted-rows", chart.totals.unlisted.to_string()),
        ("portolan-counted-ports", chart.counted_ports().to_string()),
    ];
    Ok(Some(ExportFile { content_type, headers, text }))
}

/// Returns the name of a chart's file with this extension. It says whether the file is incomplete: [`csv`] and [`ndjson`] have
/// only rows, and neither those that the chart leaves out, nor ports that it only counts, nor those of missing nodes.
fn file_name(chart: &Chart, extension: &str) -> String {
    let is_whole = chart.totals.unlisted == 0 && chart.missing.is_empty() && chart.counted_ports() == 0;
    format!("portolan{}.{extension}", if is_whole { "" } else { "-incomplete" })
}

/// Returns rows as comma-separated values with a line of names. A port that is served beside resolved findings has its own line.
/// Lines end with CRLF. Pods choose some of the texts, so a cell that a spreadsheet would take for a formula begins with an
/// apostrophe.
#[must_use]
pub fn csv(rows: &[ChartRow]) -> String {
    let mut text = COLUMNS.join(",");
    text.push_str("\r\n");
    for row in rows.iter().flat_map(ChartRow::parts) {
        let line: Vec<String> = cells(row).iter().map(|value| cell(value)).collect();
        text.push_str(&line.join(","));
        text.push_str("\r\n");
    }
    text
}

/// Returns rows as JSON, one a line.
///
/// # Errors
/// The serializer's error. Rows have none.
pub fn ndjson(rows: &[ChartRow]) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&json_text(&serde_json::to_string(row)?));
        text.push('\n');
    }
    Ok(text)
}

fn cells(row: &ChartRow) -> [String; COLUMNS.len()] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        text(&row.severity),
        text(&row.code),
        row.state.clone(),
        text(&row.namespace),
        row.workload.as_ref().map(workload).unwrap_or_default(),
        text(&row.pod),
        text(&row.container),
        text(&row.image),
        row.port.map(|port| port.to_string()).unwrap_or_default(),
        text(&row.protocol),
        text(&row.process),
        row.declaration.clone(),
        row.exposure.clone(),
        row.policy.clone(),
        row.pods.to_string(),
        row.pods_total.map(|total| total.to_string()).unwrap_or_default(),
        listed(row.nodes.clone(), row.more_nodes, false),
        row.attempts.to_string(),
        row.connections.to_string(),
        row.packets.to_string(),
        row.bytes.to_string(),
        row.first_seen.clone(),
        text(&row.last_seen),
        text(&row.changed_at),
        text(&row.previous_code),
        text(&row.reason),
        listed(row.callers.iter().map(caller).collect(), row.more_callers, row.truncated),
        listed(row.findings.clone(), row.more_findings, false),
        row.fingerprint.clone(),
    ]
}

fn workload(workload: &Workload) -> String {
    format!("{}/{}", workload.kind.to_lowercase(), workload.name)
}

fn caller(caller: &ChartCaller) -> String {
    match (&caller.namespace, &caller.workload, &caller.pod) {
        (Some(namespace), Some(of), _) => format!("{namespace}/{}", workload(of)),
        (Some(namespace), None, Some(pod)) => format!("{namespace}/{pod}"),
        _ => match (&caller.node, &caller.via) {
            (Some(node), _) => format!("{} (node {node})", caller.address),
            (None, Some(via)) => format!("{} via {via}", caller.address),
            (None, None) => caller.address.clone(),
        },
    }
}

/// Joins texts, and says how many are not listed.
fn listed(mut texts: Vec<String>, more: u64, truncated: bool) -> String {
    if more > 0 {
        texts.push(format!("{more} more"));
    }
    if truncated {
        texts.push("others that are not known any more".to_owned());
    }
    texts.join("; ")
}

/// Returns a text as a cell: quoted where it must be, never a formula, and without steering characters such as a tab, which are
/// written out. A spreadsheet may separate cells by semicolons, with or without a look at quotes: a formula does not begin after one
/// either.
fn cell(text: &str) -> String {
    let mut marked = String::new();
    let mut is_begin = true;
    for letter in terminal(text).chars() {
        if is_begin && FORMULA.contains(&letter) {
            marked.push('\'');
        }
        marked.push(letter);
        // Quotes and blanks may be taken away from the beginning of a cell.
        is_begin = letter == ';' || (is_begin && matches!(letter, ' ' | '"'));
    }
    if marked.contains([',', ';', '"']) { format!("\"{}\"", marked.replace('"', "\"\"")) } else { marked }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{DeclaredPorts, MissingNode};

    #[test]
    fn the_name_of_a_file_says_that_something_is_missing() {
        let counted = DeclaredPorts { ports: 3, ..DeclaredPorts::default() };
        let mut chart = Chart { declared: vec![counted], ..Chart::default() };
        assert_eq!(
            (file_name(&chart, "csv").as_str(), chart.counted_ports()),
            ("portolan-incomplete.csv", 3)
        );
        chart.declared.clear();
        assert_eq!(file_name(&chart, "csv"), "portolan.csv");
        chart.totals.unlisted = 1;
        assert_eq!(file_name(&chart, "csv"), "portolan-incomplete.csv");
        chart.totals.unlisted = 0;
        chart.missing.push(MissingNode::default());
        assert_eq!(file_name(&chart, "ndjson"), "portolan-incomplete.ndjson");
    }

    #[test]
    fn a_port_that_is_served_beside_resolved_findings_has_its_own_line() {
        let served = ChartRow { state: "open".to_owned(), ..ChartRow::default() };
        let row = ChartRow {
            state: "resolved".to_owned(),
            code: Some("undeclared-active".to_owned()),
            served: Some(Box::new(served)),
            ..ChartRow::default()
        };
        assert_eq!(csv(&[row]).lines().count(), 3);
    }

    fn row() -> ChartRow {
        ChartRow {
            fingerprint: "f".to_owned(),
            process: Some("=cmd|' /C calc'!A0".to_owned()),
            image: Some("a,\"b\"\nc".to_owned()),
            port: Some(80),
            ..ChartRow::default()
        }
    }

    #[test]
    fn a_cell_is_no_formula_and_no_cell_ends_another() {
        for (text, expected) in [
            ("plain", "plain"),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@sum", "'@sum"),
            ("\tx", "\\tx"),
            ("\r\n=x", "\\r\\n=x"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=a,b", "\"'=a,b\""),
            ("a; b", "\"a; b\""),
            (";=cmd|'/c x'!A;", "\";'=cmd|'/c x'!A;\""),
            ("a;;\u{ff1d}b;@c", "\"a;;'\u{ff1d}b;'@c\""),
            (";\"=a", "\";\"\"'=a\""),
            ("; =a", "\"; '=a\""),
            (" =a", " '=a"),
            ("a;\t=b", "\"a;\\t=b\""),
            ("a=b;c-d", "\"a=b;c-d\""),
            ("", ""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }

    #[test]
    fn each_row_has_a_cell_for_each_column() {
        let text = csv(&[row()]);
        let (names, line) = text.split_once("\r\n").expect("a line of names");
        assert_eq!(names, COLUMNS.join(","));
        let line = line.strip_suffix("\r\n").expect("an end of the line");
        let mut is_quoted = false;
        let commas = line.chars().filter(|letter| {
            is_quoted ^= *letter == '"';
            *letter == ',' && !is_quoted
        });
        assert_eq!(commas.count(), COLUMNS.len() - 1, "{line}");
        assert!(line.contains(",'=cmd|' /C calc'!A0,") && line.contains(",\"a,\"\"b\"\"\\nc\","), "{line}");
    }

    #[test]
    fn what_a_row_does_not_list_is_said() {
        let caller = |address: &str, node: Option<&str>, via: Option<&str>| ChartCaller {
            address: address.to_owned(),
            node: node.map(str::to_owned),
            via: via.map(str::to_owned),
            ..ChartCaller::default()
        };
        let named = ChartCaller {
            namespace: Some("shop".to_owned()),
            workload: Some(Workload { kind: "Deployment".to_owned(), name: "web".to_owned() }),
            ..ChartCaller::default()
        };
        let callers =
            vec![named, caller("10.0.0.1", Some("n1"), None), caller("198.51.100.7", None, Some("nodePort"))];
        let text = csv(&[ChartRow { callers, more_callers: 3, truncated: true, ..row() }]);
        assert!(
            text.contains(
                "shop/deployment/web; 10.0.0.1 (node n1); 198.51.100.7 via nodePort; 3 more; others that are not known any more"
            ),
            "{text}"
        );
    }

    #[test]
    fn every_line_is_a_row_in_json() {
        let rows = [row(), ChartRow { fingerprint: "g".to_owned(), ..row() }];
        let text = ndjson(&rows).expect("JSON");
        let read: Vec<ChartRow> =
            text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
        assert_eq!(read, rows);
    }
}
