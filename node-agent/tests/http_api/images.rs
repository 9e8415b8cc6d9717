//! `kubectl portolan images` of two nodes: digests of one tag, addresses of both families, and names that pods choose.

use std::sync::Arc;

use portolan_client::exit::Exit;
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::listener::{DeclarationStatus, Listener};
use serde_json::{Value, json};

use crate::golden;
use crate::kubectl_portolan::Cluster;
use crate::model::{Node, listener, pod};

/// Returns the digest of an image that was pulled.
fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

/// Returns a listener whose image has this digest.
fn pulled(name: &str, number: u16, digest: String) -> Listener {
    let mut port = listener(Some(pod("shop", name)), Protocol::Tcp, number, DeclarationStatus::Declared);
    port.container.as_mut().expect("a container").image_digest = digest;
    port
}

#[tokio::test]
async fn one_tag_with_two_digests_is_two_images_in_every_output() {
    let mut cluster = Cluster::new("images-digests").await;
    let mut hostile = pulled("evil", 8081, String::new());
    hostile.addresses = vec!["::".parse().expect("address"), "fd00::1".parse().expect("address")];
    hostile.container.as_mut().expect("a container").image = "evil\u{1b}[2J\u{202e}\"<img>:1".to_owned();
    hostile.process.as_mut().expect("a process").name = "a\u{1b}]0;b\n{\"c\"".to_owned();
    let first = vec![Arc::new(pulled("web", 8080, digest('a'))), Arc::new(hostile)];
    let second = vec![Arc::new(pulled("web", 8080, digest('b')))];
    cluster.agent(Node { listeners: first, ..Node::default() }).await;
    cluster.agent(Node { name: "node-2", listeners: second, ..Node::default() }).await;
    for format in ["table", "json", "cyclonedx"] {
        let outcome = cluster.run(&format!("images -o {format}")).await;
        assert_eq!((outcome.exit, outcome.words.as_str()), (Exit::Fine, ""), "{format}");
        golden::check(&format!("cluster-images-{format}.txt"), &outcome.out);
    }
    let outcome = cluster.run("images -o json").await;
    let list: Value = serde_json::from_str(&outcome.out).expect("JSON");
    let digests: Vec<&Value> =
        list["items"].as_array().expect("items").iter().map(|i| &i["digest"]).collect();
    assert_eq!(digests, [&Value::Null, &json!(digest('a')), &json!(digest('b'))]);
}
