//! Runs one program as one visible step: a spinner with its last line on a terminal, plain lines elsewhere, and its whole
//! output when it fails.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::stopwatch::Stopwatch;

/// How many of the last lines are shown of a step that failed.
const LINES_KEPT: usize = 60;
/// Without a terminal a step that takes long says so this often.
const STILL_THERE: Duration = Duration::from_secs(30);

/// Runs `command` to its end, showing `what` (a gerund: "installing …") while it works.
///
/// # Errors
/// Where the program cannot start or fails; its last lines are in the message.
pub fn run(what: &str, command: &mut Command) -> Result<()> {
    let shown = Shown::begin(what);
    let outcome = follow(command, &shown);
    shown.end(outcome.is_ok());
    outcome.with_context(|| format!("{what} failed: {}", line_of(command)))
}

/// The program's standard output, trimmed; `None` where it is missing or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command as a person would type it.
pub fn line_of(command: &Command) -> String {
    let settings = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), value?.to_string_lossy())));
    let program = std::iter::once(command.get_program()).chain(command.get_args());
    settings.chain(program.map(|word| word.to_string_lossy().into_owned())).collect::<Vec<_>>().join(" ")
}

/// Whether `program` is found in PATH, or where administrators keep theirs.
pub fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|dir| dir.join(program).is_file())
}

fn follow(command: &mut Command, shown: &Shown) -> Result<()> {
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

/// Shows the lines of both streams as they come, and keeps the last.
fn collect(child: &mut Child, shown: &Shown) -> VecDeque<String> {
    let (lines, arrivals) = mpsc::sync_channel(256);
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|s| Box::new(s) as Box<dyn Read + Send>),
        child.stderr.take().map(|s| Box::new(s) as Box<dyn Read + Send>),
    ];
    for stream in streams.into_iter().flatten() {
        let lines = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
    }
    drop(lines);
    let mut kept = VecDeque::new();
    loop {
        match arrivals.recv_timeout(STILL_THERE) {
            Ok(line) => {
                shown.line(&line);
                if kept.len() == LINES_KEPT {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => shown.still_there(),
            Err(mpsc::RecvTimeoutError::Disconnected) => return kept,
        }
    }
}

/// What a person sees of a running step.
struct Shown {
    what: String,
    since: Stopwatch,
    spinner: Option<ProgressBar>,
}

impl Shown {
    fn begin(what: &str) -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        if spinner.is_none() {
            eprintln!("  … {what}");
        }
        Self { what: what.to_owned(), since: Stopwatch::start(), spinner }
    }

    fn line(&self, line: &str) {
        if let Some(spinner) = &self.spinner {
            let plain: String = line.trim().chars().filter(|c| !c.is_control()).take(100).collect();
            spinner.set_message(format!("{}: {plain}", self.what));
        }
    }

    fn still_there(&self) {
        if self.spinner.is_none() {
            eprintln!("  … {} (for {} s)", self.what, self.since.elapsed().as_secs());
        }
    }

    fn end(&self, fine: bool) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        let sign = if fine { "✓" } else { "✗" };
        eprintln!("  {sign} {} ({:.1} s)", self.what, self.since.elapsed().as_secs_f64());
    }
}
