//! Follows the agent's records, prints new findings, and decides when all expected findings are reported.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::pods::{APP, CURLER};

const DECLARED: u16 = 8080;
const UNDECLARED: [u16; 2] = [5000, 9090];

/// The fields of a finding that the demo reads.
#[derive(Deserialize)]
struct Finding {
    kind: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    severity: String,
    pod: Option<Named>,
    listener: Option<Listener>,
    #[serde(default)]
    traffic: Traffic,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Listener {
    port: u16,
    protocol: String,
    process: Option<Named>,
}

#[derive(Default, Deserialize)]
struct Traffic {
    connections: u64,
    bytes: u64,
    #[serde(default)]
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    address: String,
    #[serde(rename = "ref")]
    reference: Option<String>,
}

/// One row of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    protocol: String,
    code: String,
    severity: String,
    process: String,
    connections: u64,
    bytes: u64,
    callers: String,
}

/// Current findings of the demo's app.
pub struct Findings {
    records: BufReader<File>,
    unfinished: String,
    by_port: BTreeMap<u16, Row>,
}

impl Findings {
    /// Follows a file from its start.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn follow(records: &Path) -> Result<Self> {
        let file = File::open(records).with_context(|| format!("cannot read {}", records.display()))?;
        Ok(Self { records: BufReader::new(file), unfinished: String::new(), by_port: BTreeMap::new() })
    }

    /// Reads new records, and prints changed findings.
    ///
    /// # Errors
    /// If a record cannot be parsed.
    pub fn read(&mut self) -> Result<()> {
        while self.records.read_line(&mut self.unfinished)? > 0 {
            if !self.unfinished.ends_with('\n') {
                return Ok(());
            }
            let line = std::mem::take(&mut self.unfinished);
            let finding: Finding =
                serde_json::from_str(&line).with_context(|| format!("not a record: {}", shown(&line)))?;
            self.take(finding);
        }
        Ok(())
    }

    fn take(&mut self, finding: Finding) {
        let ours = finding.kind == "Finding" && finding.pod.is_some_and(|pod| pod.name == APP.name);
        let Some(listener) = finding.listener.filter(|_| ours) else { return };
        if finding.state == "resolved" {
            self.by_port.remove(&listener.port);
            return;
        }
        let peers = finding.traffic.peers.iter();
        let callers: Vec<_> = peers.map(|p| shown(p.reference.as_deref().unwrap_or(&p.address))).collect();
        let row = Row {
            protocol: shown(&listener.protocol),
            code: shown(&finding.code),
            severity: shown(&finding.severity),
            process: listener.process.map(|process| shown(&process.name)).unwrap_or_default(),
            connections: finding.traffic.connections,
            bytes: finding.traffic.bytes,
            callers: callers.join(" "),
        };
        let before = self.by_port.insert(listener.port, row.clone()).unwrap_or_default();
        if (&before.code, &before.callers) != (&row.code, &row.callers) {
            println!(
                "  {}  {}:{}/{}  {}  {}  {}",
                shown(&finding.time),
                APP.name,
                listener.port,
                row.protocol,
                row.code,
                row.severity,
                if row.callers.is_empty() {
                    "nobody called yet".to_owned()
                } else {
                    format!("called by {}", row.callers)
                },
            );
        }
    }

    /// Checks that the declared port has no finding.
    ///
    /// # Errors
    /// If the declared port has a finding.
    pub fn check_declared(&self) -> Result<()> {
        match self.by_port.get(&DECLARED) {
            Some(row) => bail!("port {DECLARED} is declared, but the agent says {}", row.code),
            None => Ok(()),
        }
    }

    /// Returns true if both undeclared ports are reported, with their caller.
    pub fn complete(&self) -> bool {
        self.missing().is_empty()
    }

    /// Returns the findings that are still missing.
    pub fn missing(&self) -> Vec<String> {
        let found = |port: &u16| {
            self.by_port
                .get(port)
                .is_some_and(|row| row.code == "undeclared-active" && row.callers.contains(CURLER.name))
        };
        let missing = UNDECLARED.into_iter().filter(|port| !found(port));
        missing.map(|port| format!("port {port} undeclared and called by {}", CURLER.name)).collect()
    }

    /// Returns all findings as a table.
    pub fn table(&self) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "POD",
            "PORT",
            "PROCESS",
            "FINDING",
            "SEVERITY",
            "CONNECTIONS",
            "BYTES",
            "CALLED BY",
        ]);
        for (port, row) in &self.by_port {
            table.add_row([
                &format!("demo/{}", APP.name),
                &format!("{port}/{}", row.protocol),
                &row.process,
                &row.code,
                &row.severity,
                &row.connections.to_string(),
                &row.bytes.to_string(),
                &row.callers,
            ]);
        }
        table
    }
}

/// Returns the text without control characters, at most 120 characters.
fn shown(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(120).collect()
}
