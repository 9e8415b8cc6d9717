//! The table of all measurements: on the terminal, and between two markers in docs/performance.md.

use anyhow::{Context, Result, bail};
use comfy_table::{ContentArrangement, Table, presets};

use crate::workspace;

const BEGIN: &str = "<!-- begin: written by `cargo xtask bench --write` -->";
const END: &str = "<!-- end -->";
const HEAD: &str = "| what | measured | goal | |\n|---|---|---|---|\n";

/// One row of the table.
pub struct Row {
    pub what: String,
    pub measured: String,
    pub goal: String,
    pub met: bool,
    pub how: String,
}

impl Row {
    pub fn new(what: &str, measured: String, goal: &str, met: bool, how: String) -> Self {
        Self { what: what.to_owned(), measured, goal: goal.to_owned(), met, how }
    }

    /// Returns the row of a measurement that failed: a missed goal, with the reason.
    pub fn failed(what: &str, error: &anyhow::Error) -> Self {
        Self::new(what, "not measured".to_owned(), "", false, format!("{error:#}"))
    }

    fn verdict(&self) -> &'static str {
        match self.goal.as_str() {
            "none" => "",
            _ if self.met => "met",
            _ => "MISSED",
        }
    }

    /// Returns the row as Markdown.
    fn line(&self) -> String {
        let cell = |text: &str| text.replace(['|', '\n'], " ");
        let how = if self.how.is_empty() { String::new() } else { format!(" ({})", cell(&self.how)) };
        let verdict = if self.goal.is_empty() { "" } else { self.verdict() };
        let goal = if self.goal.is_empty() { "none" } else { &self.goal };
        format!(
            "| {} | {}{how} | {} | {} |",
            cell(&self.what),
            cell(&self.measured),
            cell(goal),
            verdict.to_lowercase()
        )
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} (goal {}: {})", self.what, self.measured, self.goal, self.verdict())
    }
}

/// Returns the table for a terminal.
pub fn show(rows: &[Row]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["what", "measured", "goal", "", "how"]);
    for row in rows {
        table.add_row([&row.what, &row.measured, &row.goal, row.verdict(), &row.how]);
    }
    table.to_string()
}

/// How to treat the rows that are already in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Everything was measured: replace all rows.
    Replaced,
    /// A part was measured: keep the other rows.
    Kept,
}

/// Writes the rows between the markers of docs/performance.md.
///
/// # Errors
/// If the file or its markers are missing.
pub fn write(rows: &[Row], machine: &str, others: Others) -> Result<()> {
    let path = workspace::root().join("docs/performance.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(text) = written(&text, rows, machine, others) else {
        bail!("{} lacks `{BEGIN}` or `{END}`", path.display());
    };
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Returns the document with the rows. `None`: the markers are missing.
fn written(text: &str, rows: &[Row], machine: &str, others: Others) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (old, after) = rest.split_once(END)?;
    let new: Vec<(&str, String)> = rows.iter().map(|row| (row.what.as_str(), row.line())).collect();
    if others == Others::Replaced {
        let lines = new.iter().map(|(_, line)| format!("{line}\n")).collect::<String>();
        return Some(format!("{before}{BEGIN}\n{machine}\n\n{HEAD}{lines}{END}{after}"));
    }
    let mut lines: Vec<&str> = old.trim_matches('\n').lines().collect();
    let anew = format!("Measured again in part: {machine}");
    if !lines.iter().any(|line| line.ends_with(machine)) {
        let table = lines.iter().position(|line| line.starts_with('|')).unwrap_or(lines.len());
        // The rows begin after the empty line that a table needs above it.
        lines.insert(table.saturating_sub(1), &anew);
    }
    for (what, line) in &new {
        let is_it =
            |old: &&str| old.strip_prefix("| ").and_then(|old| old.split(" | ").next()) == Some(*what);
        match lines.iter().position(is_it) {
            Some(at) => lines.splice(at..=at, [line.as_str()]).for_each(drop),
            None => lines.push(line),
        }
    }
    Some(format!("{before}{BEGIN}\n{}\n{END}{after}", lines.join("\n")))
}

/// Returns CPUs, memory and kernel of this machine.
pub fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned()))
        .unwrap_or_else(|| "unknown processor".to_owned());
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    format!("Machine: {cpus} CPUs ({model}), {} GiB of memory, Linux {kernel}.", kilobytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, measured: &str) -> Row {
        Row::new(what, measured.to_owned(), "≤ 5", true, "of 9".to_owned())
    }

    #[test]
    fn a_part_that_is_measured_again_leaves_the_other_rows_as_they_are() {
        let doc = format!(
            "before\n{BEGIN}\nMachine: a.\n\n{HEAD}| one | 1 | ≤ 5 | met |\n| two | 2 (x) | none |  |\n{END}\nafter\n"
        );
        let rows = [row("two", "3"), row("three", "4")];
        let kept = written(&doc, &rows, "Machine: a.", Others::Kept).expect("markers");
        assert_eq!(
            kept,
            format!(
                "before\n{BEGIN}\nMachine: a.\n\n{HEAD}| one | 1 | ≤ 5 | met |\n| two | 3 (of 9) | ≤ 5 | met |\n\
                 | three | 4 (of 9) | ≤ 5 | met |\n{END}\nafter\n"
            )
        );
        let again = written(&kept, &rows, "Machine: b.", Others::Kept).expect("markers");
        assert!(again.contains("Machine: a.\nMeasured again in part: Machine: b.\n\n| what"), "{again}");
        assert_eq!(written(&again, &rows, "Machine: b.", Others::Kept), Some(again.clone()), "said once");

        let all = written(&doc, &rows, "Machine: a.", Others::Replaced).expect("markers");
        assert!(!all.contains("| one |") && all.contains("| three |"), "{all}");
        assert_eq!(written("no markers", &rows, "", Others::Kept), None);
    }

    #[test]
    fn the_document_has_its_markers() {
        let text = std::fs::read_to_string(workspace::root().join("docs/performance.md")).expect("docs");
        assert!(written(&text, &[], "Machine", Others::Kept).is_some());
    }
}
