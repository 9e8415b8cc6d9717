//! kubectl and helm: where they are, and what they say.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portolan_testing::tools;

/// Both, for one cluster.
pub struct Tools {
    kubeconfig: OsString,
    /// PATH, with the directory of the plugin in front.
    path: OsString,
    kubectl: PathBuf,
    helm: PathBuf,
}

/// Returns the path of `kubectl-portolan`, which Cargo builds into the directory of the agent's binary.
///
/// # Errors
/// Where it is not built.
pub fn plugin() -> Result<PathBuf, String> {
    let path = Path::new(env!("CARGO_BIN_EXE_portolan")).with_file_name("kubectl-portolan");
    if path.is_file() {
        Ok(path)
    } else {
        Err("needs kubectl-portolan: run `cargo build -p portolan-client`".to_owned())
    }
}

impl Tools {
    /// # Errors
    /// Which of them is missing.
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

    /// A kubectl that finds the plugin.
    pub fn kubectl(&self, words: &[&str]) -> Command {
        self.command(&self.kubectl, words)
    }

    pub fn helm(&self, words: &[&str]) -> Command {
        self.command(&self.helm, words)
    }

    fn command(&self, program: &Path, words: &[&str]) -> Command {
        // Both must not read the user's plugins, nor write where the user has theirs.
        let home = tools::directory().join("e2e-home");
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).env("KUBECONFIG", &self.kubeconfig).env("PATH", &self.path);
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "KUBECACHEDIR"] {
            command.env(name, home.join(name));
        }
        command
    }
}

/// What the command prints; where it fails, what was run and why it failed.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{}: {error}", line(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{}` ended with {}: {}", line(command), output.status, said.trim()))
}

/// The same, with this on its standard input.
pub fn output_of(command: &mut Command, input: &str) -> Result<String, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", line(command)))?;
    // Where it ends before it has read all, its own words say why.
    let _ = child.stdin.take().map(|mut pipe| pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(|error| format!("{}: {error}", line(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{}` ended with {}: {}", line(command), output.status, said.trim()))
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
