//! Restrictions of this process beside its capabilities: the profile of a security module, and a seccomp filter. Both return
//! EPERM or EACCES although every capability is there, so error messages name them.

use std::fmt;
use std::fs;

/// Files with the security label: that of AppArmor, then that of the first security module.
const LABELS: [&str; 2] = ["/proc/self/attr/apparmor/current", "/proc/self/attr/current"];
/// Prefixes of the SELinux types that are not restricted.
const FREE_TYPES: [&str; 4] = ["unconfined", "spc_t", "kernel_t", "initrc_t"];

/// Restrictions of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// The security module's profile, if the profile restricts the process.
    pub profile: Option<String>,
    pub has_seccomp_filter: bool,
}

impl Confinement {
    /// Reads the restrictions of this process.
    #[must_use]
    pub fn own() -> Self {
        let label = LABELS.iter().find_map(|path| profile_of(&fs::read_to_string(path).ok()?));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
        Self { profile: label, has_seccomp_filter: mode == Some("2") }
    }

    /// True if nothing restricts the process.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Explains an EPERM that is returned although the capability is there.
    #[must_use]
    pub fn advice(&self) -> String {
        if self.is_none() {
            return "a security module or another exclusive attachment forbids it".to_owned();
        }
        format!(
            "the capability is there, so {self} forbids it, or another program's exclusive attachment; in a pod \
             `privileged: true` (a value of the chart) lifts the former"
        )
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.profile, self.has_seccomp_filter) {
            (Some(profile), true) => write!(f, "{profile} or the seccomp filter"),
            (Some(profile), false) => f.write_str(profile),
            (None, true) => f.write_str("the seccomp filter"),
            (None, false) => f.write_str("nothing"),
        }
    }
}

fn profile_of(label: &str) -> Option<String> {
    let label = label.trim_end_matches(['\0', '\n']).trim();
    // AppArmor writes `profile (mode)`, with a prefix `:namespace:` if there is one; SELinux writes user:role:type:level.
    let namespaced = label.strip_prefix(':').and_then(|label| label.split_once(':'));
    let is_apparmor = namespaced.is_some() || label.ends_with(')');
    if let Some(kind) = label.split(':').nth(2).filter(|_| !is_apparmor) {
        let is_free = FREE_TYPES.iter().any(|free| kind.starts_with(free));
        return (!is_free).then(|| format!("SELinux's type {kind}"));
    }
    let profile = namespaced.map_or(label, |(_, profile)| profile.trim_start_matches('/'));
    let is_free = matches!(profile, "" | "unconfined" | "kernel");
    let is_lenient = ["(complain)", "(unconfined)"].iter().any(|mode| profile.ends_with(mode));
    (!is_free && !is_lenient).then(|| format!("AppArmor's profile {label}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_forbids_is_named() {
        for free in [
            "",
            "unconfined\n",
            "kernel\0",
            "cri (complain)",
            "crun (unconfined)",
            ":lxd-a:unconfined\n",
            ":lxd-a://cri (complain)",
            "system_u:system_r:spc_t:s0\0",
        ] {
            assert_eq!(profile_of(free), None, "{free:?}");
        }
        for label in [":lxd-a://cri (enforce)", ":root//lxd-a:cri (enforce)", "a:b:spc_t (enforce)"] {
            assert_eq!(profile_of(label), Some(format!("AppArmor's profile {label}")));
        }
        let named = profile_of("cri-containerd.apparmor.d (enforce)\n").expect("a profile");
        assert_eq!(named, "AppArmor's profile cri-containerd.apparmor.d (enforce)");
        assert_eq!(
            profile_of("system_u:system_r:container_t:s0:c1,c2\0").expect("a type"),
            "SELinux's type container_t"
        );
    }

    #[test]
    fn the_advice_names_the_switch_only_where_it_helps() {
        let confined = Confinement { profile: None, has_seccomp_filter: true };
        assert!(confined.advice().contains("`privileged: true`") && confined.advice().contains("seccomp"));
        assert!(!Confinement::default().advice().contains("privileged"));
    }
}
