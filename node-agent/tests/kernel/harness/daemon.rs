//! A real program in a namespace of the case. It has a directory of its own, and ends with the case, also when the case
//! fails, together with every process that it started.

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use portolan_testing::scratch::Scratch;
use portolan_testing::tools;
use portolan_testing::waiting::Deadline;
use rustix::process::{Pid, Signal};

use super::network::netns_path;
use super::oracle;
use super::timeouts::{TIMEOUT, eventually};

/// How long a program may take until it listens. Java compiles its source first.
const START: Duration = Duration::from_secs(60);

/// A running program and its process group.
pub struct Daemon {
    child: RefCell<Child>,
    pid: Pid,
    netns: String,
    directory: Scratch,
}

/// Returns the paths of these programs. `None`: one is missing, and the case is skipped with a line that says so.
pub fn installed<const N: usize>(names: [&str; N]) -> Option<[PathBuf; N]> {
    if let Some(missing) = names.iter().find(|name| tools::program(name).is_none()) {
        println!("skipped: no {missing}; run `cargo xtask setup --tests`");
        return None;
    }
    Some(names.map(|name| tools::program(name).expect("found above")))
}

/// Returns the executable behind `python3`, which may be a script that chooses one.
pub fn python() -> Option<PathBuf> {
    let script = "import os, sys; print(os.path.realpath(sys.executable))";
    let output = Command::new("python3").args(["-c", script]).output().ok()?;
    if !output.status.success() {
        println!("skipped: no python3; run `cargo xtask setup --tests`");
        return None;
    }
    Some(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

impl Daemon {
    /// Starts a program, with its arguments and environment, in a named netns. It must stay in the foreground.
    pub fn start(netns: &str, directory: Scratch, program: &Command) -> Self {
        let log = File::create(directory.path("log")).expect("a log");
        let mut command = Command::new("setpriv");
        // The program dies with the test. Both tools replace themselves, so its pid is the child's.
        command.args(["--pdeathsig", "KILL", "nsenter"]);
        command.arg(format!("--net={}", netns_path(netns).display()));
        command.arg(program.get_program()).args(program.get_args());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(directory.directory()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second descriptor")).stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().expect("start a program");
        let pid = Pid::from_child(&child);
        Self { child: RefCell::new(child), pid, netns: netns.to_owned(), directory }
    }

    /// Waits until the kernel lists a socket of this port in the program's netns.
    pub fn wait_listens(&self, protocol: &str, port: u16) {
        self.wait(&format!("it listens on {port}/{protocol}"), || {
            oracle::is_served(&self.netns, protocol, port)
        });
    }

    /// Waits for a condition that the program must meet before it ends.
    pub fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        eventually(START, what, || {
            if holds() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.borrow_mut().try_wait() {
                panic!("{what}: it ended with {status}: {}", self.log());
            }
            Err(self.log())
        });
    }

    /// Waits until the program has written a text.
    pub fn wait_says(&self, text: &str) {
        self.wait(&format!("it says `{text}`"), || self.log().contains(text));
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Returns everything that the program wrote to its standard output and error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.directory.path("log")).unwrap_or_default()).into_owned()
    }

    /// Returns the path of a file in the program's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path(name)
    }

    /// Sends a signal to the program, not to the processes that it started.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid, signal).expect("signal the program");
    }

    /// Waits until the program has ended by itself.
    pub fn wait_end(&self) -> ExitStatus {
        eventually(3 * TIMEOUT, "the program ends", || {
            let ended = self.child.borrow_mut().try_wait().expect("wait for the program");
            ended.ok_or_else(|| self.log())
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} wrote: {}", self.directory.directory().display(), self.log());
        }
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        let _ = self.child.get_mut().wait();
        // Its children are reaped by process 1. A namespace lives as long as they do.
        let deadline = Deadline::after(TIMEOUT);
        while rustix::process::test_kill_process_group(self.pid).is_ok() && !deadline.remaining().is_zero() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Writes a file that a program reads. Returns its path as an argument.
pub fn file(directory: &Scratch, name: &str, text: &str) -> String {
    argument(&directory.write(name, text))
}

/// Returns a path as an argument.
pub fn argument(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}
