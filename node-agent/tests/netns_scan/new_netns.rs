//! The looks at a netns that has just appeared: what a CNI plugin adds step by step is found, and nothing is looked at that
//! has not changed.

use std::sync::{Arc, Mutex};

use portolan::source::netns::look::Interface;
use portolan::source::netns::{self, NetnsActor};
use portolan_engine::model::identity::NetnsId;
use portolan_engine::model::input::Input;
use portolan_engine::model::netns::NetnsFacts;
use tokio::sync::mpsc;

use crate::lab::{Netns, options, until, wait_for};

/// Records the interfaces of each look at one netns.
struct Recorder {
    path: String,
    looks: Arc<Mutex<Vec<Vec<String>>>>,
}

impl NetnsActor for Recorder {
    fn enter(&mut self, facts: &NetnsFacts, interfaces: &[Interface]) -> bool {
        if facts.paths.contains(&self.path) {
            let names = interfaces.iter().map(|interface| interface.name.clone()).collect();
            self.looks.lock().expect("not poisoned").push(names);
        }
        false
    }

    fn has_socket_events(&self) -> bool {
        true
    }

    fn gone(&mut self, _netns: NetnsId) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_comes_is_seen_and_nothing_is_looked_at_twice() {
    let name = "fresh";
    let path = format!("/run/netns/netns-{name}-{}", std::process::id());
    let looks = Arc::new(Mutex::new(Vec::new()));
    let recorder = Recorder { path: path.clone(), looks: Arc::clone(&looks) };
    let (sender, mut inputs) = mpsc::channel(65_536);
    let handle = netns::start(options(), Box::new(recorder), sender).expect("start");
    until(&handle, |progress| progress.first_scan_done).await;
    let netns = Netns::new(name);
    assert_eq!(netns.path(), path);
    let id = wait_for(&mut inputs, |input| match input {
        Input::NetnsSeen { facts, .. } if facts.paths.contains(&path) => Some(facts.netns),
        _ => None,
    })
    .await;
    netns.batch("link add a0 type veth peer name b0\n");
    // The first look lists the sockets, and then the last of the early ones does.
    for _ in 0..2 {
        wait_for(&mut inputs, |input| match input {
            Input::NetnsScanned(scan) => (scan.netns == id).then_some(()),
            _ => None,
        })
        .await;
    }
    let looks = looks.lock().expect("not poisoned").clone();
    assert!(looks.iter().any(|names| names.len() == 2), "{looks:?}");
    assert!(looks.len() <= 4, "an early look that finds nothing new is spared: {looks:?}");
    drop(inputs);
    handle.shutdown();
}
