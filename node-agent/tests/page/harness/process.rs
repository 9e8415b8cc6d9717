//! A program that a case starts, ended when dropped.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use portolan_testing::waiting::Deadline;

use super::waiting::PATIENCE;

/// A running program. It also ends with the thread that started it, so that none is left when a run is killed.
pub struct Process {
    child: Child,
    output: Arc<Output>,
}

#[derive(Default)]
struct Output {
    text: Mutex<String>,
    grown: Condvar,
}

impl Process {
    /// Starts a program and reads what it writes to stdout and stderr.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let output = Arc::new(Output::default());
        read(child.stdout.take().expect("piped"), Arc::clone(&output));
        read(child.stderr.take().expect("piped"), Arc::clone(&output));
        Self { child, output }
    }

    /// Waits for a line, old or new, from which `pick` makes something.
    pub fn line<T>(&self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Deadline::after(PATIENCE);
        let mut text = self.output.text.lock().expect("not poisoned");
        loop {
            if let Some(found) = text.lines().find_map(&pick) {
                return found;
            }
            let left = deadline.remaining();
            assert!(!left.is_zero(), "no line has {what}: {text}");
            text = self.output.grown.wait_timeout(text, left).expect("not poisoned").0;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(from: impl Read + Send + 'static, output: Arc<Output>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut text = output.text.lock().expect("not poisoned");
            text.push_str(&line);
            text.push('\n');
            output.grown.notify_all();
        }
    });
}
