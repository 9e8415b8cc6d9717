//! cargo-deny, with which `cargo xtask ci` checks the dependencies.

use std::process::Command;

use anyhow::Result;

use super::Need;
use crate::{deny, step};

/// The version that this project is tested with.
const VERSION: &str = "0.20.2";

pub(super) fn needs() -> Vec<Need> {
    vec![Need {
        name: deny::PROGRAM,
        why: "`cargo xtask ci`: licences, duplicates, sources and advisories of the dependencies",
        missing: (!deny::is_installed()).then(|| format!("{} is not in PATH", deny::PROGRAM)),
        remedy: format!("cargo install {} --locked --version {VERSION}", deny::PROGRAM),
    }]
}

/// Installs cargo-deny if it is missing.
pub(super) fn install() -> Result<()> {
    if deny::is_installed() {
        return Ok(());
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["install", deny::PROGRAM, "--locked", "--version", VERSION]);
    step::build(&format!("building {} {VERSION} (two to four minutes)", deny::PROGRAM), &mut cargo)
}
