//! Paths in the work tree, independent of the current directory, and cargo commands that run there.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the root of the work tree.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Returns cargo's target directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Returns the path of the agent's binary, in the directory that cargo names after the profile (`debug` for `dev`).
pub fn agent(profile: &str) -> PathBuf {
    target().join(profile).join("portolan")
}

/// Returns a cargo command that runs in the root of the work tree, with the environment of the user. `cargo xtask` sets variables
/// for this program that would make some build scripts run again.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}
