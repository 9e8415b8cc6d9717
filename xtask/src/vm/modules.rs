//! The kernel modules that a guest loads: finds them by name, unpacks them, and orders them by their dependencies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Modules that the checks need. If a kernel lacks a module, it is built in, or its check is reported as skipped.
const WANTED: [&str; 16] = [
    "crc32c_generic",
    "md5",
    "sha1_generic",
    "hmac",
    "veth",
    "sch_ingress",
    "cls_bpf",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "raw_diag",
    "sctp",
    "sctp_diag",
    "8021q",
    "netkit",
    "bridge",
];

/// A module, ready to be loaded.
pub struct Module {
    pub name: String,
    pub image: Vec<u8>,
}

/// Returns the needed modules of a kernel and their dependencies, in loading order.
///
/// # Errors
/// If an existing module cannot be read.
pub fn in_order(directory: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    find(directory, &mut files)?;
    let mut order = Vec::new();
    for name in WANTED {
        add(name, &files, &mut order)?;
    }
    Ok(order)
}

fn find(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find(&entry.path(), files)?;
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some((stem, _)) = name.split_once(".ko") {
            files.insert(stem.replace('-', "_"), entry.path());
        }
    }
    Ok(())
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, order: &mut Vec<Module>) -> Result<()> {
    let name = name.replace('-', "_");
    let Some(path) = files.get(&name) else { return Ok(()) };
    if order.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let image = unpack(path)?;
    for need in dependencies(&image) {
        add(&need, files, order)?;
    }
    order.push(Module { name, image });
    Ok(())
}

fn unpack(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|ending| ending != "xz") {
        return std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    }
    let output = Command::new("xz").arg("-dc").arg(path).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    bail!("cannot unpack {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim())
}

/// Returns the dependencies in the module's information: `depends=a,b`, terminated by a zero byte.
fn dependencies(image: &[u8]) -> Vec<String> {
    let says =
        |fact: &[u8]| fact.strip_prefix(b"depends=").map(|list| String::from_utf8_lossy(list).into_owned());
    let list = image.split(|byte| *byte == 0).find_map(says).unwrap_or_default();
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::dependencies;

    #[test]
    fn reads_what_a_module_needs() {
        assert_eq!(
            dependencies(b"\x7fELF\0license=GPL\0depends=libcrc32c,udp_tunnel\0name=sctp\0"),
            ["libcrc32c", "udp_tunnel"]
        );
        assert!(dependencies(b"\0depends=\0name=veth\0").is_empty());
    }
}
