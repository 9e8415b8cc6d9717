//! Parses a guest's console: one line per check, and a final line.

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Results of one boot.
#[derive(Debug, Default)]
pub struct Verdicts {
    pub checks: Vec<(String, Verdict)>,
    /// True if the guest completed all checks.
    pub finished: bool,
    /// Last line of the console that is not a result.
    pub last: String,
}

impl Verdicts {
    /// Parses one line of the console: `RESULT name ok [detail]`, `RESULT name FAIL why`, `RESULT name SKIP why`.
    pub fn line(&mut self, line: &str) {
        // A kernel message without a line break may precede the result.
        let Some((_, result)) = line.split_once("RESULT ") else {
            if !line.trim().is_empty() {
                self.last = line.chars().filter(|c| !c.is_control()).take(200).collect();
            }
            return;
        };
        let mut words = result.splitn(3, ' ');
        let (Some(name), Some(word)) = (words.next(), words.next()) else { return };
        let rest = words.next().unwrap_or_default().to_owned();
        let verdict = match word {
            "ok" => Verdict::Passed,
            "SKIP" => Verdict::Skipped(rest),
            _ => Verdict::Failed(rest),
        };
        if name == "end" {
            self.finished = true;
        } else {
            self.checks.push((name.to_owned(), verdict));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_checks_from_a_console() {
        let mut verdicts = Verdicts::default();
        for line in [
            "[    1.2] Linux version",
            "RESULT tcp ok 7 connections",
            "[    2.3] RESULT sctp SKIP no module",
            "RESULT udp FAIL 4 packets, not 5",
            "RESULT end ok",
        ] {
            verdicts.line(line);
        }
        let failed = Verdict::Failed("4 packets, not 5".to_owned());
        let wanted =
            [("tcp", Verdict::Passed), ("sctp", Verdict::Skipped("no module".to_owned())), ("udp", failed)];
        assert_eq!(verdicts.checks, wanted.map(|(name, verdict)| (name.to_owned(), verdict)));
        assert!(verdicts.finished);
    }

    #[test]
    fn a_guest_that_died_has_not_finished() {
        let mut verdicts = Verdicts::default();
        verdicts.line("Kernel panic - not syncing");
        assert!(!verdicts.finished && verdicts.last.starts_with("Kernel panic"));
    }
}
