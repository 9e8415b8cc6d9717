//! `kubectl portolan ui`: who may read the page, the merged answers for all nodes, and what a browser is told.

use serde_json::{Value, json};

use crate::chart_agent::{ChartAgent, pod, row};
use crate::cluster_watch::{Streams, change, during};
use crate::exchange::{Following, send};
use crate::kubectl_portolan::{Cluster, of_two_nodes};
use crate::served::eventually;
use crate::ui_page::{UiPage, ask, is_up, printed};

const UI: &str = "ui --no-browser";

/// Three nodes: two have a pod of shop/web each, and the port of node-1 is called from node-3.
async fn three_nodes(name: &str) -> (Cluster, [ChartAgent; 3]) {
    let cluster = Cluster::new(name).await;
    let mut called = row("web-9229", "web", "high", 5);
    called.callers = serde_json::from_value(json!([
        {"origin": "external", "address": "10.244.3.9", "connections": 4, "packets": 0},
        {"origin": "external", "address": "192.168.7.7", "connections": 1, "packets": 0},
    ]))
    .expect("callers");
    let agents = [
        ChartAgent::of(&cluster, "node-1", vec![called], vec![pod("node-1", "web", 1, "10.244.1.7")]).await,
        ChartAgent::of(
            &cluster,
            "node-2",
            vec![row("web-9229", "web", "critical", 2), row("api-9229", "api", "low", 0)],
            vec![pod("node-2", "web", 2, "10.244.2.7"), pod("node-2", "api", 1, "10.244.2.8")],
        )
        .await,
        ChartAgent::of(
            &cluster,
            "node-3",
            Vec::new(),
            vec![pod("node-3", "web", 3, "10.244.3.7"), pod("node-3", "shell", 1, "10.244.3.9")],
        )
        .await,
    ];
    (cluster, agents)
}

fn row_of<'a>(chart: &'a Value, fingerprint: &str) -> &'a Value {
    let rows = chart["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["fingerprint"] == *fingerprint).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn the_printed_url_opens_the_page_once_and_for_one_browser() {
    let (cluster, _agents) = three_nodes("ui-key").await;
    let streams = Streams::default();
    during(&cluster, "ui --no-browser severity=high&q=a%20b", &streams, async {
        is_up(&streams).await;
        let (address, path) = printed(&streams).await;
        assert!(address.ip().is_loopback(), "{address}");
        for path in ["/", "/v1/chart", "/ui/main.js", "/?key=0", "/v1/watch"] {
            let answer = ask(address, path, "").await;
            assert_eq!(answer.status, 403, "{path}: {answer:?}");
            assert!(answer.body.contains("run it again") && answer.body.lines().count() == 1, "{answer:?}");
        }
        let entered = ask(address, &path, "").await;
        assert_eq!((entered.status, entered.header("location")), (303, Some("/?severity=high&q=a%20b")));
        let cookie = entered.header("set-cookie").expect("a cookie");
        assert!(cookie.starts_with(&format!("portolan-{}=", address.port())), "{cookie}");
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
        let page = UiPage { address, cookie: cookie.split(';').next().expect("a value").to_owned() };
        eventually("the opening is told", || streams.words.text().contains("the page was opened at ")).await;
        assert_eq!(ask(address, &path, "").await.status, 403, "the key is spent");
        let html = page.get("/?severity=high").await;
        assert_eq!((html.status, html.header("content-type")), (200, Some("text/html; charset=utf-8")));
        let policy = html.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert_eq!(page.get("/ui/main.js").await.status, 200);
        assert_eq!(page.get("/ui/../Cargo.toml").await.status, 404);
    })
    .await;
    let words = streams.words.text();
    assert!(words.contains("on 127.0.0.1 only"), "{words}");
    assert_eq!(
        words.matches("the page was opened at ").count(),
        1,
        "the second attempt opens nothing: {words}"
    );
    assert_eq!(streams.out.text().lines().count(), 1, "only the URL: {}", streams.out.text());
}

#[tokio::test]
async fn other_names_other_sites_and_other_methods_are_refused_also_with_the_cookie() {
    let (cluster, _agents) = three_nodes("ui-foreign").await;
    let streams = Streams::default();
    during(&cluster, UI, &streams, async {
        let page = UiPage::open(&streams).await;
        let (address, cookie) = (page.address, &page.cookie);
        let raw = async |method: &str, host: &str, more: &str| {
            let head = format!("{method} /v1/agents HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
            send(address, &format!("{head}cookie: {cookie}\r\n{more}\r\n")).await.status
        };
        let own = address.to_string();
        assert_eq!(raw("GET", &own, "sec-fetch-site: same-origin\r\n").await, 200);
        assert_eq!(raw("GET", &format!("localhost:{}", address.port()), "").await, 200);
        assert_eq!(raw("GET", &format!("evil.example:{}", address.port()), "").await, 403);
        assert_eq!(raw("GET", &own, "sec-fetch-site: cross-site\r\n").await, 403);
        assert_eq!(raw("GET", &own, "sec-fetch-site: same-site\r\n").await, 403, "a page of another port");
        assert_eq!(raw("POST", &own, "content-length: 0\r\n").await, 405);
        assert_eq!(raw("GET", &own, &"x-a: b\r\n".repeat(500)).await, 431);
        let head = raw("HEAD", &own, "").await;
        assert_eq!(head, 200);
        for path in
            ["/v1/chart?colour=red", "/v1/chart?severity=x", "/v1/chart?declared=1001", "/v1/agents?x=1"]
        {
            let answer = page.get(path).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (400, Some("application/problem+json"))
            );
            assert!(answer.json()["detail"].as_str().is_some_and(|text| !text.is_empty()), "{answer:?}");
        }
        assert_eq!(page.get("/v1/watch?namespace=shop").await.status, 400);
        assert_eq!(page.get("/openapi.json").await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn the_rows_of_all_nodes_are_one_chart_with_callers_of_other_nodes_named() {
    let (cluster, _agents) = three_nodes("ui-merged").await;
    let streams = Streams::default();
    during(&cluster, UI, &streams, async {
        let page = UiPage::open(&streams).await;
        let chart = page.whole().await;
        println!("{chart:#}");
        let web = row_of(&chart, "web-9229");
        assert_eq!((&web["pods"], &web["podsTotal"]), (&json!(2), &json!(3)), "2 of 3 pods");
        assert_eq!((&web["connections"], &web["severity"]), (&json!(7), &json!("critical")));
        assert_eq!(web["nodes"], json!(["node-1", "node-2"]));
        let callers = web["callers"].as_array().expect("callers");
        assert_eq!((&callers[0]["pod"], &callers[0]["origin"]), (&json!("shell-1"), &json!("pod")));
        assert_eq!(callers[0]["workload"], json!({"kind": "Deployment", "name": "shell"}));
        assert_eq!((&callers[1]["address"], &callers[1]["pod"]), (&json!("192.168.7.7"), &Value::Null));
        assert_eq!(chart["totals"]["open"], json!({"critical": 1, "low": 1}));
        assert_eq!((&chart["totals"]["listeners"], &chart["node"]), (&json!(21), &Value::Null));

        let high = page.json("/v1/chart?severity=critical&q=web%20-api").await;
        assert_eq!(high["rows"].as_array().map(Vec::len), Some(1));
        assert_eq!(high["totals"]["open"], json!({"critical": 1}), "counts are those of the filter");
        let one = page.json("/v1/chart?fingerprint=api-9229,gone").await;
        assert_eq!(one["rows"].as_array().map(Vec::len), Some(1), "{one}");
        let by_caller = page.json("/v1/chart?caller=shop/shell").await;
        assert_eq!(row_of(&by_caller, "web-9229")["connections"], json!(7));
        assert_eq!(by_caller["rows"].as_array().map(Vec::len), Some(1));
        let csv = page.get("/v1/chart?output=csv&workload=web").await;
        assert_eq!((csv.status, csv.body.trim_end().lines().count()), (200, 2), "{csv:?}");
        assert_eq!(csv.header("content-disposition"), Some("attachment; filename=\"portolan.csv\""));
        assert_eq!(csv.header("portolan-counted-ports"), Some("0"));
        let labelled = page.json("/v1/chart?labels=app%3Dweb").await;
        let nodes = &row_of(&labelled, "web-9229")["nodes"];
        assert_eq!(nodes, &json!(["node-1", "node-2"]), "whatever the agents call them");
        let lines = page.get("/v1/chart?output=ndjson").await;
        assert_eq!(lines.body.lines().count(), 2, "{lines:?}");

        let agents = page.json("/v1/agents").await;
        let agent = &agents["items"][2];
        assert_eq!((&agent["node"], &agent["state"]), (&json!("node-3"), &json!("up")));
        assert_eq!((&agent["pods"], &agent["lost"]), (&json!(2), &json!({"ring-full": 2})));
        assert_eq!(agent["version"], json!("0.2.0"));
        assert_eq!(page.json("/v1/pods").await["items"].as_array().map(Vec::len), Some(5));
    })
    .await;
}

#[tokio::test]
async fn a_node_whose_agent_is_killed_is_missing_until_it_is_back() {
    let (cluster, agents) = three_nodes("ui-killed").await;
    let streams = Streams::default();
    during(&cluster, UI, &streams, async {
        let page = UiPage::open(&streams).await;
        page.whole().await;
        let mut events = page.follow("Agent", "").await;
        let [first, second, third] = agents;
        drop(second);
        let partial = page.until("/v1/chart", "partial", |chart| chart["missing"] != json!([])).await;
        let missing = &partial["missing"][0];
        assert_eq!((&missing["node"], &missing["pods"]), (&json!("node-2"), &json!(2)));
        assert!(missing["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{missing}");
        assert!(missing["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{missing}");
        let web = row_of(&partial, "web-9229");
        assert_eq!(
            (&web["pods"], &web["podsTotal"]),
            (&json!(1), &json!(3)),
            "its pods are known, not its ports"
        );
        assert_eq!(row_of(&partial, "api-9229"), &Value::Null);
        for form in ["csv", "ndjson"] {
            let export = page.get(&format!("/v1/chart?output={form}")).await;
            let name = format!("attachment; filename=\"portolan-incomplete.{form}\"");
            assert_eq!(export.header("content-disposition"), Some(name.as_str()));
            assert_eq!(export.header("portolan-missing-nodes"), Some("1"));
        }
        events.until("\"node\":\"node-2\",\"state\":\"down\"").await;
        events.until("event: lost\ndata: {\"node\":\"node-2\"}").await;

        let back = ChartAgent::start("node-2", vec![row("api-9229", "api", "low", 1)], Vec::new()).await;
        cluster.forward("node-2", back.address);
        let whole = page.whole().await;
        assert_eq!(row_of(&whole, "api-9229")["connections"], json!(1));
        events.until("\"node\":\"node-2\",\"state\":\"up\"").await;
        drop((first, third));
    })
    .await;
}

#[tokio::test]
async fn agents_that_come_and_go_are_followed() {
    let (cluster, agents) = three_nodes("ui-come").await;
    let streams = Streams::default();
    during(&cluster, UI, &streams, async {
        let page = UiPage::open(&streams).await;
        page.whole().await;
        let _fourth =
            ChartAgent::of(&cluster, "node-4", vec![row("new-9229", "new", "high", 1)], Vec::new()).await;
        page.until("/v1/chart", "four", |chart| row_of(chart, "new-9229") != &Value::Null).await;
        cluster.server.delete("pods", "portolan", "portolan-node-2");
        let agents = page
            .until("/v1/agents", "three", |agents| agents["items"].as_array().map(Vec::len) == Some(3))
            .await;
        assert!(!agents.to_string().contains("node-2"), "{agents}");
        let chart = page.json("/v1/chart").await;
        assert_eq!((row_of(&chart, "api-9229"), &chart["missing"]), (&Value::Null, &json!([])));
        cluster.pod("node-5", "Pending");
        let agents = page
            .until("/v1/agents", "four", |agents| agents["items"].as_array().map(Vec::len) == Some(4))
            .await;
        let pending = &agents["items"][3];
        assert_eq!((&pending["node"], &pending["state"]), (&json!("node-5"), &json!("down")));
        assert!(pending["reason"].as_str().is_some_and(|reason| reason.ends_with("is Pending")), "{pending}");
    })
    .await;
    drop(agents);
}

#[tokio::test]
async fn a_finding_is_told_when_its_row_is_there_and_one_row_alone_is_asked_for() {
    let (cluster, agents) = three_nodes("ui-finding").await;
    let streams = Streams::default();
    during(&cluster, UI, &streams, async {
        let page = UiPage::open(&streams).await;
        page.whole().await;
        let mut events = page.follow("Finding", "").await;
        agents[2].is_followed().await;
        agents[2].set_rows(vec![row("late-9229", "late", "critical", 3)]);
        agents[2].tell("late-9229");
        events.until("event: Finding\ndata: {").await;
        events.until("\"fingerprint\":\"late-9229\"").await;
        let one = page.json("/v1/chart?fingerprint=late-9229").await;
        assert_eq!(row_of(&one, "late-9229")["nodes"], json!(["node-3"]), "{one}");
        assert_eq!(agents[2].asked("fingerprint=late-9229"), 1);
        assert_eq!((agents[0].asked("fingerprint="), agents[1].asked("fingerprint=")), (0, 0));

        agents[2].set_rows(Vec::new());
        agents[2].tell("late-9229");
        page.until("/v1/chart?fingerprint=late-9229", "gone", |chart| chart["rows"] == json!([])).await;
        assert_eq!(page.json("/v1/chart").await["totals"]["open"], json!({"critical": 1, "low": 1}));
    })
    .await;
}

#[tokio::test]
async fn a_finding_with_another_fingerprint_moves_its_row() {
    let (cluster, agents) = three_nodes("ui-renamed").await;
    let streams = Streams::default();
    during(&cluster, UI, &streams, async {
        let page = UiPage::open(&streams).await;
        page.whole().await;
        agents[2].is_followed().await;
        agents[2].set_rows(vec![row("before-9229", "late", "critical", 3)]);
        agents[2].tell("before-9229");
        let path = "/v1/chart?fingerprint=before-9229,after-9229";
        page.until(path, "told", |chart| row_of(chart, "before-9229") != &Value::Null).await;
        agents[2].set_rows(vec![row("after-9229", "late", "critical", 3)]);
        agents[2].tell_renamed("after-9229", "before-9229");
        let renamed = page.until(path, "renamed", |chart| row_of(chart, "after-9229") != &Value::Null).await;
        assert_eq!(row_of(&renamed, "before-9229"), &Value::Null, "the port counts once: {renamed}");
        assert_eq!(renamed["totals"]["open"], json!({"critical": 1}));
    })
    .await;
}

#[tokio::test]
async fn counts_of_all_nodes_are_told_whole_first_and_then_those_that_changed() {
    let (cluster, agents) = three_nodes("ui-traffic").await;
    let streams = Streams::default();
    during(&cluster, UI, &streams, async {
        let page = UiPage::open(&streams).await;
        page.whole().await;
        let mut events = page.follow("Traffic", "").await;
        let text =
            events.until("\"fingerprint\":\"web-9229\",\"attempts\":7,\"connections\":7").await.to_owned();
        let counts = text.split("\n\n").find(|event| event.contains("event: Traffic")).expect("the counts");
        assert!(!counts.contains("id: "), "no follower goes on from counts: {text}");
        agents[1].is_followed().await;
        agents[1].count("web-9229", 100);
        let text = events.until("\"attempts\":105,\"connections\":105").await.to_owned();
        assert_eq!(text.matches("api-9229").count(), 0, "it was never called: {text}");
        let web = page.json("/v1/chart?fingerprint=web-9229").await;
        assert_eq!(row_of(&web, "web-9229")["connections"], json!(105), "the chart has the same counts");
    })
    .await;
}

#[tokio::test]
async fn losses_and_the_status_of_an_agent_are_passed_on() {
    let (cluster, agents) = three_nodes("ui-loss").await;
    let streams = Streams::default();
    during(&cluster, UI, &streams, async {
        let page = UiPage::open(&streams).await;
        page.whole().await;
        let mut events = page.follow("Loss", "").await;
        agents[0].is_followed().await;
        let before = agents[0].asked("/v1/status");
        agents[0].send("id: e-2\nevent: Loss\ndata: {\"kind\":\"Loss\",\"reason\":\"ring-full\"}\n\n");
        events.until("event: Loss\ndata: {\"kind\":\"Loss\"").await;
        assert_eq!(agents[0].asked("/v1/status"), before + 1, "the status counts them");
    })
    .await;
}

/// Returns the ids that came.
fn ids(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("id: "));
    lines.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn a_browser_that_comes_back_gets_what_it_missed_or_is_told_to_read_anew() {
    let (cluster, agents) = three_nodes("ui-resumed").await;
    let streams = Streams::default();
    during(&cluster, UI, &streams, async {
        let page = UiPage::open(&streams).await;
        page.whole().await;
        let mut events = page.follow("Finding", "").await;
        agents[0].is_followed().await;
        agents[0].tell("web-9229");
        let text = events.until("\"id\":\"finding-web-9229\"").await.to_owned();
        let last = ids(&text).pop().expect("an id");
        drop(events);
        agents[1].is_followed().await;
        agents[1].tell("api-9229");
        page.until("/v1/chart", "told", |chart| chart["asOf"] != json!(last)).await;
        let mut back = page.follow("Finding", &format!("last-event-id: {last}\r\n")).await;
        let text = back.until("\"id\":\"finding-api-9229\"").await.to_owned();
        assert!(!text.contains("finding-web-9229") && !text.contains("event: reset"), "{text}");
        for id in ["1-0", "x", "-"] {
            let mut other: Following = page.follow("Finding", &format!("last-event-id: {id}\r\n")).await;
            other.until("event: reset").await;
        }
    })
    .await;
}

#[tokio::test]
async fn more_followers_than_there_may_be_are_refused() {
    let (cluster, _agents) = three_nodes("ui-followers").await;
    let streams = Streams::default();
    during(&cluster, UI, &streams, async {
        let page = UiPage::open(&streams).await;
        let mut all = Vec::new();
        for _ in 0..16 {
            all.push(page.follow("Finding", "").await);
        }
        assert_eq!(page.get("/v1/watch").await.status, 503);
        assert_eq!(page.get("/v1/agents").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn single_findings_the_way_in_and_the_lists_come_from_the_agents() {
    let cluster = of_two_nodes("ui-single").await;
    let streams = Streams::default();
    during(&cluster, UI, &streams, async {
        let page = UiPage::open(&streams).await;
        page.whole().await;
        let finding = page.json("/v1/findings/multi-port-app-tcp-09090").await;
        assert_eq!((&finding["kind"], &finding["code"]), (&json!("Finding"), &json!("undeclared-active")));
        for id in ["nobody", "..%2F..%2Fstatus", ""] {
            assert_eq!(page.get(&format!("/v1/findings/{id}")).await.status, 404, "{id}");
        }
        let remedies = page.json("/v1/findings/multi-port-app-tcp-09090/remedies").await;
        let best = &remedies["items"][0];
        assert_eq!(best["kind"], json!("shut-out"), "{remedies}");
        assert!(best["yaml"].as_str().is_some_and(|yaml| yaml.contains("node-1, node-2")), "{best}");
        assert_eq!(page.get("/v1/findings/nobody/remedies").await.status, 404);
        let explained = page.json("/v1/explain?target=:30081").await;
        assert_eq!(explained["ends"].as_array().map(Vec::len), Some(2), "an end on each node: {explained}");
        assert_eq!(page.get("/v1/explain?target=nowhere/nothing").await.status, 404);
        assert_eq!(page.get("/v1/explain?target=a:b:c:d").await.status, 400);
        let list = page.json("/v1/findings").await;
        assert_eq!((list["items"].as_array().map(Vec::len), &list["missing"]), (Some(4), &json!([])));
        let listeners = page.json("/v1/listeners?namespace=shop").await;
        assert!(listeners["items"].as_array().is_some_and(|items| items.len() > 2), "{listeners}");
        assert_eq!(page.get("/v1/findings?colour=red").await.status, 400);
        let mut events = page.follow("Finding", "").await;
        cluster.agents[1].publish(&change("node-2", 82));
        events.until("\"id\":\"app-tcp-00082\"").await;
    })
    .await;
}
