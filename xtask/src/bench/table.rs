//! The table of all measurements: on the terminal, and between two markers of docs/performance.md.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use comfy_table::{ContentArrangement, Table, presets};

use crate::workspace;

const BEGIN: &str = "<!-- begin: written by `cargo xtask bench --write` -->";
const END: &str = "<!-- end -->";

/// One measured thing.
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

    /// A measurement that could not be taken is a miss, with its reason.
    pub fn failed(what: &str, error: &anyhow::Error) -> Self {
        Self::new(what, "not measured".to_owned(), "", false, format!("{error:#}"))
    }

    fn verdict(&self) -> &'static str {
        if self.met { "met" } else { "MISSED" }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} (goal {}: {})", self.what, self.measured, self.goal, self.verdict())
    }
}

/// For a terminal.
pub fn show(rows: &[Row]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["what", "measured", "goal", "", "how"]);
    for row in rows {
        table.add_row([&row.what, &row.measured, &row.goal, row.verdict(), &row.how]);
    }
    table.to_string()
}

/// Replaces what stands between the markers of docs/performance.md.
///
/// # Errors
/// Where the file or its markers are missing.
pub fn write(rows: &[Row], machine: &str) -> Result<()> {
    let path = workspace::root().join("docs/performance.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (Some((before, _)), Some((_, after))) = (text.split_once(BEGIN), text.split_once(END)) else {
        bail!("{} lacks `{BEGIN}` or `{END}`", path.display());
    };
    let mut table = format!("{machine}\n\n| what | measured | goal | | how |\n|---|---|---|---|---|\n");
    for row in rows {
        writeln!(
            table,
            "| {} | {} | {} | {} | {} |",
            row.what,
            row.measured,
            row.goal,
            row.verdict(),
            row.how
        )?;
    }
    std::fs::write(&path, format!("{before}{BEGIN}\n{table}{END}{after}"))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// CPUs, memory and kernel of this machine.
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
