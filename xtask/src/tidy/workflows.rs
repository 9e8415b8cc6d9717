//! Runs the linters for GitHub's workflow files, if they are installed. `cargo xtask setup` does not install them.

use std::process::{Command, Stdio};

use anyhow::Result;

use super::Complaint;
use crate::{step, workspace};

const DIRECTORY: &str = ".github/workflows";
/// The linters with their arguments. Both work without network access.
const LINTERS: [(&str, &[&str]); 2] =
    [("actionlint", &[]), ("zizmor", &["--offline", "--no-progress", "--quiet", DIRECTORY])];

/// Runs the installed linters, and prints which ones are missing.
///
/// # Errors
/// If an installed linter cannot be started.
pub fn check() -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for (linter, words) in LINTERS {
        if !step::in_path(linter) {
            println!("tidy: {DIRECTORY} not looked at by {linter}, which is not installed");
            continue;
        }
        let mut command = Command::new(linter);
        let status = command.args(words).current_dir(workspace::root()).stdin(Stdio::null()).status()?;
        if !status.success() {
            let what = format!("{linter} complains, see above ({status})");
            complaints.push(Complaint { file: DIRECTORY.to_owned(), line: 0, what });
        }
    }
    Ok(complaints)
}
