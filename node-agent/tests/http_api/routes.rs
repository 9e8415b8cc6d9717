//! Every route against its golden file, and the contract of lists: filters, pages, entity tags, problems.

use std::sync::atomic::Ordering;

use portolan_engine::model::identity::Protocol;
use portolan_engine::model::listener::DeclarationStatus;
use serde_json::Value;

use crate::exchange::{Answer, get, send};
use crate::golden;
use crate::model::{Node, listener, pod};
use crate::served::{EPOCH, Served};

pub fn shown(answer: &Answer) -> String {
    let mut text = format!("{}\n", answer.status);
    for name in ["content-type", "etag", "allow", "retry-after"] {
        if let Some(value) = answer.header(name) {
            text.push_str(&format!("{name}: {value}\n"));
        }
    }
    let body = match serde_json::from_str::<Value>(&answer.body) {
        Ok(json) => format!("{json:#}"),
        Err(_) => answer.body.clone(),
    };
    format!("{text}\n{body}\n")
}

fn ids(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let items = json["items"].as_array().unwrap_or_else(|| panic!("a list: {json}")).clone();
    items.iter().map(|item| item["id"].as_str().expect("id").to_owned()).collect()
}

#[tokio::test]
async fn every_route_answers_as_its_golden_file_says() {
    let served = Served::start(Node::default()).await;
    for (name, path) in [
        ("findings", "/v1/findings"),
        ("finding", "/v1/findings/multi-port-app-tcp-09090"),
        ("finding-unknown", "/v1/findings/nothing"),
        ("listeners", "/v1/listeners"),
        ("listener", "/v1/listeners/dns-udp-00053"),
        ("listener-unknown", "/v1/listeners/nothing"),
        ("connections", "/v1/connections"),
        ("pod", "/v1/pods/shop/multi-port-app"),
        ("pod-unknown", "/v1/pods/shop/nobody"),
        ("policy", "/v1/policy?namespace=shop&pod=multi-port-app"),
        ("policy-unknown", "/v1/policy?pod=nobody"),
        ("policy-bad", "/v1/policy?colour=red"),
        ("policy-of-nobody", "/v1/policy?namespace=shop"),
        ("status", "/v1/status"),
        ("livez", "/livez"),
        ("readyz", "/readyz"),
        ("no-such-route", "/v2/findings"),
        ("unknown-parameter", "/v1/findings?colour=red"),
        ("bad-limit", "/v1/listeners?limit=5000"),
        ("bad-port", "/v1/connections?port=0"),
        ("bad-severity", "/v1/findings?severity=awful"),
        ("bad-code", "/v1/findings?code=undeclared"),
        ("bad-watch", "/v1/watch?limit=3"),
        ("bad-path", "/v1/findings/%ff"),
    ] {
        golden::check(&format!("{name}.txt"), &shown(&get(served.address, path, "").await));
    }
}

#[tokio::test]
async fn what_a_route_does_not_know_is_refused_with_what_it_does_know_but_not_from_scrapers_and_probes() {
    let served = Served::start(Node::default()).await;
    let document = get(served.address, "/openapi.json", "").await.json();
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() >= 14, "{paths:?}");
    for (path, item) in paths {
        let real = path
            .replace("{id}", "multi-port-app-tcp-09090")
            .replace("{namespace}", "shop")
            .replace("{name}", "multi-port-app");
        let answer = get(served.address, &format!("{real}?colour=red"), "").await;
        // The page itself says what it does not know of its own address.
        if ["/metrics", "/livez", "/readyz", "/"].contains(&path.as_str()) {
            assert_eq!(answer.status, 200, "{path}");
            continue;
        }
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (400, Some("application/problem+json")),
            "{path}"
        );
        let problem = answer.json();
        assert_eq!(problem["pointer"], "query/colour", "{path}");
        let parameters = item["get"]["parameters"].as_array().expect("parameters");
        let known: Vec<&str> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().expect("a name"))
            .collect();
        let expected = if known.is_empty() {
            "unknown parameter; this route takes none".to_owned()
        } else {
            format!("unknown parameter; expected one of {}", known.join(", "))
        };
        assert_eq!(problem["detail"], expected, "{path}");
    }
    for (path, pointer) in [
        ("/v1/findings?limit=1&limit=2", "query/limit"),
        ("/v1/listeners?continue=a&continue=b", "query/continue"),
        ("/v1/explain?target=web&target=db", "query/target"),
        ("/v1/policy?pod=web&pod=db", "query/pod"),
        ("/v1/policy?pod=web&workload=db", "query/workload"),
        ("/v1/policy?namespace=a&namespace=b&pod=web", "query/namespace"),
    ] {
        let answer = get(served.address, path, "").await;
        assert_eq!((answer.status, &answer.json()["pointer"]), (400, &Value::from(pointer)), "{path}");
    }
}

#[tokio::test]
async fn filters_narrow_and_their_alternatives_widen() {
    let served = Served::start(Node::default()).await;
    for (path, then) in [
        ("/v1/listeners?namespace=kube-system", vec!["dns-udp-00053"]),
        ("/v1/listeners?port=22,53", vec!["dns-udp-00053", "nobody-tcp-00022"]),
        ("/v1/listeners?port=22&port=53", vec!["dns-udp-00053", "nobody-tcp-00022"]),
        ("/v1/listeners?protocol=udp", vec!["dns-udp-00053"]),
        ("/v1/listeners?workload=deployment/dns", vec!["dns-udp-00053"]),
        ("/v1/listeners?labels=app%20in%20(dns,db)", vec!["dns-udp-00053"]),
        ("/v1/listeners?labels=app%3Ddns,!app", vec![]),
        ("/v1/listeners?workload=job/dns", vec![]),
        ("/v1/listeners?origin=pod", vec!["multi-port-app-tcp-09090"]),
        ("/v1/listeners?state=closed", vec![]),
        ("/v1/findings?state=resolved", vec!["nobody-tcp-00022"]),
        (
            "/v1/findings?severity=high,medium&pod=multi-port-app&state=open",
            vec!["multi-port-app-tcp-05000", "multi-port-app-tcp-09090"],
        ),
        ("/v1/findings?code=undeclared-active", vec!["multi-port-app-tcp-09090"]),
        ("/v1/findings?namespace=%E2%98%83", vec![]),
    ] {
        assert_eq!(ids(&get(served.address, path, "").await), then, "{path}");
    }
    let closed = get(served.address, "/v1/connections?state=closed", "").await;
    assert_eq!(ids(&closed).len(), 2);
}

#[tokio::test]
async fn pages_together_are_the_whole_list_and_nothing_twice() {
    let owner = || Some(pod("shop", "storm"));
    let listeners =
        (1..=57).map(|port| listener(owner(), Protocol::Tcp, port, DeclarationStatus::Undeclared).into());
    let node = Node { listeners: listeners.collect(), ..Node::default() };
    let served = Served::start(node).await;
    let mut all = Vec::new();
    let mut path = "/v1/listeners?limit=10".to_owned();
    loop {
        let answer = get(served.address, &path, "").await;
        let page = ids(&answer);
        assert!(page.len() <= 10);
        all.extend(page);
        match answer.json()["continue"].as_str() {
            Some(key) => path = format!("/v1/listeners?limit=10&continue={key}"),
            None => break,
        }
    }
    let expected: Vec<String> = (1..=57).map(|port| format!("storm-tcp-{port:05}")).collect();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_page_of_heavy_objects_ends_early_and_says_where_to_go_on() {
    let heavy = |port| {
        let mut one =
            listener(Some(pod("shop", "storm")), Protocol::Tcp, port, DeclarationStatus::Undeclared);
        let peer = listener(None, Protocol::Tcp, 9090, DeclarationStatus::Unknown).traffic.peers.remove(0);
        one.traffic.peers = vec![peer; 500];
        one.into()
    };
    let node = Node { listeners: (1..=1000).map(heavy).collect(), ..Node::default() };
    let served = Served::start(node).await;
    let answer = get(served.address, "/v1/listeners?limit=1000", "").await;
    assert!(answer.body.len() < 2 << 20, "{} bytes", answer.body.len());
    let page = ids(&answer);
    assert!(page.len() > 50 && answer.json()["continue"].as_str() == page.last().map(String::as_str));
}

#[tokio::test]
async fn an_unchanged_generation_of_the_same_run_is_304() {
    let served = Served::start(Node::default()).await;
    let first = get(served.address, "/v1/findings", "").await;
    let tag = first.header("etag").expect("a tag").to_owned();
    assert_eq!(tag, format!("W/\"{EPOCH:x}-7\""));
    for (tags, status) in [
        (tag.clone(), 304),
        (format!("\"other\", {tag}"), 304),
        (tag.trim_start_matches("W/").to_owned(), 304),
        ("W/\"abd-7\"".to_owned(), 200),
        (format!("W/\"{EPOCH:x}-6\""), 200),
        ("7".to_owned(), 200),
        ("\"".to_owned(), 200),
    ] {
        let answer = get(served.address, "/v1/findings", &format!("if-none-match: {tags}\r\n")).await;
        assert_eq!(answer.status, status, "{tags}");
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
        assert_eq!(answer.body.is_empty(), status == 304);
    }
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let served = Served::start(Node::default()).await;
    for (method, rest, status) in [
        ("POST", "content-length: 0\r\n\r\n", 405),
        ("DELETE", "\r\n", 405),
        ("GET", "content-length: 5\r\n\r\nhello", 413),
        ("HEAD", "\r\n", 200),
    ] {
        let request =
            format!("{method} /v1/findings HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{rest}");
        let answer = send(served.address, &request).await;
        assert_eq!(answer.status, status, "{method}");
        if status != 200 {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
    }
}

#[tokio::test]
async fn a_foreign_host_is_refused_and_counted() {
    let served = Served::start(Node::default()).await;
    let ask = async |hosts: &str| {
        let request = format!("GET /v1/findings HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        send(served.address, &request).await.status
    };
    assert_eq!(ask("host: evil.example\r\n").await, 403);
    assert_eq!(ask("host: 10.1.2.3\r\n").await, 403);
    assert_eq!(ask("host: localhost\r\nhost: evil.example\r\n").await, 403);
    assert_eq!(ask("").await, 403);
    assert_eq!(ask(&format!("host: {}\r\n", served.address)).await, 200);
    for path in ["/", "/ui/main.js", "/ui/page.css", "/openapi.json", "/v1/status"] {
        assert_eq!(get(served.address, path, "host: evil.example\r\n").await.status, 403, "{path}");
    }
    let metrics = get(served.telemetry, "/metrics", "host: anything\r\n").await.body;
    assert!(
        metrics.contains("portolan_http_requests_total{route=\"/v1/findings\",status=\"403\"} 4"),
        "{metrics}"
    );
}

#[tokio::test]
async fn telemetry_has_health_and_metrics_and_nothing_else() {
    let served = Served::start(Node::default()).await;
    assert_eq!(get(served.telemetry, "/readyz", "").await.status, 200);
    served.health.ready.store(false, Ordering::Relaxed);
    assert_eq!(get(served.telemetry, "/readyz", "").await.status, 503);
    assert_eq!(get(served.telemetry, "/livez", "").await.status, 200);
    served.health.live.store(false, Ordering::Relaxed);
    assert_eq!(get(served.telemetry, "/livez", "").await.status, 503);
    assert_eq!(get(served.telemetry, "/v1/findings", "").await.status, 404);
    let answer = get(served.telemetry, "/metrics", "").await;
    assert!(
        answer.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text"))
    );
    assert!(answer.body.ends_with("# EOF\n"));
}
