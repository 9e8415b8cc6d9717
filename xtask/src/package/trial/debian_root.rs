//! A clean Debian system in a directory: the essential packages and systemd. Fetched once by mmdebstrap, unpacked for each run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::step;

const SUITE: &str = "bookworm";

/// A directory with the system, removed when dropped.
pub struct DebianRoot {
    path: PathBuf,
}

impl DebianRoot {
    /// Unpacks the system below `directory`.
    ///
    /// # Errors
    /// If it cannot be fetched or unpacked.
    pub fn unpacked(directory: &Path) -> Result<Self> {
        let archive = fetched(directory)?;
        let path = directory.join("debian");
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::create_dir(&path)?;
        let root = Self { path };
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--numeric-owner", "--file"]).arg(archive).arg("--directory").arg(root.path());
        step::run("unpacking a Debian system", &mut tar)?;
        Ok(root)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DebianRoot {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("{} cannot be removed: {error}", self.path.display());
        }
    }
}

/// Returns the archive of the system. Fetches it if an earlier run did not.
fn fetched(directory: &Path) -> Result<PathBuf> {
    let archive = directory.join(format!("debian-{SUITE}.tar"));
    if archive.is_file() {
        return Ok(archive);
    }
    std::fs::create_dir_all(directory)?;
    let new = directory.join("debian.new.tar");
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .args(["--mode=root", "--variant=essential", "--include=systemd,systemd-sysv", "--quiet", SUITE])
        .arg(&new);
    step::run("fetching a Debian system (70 MB, once)", &mut mmdebstrap)?;
    std::fs::rename(&new, &archive).context("cannot keep the Debian system")?;
    Ok(archive)
}
