//! Times of single tests, read from the output of the programs that run them. What cannot be read has no time and is no error.

use std::time::Duration;

/// Number of tests that are listed.
const LISTED: usize = 20;

/// A test and how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    pub name: String,
    pub took: Duration,
}

/// Reads the output of one command.
#[derive(Debug, Default)]
pub struct Reader {
    /// True if the tests run one after the other. Then a test took the time since the end of the one before it.
    one_by_one: bool,
    /// Time at which the last test ended, or the first began.
    last: Option<Duration>,
    /// Name of the test of node that is described by the next lines.
    node: Option<String>,
}

impl Reader {
    /// Returns a reader for tests that run one after the other.
    pub fn one_by_one() -> Self {
        Self { one_by_one: true, ..Self::default() }
    }

    /// Returns a test's time if the line has or ends one. `at`: time of the line since any fixed moment.
    pub fn line(&mut self, line: &str, at: Duration) -> Option<Timed> {
        if line.starts_with("running ") {
            self.last = Some(at);
        }
        self.of_node(line).or_else(|| own(line)).or_else(|| self.of_cargo(line, at))
    }

    /// Reads `test NAME ... ok` or `FAILED`, with ` <1.234s>` at its end where libtest was asked for times.
    fn of_cargo(&mut self, line: &str, at: Duration) -> Option<Timed> {
        let (name, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        let begun = self.last.replace(at);
        let written = outcome.split_once('<').and_then(|(_, time)| seconds(time.strip_suffix("s>")?));
        let passed = written.or_else(|| Some(at.saturating_sub(begun?)).filter(|_| self.one_by_one));
        Some(Timed { name: name.to_owned(), took: passed.filter(|_| !outcome.starts_with("ignored"))? })
    }

    /// Reads `ok 1 - NAME`, and a line `duration_ms: 1.5` after it.
    fn of_node(&mut self, line: &str) -> Option<Timed> {
        if let Some((number, name)) = line.strip_prefix("not ").unwrap_or(line).split_once(" - ")
            && number.starts_with("ok ")
        {
            self.node = Some(name.to_owned());
        }
        let milliseconds: f64 = line.strip_prefix("  duration_ms: ")?.parse().ok()?;
        let took = Duration::try_from_secs_f64(milliseconds / 1000.0).ok()?;
        Some(Timed { name: self.node.take()?, took })
    }
}

/// Reads `time: NAME 1.234 s`, which the project's own harnesses print.
fn own(line: &str) -> Option<Timed> {
    let (name, time) = line.strip_prefix("time: ")?.strip_suffix(" s")?.rsplit_once(' ')?;
    Some(Timed { name: name.to_owned(), took: seconds(time)? })
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

/// Times of one tier.
pub struct Tier<'a> {
    pub name: &'a str,
    /// Number of tests that ran.
    pub ran: u64,
    pub times: &'a [Timed],
}

/// Returns the slowest tests of all tiers as a table, and a line that says which tests it covers.
pub fn slowest(tiers: &[Tier<'_>]) -> String {
    let mut all: Vec<(&str, &Timed)> =
        tiers.iter().flat_map(|tier| tier.times.iter().map(|timed| (tier.name, timed))).collect();
    all.sort_by(|a, b| b.1.took.cmp(&a.1.took).then_with(|| a.1.name.cmp(&b.1.name)));
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY).set_header([
        "time",
        "tier",
        "slowest tests",
    ]);
    for (tier, timed) in all.iter().take(LISTED) {
        table.add_row([&format!("{:.1} s", timed.took.as_secs_f64()), *tier, &timed.name]);
    }
    let covered = tiers.iter().filter(|tier| tier.ran > 0).map(|tier| {
        let timed = tier.times.len() as u64;
        if timed >= tier.ran {
            format!("{} all", tier.name)
        } else {
            format!("{} {timed} of {}", tier.name, tier.ran)
        }
    });
    let covered = covered.collect::<Vec<_>>().join(", ");
    if all.is_empty() {
        format!("no times of tests: {covered}")
    } else {
        format!("{table}\ntests with a time: {covered}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(one_by_one: bool, lines: &[(&str, u64)]) -> Vec<(String, u128)> {
        let mut reader = Reader { one_by_one, ..Reader::default() };
        let timed = lines.iter().filter_map(|(line, at)| reader.line(line, Duration::from_millis(*at)));
        timed.map(|timed| (timed.name, timed.took.as_millis())).collect()
    }

    fn pairs(expected: &[(&str, u128)]) -> Vec<(String, u128)> {
        expected.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect()
    }

    #[test]
    fn libtest_writes_times() {
        let lines = [
            ("running 3 tests", 0),
            ("test a::b ... ok <0.250s>", 900),
            ("test a::c ... FAILED <1.5s>", 900),
            ("test a::d ... ignored <0.000s>", 900),
            ("test a::e ... ok", 900),
        ];
        assert_eq!(read(false, &lines), pairs(&[("a::b", 250), ("a::c", 1500)]));
    }

    #[test]
    fn of_tests_that_run_one_by_one_the_lines_tell() {
        let lines = [
            ("   Compiling portolan", 0),
            ("running 2 tests", 5_000),
            ("test udp/first ... ok", 5_300),
            ("a test prints something", 6_000),
            ("test udp/second ... FAILED", 7_300),
            ("running 1 test", 9_000),
            ("test third ... ok", 9_001),
        ];
        assert_eq!(read(true, &lines), pairs(&[("udp/first", 300), ("udp/second", 2_000), ("third", 1)]));
        assert_eq!(read(false, &lines), pairs(&[]));
    }

    #[test]
    fn node_and_the_own_harnesses_write_times() {
        let lines = [
            ("ok 1 - folds a row - twice", 0),
            ("  ---", 0),
            ("  duration_ms: 12.9", 0),
            ("not ok 2 - fails", 0),
            ("  duration_ms: 2000", 0),
            ("# duration_ms 5000", 0),
            ("time: layout/a b 1.250 s", 0),
            ("time: nothing", 0),
        ];
        let expected = pairs(&[("folds a row - twice", 12), ("fails", 2000), ("layout/a b", 1250)]);
        assert_eq!(read(false, &lines), expected);
    }

    #[test]
    fn the_list_says_what_it_covers() {
        let timed = |name: &str, seconds| Timed { name: name.to_owned(), took: Duration::from_secs(seconds) };
        let unit: Vec<Timed> = (0..30).map(|n| timed(&format!("unit-{n:02}"), n)).collect();
        let kernel = [timed("kernel-a", 100)];
        let text = slowest(&[
            Tier { name: "unit", ran: 30, times: &unit },
            Tier { name: "kernel", ran: 3, times: &kernel },
            Tier { name: "vm", ran: 0, times: &[] },
        ]);
        let at = |what: &str| text.find(what);
        assert!(at("kernel-a") < at("unit-29") && at("unit-29") < at("unit-11"), "{text}");
        assert!(at("unit-11").is_some() && at("unit-10").is_none(), "{text}");
        assert!(text.ends_with("tests with a time: unit all, kernel 1 of 3"), "{text}");
        assert_eq!(slowest(&[Tier { name: "vm", ran: 4, times: &[] }]), "no times of tests: vm 0 of 4");
    }
}
