//! Finds the programs that tests need and `cargo xtask setup --tests` installs where the machine has none.

use std::path::{Path, PathBuf};

/// Returns the directory that setup installs into.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools")
}

/// Returns the path of a program: in that directory, else in PATH.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|directory| directory.join(name));
    std::iter::once(directory().join(name)).chain(in_path).find(|file| file.is_file())
}
