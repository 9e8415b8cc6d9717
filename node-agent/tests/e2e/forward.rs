//! Runs `kubectl port-forward` to a pod, until the guard is dropped.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use super::tools::Tools;

/// A running port-forward.
pub struct Forward {
    child: Child,
    /// kubectl writes a line for each connection, and would end if the pipe were closed.
    _lines: Option<BufReader<ChildStdout>>,
    /// Local port, on loopback.
    pub port: u16,
}

impl Forward {
    /// Starts forwarding to a port of a pod.
    ///
    /// # Errors
    /// If kubectl does not report that it forwards.
    pub fn start(tools: &Tools, namespace: &str, pod: &str, port: u16) -> Result<Self, String> {
        let words = ["--namespace", namespace, "port-forward", pod, &format!(":{port}")];
        let mut command = tools.kubectl(&words);
        command.args(["--address", "127.0.0.1"]).stdout(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("kubectl port-forward: {error}"))?;
        // From here on the guard ends the process on every path.
        let mut forward = Self { child, _lines: None, port: 0 };
        let stdout = forward.child.stdout.take().ok_or("no output")?;
        let (mut lines, mut line) = (BufReader::new(stdout), String::new());
        lines.read_line(&mut line).map_err(|error| error.to_string())?;
        forward._lines = Some(lines);
        forward.port = local_port(&line).ok_or_else(|| format!("kubectl port-forward: {line:?}"))?;
        Ok(forward)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Parses the port from a line such as `Forwarding from 127.0.0.1:40123 -> 9470`.
pub fn local_port(line: &str) -> Option<u16> {
    line.split_once(" -> ")?.0.rsplit_once(':')?.1.parse().ok()
}
