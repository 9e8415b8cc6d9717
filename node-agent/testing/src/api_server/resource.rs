//! The kinds of objects that the server serves.

/// A kind of object.
#[derive(Debug, PartialEq, Eq)]
pub struct Resource {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
}

pub static RESOURCES: [Resource; 9] = [
    Resource { group: "", version: "v1", plural: "pods", kind: "Pod", namespaced: true },
    Resource { group: "", version: "v1", plural: "services", kind: "Service", namespaced: true },
    Resource { group: "", version: "v1", plural: "namespaces", kind: "Namespace", namespaced: false },
    Resource { group: "", version: "v1", plural: "nodes", kind: "Node", namespaced: false },
    Resource {
        group: "networking.k8s.io",
        version: "v1",
        plural: "networkpolicies",
        kind: "NetworkPolicy",
        namespaced: true,
    },
    Resource { group: "events.k8s.io", version: "v1", plural: "events", kind: "Event", namespaced: true },
    // The same objects as those of events.k8s.io, under their older names.
    Resource { group: "", version: "v1", plural: "events", kind: "Event", namespaced: true },
    Resource { group: "batch", version: "v1", plural: "jobs", kind: "Job", namespaced: true },
    Resource {
        group: "openreports.io",
        version: "v1alpha1",
        plural: "reports",
        kind: "Report",
        namespaced: true,
    },
];

impl Resource {
    /// Returns the resource with this plural.
    #[must_use]
    pub fn of(plural: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|resource| resource.plural == plural)
    }

    /// Value of `apiVersion` in its objects.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}
