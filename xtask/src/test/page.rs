//! The page tier: its requirements, and how to run it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::tally::Tally;
use super::tests::tests;
use super::tier::Tier;
use crate::{setup, step, workspace};

/// Programs without which no case can run.
const PROGRAMS: [&str; 3] = ["chromium", "chromedriver", "node"];

/// Returns all missing requirements with what to do about them. `None`: the tier can run.
pub fn obstacle() -> Option<String> {
    let mut missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| !step::in_path(name)).collect();
    missing.extend(setup::tools::missing_for(Tier::Page));
    (!missing.is_empty()).then(|| format!("needs {}: run `cargo xtask setup --tests`", missing.join(", ")))
}

/// Runs the tests of the page's modules with node, then the cases in the browser, then takes a picture of the demo.
///
/// # Errors
/// If one of them could not run at all. Failed tests are in the tally.
pub fn run() -> Result<Tally> {
    let mut whole = modules()?;
    whole.add(&Tally::of(tests().args(["--test", "page", "--no-fail-fast"]))?);
    whole.add(&picture_of_the_demo());
    Ok(whole)
}

/// Takes the picture that the README shows, of the demo's real data: target/page/demo.png. The demo runs as a process of its own,
/// which handles signals in its own way.
fn picture_of_the_demo() -> Tally {
    if !rustix::process::geteuid().is_root() || !setup::is_complete() {
        return Tally { skipped: 1, ..Tally::default() };
    }
    let file = workspace::target().join("page/demo.png");
    // The tests have built the agent.
    let agent = workspace::agent("debug");
    let shown = std::env::current_exe().map_err(anyhow::Error::from).and_then(|program| {
        let mut demo = Command::new(program);
        step::run(
            "running the demo for its picture",
            demo.arg("demo").arg("--agent").arg(agent).arg("--picture").arg(&file),
        )
    });
    match shown {
        Ok(()) => Tally { passed: 1, ..Tally::default() },
        Err(error) => {
            println!("the demo's picture: {error:#}");
            Tally { failed: 1, failures: vec!["the demo's picture".to_owned()], ..Tally::default() }
        }
    }
}

/// Runs the tests of the modules that need no browser. They are none if there is no file with tests.
fn modules() -> Result<Tally> {
    let files = module_tests(&workspace::root().join("node-agent/ui/tests"))?;
    if files.is_empty() {
        return Ok(Tally::default());
    }
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=tap"]).args(files).current_dir(workspace::root());
    Tally::of_tap(&mut node)
}

fn module_tests(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    let is_test = |path: &PathBuf| path.to_string_lossy().ends_with(".test.mjs");
    let mut files: Vec<PathBuf> = paths.into_iter().filter(is_test).collect();
    files.sort();
    Ok(files)
}
