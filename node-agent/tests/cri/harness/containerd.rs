//! A containerd of the tier's own. Its root, state, socket, networks and images are in one temporary directory; all of
//! it is removed when the tier ends, also what a failed case left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use portolan::source::pods::cri::client::Runtime;
use prost::Message;

use super::messages::Id;
use super::timeouts::eventually;
use super::{image, mount_table};

static NODE: Mutex<Option<Node>> = Mutex::new(None);

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// Time limit of one call that creates or ends something on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The node's runtime.
pub struct Node {
    dir: PathBuf,
    daemon: Option<Child>,
    calls: tokio::runtime::Runtime,
    /// The ptp plugin switches forwarding on.
    ip_forward: String,
    netns_before: Vec<PathBuf>,
}

impl Node {
    /// Creates the runtime and its image.
    pub fn set_up() {
        let dir = std::env::temp_dir().join(format!("portolan-cri-{}", std::process::id()));
        for part in ["cni", "image", "logs", "ipam", "run"] {
            fs::create_dir_all(dir.join(part)).expect("a directory of the tier's own");
        }
        fs::write(dir.join("config.toml"), config(&dir)).expect("write");
        fs::write(dir.join("cni/10-tier.conflist"), network(&dir)).expect("write");
        let mut node = Self {
            daemon: None,
            calls: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            ip_forward: fs::read_to_string(IP_FORWARD).unwrap_or_default(),
            netns_before: mount_table::cni_netns(),
            dir,
        };
        node.start();
        node.import(&image::write(&node.dir.join("image")));
        *NODE.lock().expect("not poisoned") = Some(node);
    }

    /// Ends the runtime and returns what is left of it.
    pub fn tear_down() -> Vec<String> {
        let Some(mut node) = NODE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take() else {
            return Vec::new();
        };
        node.end()
    }

    /// Calls `act` with the node.
    pub fn with<T>(act: impl FnOnce(&mut Self) -> T) -> T {
        let mut node = NODE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        act(node.as_mut().expect("the node is set up"))
    }

    /// Starts the daemon if a failed case left it dead.
    pub fn ensure(&mut self) {
        if self.daemon.is_none() {
            self.start();
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/containerd.sock")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).expect("a log");
        // The daemon dies with the tier's main thread, so that none is left when a whole run is killed.
        let daemon = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "containerd", "--config"])
            .arg(self.dir.join("config.toml"))
            .stdout(log.try_clone().expect("the log again"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("containerd starts: run `cargo xtask setup --tests`");
        self.daemon = Some(daemon);
        eventually(TIMEOUT, "containerd answers", || {
            let version = self.call("/runtime.v1.RuntimeService/Version", &());
            version.map(|_| ()).map_err(|error| format!("{error}; {}", self.log()))
        });
    }

    /// Sends SIGKILL to the daemon; containers and their shims live on.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let _ = fs::remove_file(self.socket());
    }

    /// Makes one call over a connection of its own.
    pub fn ask(&self, path: &'static str, request: &impl Message) -> Result<Bytes, String> {
        let answer = self.calls.block_on(async {
            let runtime = Runtime::connect(&self.socket()).await?;
            runtime.exchange(path, path, request, TIMEOUT).await
        });
        answer.map_err(|error| error.to_string())
    }

    /// Makes one call whose answer is at most an id.
    pub fn call(&self, path: &'static str, request: &impl Message) -> Result<Id, String> {
        // Other fields of the answer are ignored.
        self.ask(path, request).map(|answer| Id::decode(answer).unwrap_or_default())
    }

    /// Returns the end of containerd's log.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    /// Returns the cgroup of all pods of the tier; the names below are kubelet's.
    pub fn cgroup() -> String {
        format!("portolan-cri-{}", std::process::id())
    }

    /// Imports the images of an archive.
    pub fn import(&self, archive: &Path) {
        let output = Command::new("ctr")
            .args(["--namespace", "k8s.io", "--address"])
            .arg(self.socket())
            .args(["images", "import"])
            .arg(archive)
            .output()
            .expect("ctr runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn end(&mut self) -> Vec<String> {
        self.kill();
        eventually(TIMEOUT, "every process of the runtime ends", || {
            let left = mount_table::processes_of(&self.dir, &Self::cgroup());
            left.iter().for_each(|pid| mount_table::kill(*pid));
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        for point in mount_table::mounts_below(&self.dir) {
            mount_table::detach(&point);
        }
        let made = mount_table::cni_netns().into_iter().filter(|path| !self.netns_before.contains(path));
        for netns in made.collect::<Vec<_>>() {
            mount_table::detach(&netns);
            let _ = fs::remove_file(netns);
        }
        let _ = fs::write(IP_FORWARD, &self.ip_forward);
        eventually(TIMEOUT, "the cgroups go", || {
            let left = mount_table::cgroups(&Self::cgroup());
            left.iter().for_each(|dir| mount_table::remove_cgroup(dir));
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        let _ = fs::remove_dir_all(&self.dir);
        self.left()
    }

    fn left(&self) -> Vec<String> {
        let mounts = mount_table::mounts_below(&self.dir);
        let mut left: Vec<String> = mounts.iter().map(|point| format!("mount {}", point.display())).collect();
        if self.dir.exists() {
            left.push(format!("directory {}", self.dir.display()));
        }
        left
    }
}

fn config(dir: &Path) -> String {
    let (dir, pause, plugins) = (dir.display(), image::PAUSE, plugins());
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{dir}/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{dir}/cni"
"#
    )
}

/// Returns the directory in which distributions, or everybody else, install the CNI plugins.
fn plugins() -> &'static str {
    ["/usr/lib/cni", "/opt/cni/bin"]
        .into_iter()
        .find(|dir| Path::new(dir).join("ptp").exists())
        .expect("CNI plugins: run `cargo xtask setup --tests`")
}

/// A pair of interfaces for each pod, and nothing that outlives it on the host's side.
fn network(dir: &Path) -> String {
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "tier",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": dir.join("ipam"),
                "ranges": [[{ "subnet": "10.244.208.0/24" }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
    .to_string()
}
