//! Finds pod and container in a cgroup path, in the forms of every driver and runtime. A container may create and name
//! cgroups below its own, so the outermost known name counts.

use crate::model::identity::PodUid;

/// Shorter ids are not taken for certain.
const SHORTEST_ID: usize = 12;

/// The pod of a cgroup path: the outermost part `pod<UID>` that `known` finds. Cgroups of other nodes' kubelets around this
/// one (kind), or within a pod, name pods that are not known.
pub fn pod<T>(path: &str, known: impl Fn(&PodUid) -> Option<T>) -> Option<T> {
    path.split(['/', ':']).find_map(|part| {
        let part = ["slice", "scope"].iter().fold(part, |part, unit| {
            part.strip_suffix(unit).and_then(|rest| rest.strip_suffix('.')).unwrap_or(part)
        });
        part.match_indices("pod").find_map(|(at, pod)| {
            let starts = part.get(..at).is_some_and(|before| before.is_empty() || before.ends_with('-'));
            let uid = part.get(at + pod.len()..).filter(|uid| starts && !uid.is_empty())?;
            // In units `-` parts the levels: kubelet writes `_`, systemd's own escape is `\x2d`.
            known(&PodUid(uid.to_owned())).or_else(|| {
                let plain = uid.replace('_', "-").replace("\\x2d", "-");
                if plain == uid { None } else { known(&PodUid(plain)) }
            })
        })
    })
}

/// Where a container's id stands in a cgroup path, as a whole word; of several containers the one that stands first is the
/// process's own.
#[must_use]
pub fn position(path: &str, container_id: &str) -> Option<usize> {
    let id = bare_id(container_id);
    if id.len() < SHORTEST_ID {
        return None;
    }
    // Asked for every port that is judged: a word can only begin after what is none, which is faster than a search for `id`
    // everywhere.
    let ends = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let (path, id) = (path.as_bytes(), id.as_bytes());
    let last = path.len().checked_sub(id.len())?;
    let begins = |at: &usize| ends(at.checked_sub(1).and_then(|before| path.get(before)));
    let is_there = |at: &usize| path.get(*at..).is_some_and(|rest| rest.starts_with(id));
    (0..=last).find(|at| begins(at) && is_there(at) && ends(path.get(at + id.len())))
}

/// Whether a container's id is known, and long enough to be found in a path.
#[must_use]
pub fn is_searchable(container_id: &str) -> bool {
    bare_id(container_id).len() >= SHORTEST_ID
}

/// A container id without the runtime's scheme (`containerd://`).
fn bare_id(id: &str) -> &str {
    // Most have none, and one character is found faster than three.
    if !id.contains(':') {
        return id;
    }
    id.rsplit_once("://").map_or(id, |(_, bare)| bare)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "0dc1f2b4-7a51-4c3e-9d60-2f1f6f4f0a11";
    const HASH: &str = "4d8f0c1fa1a2b3c4d5e6f708192a3b4c";
    const OTHER: &str = "ffffffff-0000-4000-8000-000000000000";
    const ID: &str = "8a6a1d6d5c2b4c2a9a5e2d9e5f0b6c7d8e9f00112233445566778899aabbccdd";
    const SIBLING: &str = "1111111111111111111111111111111111111111111111111111111111111111";

    fn found(path: &str) -> Option<String> {
        let known = [UID, HASH, OTHER];
        pod(path, |uid| known.contains(&uid.0.as_str()).then(|| uid.0.clone()))
    }

    /// Every form that drivers and runtimes are known to make.
    fn forms(uid: &str, id: &str) -> Vec<String> {
        let unit = uid.replace('-', "_");
        let slice = format!("kubepods-besteffort-pod{unit}.slice");
        let systemd = format!("/kubepods.slice/kubepods-besteffort.slice/{slice}");
        vec![
            format!("/kubepods/pod{uid}/{id}"),
            format!("/kubepods/besteffort/pod{uid}/{id}"),
            format!("/kubepods/burstable/pod{uid}/crio-{id}"),
            format!("0::/kubepods/burstable/pod{uid}/{id}"),
            format!("5:memory:/kubepods/burstable/pod{uid}/{id}"),
            format!("/kubepods.slice/kubepods-pod{unit}.slice/cri-containerd-{id}.scope"),
            format!("{systemd}/cri-containerd-{id}.scope"),
            format!("{systemd}/cri-containerd-{id}"),
            format!("{systemd}/crio-{id}.scope"),
            format!("{systemd}/crio-{id}.scope/container"),
            format!("{systemd}/docker-{id}.scope"),
            format!("/system.slice/containerd.service/{slice}:cri-containerd:{id}"),
            format!("{slice}:cri-containerd:{id}"),
            format!("/../../{slice}/cri-containerd-{id}.scope"),
            format!("/../pod{uid}/{id}"),
            format!("/kubepods.slice/kubepods-pod{}.slice/crio-{id}.scope", uid.replace('-', "\\x2d")),
            format!("/k3s.slice/kubelet.slice/kubelet{systemd}/cri-containerd-{id}.scope"),
        ]
    }

    #[test]
    fn every_form_tells_pod_and_container() {
        for uid in [UID, HASH] {
            for path in forms(uid, ID) {
                assert_eq!(found(&path).as_deref(), Some(uid), "{path}");
                assert!(position(&path, ID).is_some(), "{path}");
                assert!(position(&path, &format!("containerd://{ID}")).is_some(), "{path}");
                assert!(position(&path, SIBLING).is_none(), "{path}");
            }
        }
    }

    #[test]
    fn cgroups_around_and_below_change_nothing() {
        let inner = "/kubelet/kubepods/burstable/podaaaaaaaa-1111-4111-8111-111111111111/feedfeedfeedfeed";
        for path in forms(UID, ID) {
            assert_eq!(found(&format!("/docker/{SIBLING}/kubelet{path}")).as_deref(), Some(UID), "{path}");
            for below in ["/init.scope", "/docker/0123", "/system.slice/x.service", inner] {
                assert_eq!(found(&format!("{path}{below}")).as_deref(), Some(UID), "{path}{below}");
            }
        }
    }

    #[test]
    fn a_container_that_names_its_cgroups_after_others_stays_what_it_is() {
        for path in forms(UID, ID) {
            let claimed = format!("{path}/kubepods/pod{OTHER}/{SIBLING}");
            assert_eq!(found(&claimed).as_deref(), Some(UID), "{claimed}");
            assert!(position(&claimed, ID) < position(&claimed, SIBLING), "{claimed}");
        }
    }

    #[test]
    fn what_is_no_pod_is_none() {
        for path in ["", "/", "/system.slice/sshd.service", "/kubepods", "/kubepods.slice", "/pod", "/a/podx"]
        {
            assert_eq!(found(path), None, "{path}");
        }
        assert_eq!(found(&format!("/libpod{UID}")), None);
        assert_eq!(found(&format!("/pod{UID}0")), None);
        assert_eq!(position("/a/0123456789a", "0123456789a"), None);
        assert_eq!(position(&format!("/a/{ID}0"), ID), None);
        assert_eq!(position(&format!("/a/f{ID}"), ID), None);
    }

    proptest! {
        #[test]
        fn any_path_is_read_without_harm(path in "\\PC*", id in "\\PC*") {
            prop_assert_eq!(found(&path), None);
            let _ = position(&path, &id);
        }

        #[test]
        fn paths_of_likely_pieces_only_name_who_is_in_them(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "/", ":", "-", "_", ".", "..", "pod", "kubepods", ".slice", ".scope", "cri-containerd", "é",
                    "\\x2d", UID, HASH, ID,
                ]),
                0..16,
            ),
        ) {
            let path = pieces.concat();
            if let Some(uid) = found(&path) {
                prop_assert!(path.contains(&uid));
            }
            prop_assert_eq!(position(&path, SIBLING), None);
        }

        #[test]
        fn every_form_under_any_prefix_and_with_any_tail(
            form in 0_usize..17,
            prefix in "(/[a-z0-9._-]{1,12}){0,3}",
            tail in "(/[a-z0-9.:_-]{1,12}){0,3}",
        ) {
            let path = format!("{prefix}/{}{tail}", forms(UID, ID)[form]);
            prop_assert_eq!(found(&path), Some(UID.to_owned()));
            prop_assert!(position(&path, ID).is_some());
        }
    }
}
