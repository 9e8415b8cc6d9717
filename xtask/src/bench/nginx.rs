//! Requests per second that nginx answers to wrk, with and without the agent: with a connection for each request, and with
//! connections that stay. Needs Debian's nginx and wrk.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::netns::Netns;
use super::pairs::{PAIRS, compare};
use super::{Bench, Row};
use crate::step;

/// Port that no manifest declares: its connections are recorded.
const UNDECLARED: u16 = 5000;
/// The only port that the benches' manifests declare.
const DECLARED: u16 = 1;
/// Connections that wrk holds at once.
const CONNECTIONS: &str = "32";
const SECONDS: &str = "2";

/// A kind of load, and the share of the rate without the agent that must remain.
struct Load {
    what: &'static str,
    port: u16,
    keep_alive: bool,
    goal: f64,
}

const LOADS: [Load; 3] = [
    Load { what: "kept connections, undeclared port", port: UNDECLARED, keep_alive: true, goal: 0.98 },
    Load { what: "a connection per request, declared port", port: DECLARED, keep_alive: false, goal: 0.98 },
    Load {
        what: "a connection per request, undeclared port",
        port: UNDECLARED,
        keep_alive: false,
        goal: 0.98,
    },
];

pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    for program in ["nginx", "wrk"] {
        if !step::in_path(program) {
            bail!("this needs {program} (`apt-get install nginx-light wrk`)");
        }
    }
    let (server, client) = (Netns::make("server")?, Netns::make("client")?);
    server.join(&client)?;
    let manifest = bench.manifest("nginx.yaml", &[server.name(), client.name()])?;
    let _nginx = Nginx::start(&server, &bench.directory.join("nginx"))?;
    Ok(LOADS.iter().map(|load| row(bench, &manifest, &client, load)).collect())
}

fn row(bench: &Bench, manifest: &Path, client: &Netns, load: &Load) -> Row {
    let what = format!("nginx under wrk with the agent, {}", load.what);
    let compared = match compare(bench, manifest, || requests_per_second(client, load)) {
        Ok(compared) => compared,
        Err(error) => return Row::failed(&what, &error),
    };
    Row::new(
        &what,
        format!("{:.3} of {:.0} requests/s without it", compared.ratio, compared.without),
        &format!("≥ {}", load.goal),
        compared.ratio >= load.goal,
        format!("veth; {CONNECTIONS} connections, median of {PAIRS} pairs of {SECONDS} s"),
    )
}

fn requests_per_second(client: &Netns, load: &Load) -> Result<f64> {
    let connection = if load.keep_alive { "Connection: keep-alive" } else { "Connection: close" };
    let url = format!("http://10.99.0.1:{}/", load.port);
    let words = ["-t1", "-c", CONNECTIONS, "-d", SECONDS, "-H", connection, &url];
    let said = step::output(client.command("wrk").args(words)).context("wrk failed")?;
    rate(&said)
}

/// Reads the rate that wrk prints.
///
/// # Errors
/// If there is none, or requests failed: a rate of errors is not that of answers.
fn rate(said: &str) -> Result<f64> {
    let is_failure = |line: &&str| line.starts_with("Socket errors") || line.starts_with("Non-2xx");
    let failures: Vec<&str> = said.lines().map(str::trim).filter(is_failure).collect();
    if !failures.is_empty() {
        bail!("wrk: {}", failures.join("; "));
    }
    let line = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    line.and_then(|rate| rate.trim().parse().ok()).with_context(|| format!("wrk shows no rate: {said}"))
}

/// nginx in a namespace; ended on drop.
struct Nginx {
    child: Child,
}

impl Nginx {
    fn start(netns: &Netns, directory: &PathBuf) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let at = directory.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("  {kind}_temp_path {at}/{kind};\n"))
            .collect();
        let server = |port| {
            format!("  server {{ listen {port} backlog=4096; location / {{ return 200 \"hello\"; }} }}\n")
        };
        let text = format!(
            "worker_processes 1;\ndaemon off;\nmaster_process off;\npid {at}/pid;\nerror_log {at}/error.log;\n\
             events {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n  keepalive_requests 1000000000;\n\
             {temporary}{}{}}}\n",
            server(UNDECLARED),
            server(DECLARED),
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, text)?;
        let mut command: Command = netns.command("nginx");
        // `ip netns exec` becomes nginx, so that a signal reaches it.
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot start nginx")?;
        Ok(Self { child })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_with_errors_is_none() {
        let said = "  51 requests in 2.00s, 9KB read\nRequests/sec:  25.50\nTransfer/sec:  4KB\n";
        assert_eq!(rate(said).ok(), Some(25.5));
        for error in ["Socket errors: connect 0, read 3, write 0, timeout 0", "Non-2xx or 3xx responses: 51"]
        {
            let failed = rate(&format!("  {error}\n{said}")).expect_err("an error");
            assert_eq!(failed.to_string(), format!("wrk: {error}"));
        }
        assert!(rate("").is_err());
    }
}
