//! A Python script in a namespace, for what an actor cannot do: exec, unusual passing of descriptors, other programs.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::network::netns_path;

/// A running script, ended when dropped. Children that it starts end with it only if they read its stdin.
pub struct Script {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Script {
    /// Starts Python code in a namespace. The code may call `wait()`, which returns at the next [`Self::go_on`], and
    /// `say(text)`, which [`Self::line`] returns.
    pub fn start(netns: &str, code: &str) -> Self {
        let prelude = "import os, socket, sys, time\nwait = sys.stdin.readline\nsay = lambda text: print(text, flush=True)";
        let mut child = Command::new("nsenter")
            .arg(format!("--net={}", netns_path(netns).display()))
            .args(["python3", "-c", &format!("{prelude}\n{code}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start python3");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, output }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets the script go on.
    pub fn go_on(&mut self) {
        self.child.stdin.as_mut().expect("piped").write_all(b"\n").expect("the script reads");
    }

    /// Returns the next line of the script.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the script says something");
        line.trim_end().to_owned()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
