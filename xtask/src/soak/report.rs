//! What a soak found: a table on the terminal, and the same between two markers in docs/performance.md.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};

use super::drift::{Comparisons, Growth, Rule, Sample, growth, rule};
use super::workload::Totals;
use crate::workspace;

const BEGIN: &str = "<!-- soak: begin -->";
const END: &str = "<!-- soak: end -->";

/// The outcome of a soak.
pub struct Report {
    /// Samples of the quiet moments.
    pub quiet: Vec<Sample>,
    /// Samples of busy moments: only for the peaks.
    pub busy: Vec<Sample>,
    pub totals: Totals,
    pub lasted: Duration,
    /// CPU time of the agent.
    pub cpu: Duration,
    /// What was wrong at a quiet moment.
    pub wrong: Vec<String>,
}

/// One number over time.
struct Row {
    name: String,
    first: u64,
    last: u64,
    peak: u64,
    verdict: String,
}

impl Report {
    /// Returns everything that drifted or was wrong. Empty: the soak is passed.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.wrong.clone();
        for name in self.names() {
            if let Growth::Grown { from, to } = growth(&self.quiet, name) {
                let shown = |number| number_of(name, number as u64);
                faults.push(format!("{name} grew from {} to {}", shown(from), shown(to)));
            }
        }
        faults.extend(Comparisons::of(&self.quiet).fault());
        if self.quiet.is_empty() && faults.is_empty() {
            faults.push("no cycle was complete: give it at least two minutes".to_owned());
        }
        faults
    }

    /// Returns the table, the totals and the verdict.
    pub fn show(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["what", "first", "last", "peak", ""]);
        for row in self.rows() {
            let shown = |number| number_of(&row.name, number);
            table.add_row([
                row.name.clone(),
                shown(row.first),
                shown(row.last),
                shown(row.peak),
                row.verdict.clone(),
            ]);
        }
        format!("{table}\n{}\n{}", self.totals(), self.verdict())
    }

    /// Writes the summary between the markers of docs/performance.md.
    ///
    /// # Errors
    /// If the file or its markers are missing.
    pub fn write(&self, machine: &str) -> Result<()> {
        let path = workspace::root().join("docs/performance.md");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let Some(text) = between(&text, &self.markdown(machine)) else {
            bail!("{} lacks `{BEGIN}` or `{END}`", path.display());
        };
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn markdown(&self, machine: &str) -> String {
        let mut text = format!("{machine}\n\n{}\n{}\n\n", self.totals(), self.verdict());
        text.push_str("| what | first | last | peak | |\n|---|---|---|---|---|\n");
        for row in self.rows() {
            let shown = |number| number_of(&row.name, number);
            let (first, last, peak) = (shown(row.first), shown(row.last), shown(row.peak));
            text.push_str(&format!("| {} | {first} | {last} | {peak} | {} |\n", row.name, row.verdict));
        }
        text
    }

    fn names(&self) -> BTreeSet<&str> {
        self.quiet.iter().flat_map(|sample| sample.numbers.keys()).map(String::as_str).collect()
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.names().into_iter().filter_map(|name| self.row(name)).collect();
        // The kinds of descriptors are many: of those that did not change, only the kernel objects are shown.
        rows.retain(|row| {
            !row.name.starts_with("descriptors: ") || row.name.contains("bpf") || row.verdict != "the same"
        });
        rows.sort_by_key(|row| !is_memory(&row.name));
        rows
    }

    fn row(&self, name: &str) -> Option<Row> {
        let number = |sample: &Sample| sample.numbers.get(name).copied().unwrap_or_default();
        let (first, last) = (number(self.quiet.first()?), number(self.quiet.last()?));
        let peak = self.quiet.iter().chain(&self.busy).map(number).max()?;
        let verdict = match (rule(name), growth(&self.quiet, name)) {
            (Rule::Shown, _) => "",
            (Rule::Slow { .. }, Growth::Unknown) => "too short to judge",
            (Rule::Slow { .. }, Growth::Steady) => "steady",
            (Rule::Slow { .. }, Growth::Grown { .. }) => "GREW",
            (Rule::Exact, _) if first == last => "the same",
            (Rule::Exact, _) => "CHANGED",
        };
        Some(Row { name: name.to_owned(), first, last, peak, verdict: verdict.to_owned() })
    }

    fn totals(&self) -> String {
        let Totals {
            cycles,
            pods,
            servers,
            listeners,
            connections,
            datagrams,
            reloads,
            requests,
            unanswered,
            streams,
        } = self.totals;
        format!(
            "{} of load in {cycles} cycles: {pods} pods made, {servers} servers killed, {listeners} ports opened and closed, \
             {connections} connections, {datagrams} datagrams, {reloads} reloads, {requests} requests and {unanswered} without an answer within 2 s, {streams} streams. \
             The agent took {:.1} % of a core.",
            duration(self.lasted),
            100.0 * self.cpu.as_secs_f64() / self.lasted.as_secs_f64().max(1.0)
        )
    }

    fn verdict(&self) -> String {
        let comparisons = Comparisons::of(&self.quiet);
        let unjudged = match comparisons.skipped {
            0 => String::new(),
            // The fault says it.
            _ if comparisons.fault().is_some() => String::new(),
            count => format!(
                " At {count} of {} quiet moments other programs had other namespaces or listeners than at first, so that \
                 descriptors, kernel objects and tables were not compared.",
                self.quiet.len()
            ),
        };
        let is_short = self.names().into_iter().any(|name| growth(&self.quiet, name) == Growth::Unknown);
        let short = if is_short { " The run is too short to judge the growth of memory." } else { "" };
        match self.faults().as_slice() {
            [] => format!("OK: nothing drifted.{short}{unjudged}"),
            faults => format!("NOT OK: {}.{unjudged}", faults.join("; ")),
        }
    }
}

/// Returns the document with this text between the markers. `None`: the markers are missing.
fn between(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", text.trim_end()))
}

fn number_of(name: &str, number: u64) -> String {
    if is_memory(name) { megabytes(number) } else { number.to_string() }
}

fn is_memory(name: &str) -> bool {
    name.ends_with(" memory")
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}

/// Returns hours, minutes and seconds.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(megabytes: impl Iterator<Item = u64>) -> Report {
        let quiet = megabytes.zip(1..).map(|(megabytes, minute)| Sample {
            at: Duration::from_secs(60 * minute),
            numbers: [("resident memory".to_owned(), megabytes << 20), ("threads".to_owned(), 4)].into(),
            ..Sample::default()
        });
        Report {
            quiet: quiet.collect(),
            busy: vec![Sample { numbers: [("threads".to_owned(), 9)].into(), ..Sample::default() }],
            totals: Totals::default(),
            lasted: Duration::from_secs(3661),
            cpu: Duration::from_secs(36),
            wrong: Vec::new(),
        }
    }

    #[test]
    fn a_soak_without_drift_is_ok() {
        let report = report(std::iter::repeat_n(30, 60));
        assert_eq!(report.faults(), Vec::<String>::new());
        let text = report.markdown("Machine: a.");
        for line in [
            "| resident memory | 30.0 MB | 30.0 MB | 30.0 MB | steady |",
            "| threads | 4 | 4 | 9 | the same |",
            "1:01:01 of load",
            "The agent took 1.0 % of a core.",
            "OK: nothing drifted.",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn drift_and_wrong_counts_are_faults() {
        let mut report = report(30..90);
        report.wrong.push("descriptors: 91, at first 90".to_owned());
        let faults = ["descriptors: 91, at first 90", "resident memory grew from 46.0 MB to 83.0 MB"];
        assert_eq!(report.faults(), faults);
        assert!(
            report.show().contains("NOT OK: descriptors: 91, at first 90; resident"),
            "{}",
            report.show()
        );
    }

    #[test]
    fn a_soak_that_compared_almost_nothing_is_not_ok() {
        let mut report = report(std::iter::repeat_n(30, 60));
        for sample in report.quiet.iter_mut().skip(1).take(29) {
            sample.others.listeners = 1;
        }
        assert_eq!(report.faults(), Vec::<String>::new());
        assert!(report.show().contains("At 29 of 60 quiet moments"), "{}", report.show());
        report.quiet[30].others.listeners = 1;
        assert!(report.show().contains("NOT OK: only 29 of 59 quiet moments"), "{}", report.show());
    }

    #[test]
    fn a_short_soak_says_what_it_cannot_judge() {
        let short = report(std::iter::repeat_n(30, 5));
        assert!(short.show().contains("OK: nothing drifted. The run is too short"), "{}", short.show());
        assert!(!report(std::iter::repeat_n(30, 60)).show().contains("too short"));
    }

    #[test]
    fn a_soak_without_a_complete_cycle_proves_nothing() {
        assert!(!report(std::iter::empty()).faults().is_empty());
    }

    #[test]
    fn the_document_has_its_markers() {
        let text = std::fs::read_to_string(workspace::root().join("docs/performance.md")).expect("docs");
        let written = between(&text, "new\n").expect("markers");
        assert!(written.contains(&format!("{BEGIN}\nnew\n{END}\n")), "{written}");
        assert_eq!(between("no markers", ""), None);
    }
}
