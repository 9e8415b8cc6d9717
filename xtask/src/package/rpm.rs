//! The RPM package, written by rpmbuild.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::contents::{self, Entry, Kind};
use super::{Release, filled};
use crate::step;

const SPEC: &str = include_str!("files/portolan.spec");

/// Writes the package `file`. `scratch` is an empty directory for its tree and what rpmbuild makes.
///
/// # Errors
/// If rpmbuild is missing or fails, or the binary does not run here.
pub fn write(file: &Path, scratch: &Path, release: &Release<'_>, binary: &Path) -> Result<()> {
    ensure!(step::in_path("rpmbuild"), "needs rpmbuild for the .rpm: run `cargo xtask setup --packages`");
    let completions = contents::completions("usr/share/zsh/site-functions");
    let mut entries = contents::installed(binary, &completions)?;
    let licence = contents::source("LICENSE")?;
    entries.push(Entry::new("usr/share/licenses/portolan/LICENSE", Kind::Licence, licence));
    let tree = scratch.join("tree");
    contents::write(&tree, &entries, release.time)?;
    let spec = scratch.join("portolan.spec");
    std::fs::write(&spec, text(release, &entries, &tree)?)?;
    let mut rpmbuild = Command::new("rpmbuild");
    rpmbuild.args(["-bb", "--target", &format!("{}-linux", release.machine)]);
    for (name, value) in [
        ("_topdir", &*scratch.to_string_lossy()),
        ("_rpmfilename", "made.rpm"),
        ("_buildhost", "portolan"),
        // Every distribution that is in use reads it.
        ("_binary_payload", "w6.xzdio"),
        ("_source_payload", "w6.xzdio"),
        ("use_source_date_epoch_as_buildtime", "1"),
        ("clamp_mtime_to_source_date_epoch", "1"),
    ] {
        rpmbuild.args(["--define", &format!("{name} {value}")]);
    }
    rpmbuild.arg(&spec).env("SOURCE_DATE_EPOCH", release.time.to_string());
    step::run("writing the .rpm", &mut rpmbuild)?;
    std::fs::copy(scratch.join("RPMS/made.rpm"), file)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(())
}

fn text(release: &Release<'_>, entries: &[Entry], tree: &Path) -> Result<String> {
    let mut text = filled(
        SPEC,
        &[
            ("@VERSION@", &release.version),
            ("@MAINTAINER@", release.maintainer),
            ("@TREE@", &tree.to_string_lossy()),
            ("@FILES@", &list(entries)),
        ],
    )?;
    if let Some(repository) = release.repository {
        text = text.replace("\nAutoReqProv:", &format!("\nURL: {repository}\nAutoReqProv:"));
    }
    Ok(text)
}

/// Returns the files in the format of a spec. Only directories of the package's own are among them.
fn list(entries: &[Entry]) -> String {
    let mut lines: Vec<String> = ["etc/portolan", "usr/share/doc/portolan", "usr/share/licenses/portolan"]
        .map(|directory| format!("%dir %attr(0755,root,root) /{directory}"))
        .into();
    lines.extend(entries.iter().map(|entry| {
        let mark = match entry.kind {
            Kind::Plain => "",
            Kind::Configuration => "%config(noreplace) ",
            Kind::Document => "%doc ",
            Kind::Licence => "%license ",
        };
        format!("{mark}%attr({:04o},root,root) /{}", entry.mode, entry.path)
    }));
    lines.join("\n")
}
