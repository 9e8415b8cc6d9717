//! `portolan images` and `portolan diff` of one agent: what the plugin's verbs say, of one node, without a cluster.

use std::sync::atomic::Ordering;

use portolan_client::exit::Exit;
use serde_json::Value;

use crate::commands::run;
use crate::model::Node;
use crate::served::{Scratch, Served};

/// Writes a file, and returns its path.
fn file(scratch: &Scratch, name: &str, text: &str) -> String {
    let path = scratch.0.join(name);
    std::fs::write(&path, text).expect("writes");
    path.display().to_string()
}

#[tokio::test]
async fn the_images_of_one_node_have_the_ports_of_their_containers() {
    let served = Served::start(Node::default()).await;
    let outcome = run(&format!("images --server {}", served.url())).await;
    assert_eq!(outcome.exit, Exit::Fine, "{outcome:?}");
    assert!(outcome.out.contains("example/app:1") && outcome.out.contains("9090/TCP"), "{}", outcome.out);
    let left_out = "1 listeners are of no known container, and left out: `portolan listeners` has them\n";
    assert_eq!(outcome.words, left_out);
    let outcome = run(&format!("images -o cyclonedx -n nope --server {}", served.url())).await;
    let bill: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!(bill["components"], Value::Array(Vec::new()), "the filter holds: {bill}");
}

#[tokio::test]
async fn the_bill_of_an_agent_that_is_not_ready_says_that_it_is_incomplete() {
    let served = Served::start(Node::default()).await;
    for (is_ready, exit) in [(true, Exit::Fine), (false, Exit::Partial)] {
        served.health.ready.store(is_ready, Ordering::Relaxed);
        let outcome = run(&format!("images -o cyclonedx --server {}", served.url())).await;
        assert_eq!(outcome.exit, exit, "{outcome:?}");
        let bill: Value = serde_json::from_str(&outcome.out).expect("JSON");
        assert_eq!(bill.get("compositions").is_none(), is_ready, "{bill}");
    }
}

#[tokio::test]
async fn the_findings_of_one_node_are_compared_with_earlier_ones() {
    let scratch = Scratch::new("one-agent-diff");
    let served = Served::start(Node::default()).await;
    let url = served.url();
    let list = run(&format!("findings -o json --server {url}")).await;
    let same = file(&scratch, "same.json", &list.out);
    let outcome = run(&format!("diff {same} --server {url}")).await;
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Fine, ""), "{outcome:?}");
    let nothing = file(&scratch, "nothing.json", "{\"items\": []}");
    let outcome = run(&format!("diff {nothing} --server {url}")).await;
    assert_eq!(outcome.exit, Exit::FailOn, "{outcome:?}");
    assert!(outcome.out.contains("new") && outcome.out.contains("9090/TCP"), "{}", outcome.out);
    let outcome = run(&format!("diff {same} {nothing} --server http://127.0.0.1:1")).await;
    assert_eq!(outcome.exit, Exit::Fine, "two files need no agent: {outcome:?}");
    assert!(outcome.out.contains("gone"), "{}", outcome.out);
}

#[tokio::test]
async fn what_another_node_had_is_not_gone_because_one_agent_does_not_see_it() {
    let scratch = Scratch::new("one-agent-other");
    let served = Served::start(Node::default()).await;
    let list = run(&format!("findings -o json --server {}", served.url())).await;
    let mut old: Value = serde_json::from_str(&list.out).expect("JSON");
    let items = old["items"].as_array_mut().expect("items");
    let mut elsewhere = items[0].clone();
    elsewhere["node"] = "node-9".into();
    elsewhere["id"] = "elsewhere".into();
    elsewhere["fingerprint"] = "0123456789abcdef0123456789abcdef".into();
    items.push(elsewhere);
    let old = file(&scratch, "old.json", &old.to_string());
    let outcome = run(&format!("diff {old} --server {}", served.url())).await;
    assert_eq!(outcome.exit, Exit::Partial, "{outcome:?}");
    assert!(outcome.out.starts_with("CHANGE") && outcome.out.contains("\nunknown "), "{}", outcome.out);
    assert_eq!(outcome.words, "NEW is partial: it lacks the answer of node-9\n");
}
