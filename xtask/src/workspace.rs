//! Where things are in the work tree, whatever directory the command was started from.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the work tree.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Path of the agent's binary, in the directory that cargo names after the profile (`debug` for `dev`).
pub fn agent(profile: &str) -> PathBuf {
    target().join(profile).join("portolan")
}

/// Cargo, in the root of the work tree, as if the user had called it: what `cargo xtask` sets for this program would make
/// dependencies whose build scripts look at it be built anew.
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
