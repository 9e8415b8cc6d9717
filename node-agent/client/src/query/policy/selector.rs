//! Chooses the labels by which a policy selects the pods of a workload.
//!
//! Labels that identify the workload are used. Labels that differ between pods, revisions or releases are not.

use std::collections::BTreeMap;

use portolan_report::policy_basis::LabelledPod;

use super::error::PolicyError;
use super::object::is_label;
use super::remark::list_names;

/// Labels of a pod or of a selector.
pub(super) type Labels = BTreeMap<String, String>;

/// Labels that identify one pod, one run or one revision.
const FLEETING: [&str; 10] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/job-completion-index",
];
/// Labels that identify one release, or the tool that made it. A policy with such a label selects no pod after an upgrade.
const RELEASE: [&str; 7] = [
    "version",
    "chart",
    "heritage",
    "helm.sh/chart",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/created-by",
];
/// Domains of labels that meshes and Kubernetes itself set on pods.
const FOREIGN: [&str; 4] = ["istio.io", "linkerd.io", "topology.kubernetes.io", "kubernetes.io"];
/// Labels that selectors of workloads usually consist of.
const IDENTITY: [&str; 8] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app",
    "k8s-app",
    "component",
    "name",
    "tier",
];

/// Labels to select by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Labels of the selector.
    pub(super) labels: Labels,
    /// Warnings about pods that the labels select or miss.
    pub(super) warnings: Vec<String>,
}

/// Chooses labels that select all of `pods` and, if possible, none of `others`.
///
/// # Errors
/// [`PolicyError::NoLabels`] if the pods share no valid label.
pub(super) fn select(pods: &[&LabelledPod], others: &[LabelledPod]) -> Result<Selection, PolicyError> {
    let mut warnings = Vec::new();
    let shared = shared(pods);
    let mut stable = lasting(&shared);
    if stable.is_empty() {
        stable = shared;
        let pod = pods.first().map(|one| full_name(one)).unwrap_or_default();
        if stable.is_empty() {
            return Err(PolicyError::NoLabels { pod });
        }
        warnings.push(
            "the pods have no label that lasts: this selector means what runs now, and not what follows it"
                .to_owned(),
        );
    }
    let mut labels = identity(&stable);
    for (key, value) in &stable {
        let excludes = |other: &&LabelledPod| other.labels.get(key) != Some(value);
        if caught(&labels, others).iter().any(excludes) {
            labels.insert(key.clone(), value.clone());
        }
    }
    let caught = caught(&labels, others);
    if !caught.is_empty() {
        let caught: Vec<String> = caught.into_iter().map(full_name).collect();
        warnings.push(format!(
            "the selector also means other pods of this node: {}; tell them apart by a label",
            list_names(caught.iter().map(String::as_str))
        ));
    }
    Ok(Selection { labels, warnings })
}

/// Returns the labels that identify a caller's workload; empty if the caller has no lasting labels.
pub(super) fn caller_labels(pod: &LabelledPod) -> Labels {
    identity(&lasting(&valid(&pod.labels)))
}

/// Returns `NAMESPACE/NAME`.
pub(super) fn full_name(pod: &LabelledPod) -> String {
    format!("{}/{}", pod.pod.namespace, pod.pod.name)
}

/// Returns the pods that the labels select.
fn caught<'a>(labels: &Labels, others: &'a [LabelledPod]) -> Vec<&'a LabelledPod> {
    let selects = |one: &&LabelledPod| labels.iter().all(|(key, value)| one.labels.get(key) == Some(value));
    others.iter().filter(selects).collect()
}

/// Returns the valid labels that all pods share.
fn shared(pods: &[&LabelledPod]) -> Labels {
    let mut shared = pods.first().map(|one| valid(&one.labels)).unwrap_or_default();
    shared.retain(|key, value| pods.iter().all(|pod| pod.labels.get(key) == Some(value)));
    shared
}

/// Returns the labels that Kubernetes accepts.
fn valid(labels: &Labels) -> Labels {
    let valid = labels.iter().filter(|(key, value)| is_label(key, value));
    valid.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns the labels that stay the same across pods, revisions and releases.
fn lasting(labels: &Labels) -> Labels {
    let mut lasting = labels.clone();
    lasting.retain(|key, _| {
        let key = key.as_str();
        !is_foreign(key) && !FLEETING.contains(&key) && !RELEASE.contains(&key)
    });
    lasting
}

fn is_foreign(key: &str) -> bool {
    let owner = key.split_once('/').map_or("", |(owner, _)| owner);
    let mesh = owner.ends_with(".istio.io") || owner.ends_with(".linkerd.io");
    mesh || FOREIGN.contains(&owner) || key.starts_with("io.kubernetes.")
}

/// Returns the labels that usually identify a workload, or all labels if there are none of those.
fn identity(stable: &Labels) -> Labels {
    let mut identity = stable.clone();
    identity.retain(|key, _| IDENTITY.contains(&key.as_str()));
    if identity.is_empty() { stable.clone() } else { identity }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_report::wire::Pod;

    fn pod(name: &str, labels: &[(&str, &str)]) -> LabelledPod {
        LabelledPod {
            pod: Pod {
                namespace: "shop".to_owned(),
                name: name.to_owned(),
                uid: String::new(),
                workload: None,
                host_network: false,
                labels: None,
            },
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    fn chosen(pods: &[LabelledPod], others: &[LabelledPod]) -> (String, usize) {
        let selection = select(&pods.iter().collect::<Vec<_>>(), others).expect("labels");
        let labels: Vec<String> =
            selection.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        (labels.join(" "), selection.warnings.len())
    }

    #[test]
    fn what_tells_one_pod_or_release_from_another_is_left_out() {
        let web = pod(
            "web-1",
            &[
                ("app.kubernetes.io/name", "web"),
                ("app.kubernetes.io/instance", "shop"),
                ("app.kubernetes.io/version", "1.2"),
                ("helm.sh/chart", "web-1.2"),
                ("pod-template-hash", "6d4b75cb6d"),
                ("security.istio.io/tlsMode", "istio"),
                ("team", "blue"),
            ],
        );
        let then = "app.kubernetes.io/instance=shop app.kubernetes.io/name=web";
        assert_eq!(chosen(&[web], &[]), (then.to_owned(), 0));
        let db = pod(
            "db-0",
            &[
                ("db", "main"),
                ("statefulset.kubernetes.io/pod-name", "db-0"),
                ("apps.kubernetes.io/pod-index", "0"),
                ("controller-revision-hash", "db-1"),
            ],
        );
        assert_eq!(chosen(&[db], &[]), ("db=main".to_owned(), 0));
        let job = pod(
            "job",
            &[("job-name", "backup-1"), ("batch.kubernetes.io/controller-uid", "u"), ("for", "backup")],
        );
        assert_eq!(chosen(&[job], &[]), ("for=backup".to_owned(), 0));
    }

    #[test]
    fn only_what_all_pods_share_selects_them() {
        let pods = [pod("a", &[("app", "web"), ("colour", "blue")]), pod("b", &[("app", "web")])];
        assert_eq!(chosen(&pods, &[]), ("app=web".to_owned(), 0));
    }

    #[test]
    fn other_pods_are_told_apart_where_a_label_can_and_named_where_none_can() {
        let web = [pod("web", &[("app", "shop"), ("role", "web"), ("team", "blue")])];
        let cart = pod("cart", &[("app", "shop"), ("role", "cart"), ("team", "blue")]);
        assert_eq!(chosen(&web, std::slice::from_ref(&cart)), ("app=shop role=web".to_owned(), 0));
        let twin = pod("twin", &[("app", "shop"), ("role", "web"), ("team", "blue"), ("x", "y")]);
        let selection = select(&[&web[0]], &[cart, twin]).expect("labels");
        assert!(selection.warnings[0].contains("of this node: shop/twin;"), "{:?}", selection.warnings);
    }

    #[test]
    fn without_a_label_that_lasts_it_is_said_or_refused() {
        assert_eq!(
            chosen(&[pod("a", &[("pod-template-hash", "x")])], &[]),
            ("pod-template-hash=x".to_owned(), 1)
        );
        for labels in [&[][..], &[("no label", "x")], &[("a", "not valid!")]] {
            assert!(matches!(select(&[&pod("a", labels)], &[]), Err(PolicyError::NoLabels { .. })));
        }
    }
}
