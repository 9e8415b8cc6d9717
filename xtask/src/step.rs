//! Runs one program as one visible step: with its progress and last line on a terminal, with plain lines elsewhere, and with
//! its last lines when it fails.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::stopwatch::Stopwatch;

/// Number of last output lines that are shown of a failed step.
const LINES_KEPT: usize = 60;
/// Interval at which a long step reports that it still runs, without a terminal.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);
/// Makes cargo write its progress, also into a pipe. On the command line, since cargo that a build script starts would inherit
/// variables of the environment.
pub const CARGO_PROGRESS: [&str; 4] =
    ["--config", "term.progress.when=\"always\"", "--config", "term.progress.width=100"];

/// Runs `command` to its end, showing `what` (a gerund: "installing …") while it works.
///
/// # Errors
/// If the program cannot start or fails; the message contains its last lines.
pub fn run(what: &str, command: &mut Command) -> Result<()> {
    let line = line_of(command);
    run_line(what, command, &line)
}

fn run_line(what: &str, command: &mut Command, line: &str) -> Result<()> {
    let mut shown = Shown::begin(what);
    let outcome = follow(command, &mut shown);
    shown.end(outcome.is_ok());
    outcome.with_context(|| format!("{what} failed: {line}"))
}

/// Like [`run`], for a cargo command that compiles and has no `--`: also shows how many units are compiled.
///
/// # Errors
/// As [`run`].
pub fn build(what: &str, cargo: &mut Command) -> Result<()> {
    let line = line_of(cargo);
    run_line(what, cargo.args(CARGO_PROGRESS), &line)
}

/// Returns the program's standard output, trimmed. `None`: the program is missing or failed.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns the command line as a person would type it.
pub fn line_of(command: &Command) -> String {
    let settings = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), value?.to_string_lossy())));
    let program = std::iter::once(command.get_program()).chain(command.get_args());
    settings.chain(program.map(|word| word.to_string_lossy().into_owned())).collect::<Vec<_>>().join(" ")
}

/// Returns true if `program` is in PATH or in a directory for administrators' programs.
pub fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|dir| dir.join(program).is_file())
}

fn follow(command: &mut Command, shown: &mut Shown) -> Result<()> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(
            || format!("{} cannot be started (is it installed?)", command.get_program().to_string_lossy()),
        )?;
    let last = collect(&mut child, shown);
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    let lines: Vec<_> = last.into();
    bail!("it ended with {status}; its last lines:\n{}", lines.join("\n"))
}

/// Shows the lines of both streams as they arrive. Returns the last ones.
fn collect(child: &mut Child, shown: &mut Shown) -> VecDeque<String> {
    let (lines, arrivals) = mpsc::sync_channel(256);
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|s| Box::new(s) as Box<dyn Read + Send>),
        child.stderr.take().map(|s| Box::new(s) as Box<dyn Read + Send>),
    ];
    for stream in streams.into_iter().flatten() {
        let lines = lines.clone();
        std::thread::spawn(move || send_lines(BufReader::new(stream), &lines));
    }
    drop(lines);
    let mut kept = VecDeque::new();
    loop {
        match arrivals.recv_timeout(REPORT_INTERVAL.saturating_sub(shown.since_report())) {
            Ok(line) => match progress(&line) {
                Some(progress) => shown.progress(progress),
                None => {
                    shown.line(&line);
                    if kept.len() == LINES_KEPT {
                        kept.pop_front();
                    }
                    kept.push_back(line);
                }
            },
            Err(mpsc::RecvTimeoutError::Timeout) => shown.report(),
            Err(mpsc::RecvTimeoutError::Disconnected) => return kept,
        }
    }
}

/// Sends each line of a stream. Cargo ends the lines of its progress with a carriage return.
fn send_lines(stream: impl BufRead, lines: &mpsc::SyncSender<String>) {
    let mut line = Vec::new();
    for byte in stream.bytes().map_while(Result::ok) {
        if byte != b'\n' && byte != b'\r' {
            line.push(byte);
            continue;
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        line.clear();
        if !text.is_empty() && lines.send(text).is_err() {
            return;
        }
    }
    if !line.is_empty() {
        // Fails only if the receiver is gone.
        let _ = lines.send(String::from_utf8_lossy(&line).into_owned());
    }
}

/// Units of a cargo build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    done: u64,
    all: u64,
}

/// Reads a line of cargo's progress: `Building [==>   ] 12/310: foo, bar`.
fn progress(line: &str) -> Option<Progress> {
    let (_, numbers) = line.trim_start().strip_prefix("Building [")?.split_once("] ")?;
    let (done, rest) = numbers.split_once('/')?;
    let all = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(Progress { done: done.trim().parse().ok()?, all: all.parse().ok()? })
}

/// The display of a running step.
struct Shown {
    what: String,
    since: Stopwatch,
    last_report: Stopwatch,
    progress: Option<Progress>,
    /// `None`: stderr is no terminal.
    bar: Option<ProgressBar>,
}

impl Shown {
    fn begin(what: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_message(what.to_owned());
            set_style(&bar, "{spinner} {wide_msg} {elapsed}");
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("  … {what}");
        }
        let (since, last_report) = (Stopwatch::start(), Stopwatch::start());
        Self { what: what.to_owned(), since, last_report, progress: None, bar }
    }

    fn line(&self, line: &str) {
        if let Some(bar) = &self.bar {
            let plain: String = line.trim().chars().filter(|c| !c.is_control()).take(100).collect();
            bar.set_message(format!("{}: {plain}", self.what));
        }
    }

    fn progress(&mut self, progress: Progress) {
        if let Some(bar) = &self.bar {
            if self.progress.is_none() {
                set_style(bar, "{spinner} [{bar:20}] {pos}/{len} {wide_msg} {elapsed}");
            }
            bar.set_length(progress.all);
            bar.set_position(progress.done);
        }
        self.progress = Some(progress);
        if self.since_report() >= REPORT_INTERVAL {
            self.report();
        }
    }

    fn since_report(&self) -> Duration {
        self.last_report.elapsed()
    }

    /// Reports, without a terminal, that the step still runs.
    fn report(&mut self) {
        self.last_report = Stopwatch::start();
        if self.bar.is_none() {
            let units =
                self.progress.map(|progress| format!(", {} of {} units", progress.done, progress.all));
            let seconds = self.since.elapsed().as_secs();
            eprintln!("  … {} (for {seconds} s{})", self.what, units.unwrap_or_default());
        }
    }

    fn end(&self, fine: bool) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let sign = if fine { "✓" } else { "✗" };
        eprintln!("  {sign} {} ({:.1} s)", self.what, self.since.elapsed().as_secs_f64());
    }
}

fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_of_cargo_is_read() {
        let line = "    Building [=====>      ] 212/399: portolan, tokio(build)";
        assert_eq!(progress(line), Some(Progress { done: 212, all: 399 }));
        assert_eq!(progress("   Compiling serde v1.0.0"), None);
        assert_eq!(progress("Building [maybe"), None);
    }

    #[test]
    fn lines_end_with_either_sign() {
        let (sender, lines) = mpsc::sync_channel(8);
        send_lines("a\r\nb\rc".as_bytes(), &sender);
        drop(sender);
        assert_eq!(lines.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
