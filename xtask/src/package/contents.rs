//! The files of an installed package: path, mode and purpose. `.deb` and `.rpm` differ only in a few paths.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::{step, workspace};

pub const UNIT: &str = include_str!("files/portolan.service");
pub const CONFIGURATION: &str = include_str!("files/config.yaml");
/// Directory of the documents in a package.
const DOCUMENTS: &str = "usr/share/doc/portolan";

/// What a file is for: package formats mark some kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Replaced by an upgrade.
    Plain,
    /// Kept by an upgrade if the user changed it.
    Configuration,
    Document,
    Licence,
}

/// One file of a package.
pub struct Entry {
    /// Path from the root, without a slash at its start.
    pub path: String,
    pub mode: u32,
    pub kind: Kind,
    pub bytes: Vec<u8>,
}

impl Entry {
    pub fn new(path: impl Into<String>, kind: Kind, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode: 0o644, kind, bytes: bytes.into() }
    }

    pub fn executable(mut self) -> Self {
        self.mode = 0o755;
        self
    }
}

/// Shells whose completions are packed, with the directory and the name of the completion.
#[derive(Clone, Copy)]
pub struct Completion {
    pub shell: &'static str,
    pub directory: &'static str,
    pub name: &'static str,
}

/// Returns the shells' completions for a package whose zsh reads `zsh`.
pub fn completions(zsh: &'static str) -> [Completion; 3] {
    [
        Completion { shell: "bash", directory: "usr/share/bash-completion/completions", name: "portolan" },
        Completion { shell: "zsh", directory: zsh, name: "_portolan" },
        Completion { shell: "fish", directory: "usr/share/fish/vendor_completions.d", name: "portolan.fish" },
    ]
}

/// Returns what every package installs.
///
/// # Errors
/// If the binary cannot be read, or does not run here and print its completions.
pub fn installed(binary: &Path, completions: &[Completion]) -> Result<Vec<Entry>> {
    let program = std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let mut entries = vec![
        Entry::new("usr/bin/portolan", Kind::Plain, program).executable(),
        Entry::new("usr/lib/systemd/system/portolan.service", Kind::Plain, UNIT),
        Entry::new("etc/portolan/config.yaml", Kind::Configuration, CONFIGURATION),
        Entry::new(format!("{DOCUMENTS}/README.md"), Kind::Document, source("README.md")?),
        Entry::new(format!("{DOCUMENTS}/CHANGELOG.md"), Kind::Document, source("CHANGELOG.md")?),
    ];
    for completion in completions {
        let path = format!("{}/{}", completion.directory, completion.name);
        entries.push(Entry::new(path, Kind::Plain, printed(binary, completion.shell)?));
    }
    Ok(entries)
}

/// Returns a file of the work tree.
///
/// # Errors
/// If it cannot be read.
pub fn source(file: &str) -> Result<Vec<u8>> {
    std::fs::read(workspace::root().join(file)).with_context(|| format!("cannot read {file}"))
}

/// Returns the completion that the binary prints for a shell.
///
/// # Errors
/// If the binary does not run here.
pub fn printed(binary: &Path, shell: &str) -> Result<String> {
    let mut command = Command::new(binary);
    let text = step::output(command.args(["completion", shell])).with_context(|| {
        format!(
            "{} does not run here and prints no completion for {shell}: make packages on a machine of their architecture",
            binary.display()
        )
    })?;
    Ok(format!("{text}\n"))
}

/// Writes files below a directory, with their modes and one time. Directories get mode 0755 and the same time.
///
/// # Errors
/// If something cannot be written.
pub fn write(root: &Path, entries: &[Entry], time: u64) -> Result<()> {
    let mut directories = vec![root.to_owned()];
    for entry in entries {
        let path = root.join(&entry.path);
        let parents: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
        directories.extend(parents.into_iter().filter(|parent| parent.starts_with(root)));
        path.parent().map(std::fs::create_dir_all).transpose()?;
        std::fs::write(&path, &entry.bytes).with_context(|| format!("cannot write {}", path.display()))?;
        set(&path, entry.mode, time)?;
    }
    for directory in directories {
        set(&directory, 0o755, time)?;
    }
    Ok(())
}

fn set(path: &Path, mode: u32, time: u64) -> Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    let time = Timespec { tv_sec: i64::try_from(time)?, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::empty())
        .with_context(|| format!("cannot set the time of {}", path.display()))
}
