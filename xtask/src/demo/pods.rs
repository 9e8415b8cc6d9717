//! The two pods of the demo: their manifests, and the small programs that run in them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// A pod of the demo.
pub struct Pod {
    pub name: &'static str,
    pub netns: &'static str,
    pub address: &'static str,
    /// The bridge's end of its veth pair.
    pub cable: &'static str,
}

/// The server pod: declares port 8080 and opens three ports.
pub const APP: Pod =
    Pod { name: "multi-port-app", netns: "portolan-demo-app", address: "10.244.7.2", cable: "app" };
/// The client pod: calls the three ports.
pub const CURLER: Pod =
    Pod { name: "curler", netns: "portolan-demo-curler", address: "10.244.7.3", cable: "curler" };

const MANIFEST: &str = include_str!("manifest.yaml");

const SERVER: &str = r#"
import http.server, threading

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello\n")
    def log_message(self, *_):
        pass

servers = [http.server.ThreadingHTTPServer(("0.0.0.0", port), Answer) for port in (8080, 9090, 5000)]
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
"#;

const CALLER: &str = r#"
import sys, time, urllib.request

while True:
    for port in (8080, 9090, 5000):
        try:
            urllib.request.urlopen(f"http://{sys.argv[1]}:{port}/", timeout=2).read()
        except OSError as error:
            print(port, error, file=sys.stderr)
    time.sleep(0.5)
"#;

/// Writes manifests and programs. Returns the path of the manifests.
///
/// # Errors
/// If the directory cannot be written.
pub fn write(directory: &Path) -> Result<PathBuf> {
    let manifest = directory.join("manifests.yaml");
    for (path, text) in [
        (manifest.clone(), MANIFEST),
        (directory.join("server.py"), SERVER),
        (directory.join("caller.py"), CALLER),
    ] {
        std::fs::write(&path, text.trim_start())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(manifest)
}

/// Starts the process of `multi-port-app`.
///
/// # Errors
/// If the process cannot be started.
pub fn start_app(directory: &Path) -> Result<Child> {
    inside(&APP, directory, "server.py", &[])
}

/// Starts the process of `curler`.
///
/// # Errors
/// If the process cannot be started.
pub fn start_curler(directory: &Path) -> Result<Child> {
    inside(&CURLER, directory, "caller.py", &[APP.address])
}

fn inside(pod: &Pod, directory: &Path, program: &str, words: &[&str]) -> Result<Child> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", pod.netns, "python3"]).arg(directory.join(program)).args(words);
    command.stdout(Stdio::null());
    super::process::spawn(&mut command, &directory.join(format!("{}.log", pod.name)))
}
