//! Finds the programs that tests need and `cargo xtask setup --tests` installs where the machine has none.

use std::path::{Path, PathBuf};

/// Returns the directory that setup installs into.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools")
}

/// Directories for administrators' programs, which a user's PATH may lack.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Returns the path of a program: in that directory, else in PATH, else among the administrators' programs.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).chain(SYSTEM.map(PathBuf::from));
    std::iter::once(directory())
        .chain(in_path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Returns the directory of a Python package that setup installed, for `PYTHONPATH`.
#[must_use]
pub fn python_package(name: &str) -> Option<PathBuf> {
    Some(directory().join(name)).filter(|package| package.is_dir())
}
