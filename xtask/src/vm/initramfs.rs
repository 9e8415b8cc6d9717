//! The guest's file system, in memory: the checking program as init, the agent, the machine's `ip` and `tc` with their
//! libraries, and the kernel's modules.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::kernels::Kernel;
use super::modules;
use crate::step;

/// Empty directories that the guest mounts on or writes to.
const DIRECTORIES: [&str; 8] = ["proc", "sys", "dev", "tmp", "run/netns", "etc", "sbin", "modules"];
/// Programs of this machine that are copied into the guest.
pub const TOOLS: [&str; 2] = ["ip", "tc"];

/// The project's programs in the guest.
pub struct Programs {
    pub init: PathBuf,
    pub agent: PathBuf,
}

/// Writes the archive for a kernel. Returns its path.
///
/// # Errors
/// If a part cannot be read, or the archive cannot be written.
pub fn write(directory: &Path, name: &str, programs: &Programs, kernel: &Kernel) -> Result<PathBuf> {
    let root = directory.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for directory in DIRECTORIES {
        fs::create_dir_all(root.join(directory))?;
    }
    copy(&programs.init, &root.join("init"))?;
    add_libraries(&programs.init, &root)?;
    copy(&programs.agent, &root.join("portolan"))?;
    for tool in TOOLS {
        add_tool(tool, &root)?;
    }
    for (index, module) in modules::in_order(&kernel.modules)?.into_iter().enumerate() {
        fs::write(root.join(format!("modules/{index:02}-{}.ko", module.name)), module.image)?;
    }
    let archive = directory.join(format!("{name}.cpio"));
    pack(&root, &archive)?;
    fs::remove_dir_all(&root)?;
    Ok(archive)
}

/// Copies a program and its libraries.
fn add_tool(tool: &str, root: &Path) -> Result<()> {
    let own = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(|directory| Path::new(directory).join(tool));
    let path = own.iter().find(|path| path.is_file()).with_context(|| format!("{tool} is not here"))?;
    copy(path, &root.join("sbin").join(tool))?;
    add_libraries(path, root)
}

/// Copies the libraries of a program, at the same paths. A static program has none.
fn add_libraries(program: &Path, root: &Path) -> Result<()> {
    let list = step::output(Command::new("ldd").arg(program)).unwrap_or_default();
    let libraries: BTreeSet<&str> = list.split_whitespace().filter(|word| word.starts_with('/')).collect();
    for library in libraries {
        copy(Path::new(library), &root.join(library.trim_start_matches('/')))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn pack(root: &Path, archive: &Path) -> Result<()> {
    let mut names = vec![".".to_owned()];
    list(root, "", &mut names)?;
    let list_file = archive.with_extension("list");
    fs::write(&list_file, names.join("\n") + "\n")?;
    let output = Command::new("cpio")
        .args(["--quiet", "-o", "-H", "newc", "-R", "0:0", "-F"])
        .arg(archive)
        .current_dir(root)
        .stdin(Stdio::from(File::open(&list_file)?))
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    bail!("cpio failed: {}", String::from_utf8_lossy(&output.stderr).trim())
}

/// Lists all files and directories below, each directory before its contents.
fn list(directory: &Path, prefix: &str, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        names.push(name.clone());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{name}/"), names)?;
        }
    }
    Ok(())
}
