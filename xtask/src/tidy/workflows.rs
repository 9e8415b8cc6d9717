//! What the linters of GitHub's workflow files say, where they are installed: nobody needs them for anything else.

use std::process::{Command, Stdio};

use anyhow::Result;

use super::Complaint;
use crate::{step, workspace};

const DIRECTORY: &str = ".github/workflows";
/// Each with what it is given; both look without asking anybody.
const LINTERS: [(&str, &[&str]); 2] =
    [("actionlint", &[]), ("zizmor", &["--offline", "--no-progress", "--quiet", DIRECTORY])];

/// Runs those that are there, and says which are not.
///
/// # Errors
/// Where one that is there cannot be run.
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
