//! One boot of one guest: qemu without hardware acceleration. Reads the serial console line by line, within a time limit.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result};

use super::kernels::{Expect, Kernel, Line};
use super::verdict::Verdicts;
use crate::stopwatch::Stopwatch;

/// Time limit of a guest. A guest takes half a minute, and much more on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// A child process, killed on drop.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots a guest, waits for its end, and returns its verdicts. Writes the whole console to `log`.
///
/// # Errors
/// If qemu cannot be started or the log cannot be written.
pub fn boot(kernel: &Kernel, archive: &Path, line: Line, log: &Path) -> Result<Verdicts> {
    let mode = if line.expect == Expect::Full { "full" } else { "refusal" };
    let mut child = Command::new("qemu-system-x86_64")
        // One thread for both processors. With one thread each, a kernel that patches its code during start (7.2) can run the
        // emulator's stale copy and panic.
        .args([
            "-accel",
            "tcg,thread=single",
            "-cpu",
            "max",
            "-m",
            "1024",
            "-smp",
            "2",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args(["-nodefaults", "-serial", "stdio", "-kernel"])
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(archive)
        .args(["-append", &format!("console=ttyS0 panic=-1 quiet expect={mode} {}", line.options)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    let console = child.stdout.take().context("qemu has no console")?;
    let _qemu = Qemu(child);
    let (lines, arrivals) = mpsc::channel();
    std::thread::spawn(move || {
        let mut console = BufReader::new(console);
        let mut line = Vec::new();
        while console.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    follow(&arrivals, log)
}

fn follow(arrivals: &Receiver<String>, log: &Path) -> Result<Verdicts> {
    let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let since = Stopwatch::start();
    let mut verdicts = Verdicts::default();
    loop {
        match arrivals.recv_timeout(LIMIT.saturating_sub(since.elapsed())) {
            Ok(line) => {
                writeln!(log, "{line}")?;
                verdicts.line(&line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(verdicts),
            Err(RecvTimeoutError::Timeout) => {
                verdicts.line(&format!("RESULT time FAIL not finished after {} s", LIMIT.as_secs()));
                return Ok(verdicts);
            }
        }
    }
}
