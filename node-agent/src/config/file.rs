//! The configuration file: the settings of `agent` in YAML, with keys in camelCase. An unknown key is an error with its line
//! and the nearest known key.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::ConfigError;
use super::exceptions::FileRule;
use super::otlp::FileOtlp;
use crate::args::agent::{ExceptionAnnotations, KernelLog, Kind, OutputMode, RecordMode, TrafficMode};
use crate::config::yaml_error;

/// Maximum size of a configuration file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Contents of a configuration file. Every setting is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileConfig {
    pub metadata: Option<Vec<String>>,
    pub node_name: Option<String>,
    pub cluster_name: Option<String>,
    pub kubeconfig: Option<PathBuf>,
    pub services: Option<bool>,
    pub policies: Option<bool>,
    pub reports: Option<bool>,
    pub events: Option<bool>,
    pub api: Option<String>,
    pub telemetry: Option<String>,
    pub traffic: Option<TrafficMode>,
    pub record: Option<RecordMode>,
    pub output: Option<OutputMode>,
    pub kinds: Option<Vec<Kind>>,
    pub include_host: Option<bool>,
    pub grace: Option<String>,
    pub stale_grace: Option<String>,
    pub repeat_findings: Option<String>,
    pub scan_only: Option<bool>,
    pub pod_cidrs: Option<Vec<String>>,
    pub node_cidrs: Option<Vec<String>>,
    pub netns_dirs: Option<Vec<PathBuf>>,
    pub state_dir: Option<String>,
    pub kernel_log: Option<KernelLog>,
    pub otlp: Option<FileOtlp>,
    pub limits: Option<FileLimits>,
    pub exception_annotations: Option<ExceptionAnnotations>,
    pub exceptions: Option<Vec<Spanned<FileRule>>>,
}

/// `limits` of the configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileLimits {
    pub listeners: Option<u32>,
    pub peers: Option<u32>,
    pub peers_per_port: Option<u32>,
    pub findings_per_pod: Option<u32>,
    pub connections: Option<u32>,
    pub records_per_second: Option<u32>,
    pub connection_lines: Option<u32>,
}

/// Reads and parses the file at `path`.
pub fn read(path: &Path) -> Result<FileConfig, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.display().to_string(), reason };
    let mut text = String::new();
    // The size in the metadata is not reliable: a pipe or device may never end.
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
        .map_err(|e| unreadable(e.to_string()))?;
    if text.len() as u64 > MAX_FILE {
        return Err(unreadable(format!("it has more than {MAX_FILE} bytes")));
    }
    parse(&path.display().to_string(), &text)
}

/// Parses the text of a configuration file. `path` is for messages.
pub fn parse(path: &str, text: &str) -> Result<FileConfig, ConfigError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(FileConfig::default());
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let (line, reason) = yaml_error::fault(&error, text);
        ConfigError::InFile { path: path.to_owned(), line: line.unwrap_or(1), reason }
    })
}
