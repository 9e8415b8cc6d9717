//! `kubectl portolan findings --watch` and `listeners --watch`: agents that come, break off, are replaced and go, behind a
//! stand-in API server.

use std::io;
use std::net::SocketAddr;

use portolan::sink::http::Bounds;
use portolan_client::exit::Exit;
use portolan_engine::model::finding_code::FindingCode;
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::listener::DeclarationStatus;
use portolan_report::wire::Report;
use portolan_testing::api_server::server::Server;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::commands::{Gone, Written};
use crate::half_list::HalfList;
use crate::kubectl_portolan::{Cluster, of_two_nodes};
use crate::model::{Node, converter, finding, listener, pod};
use crate::served::{EPOCH, Served, eventually};

/// A finding of a node about a port of the pod shop/app.
pub fn change(node: &'static str, port: u16) -> Report {
    let listener =
        listener(Some(pod("shop", "app")), Protocol::Tcp, port, DeclarationStatus::Undeclared).into();
    let mut converter = converter();
    converter.agent = node.into();
    Report::Finding(converter.finding(&finding(FindingCode::UndeclaredReachable, &listener)))
}

fn empty(name: &'static str) -> Node {
    Node { name, findings: Vec::new(), ..Node::default() }
}

/// Forwards to another agent from now on, as if the pod's agent was started again.
pub fn forward_to(server: &Server, node: &str, address: SocketAddr) {
    server.change_settings(|settings| {
        settings.forwards.insert((format!("portolan-{node}"), 9470), address);
    });
}

fn forwards_to(server: &Server, node: &str) -> usize {
    let path = format!("/portolan-{node}/portforward");
    server.log().all().iter().filter(|request| request.path.ends_with(&path)).count()
}

/// Both streams of a command that runs.
#[derive(Clone, Default)]
pub struct Streams {
    pub out: Written,
    pub words: Written,
}

impl Streams {
    pub async fn shows(&self, text: &str) {
        eventually(&format!("{text} is shown"), || self.out.text().contains(text)).await;
    }

    pub async fn says(&self, text: &str) {
        eventually(&format!("{text} is said"), || self.words.text().contains(text)).await;
    }

    fn count_said(&self, text: &str) -> usize {
        self.words.text().matches(text).count()
    }
}

/// Runs a command that must not end before the scenario does.
pub async fn during(cluster: &Cluster, line: &str, streams: &Streams, scenario: impl Future<Output = ()>) {
    let command = cluster.run_into(line, streams.out.clone(), streams.words.clone());
    tokio::select! {
        exit = command => panic!("ended: {exit:?}, {}", streams.words.text()),
        () = scenario => {}
    }
}

#[tokio::test]
async fn a_watch_shows_the_table_of_all_nodes_then_changes_with_their_node() {
    let cluster = of_two_nodes("watch-table").await;
    let table = cluster.run("findings --pods").await.out;
    let streams = Streams::default();
    during(&cluster, "findings --watch", &streams, async {
        streams.shows(&table).await;
        cluster.agents[1].publish(&change("node-2", 82));
        streams.shows(" node-2 MEDIUM    shop/app 82/TCP undeclared-reachable: ").await;
        cluster.agents[0].publish(&change("node-1", 81));
        streams.shows(" node-1 MEDIUM    shop/app 81/TCP undeclared-reachable: ").await;
    })
    .await;
    println!("$ kubectl portolan findings --watch\n{}", streams.out.text());
    assert!(streams.out.text().starts_with(&table), "{}", streams.out.text());
    assert_eq!(streams.words.text(), "");
    // The streams are closed with the command: the agents notice when they write.
    eventually("the port-forwards are closed", || {
        cluster.agents.iter().all(|agent| {
            agent.publish(&change("node-1", 83));
            agent.log.subscribers() == 0
        })
    })
    .await;
}

#[tokio::test]
async fn each_object_of_a_watch_is_a_line_of_json_with_its_node() {
    let cluster = of_two_nodes("watch-json").await;
    for (command, count) in [("findings", 4), ("listeners", 10)] {
        let streams = Streams::default();
        during(&cluster, &format!("{command} --watch -o json"), &streams, async {
            eventually("all are listed", || streams.out.text().lines().count() == count).await;
            if command == "findings" {
                cluster.agents[1].publish(&change("node-2", 82));
                streams.shows("app-tcp-00082").await;
            }
        })
        .await;
        let objects: Vec<Value> =
            streams.out.text().lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
        for node in ["node-1", "node-2"] {
            let of_node = objects.iter().filter(|object| object["node"] == json!(node)).count();
            assert!(of_node >= count / 2, "{node}: {}", streams.out.text());
        }
        let last = objects.last().expect("an object");
        assert!(command != "findings" || last["node"] == json!("node-2"), "{last}");
    }
}

#[tokio::test]
async fn an_agent_that_breaks_off_is_named_once_and_its_changes_come_when_it_is_back() {
    let mut cluster = of_two_nodes("watch-broken").await;
    let streams = Streams::default();
    let killed = cluster.agents.pop().expect("an agent");
    let (server, first) = (&cluster.server, &cluster.agents[0]);
    during(&cluster, "findings --watch -o name", &streams, async {
        eventually("both are followed", || {
            first.log.subscribers() == 1
                && killed.log.subscribers() == 1
                && streams.out.text().lines().count() == 4
        })
        .await;
        drop(killed);
        streams.says("node-2: ").await;
        let before = forwards_to(server, "node-2");
        eventually("it is tried again and again", || forwards_to(server, "node-2") >= before + 3).await;
        first.publish(&change("node-1", 81));
        streams.shows("app-tcp-00081").await;
        assert_eq!(
            (streams.count_said("node-2: "), streams.count_said("\n")),
            (1, 1),
            "{}",
            streams.words.text()
        );
        assert!(streams.words.text().ends_with("; trying again\n"), "{}", streams.words.text());
        let back = Served::start_within(empty("node-2"), Bounds::API, 16, 7).await;
        forward_to(server, "node-2", back.address);
        streams.says("node-2: its agent answers now").await;
        back.publish(&change("node-2", 82));
        streams.shows("app-tcp-00082").await;
    })
    .await;
    println!("stderr:\n{}", streams.words.text());
    assert_eq!(streams.count_said("node-1"), 0, "only that node is listed anew: {}", streams.words.text());
    assert_eq!(streams.out.text().matches("tcp-09090").count(), 2, "{}", streams.out.text());
}

/// Connections to an agent that can be cut while the agent runs. Cut on drop.
struct Wire {
    address: SocketAddr,
    _connections: JoinSet<()>,
}

impl Wire {
    async fn to(agent: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.expect("accepts");
                connections.spawn(async move {
                    let mut far = TcpStream::connect(agent).await.expect("connects");
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, _connections: accepting }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_resumed_and_nothing_is_missed_or_listed_twice() {
    let cluster = of_two_nodes("watch-resumed").await;
    let agent = &cluster.agents[1];
    agent.publish(&change("node-2", 1));
    let wire = Wire::to(agent.address).await;
    forward_to(&cluster.server, "node-2", wire.address);
    let streams = Streams::default();
    during(&cluster, "findings --watch -o name", &streams, async {
        eventually("all are listed", || streams.out.text().lines().count() == 4).await;
        agent.publish(&change("node-2", 2));
        streams.shows("app-tcp-00002").await;
        drop(wire);
        streams.says("node-2: ").await;
        agent.publish(&change("node-2", 3));
        let wire = Wire::to(agent.address).await;
        forward_to(&cluster.server, "node-2", wire.address);
        streams.says("node-2: its agent answers now").await;
        streams.shows("app-tcp-00003").await;
        agent.publish(&change("node-2", 4));
        streams.shows("app-tcp-00004").await;
    })
    .await;
    println!("stderr:\n{}", streams.words.text());
    assert_eq!(streams.out.text().lines().count(), 7, "{}", streams.out.text());
    assert_eq!(streams.count_said("\n"), 2, "{}", streams.words.text());
}

#[tokio::test]
async fn what_is_lost_is_said_with_its_node_and_only_that_node_is_listed_anew() {
    let mut cluster = Cluster::new("watch-lost").await;
    cluster.agent(Node::default()).await;
    let hasty = Served::start_within(Node { name: "node-2", ..Node::default() }, Bounds::API, 1, EPOCH).await;
    forward_to(&cluster.server, "node-2", hasty.address);
    cluster.pod("node-2", "Running");
    let streams = Streams::default();
    during(&cluster, "findings --watch", &streams, async {
        eventually("all are listed", || streams.out.text().matches("shop/multi-port-app").count() == 4).await;
        // The agent keeps one change, and none is read between these.
        for port in 81..86 {
            hasty.publish(&change("node-2", port));
        }
        streams.says("node-2: 4 changes came faster than they were read: listing anew\n").await;
        eventually("it is listed anew", || streams.out.text().matches("SEVERITY").count() == 2).await;
    })
    .await;
    assert!(streams.out.text().contains("shop/app 85/TCP"), "{}", streams.out.text());
    let text = streams.out.text();
    let (_, second) = text.rsplit_once("NODE\n").expect("a table");
    assert!(second.contains("node-2") && !second.contains("node-1"), "{second}");
}

#[tokio::test]
async fn agents_that_come_are_replaced_or_go_are_followed_or_let_go() {
    let mut cluster = Cluster::new("watch-agents").await;
    cluster.agent(empty("node-1")).await;
    cluster.agent(empty("node-2")).await;
    let streams = Streams::default();
    let (third, replacing) = (Served::start(empty("node-3")).await, Served::start(empty("node-2")).await);
    let server = &cluster.server;
    during(&cluster, "findings --watch -o name", &streams, async {
        eventually("both are followed", || cluster.agents.iter().all(|agent| agent.log.subscribers() == 1))
            .await;
        forward_to(server, "node-3", third.address);
        cluster.pod("node-3", "Running");
        streams.says("node-3: has an agent now").await;
        eventually("it is followed", || third.log.subscribers() == 1).await;
        third.publish(&change("node-3", 83));
        streams.shows("app-tcp-00083").await;

        server.delete("pods", "portolan", "portolan-node-1");
        streams.says("node-1: its agent is gone").await;

        server.delete("pods", "portolan", "portolan-node-2");
        forward_to(server, "new", replacing.address);
        let mut pod = server.objects("pods")[0].clone();
        pod["metadata"] = json!({
            "name": "portolan-new", "namespace": "portolan", "labels": pod["metadata"]["labels"].clone(),
        });
        pod["spec"]["nodeName"] = json!("node-2");
        server.put("pods", pod);
        eventually("the new pod is followed", || replacing.log.subscribers() == 1).await;
        replacing.publish(&change("node-2", 82));
        streams.shows("app-tcp-00082").await;
    })
    .await;
    println!("stderr:\n{}", streams.words.text());
}

/// The rows of the last table, which is of one node.
fn last_table(streams: &Streams) -> Vec<String> {
    let text = streams.out.text();
    let (_, rows) = text.rsplit_once("NODE\n").expect("a table");
    rows.lines().map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn a_list_that_breaks_off_again_and_again_leaves_nothing_in_the_table() {
    let cluster = of_two_nodes("watch-half").await;
    let whole = &cluster.agents[1];
    let half = HalfList::of(whole, true).await;
    forward_to(&cluster.server, "node-2", half.address);
    let streams = Streams::default();
    during(&cluster, "findings --watch", &streams, async {
        half.is_asked(2).await;
        forward_to(&cluster.server, "node-2", whole.address);
        streams.says("node-2: its agent answers now").await;
        eventually("its table is shown", || streams.out.text().matches("SEVERITY").count() == 2).await;
    })
    .await;
    let rows = last_table(&streams);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows.iter().all(|row| row.contains("node-2")), "{rows:?}");
}

#[tokio::test]
async fn what_an_agent_listed_before_it_was_replaced_is_not_in_the_table_of_the_next() {
    let mut cluster = Cluster::new("watch-half-replaced").await;
    cluster.agent(Node::default()).await;
    let replacing = Served::start(Node { name: "node-2", ..Node::default() }).await;
    let half = HalfList::of(&replacing, false).await;
    let streams = Streams::default();
    let server = &cluster.server;
    during(&cluster, "findings --watch", &streams, async {
        streams.shows("SEVERITY").await;
        forward_to(server, "node-2", half.address);
        cluster.pod("node-2", "Running");
        half.is_asked(1).await;
        server.delete("pods", "portolan", "portolan-node-2");
        streams.says("node-2: its agent is gone").await;
        forward_to(server, "node-2", replacing.address);
        cluster.pod("node-2", "Running");
        eventually("its table is shown", || streams.out.text().matches("SEVERITY").count() == 2).await;
    })
    .await;
    let rows = last_table(&streams);
    assert_eq!(rows.len(), 2, "{rows:?}");
}

#[tokio::test]
async fn an_api_server_that_is_away_is_said_once() {
    let cluster = of_two_nodes("watch-away").await;
    let streams = Streams::default();
    during(&cluster, "findings --watch -o name", &streams, async {
        eventually("all are listed", || streams.out.text().lines().count() == 4).await;
        cluster.server.go_away().await;
        streams.says("cannot reach the API server").await;
        cluster.server.come_back().await;
        streams.says("the agents' pods can be listed again").await;
        cluster.agents[0].publish(&change("node-1", 81));
        streams.shows("app-tcp-00081").await;
    })
    .await;
    println!("stderr:\n{}", streams.words.text());
    assert_eq!(streams.count_said("cannot reach the API server"), 1, "{}", streams.words.text());
}

#[tokio::test]
async fn a_watch_ends_at_the_first_finding_that_reaches_fail_on() {
    let cluster = of_two_nodes("watch-fail").await;
    let outcome = cluster.run("findings --watch --fail-on high").await;
    assert_eq!((outcome.exit, outcome.words.as_str()), (Exit::FailOn, ""), "{outcome:?}");
    assert_eq!(outcome.out, cluster.run("findings --pods").await.out);

    let mut cluster = Cluster::new("watch-fail-later").await;
    cluster.agent(empty("node-1")).await;
    cluster.agent(empty("node-2")).await;
    let streams = Streams::default();
    let command = cluster.run_into(
        "findings --watch --fail-on medium -n shop -o name",
        streams.out.clone(),
        streams.words.clone(),
    );
    let published = async {
        eventually("both are followed", || cluster.agents.iter().all(|agent| agent.log.subscribers() == 1))
            .await;
        cluster.agents[1].publish(&change("node-2", 82));
    };
    let (exit, ()) = tokio::join!(command, published);
    assert_eq!((exit, streams.out.text().as_str()), (Exit::FailOn, "finding/app-tcp-00082\n"));
}

#[tokio::test]
async fn a_reader_that_closes_the_pipe_ends_a_watch_and_the_verdict_stands() {
    let cluster = of_two_nodes("watch-pipe").await;
    for (options, exit) in [
        ("-o json", Exit::Fine),
        ("", Exit::Fine),
        ("--fail-on critical -o json", Exit::Fine),
        ("--fail-on high -o json", Exit::FailOn),
        ("--fail-on high", Exit::FailOn),
    ] {
        let line = format!("findings --watch {options}");
        assert_eq!(cluster.run_into(&line, Gone, io::sink()).await, exit, "{line}");
    }
}

#[tokio::test]
async fn the_verdict_of_a_watch_stands_where_nobody_reads_which_nodes_are_missing() {
    let cluster = of_two_nodes("watch-no-messages").await;
    cluster.pod("node-3", "Pending");
    for (severity, exit) in [("high", Exit::FailOn), ("critical", Exit::Fine)] {
        let line = format!("findings --watch --fail-on {severity}");
        assert_eq!(cluster.run_into(&line, io::sink(), Gone).await, exit, "{line}");
    }
}

#[tokio::test]
async fn a_finding_that_was_shown_makes_a_watch_fail_also_if_no_agent_is_left() {
    let cluster = Cluster::new("watch-half-fails").await;
    let half = HalfList::of(&Served::start(Node::default()).await, true).await;
    forward_to(&cluster.server, "node-1", half.address);
    cluster.pod("node-1", "Running");
    for (severity, exit) in [("low", Exit::FailOn), ("critical", Exit::Partial)] {
        let outcome = cluster.run(&format!("findings --watch --fail-on {severity} -o name")).await;
        assert_eq!((outcome.exit, outcome.out.lines().count()), (exit, 1), "{outcome:?}");
        assert!(outcome.words.starts_with("the answer is partial: of 1 nodes"), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_wrong_question_ends_a_watch_and_an_older_agent_is_left_out() {
    let mut cluster = of_two_nodes("watch-wrong").await;
    let outcome = cluster.run("findings --watch --state nonsense").await;
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::WrongUse, ""), "{outcome:?}");
    assert!(outcome.words.contains("nonsense") && outcome.words.lines().count() == 1, "{outcome:?}");
    let outcome = cluster.run("findings --watch -o junit").await;
    assert_eq!(outcome.exit, Exit::WrongUse, "{outcome:?}");
    assert!(outcome.words.starts_with("-o junit is a report of one time"), "{outcome:?}");

    let problem = json!({"pointer": "query/labels", "detail": "unknown parameter"});
    cluster.agent_that_says("node-3", 2, "400 Bad Request", &problem).await;
    let streams = Streams::default();
    let last = cluster.agents.pop().expect("an agent");
    during(&cluster, "findings --watch -l app=app -o name", &streams, async {
        streams.says("node-3: its agent, perhaps an older one, refuses the question").await;
        eventually("it is followed", || last.log.subscribers() == 1).await;
        last.publish(&change("node-2", 82));
        streams.shows("app-tcp-00082").await;
    })
    .await;
    let words = streams.words.text();
    println!("stderr:\n{words}");
    assert!(words.starts_with("the answer is partial: of 3 nodes with an agent, 1 could"), "{words}");
}

#[tokio::test]
async fn nodes_that_are_missing_at_the_start_are_named_and_shown_when_they_answer() {
    let mut cluster = Cluster::new("watch-start").await;
    cluster.pod("node-2", "Running");
    let outcome = cluster.run("findings --watch").await;
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Partial, ""), "{outcome:?}");
    assert!(outcome.words.contains("  node-2: failed to connect to localhost:9470"), "{outcome:?}");

    cluster.agent(Node::default()).await;
    cluster.pod("node-3", "Pending");
    let late = [
        Served::start(Node { name: "node-2", ..Node::default() }).await,
        Served::start(empty("node-3")).await,
    ];
    let streams = Streams::default();
    during(&cluster, "findings --watch", &streams, async {
        streams.says("of 3 nodes with an agent, 2 could not be asked in full:").await;
        streams.says("  node-3: its agent's pod portolan-node-3 is Pending").await;
        forward_to(&cluster.server, "node-2", late[0].address);
        streams.says("node-2: its agent answers now").await;
        eventually("its table is shown", || streams.out.text().matches("SEVERITY").count() == 2).await;
        forward_to(&cluster.server, "node-3", late[1].address);
        cluster.pod("node-3", "Running");
        streams.says("node-3: its agent's pod runs now").await;
        streams.says("node-3: its list is empty").await;
    })
    .await;
    println!("stderr:\n{}\nstdout:\n{}", streams.words.text(), streams.out.text());
}
