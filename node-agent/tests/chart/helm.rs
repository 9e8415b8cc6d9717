//! Runs helm: renders the chart with each of the values files in `ci/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portolan_testing::tools;
use serde_json::Value;

use crate::objects::Objects;

/// Release of everything that is rendered here.
pub const RELEASE: &str = "ptl";
/// Namespace of everything that is rendered here.
pub const NAMESPACE: &str = "portolan-system";

/// The chart's directory.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/portolan")
}

/// Reads a file of the chart.
pub fn read(name: &str) -> String {
    let path = chart().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the values files that every case is tested with, by name.
pub fn values_files() -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(chart().join("ci")).expect("charts/portolan/ci");
    let mut files: Vec<(String, PathBuf)> = entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().replace("-values", ""), path))
        .collect();
    files.sort();
    assert!(files.len() >= 8, "{files:?}");
    files
}

/// Runs helm with these arguments.
pub fn run(words: &[&str]) -> Output {
    let helm = tools::program("helm").expect("helm: run `cargo xtask setup --tests`");
    // helm must not read the user's plugins.
    let home = tools::directory().join("helm-home");
    Command::new(helm)
        .args(words)
        .env("HELM_CACHE_HOME", &home)
        .env("HELM_CONFIG_HOME", &home)
        .env("HELM_DATA_HOME", &home)
        .output()
        .expect("helm runs")
}

/// Renders the chart with these further arguments.
///
/// # Errors
/// The message of helm, if it refuses.
pub fn template(words: &[&str]) -> Result<Objects, String> {
    let chart = chart();
    let mut all = vec!["template", RELEASE, chart.to_str().expect("UTF-8"), "--namespace", NAMESPACE];
    all.extend(words);
    let output = run(&all);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(Objects(documents(&String::from_utf8_lossy(&output.stdout))))
}

/// Renders the chart with one of the values files.
pub fn template_file(file: &Path, words: &[&str]) -> Objects {
    let mut all = vec!["--values", file.to_str().expect("UTF-8")];
    all.extend(words);
    template(&all).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Renders the chart with `--set` of each setting.
pub fn template_set(settings: &[&str]) -> Result<Objects, String> {
    let words: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    template(&words)
}

/// Renders the chart with every values file.
pub fn all() -> Vec<(String, Objects)> {
    values_files().into_iter().map(|(name, file)| (name, template_file(&file, &[]))).collect()
}

fn documents(text: &str) -> Vec<Value> {
    let is_some = |part: &&str| part.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'));
    text.split("\n---\n")
        .map(|part| part.trim_start_matches("---\n"))
        .filter(is_some)
        .map(|part| serde_saphyr::from_str(part).unwrap_or_else(|error| panic!("{error}\n{part}")))
        .collect()
}
