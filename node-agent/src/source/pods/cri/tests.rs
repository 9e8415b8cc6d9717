//! Tests of the source against a fake runtime on a real socket: inputs, timing, and faults of the runtime.

use std::collections::BTreeMap;
use std::time::Duration;

use portolan_engine::model::input::Input;
use portolan_engine::model::pod::{Pod, PodSource};
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::Runtime;
use super::fake::{Answer, Content, Fake, container, netns, sandbox};
use super::messages::{Image, ImageSpec, ListResponse};
use super::pod_tracker::{Pass, PodTracker};
use super::{follow, probe, read};
use crate::state::{Source, State, StateFeed, States};

const PATIENCE: Duration = Duration::from_secs(20);

/// A source that follows the fake runtime.
struct Followed {
    inputs: mpsc::Receiver<Input>,
    source: Source,
    states: watch::Receiver<States>,
    task: JoinHandle<()>,
}

impl Followed {
    fn of(fake: &Fake) -> Self {
        let (sender, inputs) = mpsc::channel(64);
        let (feed, source) = (StateFeed::default(), Source::Cri(Some(fake.socket())));
        let task = tokio::spawn(follow(Some(fake.socket()), sender, feed.reporter(source.clone())));
        Self { inputs, source, states: feed.subscribe(), task }
    }

    async fn next(&mut self) -> String {
        let input = timeout(PATIENCE, self.inputs.recv()).await.expect("in time").expect("open");
        shown(&input)
    }

    async fn reason(&mut self) -> String {
        let down = self.states.wait_for(|states| states.of(self.source.clone()).reason().is_some());
        let state = timeout(PATIENCE, down).await.expect("in time").expect("open").of(self.source.clone());
        assert!(!state.is_up());
        state.reason().expect("a reason").to_owned()
    }

    async fn up(&mut self) {
        let up = self.states.wait_for(|states| states.of(self.source.clone()) == State::Up);
        timeout(PATIENCE, up).await.expect("in time").expect("open");
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Name of the source in the expectations of these tests.
fn name(source: PodSource) -> &'static str {
    if source == super::SOURCE { "cri" } else { "another source" }
}

fn shown(input: &Input) -> String {
    match input {
        Input::Pods { source, pods } => {
            let mut pods: Vec<String> = pods.iter().map(brief).collect();
            pods.sort();
            format!("{} all: {}", name(*source), pods.join("; "))
        }
        Input::PodChanged { source, pod } => format!("{} changed: {}", name(*source), brief(pod)),
        Input::PodGone { source, uid } => format!("{} gone: {}", name(*source), uid.0),
        Input::Lost { reason, count, .. } => format!("lost {reason} {count}"),
        other => format!("{other:?}"),
    }
}

fn brief(pod: &Pod) -> String {
    let containers: Vec<String> = pod
        .containers
        .iter()
        .map(|one| {
            let ports: Vec<String> = one.ports.iter().map(|port| port.port.to_string()).collect();
            let stopped = if one.running == Some(true) { "" } else { " stopped" };
            format!("{}[{}]{stopped}", one.name, ports.join(","))
        })
        .collect();
    let netns = pod.netns_path.as_deref().unwrap_or("-");
    format!("{}/{} {} {netns} {}", pod.namespace, pod.name, pod.uid.0, containers.join(" "))
}

fn usual(id: &str) -> String {
    format!("shop/pod-{id} uid-{id} {} app[8080]", netns(id))
}

#[tokio::test]
async fn all_is_told_once_and_then_what_changes() {
    let fake = Fake::start("changes");
    let mut followed = Followed::of(&fake);
    assert_eq!(followed.next().await, format!("cri all: {}; {}", usual("a"), usual("b")));
    followed.up().await;
    fake.edit(|content| content.containers.push(container("b", "side")));
    assert_eq!(followed.next().await, format!("cri changed: {} side[8080]", usual("b")));
    fake.edit(|content| content.sandboxes.retain(|sandbox| sandbox.id != "a"));
    assert_eq!(followed.next().await, "cri gone: uid-a");
    // Another order is no change; a new sandbox is asked for its netns once.
    fake.edit(|content| {
        content.containers.reverse();
        content.sandboxes.insert(0, sandbox("c"));
    });
    assert_eq!(followed.next().await, format!("cri changed: shop/pod-c uid-c {} ", netns("c")));
    assert_eq!(fake.calls("PodSandboxStatus"), 3);
    // containerd before 2.0 gives each event to one reader only: they are kubelet's.
    assert_eq!(fake.calls("GetContainerEvents"), 0);
}

#[tokio::test]
async fn a_stopped_container_and_its_next_attempt_are_one() {
    let fake = Fake::start("attempts");
    fake.edit(|content| {
        content.sandboxes.truncate(1);
        content.containers = vec![container("a", "app")];
        content.containers[0].state = 2;
    });
    let mut followed = Followed::of(&fake);
    assert_eq!(followed.next().await, format!("cri all: {} stopped", usual("a")));
    fake.edit(|content| {
        let mut next = container("a", "app");
        (next.id, next.created_at) = ("a-app-1".to_owned(), 2);
        content.containers.push(next);
    });
    assert_eq!(followed.next().await, format!("cri changed: {}", usual("a")));
}

#[tokio::test]
async fn an_ended_sandbox_is_no_pod_and_of_two_the_newest_counts() {
    let fake = Fake::start("sandboxes");
    fake.edit(|content| {
        content.containers.clear();
        content.sandboxes[0].state = 1;
        let mut again = sandbox("b2");
        again.labels = content.sandboxes[1].labels.clone();
        again.created_at = 5;
        content.sandboxes.push(again);
    });
    let mut followed = Followed::of(&fake);
    assert_eq!(followed.next().await, format!("cri all: shop/pod-b uid-b {} ", netns("b2")));
}

#[tokio::test]
async fn images_that_are_given_by_id_are_named_once() {
    let fake = Fake::start("images");
    let id = format!("sha256:{}", "a1".repeat(32));
    fake.edit(|content| {
        for container in &mut content.containers {
            container.image = Some(ImageSpec { image: id.clone(), ..ImageSpec::default() });
        }
        let tags = vec!["registry/web:2".to_owned(), "registry/web:latest".to_owned()];
        content.images.push(Image { id: id.clone(), repo_tags: tags, repo_digests: Vec::new() });
    });
    let pods = read(Some(fake.socket())).await.expect("pods");
    assert!(pods.iter().all(|pod| pod.containers[0].image == "registry/web:2"), "{pods:?}");
    assert_eq!(fake.calls("ListImages"), 1);
}

#[tokio::test]
async fn pods_do_not_wait_for_the_list_of_images_and_one_that_fails_is_read_later() {
    let fake = Fake::start("images-fail");
    let id = format!("sha256:{}", "a1".repeat(32));
    fake.edit(|content| {
        content.sandboxes.truncate(1);
        content.containers.truncate(1);
        content.containers[0].image = Some(ImageSpec { image: id.clone(), ..ImageSpec::default() });
        let tags = vec!["registry/web:2".to_owned()];
        content.images.push(Image { id: id.clone(), repo_tags: tags, repo_digests: Vec::new() });
        content.answers.insert("ListImages", Answer::Status(14, "busy"));
    });
    let runtime = Runtime::connect(&fake.socket()).await.expect("connected");
    let mut tracker = PodTracker::default();
    let image = |pass: &Pass| pass.pods.first().map(|pod| pod.containers[0].image.clone());
    let told = tracker.pass(&runtime).await.expect("a pass");
    assert_eq!((image(&told), told.more, fake.calls("ListImages")), (Some(id.clone()), true, 0));
    let asked = tracker.pass(&runtime).await.expect("a list of images is not needed");
    assert_eq!((image(&asked), asked.more, fake.calls("ListImages")), (None, false, 1));
    fake.edit(|content| content.answers.clear());
    let early = tracker.pass(&runtime).await.expect("a pass");
    assert_eq!((image(&early), fake.calls("ListImages")), (None, 1), "not asked again at once");
    // Another session asks again.
    tracker.resend_all();
    let told = tracker.pass(&runtime).await.expect("a pass");
    assert_eq!((image(&told), told.more), (Some(id), true));
    let named = tracker.pass(&runtime).await.expect("a pass");
    assert_eq!((image(&named), named.more), (Some("registry/web:2".to_owned()), false));
    assert_eq!(fake.calls("ListImages"), 2);
}

#[tokio::test]
async fn the_digest_of_an_image_is_that_of_the_reference_or_the_only_one_of_the_list() {
    let fake = Fake::start("digests");
    let (id, digest) = (format!("sha256:{}", "a1".repeat(32)), format!("sha256:{}", "b2".repeat(32)));
    let names = ["web", "mirror/web"].map(|name| format!("{name}@{digest}"));
    fake.edit(|content| {
        content.containers[0].image_ref = format!("registry/web@{digest}");
        content.containers[1].image_ref.clone_from(&id);
        content.images.push(Image { id: id.clone(), repo_tags: Vec::new(), repo_digests: names.into() });
    });
    let pods = read(Some(fake.socket())).await.expect("pods");
    let found: Vec<&str> = pods.iter().map(|pod| pod.containers[0].image_digest.as_str()).collect();
    assert_eq!(found, [&digest, &digest], "{pods:?}");
    assert_eq!(fake.calls("ListImages"), 1);

    fake.edit(|content| {
        let other = format!("web@sha256:{}", "c3".repeat(32));
        content.images[0].repo_digests.push(other);
    });
    let pods = read(Some(fake.socket())).await.expect("pods");
    let found: Vec<&str> = pods.iter().map(|pod| pod.containers[0].image_digest.as_str()).collect();
    assert_eq!(found, [&digest, ""], "two digests of one image: {pods:?}");
}

#[tokio::test]
async fn the_runtime_goes_away_and_comes_back() {
    let mut fake = Fake::absent("restart");
    let mut followed = Followed::of(&fake);
    let reason = followed.reason().await;
    assert!(reason.starts_with("cannot connect to ") && reason.contains("cri.sock"), "{reason}");
    fake.listen();
    let all = format!("cri all: {}; {}", usual("a"), usual("b"));
    assert_eq!(followed.next().await, all);
    followed.up().await;
    fake.stop().await;
    followed.reason().await;
    assert!(followed.inputs.try_recv().is_err(), "what was told stays");
    fake.listen();
    assert_eq!(followed.next().await, all);
    followed.up().await;
    assert_eq!(fake.calls("PodSandboxStatus"), 2, "sandboxes that are known are not asked for again");
}

#[tokio::test]
async fn events_tell_when_to_look() {
    let fake = Fake::start("events");
    fake.edit(|content| (content.name, content.version) = ("cri-o".to_owned(), "1.30.1".to_owned()));
    let mut followed = Followed::of(&fake);
    followed.next().await;
    let told = timeout(PATIENCE, async {
        while fake.send_event() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    told.await.expect("the stream is open");
    for round in 0..3 {
        fake.edit(|content| content.containers.push(container("a", &format!("more-{round}"))));
        fake.send_event();
        assert!(followed.next().await.contains(&format!("more-{round}")));
    }
    assert_eq!(probe(Some(&fake.socket())).await.expect("found").notice, "by its events");
}

#[tokio::test]
async fn a_runtime_that_refuses_events_is_polled() {
    let fake = Fake::start("no-events");
    fake.edit(|content| {
        content.name = "cri-o".to_owned();
        content.answers.insert("GetContainerEvents", Answer::Status(12, "not enabled"));
    });
    let mut followed = Followed::of(&fake);
    followed.next().await;
    fake.edit(|content| content.sandboxes.truncate(1));
    assert_eq!(followed.next().await, "cri gone: uid-b");
    assert!(probe(Some(&fake.socket())).await.expect("found").notice.starts_with("polled"));
}

#[tokio::test]
async fn what_a_bad_runtime_answers_is_said_in_one_line() {
    let huge = [&[0][..], &u32::MAX.to_be_bytes(), &[1, 2, 3]].concat();
    let cases: [(&str, Answer, &str); 8] = [
        ("ListPodSandbox", Answer::Never, "ListPodSandbox: no answer within 2 s"),
        ("ListContainers", Answer::Raw(huge), "ListContainers: "),
        ("ListContainers", Answer::Raw(vec![0, 0]), "ListContainers: "),
        ("ListContainers", Answer::Raw(Vec::new()), "ListContainers: "),
        ("ListContainers", Answer::Message(vec![0xff; 64]), "ListContainers: the answer cannot be read"),
        ("ListPodSandbox", Answer::Status(14, "a%0Ab"), "ListPodSandbox: Unavailable: ab"),
        ("Version", Answer::Status(12, "x"), "does not speak CRI v1"),
        ("Version", Answer::Status(7, "no"), "Version: PermissionDenied: no"),
    ];
    for (number, (method, answer, reason)) in cases.into_iter().enumerate() {
        let fake = Fake::start(&format!("bad-{number}"));
        fake.edit(|content| content.answers.insert(method, answer.clone()));
        let error = read(Some(fake.socket())).await.expect_err("is bad").to_string();
        assert!(error.contains(reason) && !error.contains('\n'), "{method} {answer:?}: {error}");
        let mut followed = Followed::of(&fake);
        assert!(followed.reason().await.contains(reason));
        // It is only as bad as it is now.
        fake.edit(|content| content.answers.clear());
        assert!(followed.next().await.starts_with("cri all: shop/pod-a"));
    }
    let error = read(Some("/nonexistent/x".into())).await.expect_err("is missing");
    assert_eq!(error.to_string(), "cannot connect to /nonexistent/x: No such file or directory (os error 2)");
}

#[tokio::test]
async fn items_that_cannot_be_read_do_not_hide_the_others() {
    let fake = Fake::start("items");
    let good = fake.edit(|content| content.sandboxes[0].encode_to_vec());
    let list = ListResponse { items: vec![vec![0xff; 9].into(), good.into(), vec![0x0a, 0x01, 0xff].into()] };
    fake.edit(|content| {
        content.answers.insert("ListPodSandbox", Answer::Message(list.encode_to_vec()));
        let ports = r#"[{"containerPort":0},{"containerPort":8080},{"containerPort":99999}]"#;
        content.containers[0]
            .annotations
            .insert("io.kubernetes.container.ports".to_owned(), ports.to_owned());
    });
    let mut followed = Followed::of(&fake);
    assert_eq!(followed.next().await, format!("cri all: {}", usual("a")));
    assert_eq!(followed.next().await, "lost cri-unreadable-metadata 4");
    // Once is enough, whatever else changes.
    fake.edit(|content| content.containers.push(container("a", "side")));
    assert_eq!(followed.next().await, format!("cri changed: {} side[8080]", usual("a")));
    fake.edit(|content| content.containers.truncate(1));
    assert_eq!(followed.next().await, format!("cri changed: {}", usual("a")));
}

#[tokio::test]
async fn a_sandbox_without_status_is_told_without_its_netns() {
    let fake = Fake::start("statusless");
    fake.edit(|content| {
        content.sandboxes.truncate(1);
        content.answers.insert("PodSandboxStatus", Answer::Status(2, "the shim is gone"));
    });
    let mut followed = Followed::of(&fake);
    assert_eq!(followed.next().await, "cri all: ");
    assert_eq!(followed.next().await, "cri changed: shop/pod-a uid-a - app[8080]");
    assert_eq!(followed.next().await, "lost cri-status-failed 1");
    assert_eq!(fake.calls("PodSandboxStatus"), 3);
}

#[tokio::test]
async fn a_scan_gives_up_on_a_status_that_does_not_come() {
    let fake = Fake::start("scan");
    fake.edit(|content| content.sandboxes.truncate(1));
    let pods = read(Some(fake.socket())).await.expect("pods");
    assert_eq!(pods.iter().map(brief).collect::<Vec<_>>(), [usual("a")]);
    fake.edit(|content| content.answers = BTreeMap::from([("PodSandboxStatus", Answer::Never)]));
    let pods = read(Some(fake.socket())).await.expect("pods");
    assert_eq!(pods.iter().map(brief).collect::<Vec<_>>(), ["shop/pod-a uid-a - app[8080]"]);
}

/// Changes one thing, chosen by `pick`.
fn change(content: &mut Content, mut pick: impl FnMut(usize) -> usize) {
    let (sandboxes, containers) = (content.sandboxes.len().max(1), content.containers.len().max(1));
    let (one, other, id) = (pick(sandboxes), pick(containers), pick(6));
    match pick(8) {
        0 => {
            // Two sandboxes may be the same pod.
            let mut new = sandbox(&format!("s{id}"));
            new.labels.insert("io.kubernetes.pod.uid".to_owned(), format!("uid-{}", id % 4));
            new.created_at = i64::try_from(pick(4)).expect("small");
            content.sandboxes.retain(|sandbox| sandbox.id != new.id);
            content.sandboxes.push(new);
        }
        1 if !content.sandboxes.is_empty() => drop(content.sandboxes.remove(one)),
        2 => content.sandboxes.iter_mut().skip(one).take(1).for_each(|sandbox| sandbox.state ^= 1),
        3 => {
            let mut new = container(&format!("s{id}"), ["app", "side"][pick(2)]);
            new.id = format!("c{}", pick(9));
            new.created_at = i64::try_from(pick(4)).expect("small");
            content.containers.retain(|container| container.id != new.id);
            content.containers.push(new);
        }
        4 if !content.containers.is_empty() => drop(content.containers.remove(other)),
        5 => content.containers.iter_mut().skip(other).take(1).for_each(|container| container.state ^= 3),
        6 => content.containers.iter_mut().skip(other).take(1).for_each(|container| {
            let ports = format!(r#"[{{"containerPort":{}}}]"#, 80 + pick(3));
            container.annotations.insert("io.kubernetes.container.ports".to_owned(), ports);
        }),
        _ => {
            content.sandboxes.reverse();
            content.containers.rotate_left(other);
        }
    }
}

#[tokio::test]
async fn whatever_changed_in_between_what_was_told_is_what_is_there() {
    let fake = Fake::start("churn");
    let runtime = Runtime::connect(&fake.socket()).await.expect("connected");
    let mut tracker = PodTracker::default();
    let mut told: BTreeMap<String, Pod> = BTreeMap::new();
    let mut seed = 7_usize;
    for round in 0..400 {
        fake.edit(|content| {
            change(content, |most| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) % most
            });
        });
        let pass = tracker.pass(&runtime).await.expect("a pass");
        for uid in pass.gone {
            assert!(told.remove(&uid.0).is_some(), "round {round}: {uid:?} was never told");
        }
        told.extend(pass.pods.into_iter().map(|pod| (pod.uid.0.clone(), pod)));
        let there = read(Some(fake.socket())).await.expect("pods");
        let there: BTreeMap<String, Pod> = there.into_iter().map(|pod| (pod.uid.0.clone(), pod)).collect();
        assert_eq!(told, there, "round {round}");
    }
}
