//! Programs that tests check with and `cargo xtask setup --tests` brings where the machine has none.

use std::path::{Path, PathBuf};

/// Where setup puts them.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools")
}

/// A program from there, else the machine's own.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|directory| directory.join(name));
    std::iter::once(directory().join(name)).chain(places).find(|file| file.is_file())
}
