//! Installs packages without their services: the tests need the programs alone, and start them themselves.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::step;

/// Debian's policy for services. Packages ask this program before they start one (policy-rc.d in invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Exit code 101: the action is forbidden.
const FORBID: &str =
    "#!/bin/sh\n# Written by `cargo xtask setup` for the time of an installation.\nexit 101\n";

/// Keeps packages from starting services until dropped. A policy that the machine already has stays in force.
pub(super) struct NoStarts(Option<PathBuf>);

impl NoStarts {
    pub(super) fn begin() -> Result<Self> {
        Self::begin_at(Path::new(POLICY))
    }

    fn begin_at(policy: &Path) -> Result<Self> {
        let open = OpenOptions::new().write(true).create_new(true).mode(0o755).open(policy);
        match open {
            Ok(mut file) => {
                let guard = Self(Some(policy.to_owned()));
                file.write_all(FORBID.as_bytes())
                    .and_then(|()| file.set_permissions(Permissions::from_mode(0o755)))
                    .with_context(|| format!("cannot write {}", policy.display()))?;
                Ok(guard)
            }
            // A run that was killed left the file behind.
            Err(_) if std::fs::read_to_string(policy).is_ok_and(|text| text == FORBID) => {
                Ok(Self(Some(policy.to_owned())))
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Self(None)),
            Err(error) => Err(error).with_context(|| format!("cannot write {}", policy.display())),
        }
    }
}

impl Drop for NoStarts {
    fn drop(&mut self) {
        if let Some(policy) = &self.0
            && let Err(error) = std::fs::remove_file(policy)
        {
            eprintln!("{} forbids every service to start, and cannot be removed: {error}", policy.display());
        }
    }
}

/// Keeps a newly installed service from starting with the machine.
pub(super) fn disable(unit: &str) -> Result<()> {
    if !step::in_path("systemctl") {
        return Ok(());
    }
    let mut systemctl = Command::new("systemctl");
    step::run(&format!("disabling the service {unit}"), systemctl.args(["disable", "--quiet", unit]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn the_policy_forbids_starts_until_dropped() {
        let policy = scratch("policy");
        let guard = NoStarts::begin_at(&policy).expect("a policy");
        assert_eq!(Command::new(&policy).status().expect("runs").code(), Some(101));
        drop(guard);
        assert!(!policy.exists());
    }

    #[test]
    fn a_policy_of_the_machine_stays_and_one_of_a_killed_run_goes() {
        let policy = scratch("policy-there");
        std::fs::write(&policy, "#!/bin/sh\nexit 0\n").expect("a policy");
        drop(NoStarts::begin_at(&policy).expect("begins"));
        assert!(policy.exists());
        std::fs::write(&policy, FORBID).expect("a policy");
        drop(NoStarts::begin_at(&policy).expect("begins"));
        assert!(!policy.exists());
    }
}
