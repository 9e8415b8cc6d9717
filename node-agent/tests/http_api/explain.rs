//! `/v1/explain` and `portolan explain`: each kind of target against its golden file, and the messages for unknown and
//! ambiguous targets.

use portolan_client::exit::Exit;

use crate::commands::run;
use crate::exchange::get;
use crate::golden;
use crate::model::Node;
use crate::routes::shown;
use crate::served::Served;

#[tokio::test]
async fn the_route_answers_as_its_golden_files_say() {
    let served = Served::start(Node::default()).await;
    for (name, query) in [
        ("explain-node-port", "?target=:32264"),
        ("explain-pod-port", "?target=web:9090&namespace=shop"),
        ("explain-no-pod", "?target=shop/nobody"),
        ("explain-ambiguous", "?target=twin"),
        ("explain-bad-target", "?target=deploy/shop/web"),
        ("explain-bad-port", "?target=shop/web:0"),
        ("explain-no-target", ""),
        ("explain-unknown-parameter", "?target=web&colour=red"),
    ] {
        let answer = get(served.address, &format!("/v1/explain{query}"), "").await;
        golden::check(&format!("{name}.txt"), &shown(&answer));
    }
}

#[tokio::test]
async fn the_command_prints_every_kind_of_way_as_its_golden_file_says() {
    let served = Served::start(Node::default()).await;
    for (name, exit, target) in [
        ("node-port", Exit::Fine, ":32264"),
        ("health-check-port", Exit::Fine, ":31000"),
        ("node-port-dangling", Exit::Fine, "30081"),
        ("node-port-elsewhere", Exit::Partial, "nodeport/30432"),
        ("node-port-unknown", Exit::Fine, ":30999"),
        ("host-port", Exit::Fine, ":8088"),
        ("host-network-port", Exit::Fine, ":9100"),
        ("host-own-port", Exit::Fine, ":22"),
        ("service", Exit::Fine, "svc/web -n shop"),
        ("service-wrong-name", Exit::Fine, "service/shop/typo"),
        ("service-without-selector", Exit::Partial, "svc/shop/alien"),
        ("service-opaque", Exit::Partial, "svc/sealed:web"),
        ("pod", Exit::Fine, "shop/web"),
        ("pod-port", Exit::Fine, "web:9090"),
        ("pod-port-by-name", Exit::Fine, "web:http"),
        ("pod-port-loopback", Exit::Fine, "web:6060"),
        ("pod-port-silent", Exit::Fine, "web:9091"),
        ("pod-unseen", Exit::Partial, "blue/twin"),
    ] {
        let outcome = run(&format!("explain --server {} {target}", served.url())).await;
        assert_eq!(outcome.exit, exit, "{target}: {outcome:?}");
        assert!(!outcome.out.contains('\u{1b}'), "{target}: {outcome:?}");
        let long = outcome.out.lines().filter(|line| line.chars().count() > 110).collect::<Vec<_>>();
        assert!(long.iter().all(|line| line.contains("kubectl") || line.contains("iptables")), "{long:#?}");
        golden::check(
            &format!("command-explain-{name}.txt"),
            &format!("{}--- said\n{}", outcome.out, outcome.words),
        );
    }
}

#[tokio::test]
async fn other_formats_give_all_that_the_agent_wrote() {
    let served = Served::start(Node::default()).await;
    let json = run(&format!("explain :32264 -o json --server {}", served.url())).await;
    let object: serde_json::Value = serde_json::from_str(&json.out).expect("json");
    assert_eq!(object["kind"], "Explanation");
    assert_eq!(object["ends"][0]["listener"]["process"]["name"], "python3");
    let yaml = run(&format!("explain :32264 -o yaml --server {}", served.url())).await;
    assert!(yaml.out.contains("kind: Explanation\n"), "{}", yaml.out);
    let name = run(&format!("explain :32264 -o name --server {}", served.url())).await;
    assert!(name.out.starts_with("listener/") && name.out.lines().count() == 1, "{}", name.out);
}

#[tokio::test]
async fn what_does_not_exist_or_is_several_is_one_line_that_says_what_to_type() {
    let served = Served::start(Node::default()).await;
    for (target, words) in [
        (
            "shop/nobody",
            "no pod shop/nobody is known on this node; each agent knows the pods of its own node only",
        ),
        ("shop/db", "no pod shop/db is known on this node; there is svc/shop/db"),
        ("svc/curler", "no Service curler is known; there is pod/curler"),
        ("twin", "2 pods are called twin: say which, as one of blue/twin, green/twin"),
        ("shop/web:ftp", "pod shop/web has no port ftp; it has http"),
        ("svc/shop/web:81", "Service shop/web has no port 81; it has 80/TCP"),
        ("deploy/shop/web", "\"deploy/shop/web\" is no target: expected one of [NAMESPACE/]POD, "),
        ("svc/shop/web -n other", "the target says namespace \"shop\", the option \"other\": leave one out"),
    ] {
        let outcome = run(&format!("explain {target} --server {}", served.url())).await;
        assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::WrongUse, ""), "{target}: {outcome:?}");
        assert!(
            outcome.words.starts_with(words) && outcome.words.lines().count() == 1,
            "{target}: {outcome:?}"
        );
    }
}
