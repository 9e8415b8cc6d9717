//! The configuration file: the settings of `agent` in YAML, camelCase. An unknown key is an error that names its line and
//! the known key that is nearest.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::ConfigError;
use super::exceptions::FileRule;
use super::otlp::FileOtlp;
use crate::args::{ExceptionAnnotations, KernelLog, Kind, OutputMode, RecordMode, TrafficMode};

/// Bytes that a configuration file may have.
const MAX_FILE: u64 = 1 << 20;

/// What a file may say; all of it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileConfig {
    pub metadata: Option<Vec<String>>,
    pub node_name: Option<String>,
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
    pub scan_only: Option<bool>,
    pub pod_cidrs: Option<Vec<String>>,
    pub node_cidrs: Option<Vec<String>>,
    pub netns_dirs: Option<Vec<PathBuf>>,
    pub kernel_log: Option<KernelLog>,
    pub otlp: Option<FileOtlp>,
    pub limits: Option<FileLimits>,
    pub exception_annotations: Option<ExceptionAnnotations>,
    pub exceptions: Option<Vec<Spanned<FileRule>>>,
}

/// `limits:` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileLimits {
    pub listeners: Option<u32>,
    pub peers: Option<u32>,
    pub peers_per_port: Option<u32>,
    pub findings_per_pod: Option<u32>,
    pub connections: Option<u32>,
    pub records_per_second: Option<u32>,
}

/// Reads and parses the file at `path`.
pub fn read(path: &Path) -> Result<FileConfig, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.display().to_string(), reason };
    let mut text = String::new();
    // What a file says of its size need not be true: a pipe, or a device, ends nowhere.
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
        .map_err(|e| unreadable(e.to_string()))?;
    if text.len() as u64 > MAX_FILE {
        return Err(unreadable(format!("it has more than {MAX_FILE} bytes")));
    }
    parse(&path.display().to_string(), &text)
}

/// Parses `text`; `path` is for messages.
pub fn parse(path: &str, text: &str) -> Result<FileConfig, ConfigError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(FileConfig::default());
    }
    serde_saphyr::from_str(text).map_err(|error| ConfigError::InFile {
        path: path.to_owned(),
        line: error.location().map_or(1, |location| location.line()),
        reason: reason(error.without_snippet()),
    })
}

/// One line, with a hint at the nearest known key.
fn reason(error: &serde_saphyr::Error) -> String {
    let serde_saphyr::Error::SerdeUnknownField { field, expected, .. } = error else {
        return error.to_string().lines().next().unwrap_or("not valid YAML").trim().to_owned();
    };
    match expected.iter().min_by_key(|key| distance(field, key)) {
        Some(near) if distance(field, near) <= 1 + field.len() / 3 => {
            format!("unknown key `{field}`: did you mean `{near}`?")
        }
        _ => format!("unknown key `{field}`: expected one of {}", expected.join(", ")),
    }
}

/// Levenshtein distance, capitals aside.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut next = vec![i + 1];
        for ((y, above_left), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(0);
            next.push((above_left + usize::from(x != *y)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
