//! A system and an architecture on which the plugin runs: names in archives and in Krew's manifest, and the format of programs.

use anyhow::{Context, Result, bail, ensure};
use object::{Architecture, BinaryFormat, Object};

/// Name under which kubectl finds the plugin `portolan`.
pub(super) const BINARY: &str = "kubectl-portolan";

/// An operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum System {
    Linux,
    Darwin,
    Windows,
}

/// A system and an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Platform {
    pub(super) system: System,
    /// Name of the architecture in Go and in Krew.
    architecture: &'static str,
}

impl Platform {
    /// Returns the platform of a target.
    ///
    /// # Errors
    /// If the plugin is not made for it.
    pub(super) fn of(target: &str) -> Result<Self> {
        let architecture = match target.split('-').next() {
            Some("x86_64") => "amd64",
            Some("aarch64") => "arm64",
            _ => bail!("{target}: the plugin is made for x86_64 and aarch64"),
        };
        let system = match target {
            _ if target.ends_with("-unknown-linux-musl") => System::Linux,
            _ if target.ends_with("-apple-darwin") => System::Darwin,
            _ if target.contains("-pc-windows-") => System::Windows,
            _ => bail!(
                "{target}: the plugin is made for …-unknown-linux-musl, …-apple-darwin and …-pc-windows-…"
            ),
        };
        Ok(Self { system, architecture })
    }

    /// Returns the name of the system in Go and in Krew.
    pub(super) fn os(self) -> &'static str {
        match self.system {
            System::Linux => "linux",
            System::Darwin => "darwin",
            System::Windows => "windows",
        }
    }

    /// Returns the name of the binary.
    pub(super) fn binary(self) -> &'static str {
        match self.system {
            System::Linux | System::Darwin => BINARY,
            System::Windows => "kubectl-portolan.exe",
        }
    }

    /// Returns the name of the archive, which `.krew.yaml` contains too.
    pub(super) fn archive(self, version: &str) -> String {
        format!("{BINARY}-v{version}-{}-{}.tar.gz", self.os(), self.architecture)
    }

    /// Checks that a program is for this platform.
    ///
    /// # Errors
    /// If it is for another one, or no program.
    pub(super) fn check(self, program: &[u8]) -> Result<()> {
        let file = object::File::parse(program).context("not a program")?;
        let format = match self.system {
            System::Linux => BinaryFormat::Elf,
            System::Darwin => BinaryFormat::MachO,
            System::Windows => BinaryFormat::Pe,
        };
        let architecture = match self.architecture {
            "amd64" => Architecture::X86_64,
            _ => Architecture::Aarch64,
        };
        ensure!(
            (file.format(), file.architecture()) == (format, architecture),
            "the program is {:?} for {:?}, expected {format:?} for {architecture:?}",
            file.format(),
            file.architecture()
        );
        Ok(())
    }
}
