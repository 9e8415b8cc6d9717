//! chromedriver, which starts one browser a case.

use super::process::Process;

/// A running chromedriver.
pub struct Driver {
    address: String,
    _process: Process,
}

impl Driver {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let process = Process::start("chromedriver", &["--port=0"]);
        let port: u16 = process.line("the port of chromedriver", |line| {
            line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
        });
        Self { address: format!("http://127.0.0.1:{port}"), _process: process }
    }

    pub fn address(&self) -> &str {
        &self.address
    }
}
