//! Prints the lines that the vm tier reads: one per check.

use std::io::Write;

/// Writes results to the console.
#[derive(Debug, Default)]
pub struct Console;

impl Console {
    pub fn ok(&mut self, name: &str, detail: &str) {
        say(&format!("RESULT {name} ok {}", one_line(detail)));
    }

    pub fn failed(&mut self, name: &str, why: &str) {
        say(&format!("RESULT {name} FAIL {}", one_line(why)));
    }

    pub fn skipped(&mut self, name: &str, why: &str) {
        say(&format!("RESULT {name} SKIP {}", one_line(why)));
    }

    /// Prints a note for readers of the log.
    pub fn note(&mut self, what: &str) {
        say(&format!("note: {what}"));
    }

    /// Prints the result of a check.
    pub fn result(&mut self, name: &str, outcome: anyhow::Result<String>) {
        match outcome {
            Ok(detail) => self.ok(name, &detail),
            Err(error) => self.failed(name, &format!("{error:#}")),
        }
    }

    /// Prints that all checks have run.
    pub fn end(&mut self) {
        say("RESULT end ok");
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A failure to write to the console cannot be reported.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(600).collect()
}
