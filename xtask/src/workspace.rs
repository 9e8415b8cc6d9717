//! Where things are in the work tree, whatever directory the command was started from.

use std::path::{Path, PathBuf};

/// The root of the work tree.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The agent's binary, as cargo leaves it.
pub fn agent(profile: &str) -> PathBuf {
    target().join(profile).join("portolan")
}
