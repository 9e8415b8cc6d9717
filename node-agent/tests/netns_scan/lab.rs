//! Namespaces and processes of a test, and what it waits for.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use portolan::scan::collect::{CollectedNetns, collect};
use portolan::source::netns::{HostNetns, NetnsHandle, NetnsOptions, Progress};
use portolan_engine::model::input::Input;
use tokio::sync::mpsc;

/// A named netns, removed with the test.
pub struct Netns(pub String);

impl Netns {
    pub fn new(name: &str) -> Self {
        let name = format!("netns-{name}-{}", std::process::id());
        run(&["ip", "netns", "add", &name]);
        run(&["ip", "-n", &name, "link", "set", "lo", "up"]);
        Self(name)
    }

    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }

    pub fn inode(&self) -> u64 {
        fs::metadata(self.path()).expect("mounted").ino()
    }

    /// Runs a batch of `ip` commands.
    pub fn batch(&self, commands: &str) {
        let batch = std::env::temp_dir().join(format!("portolan-batch-{}", self.0));
        fs::write(&batch, commands).expect("written");
        run(&["ip", "-n", &self.0, "-batch", &batch.to_string_lossy()]);
        fs::remove_file(&batch).expect("removed");
    }

    /// Runs Python code inside the netns until dropped. Returns once the code printed `ready`.
    pub fn python(&self, code: &str) -> Running {
        let code = format!("import socket, time\n{code}\nprint('ready', flush=True)\ntime.sleep(600)");
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.0, "python3", "-c", &code])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("output");
        assert_eq!(line, "ready\n");
        Running(child)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "del", &self.0]).stderr(Stdio::null()).status();
    }
}

/// A process, ended with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Runs a command that must succeed, and returns its output.
pub fn run(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output().expect("starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns options with a short rotation.
pub fn options() -> NetnsOptions {
    NetnsOptions { rotation: Duration::from_secs(2), ..NetnsOptions::default() }
}

/// Reads every netns as `portolan scan` does.
pub fn collected() -> Vec<CollectedNetns> {
    let (sender, found) = sync_channel(1);
    let reader =
        std::thread::spawn(move || collect(&options(), &OnceLock::from(HostNetns::Scanned), &sender));
    let collected = found.iter().collect();
    reader.join().expect("the thread").expect("scan");
    collected
}

/// Reads one netns as `portolan scan` does.
pub fn collected_of(netns: &Netns) -> CollectedNetns {
    let inode = netns.inode();
    collected().into_iter().find(|netns| netns.facts.inode == inode).expect("found")
}

/// Receives inputs until `pick` returns something.
pub async fn wait_for<T>(inputs: &mut mpsc::Receiver<Input>, mut pick: impl FnMut(&Input) -> Option<T>) -> T {
    let search = async {
        loop {
            let input = inputs.recv().await.expect("the thread runs");
            if let Some(found) = pick(&input) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), search).await.expect("in time")
}

/// Waits until the progress of the thread fits.
pub async fn until(handle: &NetnsHandle, is_so: impl FnMut(&Progress) -> bool) -> Progress {
    let mut progress = handle.progress();
    let seen = tokio::time::timeout(Duration::from_secs(10), progress.wait_for(is_so)).await;
    seen.expect("in time").expect("runs").clone()
}
