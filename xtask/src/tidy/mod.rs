//! House checks that no lint covers: sizes, names, borders between crates and folders, circles, contents of the tree.

mod borders;
mod circles;
mod dependencies;
mod rust_source;
mod shape;
mod tree;
mod workflows;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{step, workspace};

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Path of the file from the root of the tree.
    pub file: String,
    /// Line, from 1. 0: the whole file.
    pub line: usize,
    /// The broken rule, and what to do.
    pub what: String,
}

/// A text file of the tree.
pub struct TextFile {
    /// Path from the root of the tree, with slashes.
    pub path: String,
    pub text: String,
}

/// Checks every file that git tracks or would add.
///
/// # Errors
/// If a file cannot be read or any rule is broken.
pub fn run() -> Result<()> {
    let paths = paths()?;
    let mut complaints = tree::names(&paths);
    let mut files = Vec::new();
    for path in &paths {
        let bytes =
            std::fs::read(workspace::root().join(path)).with_context(|| format!("cannot read {path}"))?;
        match String::from_utf8(bytes) {
            Ok(text) => files.push(TextFile { path: path.clone(), text }),
            Err(_) => complaints.extend(tree::binary(path)),
        }
    }
    for file in &files {
        complaints.extend(tree::contents(file));
        if file.path.ends_with(".rs") {
            let code = rust_source::without_prose(&file.text);
            complaints.extend(shape::check(file, &code));
            complaints.extend(borders::check(file, &code));
        }
        if file.path.ends_with(".md") {
            complaints.extend(tree::links(file, workspace::root()));
        }
    }
    complaints.extend(circles::check(&roots()?, &files));
    complaints.extend(dependencies::check()?);
    complaints.extend(workflows::check()?);
    report(&complaints, files.len())
}

fn report(complaints: &[Complaint], files: usize) -> Result<()> {
    for complaint in complaints {
        match complaint.line {
            0 => println!("{}: {}", complaint.file, complaint.what),
            line => println!("{}:{line}: {}", complaint.file, complaint.what),
        }
    }
    if complaints.is_empty() {
        println!("tidy: {files} files, nothing to say");
        return Ok(());
    }
    bail!("tidy: {} complaints about {files} files", complaints.len())
}

/// Returns the root files of all targets of the workspace: libraries, programs, integration tests, examples, build scripts.
fn roots() -> Result<Vec<String>> {
    let mut command = cargo_metadata::MetadataCommand::new();
    let metadata = command.current_dir(workspace::root()).no_deps().exec()?;
    let targets = metadata.packages.iter().flat_map(|package| &package.targets);
    let path = |target: &cargo_metadata::Target| {
        Some(target.src_path.strip_prefix(&metadata.workspace_root).ok()?.to_string())
    };
    Ok(targets.filter_map(path).collect())
}

/// Returns every file that exists and that git tracks or would add.
fn paths() -> Result<Vec<String>> {
    let list = step::output(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(workspace::root()),
    );
    let list = list.context("git cannot list the files of this tree: is it a clone?")?;
    let exists = |path: &String| workspace::root().join(PathBuf::from(path)).is_file();
    Ok(list.lines().map(str::to_owned).filter(exists).collect())
}
