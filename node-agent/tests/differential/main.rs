//! Compares the sources and the engine with an independent judge, on random clusters.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and a member that a JSON value lacks is null"
)]

mod api_server;
mod cluster;
mod judge;
#[path = "../../engine/tests/scenarios/world.rs"]
#[expect(dead_code, reason = "builders that the engine's scenarios share")]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use portolan::source::kubernetes::kind::Kind;
use portolan::source::kubernetes::objects::fields::Cuts;
use portolan::source::kubernetes::objects::object::Object;
use portolan::source::namespaces::Namespaces;
use portolan::source::pods::api::NodePods;
use portolan::source::pods::file;
use portolan::source::policies::NetworkPolicies;
use portolan::source::services::Services;
use portolan_engine::model::identity::{NetnsId, PodUid, Protocol, SocketCookie};
use portolan_engine::model::input::Input;
use portolan_engine::model::pod::{Pod, PodSource};
use portolan_engine::model::process::Holder;
use portolan_engine::model::socket::{NetnsScan, ScannedSocket};
use portolan_testing::scratch::Scratch;
use proptest::prelude::*;
use serde_json::Value;

use crate::api_server::served;
use crate::cluster::{Cluster, PODS, Socket, clusters, files};
use crate::judge::{Place, Verdict, missing_names, unserved, verdicts};
use crate::world::{World, call, host, ip, netns, port};

/// The inputs that the file source makes of a file.
fn read_from_file(text: &str) -> Vec<Input> {
    let scratch = Scratch::new("differential");
    let path = scratch.path("cluster.yaml");
    std::fs::write(&path, text).expect("written");
    let reading = file::read(&path).expect("valid manifests");
    assert_eq!(reading.faults.len(), 0, "{:?}", reading.faults);
    reading.objects.inputs(None)
}

fn protocol(name: &str) -> Protocol {
    Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == name).expect("a protocol")
}

/// Runs what happens on the node, once the objects are known.
fn observed(cluster: &Cluster, inputs: Vec<Input>) -> World {
    let mut world = World::new();
    world.apply(host());
    for (_, name, id, address) in PODS {
        world.apply(netns(id, name, &format!("{address}/24")));
    }
    for input in inputs {
        world.apply(input);
    }
    for (index, (_, _, id, _)) in PODS.iter().enumerate() {
        let own = cluster.sockets.iter().zip(1_u64..).filter(|(socket, _)| socket.pod == index);
        let sockets = own.map(|(socket, cookie)| scanned(*id, cookie, socket)).collect();
        world.apply(Input::NetnsScanned(NetnsScan { netns: NetnsId(*id), at: world.now, sockets }));
    }
    world.wait(6_000);
    for socket in &cluster.sockets {
        for caller in &socket.callers {
            let (_, _, id, _) = PODS[socket.pod];
            world.apply(call(id, protocol(socket.protocol), socket.port, caller, 3, world.now));
        }
    }
    world.wait(120_000);
    world
}

fn scanned(netns: u64, cookie: u64, socket: &Socket) -> ScannedSocket {
    ScannedSocket {
        cookie: SocketCookie(cookie),
        port: port(netns, protocol(socket.protocol), socket.port),
        address: ip(if socket.on_loopback { "127.0.0.1" } else { "0.0.0.0" }),
        v6_only: None,
        on_loopback: false,
        holder: Holder::Unknown,
    }
}

/// Declaration, explanations, code and policy of a port.
type Said = (String, BTreeSet<(String, String)>, Option<(String, String)>);

/// What the engine says of each port that is served.
fn said(world: &World) -> BTreeMap<Place, Said> {
    let codes: BTreeMap<String, (String, String)> = world
        .engine
        .findings()
        .map(|finding| {
            (
                finding.id.clone(),
                (finding.code.as_str().to_owned(), finding.policy.verdict.as_str().to_owned()),
            )
        })
        .collect();
    let listeners = world.engine.listeners().map(|listener| {
        let pod = listener.pod.as_ref().map_or("-", |pod| pod.name.as_str()).to_owned();
        let place = (pod, listener.port.protocol.as_str().to_owned(), listener.port.port.get());
        let explained = listener.declaration.explained_by.iter();
        let explained = explained.map(|one| (one.source.clone(), one.reference.clone())).collect();
        let status = listener.declaration.status.as_str().to_owned();
        // Only findings about undeclared ports have the id of the listener.
        (place, (status, explained, codes.get(&listener.id).cloned()))
    });
    listeners.collect()
}

fn said_unserved(world: &World) -> BTreeSet<(Place, String)> {
    let findings = world.engine.findings().filter(|finding| finding.listener.is_none());
    let places = findings.filter_map(|finding| {
        let pod = finding.pod.as_ref()?.name.clone();
        let place = (pod, finding.protocol?.as_str().to_owned(), finding.port?.get());
        Some((place, finding.code.as_str().to_owned()))
    });
    places.collect()
}

fn said_missing_names(world: &World) -> BTreeSet<(String, String, String)> {
    let findings = world.engine.findings().filter(|finding| finding.port.is_none());
    let names = findings.filter_map(|finding| {
        let service = finding.declaration.explained_by.first()?.reference.clone();
        Some((finding.pod.as_ref()?.name.clone(), service, finding.protocol?.as_str().to_owned()))
    });
    names.collect()
}

fn compare(cluster: &Cluster, inputs: Vec<Input>, are_policies_known: bool) -> Result<(), TestCaseError> {
    let world = observed(cluster, inputs);
    let right: BTreeMap<Place, Said> = verdicts(cluster, are_policies_known)
        .into_iter()
        .map(|(place, Verdict { declaration, explained_by, code, policy })| {
            (
                place,
                (declaration.to_owned(), explained_by, code.map(|code| (code.to_owned(), policy.to_owned()))),
            )
        })
        .collect();
    prop_assert_eq!(said(&world), right);
    let right: BTreeSet<(Place, String)> =
        unserved(cluster).into_iter().map(|(place, code)| (place, code.to_owned())).collect();
    prop_assert_eq!(said_unserved(&world), right);
    prop_assert_eq!(said_missing_names(&world), missing_names(cluster));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn the_file_source_and_the_engine_say_what_the_documentation_says(cluster in clusters(), file in files()) {
        let cluster = file.told(cluster);
        // A file without a policy does not tell that there is none.
        let is_policy = |one: &Value| one["apiVersion"] == "networking.k8s.io/v1";
        let are_policies_known = cluster.objects.iter().any(is_policy);
        compare(&cluster, read_from_file(&file.text(&cluster)), are_policies_known)?;
    }
}

/// The input that a watch of this kind makes of the objects.
fn read_all<K: Kind>(kind: &mut K, version: &str, objects: &[Value]) -> Input {
    let own = objects.iter().filter(|one| one["apiVersion"] == version && one["kind"] == K::NAME);
    let items = own.filter_map(|one| {
        let text = served(one.clone()).to_string();
        let object: Object<K::Spec, K::Status> = serde_json::from_str(&text).expect("an object");
        kind.read(object.metadata.0, object.spec, object.status, &mut Cuts::default())
            .expect("a valid object")
    });
    let items = items.collect();
    kind.all(items)
}

/// The inputs that the sources of the API server and of the runtime make of these objects.
fn read_from_api(objects: &[Value]) -> Vec<Input> {
    let runtime = objects.iter().filter_map(|pod| {
        let (name, netns, _, address) = PODS.iter().find(|(name, ..)| pod["metadata"]["name"] == *name)?;
        Some(Pod {
            uid: PodUid(format!("uid-{name}")),
            namespace: served(pod.clone())["metadata"]["namespace"].as_str()?.to_owned(),
            name: (*name).to_owned(),
            addresses: vec![ip(address)],
            netns_path: Some(format!("/run/netns/{netns}")),
            ..Pod::default()
        })
    });
    vec![
        read_all(&mut Namespaces, "v1", objects),
        read_all(&mut Services, "v1", objects),
        read_all(&mut NetworkPolicies, "networking.k8s.io/v1", objects),
        read_all(&mut NodePods::new("node".to_owned()), "v1", objects),
        Input::Pods { source: PodSource::Runtime, pods: runtime.collect() },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn the_api_source_and_the_engine_say_what_the_documentation_says(cluster in clusters()) {
        compare(&cluster, read_from_api(&cluster.objects), true)?;
    }
}
