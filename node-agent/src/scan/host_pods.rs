//! The hostNetwork pods of a scan's sources. Their sockets are in the node's own netns, where only cgroups tell whose they are:
//! a pod that no process of the node belongs to is not judged, and is named.

use std::collections::BTreeMap;
use std::path::Path;

use portolan_engine::model::identity::PodUid;
use portolan_engine::model::input::Input;
use portolan_engine::model::pod::Workload;
use portolan_engine::rules::cgroup;
use portolan_report::label_selector::Selector;

use crate::source::process;

/// Maximum number of pods that the note names.
const NAMED: usize = 5;

/// One hostNetwork pod.
#[derive(Clone, Debug, Default)]
pub(super) struct HostPod {
    namespace: String,
    name: String,
    labels: BTreeMap<String, String>,
    workload: Option<Workload>,
    /// Ids of its containers, as far as its sources know them.
    containers: Vec<String>,
}

impl HostPod {
    /// Returns the workload whose template the pod stands for; `None` for a pod of its own.
    fn template_of(&self) -> Option<&Workload> {
        self.workload.as_ref().filter(|workload| workload.name == self.name)
    }
}

/// The hostNetwork pods of these inputs, by UID or mirror UID.
pub(super) fn host_pods(inputs: &[Input]) -> BTreeMap<PodUid, HostPod> {
    let mut found: BTreeMap<PodUid, HostPod> = BTreeMap::new();
    let pods = inputs.iter().filter_map(|input| match input {
        Input::Pods { pods, .. } => Some(pods),
        _ => None,
    });
    for pod in pods.flatten().filter(|pod| pod.host_network) {
        let known = found.entry(pod.uid.clone()).or_default();
        known.namespace.clone_from(&pod.namespace);
        known.name.clone_from(&pod.name);
        known.labels.extend(pod.labels.clone());
        known.workload = pod.workload.clone().or(known.workload.take());
        let ids = pod.containers.iter().map(|container| container.id.clone());
        known.containers.extend(ids.filter(|id| !id.is_empty()));
    }
    found
}

/// Returns the note about hostNetwork pods that no process of the node belongs to, of those that pass the filters; `None`
/// without such pods.
pub(super) fn note(
    pods: &BTreeMap<PodUid, HostPod>,
    (namespace, selector): (Option<&str>, &Selector),
    proc_root: &Path,
) -> Option<String> {
    let is_asked = |pod: &HostPod| {
        namespace.is_none_or(|namespace| namespace == pod.namespace) && selector.selects(Some(&pod.labels))
    };
    // A template stands for pods that are not there by themselves.
    let is_there = |template: &HostPod| {
        let workload = template.template_of();
        workload.is_some()
            && pods.values().any(|pod| {
                pod.template_of().is_none()
                    && (&pod.namespace, pod.workload.as_ref()) == (&template.namespace, workload)
            })
    };
    let asked = pods.iter().filter(|(_, pod)| is_asked(pod) && !is_there(pod));
    let mut left: BTreeMap<&PodUid, &HostPod> = asked.collect();
    if left.is_empty() {
        return None;
    }
    for path in process::cgroups(proc_root) {
        let by_uid = cgroup::pod(&path, |uid| pods.get_key_value(uid).map(|(uid, _)| uid));
        left.retain(|uid, pod| {
            let is_there = |id: &String| cgroup::position(&path, id).is_some();
            by_uid != Some(*uid) && !pod.containers.iter().any(is_there)
        });
    }
    let named: Vec<String> =
        left.values().take(NAMED).map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
    let more = if left.len() > named.len() { ", …" } else { "" };
    let (count, pods) = (left.len(), if left.len() == 1 { "pod" } else { "pods" });
    (count > 0).then(|| {
        format!(
            "{count} hostNetwork {pods}: listeners not judged, because no process of this node is known to be theirs: {}{more}; a manifest \
             with the pod's UID and the ids of its containers (kubectl get pods -o yaml), or cri, tells which are",
            named.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use portolan_engine::model::pod::{Container, Pod, PodSource};
    use portolan_testing::scratch::Scratch;

    use super::*;

    fn inputs(pods: Vec<Pod>) -> Vec<Input> {
        vec![Input::Pods { source: PodSource::File, pods }]
    }

    fn pod(uid: &str, name: &str, host_network: bool) -> Pod {
        Pod {
            uid: PodUid(uid.to_owned()),
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            host_network,
            ..Pod::default()
        }
    }

    #[test]
    fn host_pods_without_a_process_are_named_and_others_are_not() {
        let scratch = Scratch::new("host-pods");
        let process = scratch.path("12");
        std::fs::create_dir(&process).expect("a directory");
        let cgroup = "0::/kubepods/besteffort/pod1f2e-a/cri-containerd-0123456789abcdef\n";
        std::fs::write(process.join("cgroup"), cgroup).expect("a file");
        let mut by_container = pod("other", "by-container", true);
        let id = "containerd://0123456789abcdef".to_owned();
        by_container.containers.push(Container { id, ..Container::default() });
        let pods = inputs(vec![
            pod("1f2e-a", "kube-proxy", true),
            by_container,
            pod("manifest/x", "exporter", true),
            pod("manifest/y", "web", false),
        ]);
        let note_of =
            |namespace| note(&host_pods(&pods), (namespace, &Selector::default()), scratch.directory());
        let one = note_of(None).expect("a note");
        assert!(one.starts_with("1 hostNetwork pod: listeners not judged"), "{one}");
        assert!(one.contains("kube-system/exporter") && !one.contains("web"), "{one}");
        assert_eq!(note_of(Some("shop")), None);
        let workload = Some(Workload { kind: "DaemonSet".to_owned(), name: "kp".to_owned() });
        let made = [pod("1f2e-a", "kp-x", true), pod("manifest/daemonset/kp", "kp", true)];
        let made = made.map(|pod| Pod { workload: workload.clone(), ..pod });
        let made = host_pods(&inputs(made.into()));
        assert_eq!(note(&made, (None, &Selector::default()), scratch.directory()), None);
        let many = (0..7).map(|index| pod(&format!("manifest/{index}"), &format!("p{index}"), true));
        let many =
            note(&host_pods(&inputs(many.collect())), (None, &Selector::default()), scratch.directory());
        let many = many.expect("a note");
        assert!(many.starts_with("7 hostNetwork pods") && many.contains("kube-system/p4, …"), "{many}");
    }
}
