//! Counts the tests in the output of cargo and of node while printing it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::times::{Reader, Timed};
use crate::step;
use crate::stopwatch::Stopwatch;

/// Tests of one tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Names of the tests that failed.
    pub failures: Vec<String>,
    /// Times of the tests that have one.
    pub times: Vec<Timed>,
    /// True if the program that ran the tests succeeded.
    pub fine: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Self { passed: 0, failed: 0, skipped: 0, failures: Vec::new(), times: Vec::new(), fine: true }
    }
}

impl Tally {
    /// Runs a `cargo test` command and shows its output.
    ///
    /// # Errors
    /// If cargo cannot be started.
    pub fn of(command: &mut Command) -> Result<Self> {
        Self::reading(command, Self::line, Reader::default())
    }

    /// Like [`Self::of`], for tests that run one after the other.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn of_one_by_one(command: &mut Command) -> Result<Self> {
        Self::reading(command, Self::line, Reader::one_by_one())
    }

    /// Runs a command that writes the Test Anything Protocol as node does, and shows its output.
    ///
    /// # Errors
    /// If the command cannot be started.
    pub fn of_tap(command: &mut Command) -> Result<Self> {
        Self::reading(command, Self::tap_line, Reader::default())
    }

    fn reading(command: &mut Command, count: fn(&mut Self, &str), mut times: Reader) -> Result<Self> {
        println!("$ {}", step::line_of(command));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", step::line_of(command)))?;
        let mut tally = Self::default();
        let since = Stopwatch::start();
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                println!("{line}");
                count(&mut tally, &line);
                tally.times.extend(times.line(&line, since.elapsed()));
            }
        }
        tally.fine = child.wait()?.success();
        Ok(tally)
    }

    /// Adds another tier's tests.
    pub fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures.iter().cloned());
        self.times.extend(other.times.iter().cloned());
        self.fine &= other.fine;
    }

    /// Counts one line of node's output. The totals at its end are comments.
    pub fn tap_line(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("not ok ").and_then(|rest| rest.split_once(" - ")) {
            self.failures.push(name.1.to_owned());
        }
        let number = |what: &str| line.strip_prefix(what).and_then(|count| count.parse::<u64>().ok());
        self.passed += number("# pass ").unwrap_or(0);
        self.failed += number("# fail ").unwrap_or(0) + number("# cancelled ").unwrap_or(0);
        self.skipped += number("# skipped ").unwrap_or(0);
    }

    /// Counts one line of cargo's output.
    pub fn line(&mut self, line: &str) {
        let test = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "));
        // The time of the test may follow.
        if let Some((name, _)) = test.filter(|(_, outcome)| outcome.split(' ').next() == Some("FAILED")) {
            self.failures.push(name.to_owned());
        }
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
        for count in counts.split(';') {
            let mut words = count.split_whitespace();
            let (Some(number), Some(what)) =
                (words.next().and_then(|word| word.parse::<u64>().ok()), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn counts_what_cargo_prints() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test engine::a ... ok",
            "test engine::b ... FAILED",
            "test engine::c ... FAILED <0.002s>",
            "test result: FAILED. 4 passed; 1 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.00s",
            "test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            tally.line(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.skipped), (14, 1, 2));
        assert_eq!(tally.failures, ["engine::b", "engine::c"]);
    }

    #[test]
    fn counts_what_node_prints() {
        let mut tally = Tally::default();
        for line in [
            "# Subtest: folds a row",
            "    not ok 1 - inner",
            "not ok 2 - keeps the order",
            "ok 3 - reads a filter",
            "# pass 5",
            "# fail 2",
            "# cancelled 1",
            "# skipped 4",
        ] {
            tally.tap_line(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.skipped), (5, 3, 4));
        assert_eq!(tally.failures, ["keeps the order"]);
    }
}
