//! Finds and runs kubectl and helm.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use portolan_testing::tools;

/// kubectl and helm, for one cluster.
pub struct Tools {
    kubeconfig: OsString,
    /// Value of PATH that begins with the directory of the plugin.
    path: OsString,
    kubectl: PathBuf,
    helm: PathBuf,
}

/// Returns the path of `kubectl-portolan`, which Cargo builds into the directory of the agent's binary.
///
/// # Errors
/// If the plugin is not built.
pub fn plugin() -> Result<PathBuf, String> {
    let path = Path::new(env!("CARGO_BIN_EXE_portolan")).with_file_name("kubectl-portolan");
    if path.is_file() {
        Ok(path)
    } else {
        Err("needs kubectl-portolan: run `cargo build -p portolan-client`".to_owned())
    }
}

impl Tools {
    /// Finds the tools.
    ///
    /// # Errors
    /// If one of them is missing.
    pub fn new(kubeconfig: impl Into<OsString>) -> Result<Self, String> {
        let plugin = plugin()?;
        let find = |name: &str| {
            tools::program(name).ok_or_else(|| format!("needs {name}: run `cargo xtask setup --tests`"))
        };
        let old = std::env::var_os("PATH").unwrap_or_default();
        let directories = plugin.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&old));
        Ok(Self {
            kubeconfig: kubeconfig.into(),
            path: std::env::join_paths(directories).map_err(|error| error.to_string())?,
            kubectl: find("kubectl")?,
            helm: find("helm")?,
        })
    }

    /// Returns a command of kubectl, which finds the plugin.
    pub fn kubectl(&self, words: &[&str]) -> Command {
        self.command(&self.kubectl, words)
    }

    /// Returns a command of helm.
    pub fn helm(&self, words: &[&str]) -> Command {
        self.command(&self.helm, words)
    }

    fn command(&self, program: &Path, words: &[&str]) -> Command {
        // The user's plugins and caches must be neither read nor written.
        let home = tools::directory().join("e2e-home");
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).env("KUBECONFIG", &self.kubeconfig).env("PATH", &self.path);
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "KUBECACHEDIR"] {
            command.env(name, home.join(name));
        }
        command
    }
}

/// Runs a command and returns its output.
///
/// # Errors
/// The command line and its stderr, if it fails.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{}: {error}", line(command)))?;
    stdout_of(command, &output)
}

/// Runs a command with this input and returns its output.
///
/// # Errors
/// The command line and its stderr, if it fails.
pub fn output_of(command: &mut Command, input: &str) -> Result<String, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", line(command)))?;
    // If the command ends before it has read everything, its stderr has the reason.
    let _ = child.stdin.take().map(|mut pipe| pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|error| format!("{}: {error}", line(command)))?;
    stdout_of(command, &output)
}

fn stdout_of(command: &Command, output: &Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{}` ended with {}: {}", line(command), output.status, stderr.trim()))
}

/// The command line, for messages.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
