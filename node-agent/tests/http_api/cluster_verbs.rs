//! The verbs of `kubectl portolan` that ask all nodes what `portolan` asks one, with two agents that answer and one that is down.

use std::sync::Arc;

use portolan_client::exit::Exit;
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::listener::DeclarationStatus;
use serde_json::{Value, json};

use crate::cluster::engine_with_pod;
use crate::exchange::get;
use crate::kubectl_portolan::{Cluster, of_three_nodes, of_two_nodes};
use crate::model::{Node, finding, listener, pod};
use crate::served::Served;

/// Starts two agents, and the pod of a third that does not listen.
async fn with_one_down(name: &str) -> Cluster {
    let cluster = of_two_nodes(name).await;
    cluster.pod("node-3", "Running");
    cluster
}

#[tokio::test]
async fn every_verb_answers_for_the_other_nodes_and_names_the_one_that_is_down() {
    let cluster = with_one_down("verbs-down").await;
    for (line, expected) in [
        ("connections", "shop/curler"),
        ("status", "no full answer"),
        ("baseline --reason known", "workload: {kind: \"Deployment\", name: \"multi-port-app\"}"),
        ("policy shop/multi-port-app --observed", "WARNING: node node-3 did not answer"),
        ("doctor", "agent node-3"),
    ] {
        let outcome = cluster.run(line).await;
        println!("$ kubectl portolan {line}\n{}{}", outcome.out, outcome.words);
        assert_eq!(outcome.exit, Exit::Partial, "{line}: {outcome:?}");
        assert!(outcome.out.contains(expected), "{line}: {}", outcome.out);
        assert!(
            outcome.words.contains("of 3 nodes") && outcome.words.contains("node-3: "),
            "{line}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn where_all_answer_the_exit_code_is_0_and_replicas_fold_into_one_answer() {
    let cluster = of_two_nodes("verbs-all").await;
    for line in
        ["connections", "status", "status -o json", "baseline --reason known", "policy shop/multi-port-app"]
    {
        let outcome = cluster.run(line).await;
        assert_eq!(outcome.exit, Exit::Fine, "{line}: {outcome:?}");
        if line.starts_with("baseline") {
            assert_eq!(outcome.out.matches("code: [undeclared-active").count(), 1, "{}", outcome.out);
        }
        if line.starts_with("policy") {
            assert!(outcome.out.contains("#   node-1, node-2\n"), "{}", outcome.out);
            assert_eq!(outcome.out.matches("kind: NetworkPolicy").count(), 1, "{}", outcome.out);
        }
    }
    let outcome = cluster.run("policy shop/nobody").await;
    assert_eq!(outcome.exit, Exit::WrongUse, "{outcome:?}");
    assert!(outcome.words.starts_with("no agent knows a pod of pod/nobody"), "{outcome:?}");
}

#[tokio::test]
async fn a_node_without_an_agent_fails_the_doctor() {
    let cluster = of_two_nodes("verbs-doctor").await;
    for name in ["node-1", "node-2", "node-9"] {
        let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}});
        cluster.server.put("nodes", node);
    }
    let outcome = cluster.run("doctor").await;
    assert_eq!(outcome.exit, Exit::Partial, "{outcome:?}");
    assert!(outcome.out.contains("no agent on node-9"), "{}", outcome.out);
    assert!(outcome.out.contains("hook sk_lookup refused: CAP_NET_ADMIN is missing"), "{}", outcome.out);
}

/// Returns node 1, where a pod of node 2 called a port. The agent knows only the caller's address.
fn called_from_node_2() -> Node {
    let mut app = listener(Some(pod("shop", "web")), Protocol::Tcp, 9090, DeclarationStatus::Undeclared);
    for peer in &mut app.traffic.peers {
        peer.address = "10.244.2.9".parse().expect("an address");
        peer.reference = None;
    }
    let app = Arc::new(app);
    let findings = vec![Arc::new(finding(FindingCode::UndeclaredActive, &app))];
    Node { name: "node-1", findings, listeners: vec![app], ..Node::default() }
}

#[tokio::test]
async fn a_caller_on_another_node_is_named_by_the_plugin() {
    let mut cluster = Cluster::new("verbs-names").await;
    cluster.agent(called_from_node_2()).await;
    let alone = cluster.run("findings -o json").await;
    let peer = |out: &str| {
        let list: Value = serde_json::from_str(out).expect("JSON");
        list["items"][0]["traffic"]["peers"][0].clone()
    };
    assert_eq!(peer(&alone.out)["ref"], Value::Null, "nobody knows the address: {alone:?}");
    let engine = engine_with_pod("ops-shell", "10.244.2.9");
    let quiet = Node { name: "node-2", findings: Vec::new(), listeners: Vec::new(), ..Node::default() };
    cluster.agent(Node { engine, ..quiet }).await;
    for line in ["findings -o json", "listeners -o json"] {
        let outcome = cluster.run(line).await;
        assert_eq!(outcome.exit, Exit::Fine, "{outcome:?}");
        let peer = peer(&outcome.out);
        assert_eq!((&peer["ref"], &peer["address"]), (&json!("shop/ops-shell-x7k2p"), &json!("10.244.2.9")));
        assert_eq!(peer["workload"], json!({"kind": "Deployment", "name": "ops-shell"}), "{line}");
    }
    let table = cluster.run("findings").await;
    assert!(table.out.contains("shop/ops-shell"), "{}", table.out);
}

#[tokio::test]
async fn the_pods_of_a_node_are_listed_with_their_addresses_page_by_page() {
    let served = Served::start(Node::default()).await;
    let all = get(served.address, "/v1/pods", "").await.json();
    let name = |pod: &Value| format!("{}/{}", pod["pod"]["namespace"], pod["pod"]["name"]).replace('"', "");
    let names: Vec<String> = all["items"].as_array().expect("items").iter().map(name).collect();
    assert!(names.is_sorted() && names.contains(&"shop/curler".to_owned()), "{names:?}");
    let mut paged = Vec::new();
    let mut path = "/v1/pods?limit=2".to_owned();
    loop {
        let page = get(served.address, &path, "").await.json();
        paged.extend(page["items"].as_array().expect("items").iter().map(name));
        let Some(next) = page["continue"].as_str() else { break };
        path = format!("/v1/pods?limit=2&continue={}", next.replace('/', "%2F"));
    }
    assert_eq!(paged, names);
    let curler = all["items"].as_array().expect("items").iter().find(|pod| name(pod) == "shop/curler");
    let curler = curler.expect("curler");
    assert_eq!((&curler["addresses"], &curler["labels"]["app"]), (&json!(["10.244.0.9"]), &json!("curler")));
}

#[tokio::test]
async fn the_status_has_a_row_for_each_node() {
    let cluster = of_three_nodes("verbs-status").await;
    let outcome = cluster.run("status -o name").await;
    assert_eq!(
        (outcome.exit, outcome.out.as_str()),
        (Exit::Fine, "agent/node-1\nagent/node-2\nagent/node-3\n")
    );
}

#[tokio::test]
async fn declare_images_diff_and_junit_answer_for_three_nodes() {
    let cluster = of_three_nodes("verbs-three").await;
    let before = cluster.write("before.json", &cluster.run("findings -o json").await.out);
    for (line, expected) in [
        ("declare deploy/multi-port-app -n shop", "containerPort: 9090"),
        ("images -o json", "\"node-3\""),
        ("findings -o junit", "node node-3"),
    ] {
        let outcome = cluster.run(line).await;
        assert_eq!(outcome.exit, Exit::Fine, "{line}: {outcome:?}");
        assert!(outcome.out.contains(expected), "{line}: {}", outcome.out);
        assert_eq!(
            outcome.out.matches(expected).count(),
            1,
            "the nodes' answers are merged: {}",
            outcome.out
        );
    }
    let outcome = cluster.run(&format!("diff {before}")).await;
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Fine, ""), "{outcome:?}");
    let nothing = cluster.write("nothing.json", "{\"items\": []}");
    let outcome = cluster.run(&format!("diff {nothing}")).await;
    assert_eq!(outcome.exit, Exit::FailOn, "{outcome:?}");
    assert!(outcome.out.contains("9090/TCP") && outcome.out.contains("5000/TCP"), "{}", outcome.out);
}

#[tokio::test]
async fn declare_images_diff_and_junit_name_the_node_that_is_down() {
    let cluster = of_three_nodes("verbs-three-down").await;
    let before = cluster.write("before.json", &cluster.run("findings -o json").await.out);
    cluster.pod("node-4", "Running");
    for line in [
        "declare deploy/multi-port-app -n shop".to_owned(),
        "images".to_owned(),
        "findings -o junit".to_owned(),
        format!("diff {before}"),
    ] {
        let outcome = cluster.run(&line).await;
        assert_eq!(outcome.exit, Exit::Partial, "{line}: {outcome:?}");
        assert!(
            outcome.words.contains("of 4 nodes") && outcome.words.contains("node-4: "),
            "{line}: {outcome:?}"
        );
    }
}
