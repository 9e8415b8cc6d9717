//! The Debian package, written by dpkg-deb.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::contents::{self, Entry, Kind};
use super::{Release, filled};
use crate::step;

const CONTROL: &str = include_str!("files/control");
const COPYRIGHT: &str = include_str!("files/copyright");
/// Maintainer scripts by their names.
const SCRIPTS: [(&str, &str); 3] = [
    ("postinst", include_str!("files/postinst")),
    ("prerm", include_str!("files/prerm")),
    ("postrm", include_str!("files/postrm")),
];

/// Writes the package `file`. `scratch` is an empty directory for its tree.
///
/// # Errors
/// If dpkg-deb or md5sum is missing or fails, or the binary does not run here.
pub fn write(file: &Path, scratch: &Path, release: &Release<'_>, binary: &Path) -> Result<()> {
    let completions = contents::completions("usr/share/zsh/vendor-completions");
    let mut entries = contents::installed(binary, &completions)?;
    entries.push(Entry::new("usr/share/doc/portolan/copyright", Kind::Licence, COPYRIGHT));
    contents::write(scratch, &entries, release.time)?;
    let mut control = vec![
        Entry::new("DEBIAN/control", Kind::Plain, fields(release, &entries)?),
        Entry::new("DEBIAN/conffiles", Kind::Plain, configuration_files(&entries)),
        Entry::new("DEBIAN/md5sums", Kind::Plain, sums(scratch, &entries)?),
    ];
    control.extend(
        SCRIPTS.map(|(name, text)| Entry::new(format!("DEBIAN/{name}"), Kind::Plain, text).executable()),
    );
    contents::write(scratch, &control, release.time)?;
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--root-owner-group", "-Zxz", "--build"])
        .arg(scratch)
        .arg(file)
        // The newest time in the archive, and its own.
        .env("SOURCE_DATE_EPOCH", release.time.to_string());
    step::run("writing the .deb", &mut dpkg)
}

fn fields(release: &Release<'_>, entries: &[Entry]) -> Result<String> {
    // In KiB, each file rounded up.
    let size: usize = entries.iter().map(|entry| entry.bytes.len().div_ceil(1024)).sum();
    let mut text = filled(
        CONTROL,
        &[
            ("@VERSION@", &release.version),
            ("@ARCHITECTURE@", release.architecture),
            ("@MAINTAINER@", release.maintainer),
            ("@SIZE@", &size.to_string()),
        ],
    )?;
    if let Some(repository) = release.repository {
        text.push_str(&format!("Homepage: {repository}\n"));
    }
    Ok(text)
}

fn configuration_files(entries: &[Entry]) -> String {
    let files = entries.iter().filter(|entry| entry.kind == Kind::Configuration);
    files.map(|entry| format!("/{}\n", entry.path)).collect()
}

/// Returns the hashes with which `dpkg --verify` compares, in the format of md5sum. Configuration files are not among them.
fn sums(root: &Path, entries: &[Entry]) -> Result<String> {
    let files = entries.iter().filter(|entry| entry.kind != Kind::Configuration);
    let mut md5sum = Command::new("md5sum");
    md5sum.args(files.map(|entry| &entry.path)).current_dir(root);
    Ok(format!("{}\n", step::output(&mut md5sum).context("md5sum is missing or failed")?))
}
