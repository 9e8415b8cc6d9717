//! `kubectl portolan doctor`: the user's rights, agents that are not ready, and many nodes.

use portolan_client::exit::Exit;
use serde_json::{Value, json};

use crate::kubectl_portolan::{Cluster, Outcome, of_two_nodes};

fn with_nodes(cluster: &Cluster, names: impl IntoIterator<Item = String>) {
    for name in names {
        cluster.server.put("nodes", json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}}));
    }
}

async fn forbidding(cluster: &Cluster, rights: &[&'static str]) -> Outcome {
    cluster.server.change_settings(|settings| settings.forbidden = rights.to_vec());
    cluster.run("doctor").await
}

#[tokio::test]
async fn a_user_with_all_rights_passes_and_each_right_was_asked_for() {
    let cluster = of_two_nodes("doctor-rights").await;
    with_nodes(&cluster, ["node-1".to_owned(), "node-2".to_owned()]);
    let outcome = cluster.run("doctor --agents-namespace portolan").await;
    println!("$ kubectl portolan doctor\n{}{}", outcome.out, outcome.words);
    assert_eq!(outcome.exit, Exit::Fine, "{outcome:?}");
    assert!(
        outcome.out.contains("you may list the agents' pods and use pods/portforward"),
        "{}",
        outcome.out
    );
    let requests = cluster.server.log().all();
    let asked: Vec<String> = requests
        .iter()
        .filter(|request| request.path.ends_with("/selfsubjectaccessreviews"))
        .map(|request| {
            let review: Value = serde_json::from_str(&request.body).expect("JSON");
            let of = &review["spec"]["resourceAttributes"];
            let text = |field: &str| of[field].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {}/{}/{} in {}",
                text("verb"),
                text("group"),
                text("resource"),
                text("subresource"),
                text("namespace")
            )
        })
        .collect();
    assert_eq!(
        asked,
        [
            "list /pods/- in portolan",
            "get /pods/portforward in portolan",
            "create /pods/portforward in portolan",
            "list /nodes/- in -",
            "create batch/jobs/- in kube-system",
            "list batch/jobs/- in kube-system",
            "delete batch/jobs/- in kube-system",
            "list /pods/- in kube-system",
            "get /pods/log in kube-system",
        ]
    );
}

#[tokio::test]
async fn each_missing_right_is_named_with_the_role_that_gives_it() {
    let cluster = of_two_nodes("doctor-missing").await;
    with_nodes(&cluster, ["node-1".to_owned(), "node-2".to_owned()]);
    for (right, exit, found) in [
        ("list nodes", Exit::Fine, "you may not list nodes → a ClusterRole with `list` on nodes"),
        (
            "create jobs",
            Exit::Fine,
            "you may not create jobs in namespace kube-system, which `kubectl portolan scan`",
        ),
        (
            "create pods/portforward",
            Exit::Partial,
            "you may not create pods/portforward in namespace portolan → the chart's Role portolan-viewer",
        ),
        (
            "get pods/portforward",
            Exit::Partial,
            "you may not get pods/portforward in namespace portolan → the chart's Role portolan-viewer",
        ),
        (
            "list pods",
            Exit::Partial,
            "you may not list pods in all namespaces → the chart's Role portolan-viewer",
        ),
    ] {
        let outcome = forbidding(&cluster, &[right]).await;
        assert_eq!(outcome.exit, exit, "{right}: {outcome:?}");
        assert!(outcome.out.contains(found), "{right}: {}", outcome.out);
    }
}

#[tokio::test]
async fn an_agent_that_is_not_ready_is_named_with_the_reason() {
    let cluster = of_two_nodes("doctor-unready").await;
    let mut pod = cluster.server.objects("pods").remove(1);
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
    pod["status"] = json!({
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}],
        "containerStatuses": [
            {"name": "agent", "image": "x", "imageID": "", "ready": false, "restartCount": 0, "state": waiting},
        ],
    });
    cluster.server.put("pods", pod);
    let outcome = cluster.run("doctor").await;
    println!("$ kubectl portolan doctor\n{}{}", outcome.out, outcome.words);
    assert_eq!(outcome.exit, Exit::Partial, "{outcome:?}");
    let row = "not ready: its agent's pod portolan-node-2 is Pending; container agent: ImagePullBackOff: no such image";
    assert!(outcome.out.contains(row), "{}", outcome.out);
}

#[tokio::test]
async fn thousands_of_nodes_are_listed_page_by_page() {
    let cluster = of_two_nodes("doctor-many").await;
    with_nodes(&cluster, (1..=1200).map(|number| format!("node-{number}")));
    let outcome = cluster.run("doctor").await;
    assert_eq!(outcome.exit, Exit::Partial, "{outcome:?}");
    assert!(
        outcome.out.contains("no agent on node-10, ") && outcome.out.contains("and 1178 more"),
        "{}",
        outcome.out
    );
    let pages = cluster.server.log().all();
    let pages = pages.iter().filter(|request| request.path == "/api/v1/nodes").count();
    assert_eq!(pages, 3);
}
