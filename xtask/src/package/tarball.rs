//! The tarball: the program, its unit and configuration, completions, licence and documents in one directory.

use std::path::Path;

use anyhow::Result;
use tar::Builder;

use super::contents::{self, CONFIGURATION, UNIT};
use crate::image::archive;

/// Returns the compressed archive, whose files are in the directory `stem`.
///
/// # Errors
/// If the binary cannot be read or run.
pub fn packed(stem: &str, binary: &Path, time: u64) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let mut add = |name: &str, mode: u32, bytes: &[u8]| {
        archive::add(&mut tar, &format!("{stem}/{name}"), mode, time, bytes)
    };
    for name in ["CHANGELOG.md", "LICENSE", "README.md"] {
        add(name, 0o644, &contents::source(name)?)?;
    }
    for completion in contents::completions("") {
        let text = contents::printed(binary, completion.shell)?;
        let name = if completion.shell == "bash" { "portolan.bash" } else { completion.name };
        add(&format!("completions/{name}"), 0o644, text.as_bytes())?;
    }
    add("config.yaml", 0o644, CONFIGURATION.as_bytes())?;
    add("portolan", 0o755, &std::fs::read(binary)?)?;
    add("portolan.service", 0o644, UNIT.as_bytes())?;
    archive::packed(&tar.into_inner()?)
}
