//! Commands that query a running agent: their output, messages and exit codes.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use clap::Parser;
use portolan::args::{Cli, Command};
use portolan::sink::http::Bounds;
use portolan_client::exit::Exit;
use portolan_client::query::{self, console::Console};
use portolan_engine::model::finding::{Finding, FindingState};
use portolan_engine::model::identity::Protocol;
use portolan_engine::model::listener::DeclarationStatus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::exchange::get;
use crate::golden;
use crate::half_list::HalfList;
use crate::model::{Node, connection, listener, pod};
use crate::served::{EPOCH, Scratch, Served, eventually};
use crate::watching::finding_report;

/// An output stream that the test can read while a command writes it.
#[derive(Clone, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("lock").clone()).expect("text")
    }
}

#[derive(Debug)]
pub struct Outcome {
    pub exit: Exit,
    pub out: String,
    pub words: String,
}

pub async fn run(line: &str) -> Outcome {
    let (out, words) = (Written::default(), Written::default());
    let exit = run_into(line, out.clone(), words.clone()).await;
    Outcome { exit, out: out.text(), words: words.text() }
}

async fn run_into(line: &str, out: impl Write, words: impl Write) -> Exit {
    let cli =
        Cli::try_parse_from(std::iter::once("portolan").chain(line.split_whitespace())).expect("parses");
    let mut console = Console::new(out, words);
    match cli.command {
        Command::Findings(args) => query::findings(&args, &mut console).await,
        Command::Listeners(args) => query::listeners(&args, &mut console).await,
        Command::Connections(args) => query::connections(&args, &mut console).await,
        Command::Explain(args) => query::explain::explain(&args, &mut console).await,
        Command::Policy(args) => query::policy::run(&args, &mut console).await,
        Command::Status(args) => query::status(&args, &mut console).await,
        Command::Baseline(args) => query::baseline(&args, &mut console).await,
        Command::Top(args) => query::top(&args, &mut console).await,
        Command::Images(args) => query::images::run(&args, &mut console).await,
        Command::Diff(args) => query::diff::run(&args, &mut console).await,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_command_in_every_format_prints_its_golden_file() {
    let served = Served::start(Node::default()).await;
    for command in ["findings", "listeners", "connections", "status"] {
        for format in ["table", "wide", "json", "yaml", "name"] {
            let outcome = run(&format!("{command} --server {} -o {format}", served.url())).await;
            assert_eq!((outcome.exit, outcome.words.as_str()), (Exit::Fine, ""));
            golden::check(&format!("command-{command}-{format}.txt"), &outcome.out);
        }
    }
}

#[tokio::test]
async fn a_namespace_without_anything_is_said_with_what_to_do() {
    let served = Served::start(Node::default()).await;
    for (line, then) in [
        (
            "top -n nope",
            "No port that is listened on is known in namespace \"nope\" on this node: is the name right",
        ),
        ("top --undeclared -n nope", "No undeclared port that is listened on is known in namespace \"nope\""),
        (
            "top -l app=nope",
            "No port that is listened on is known of pods with the labels app in (nope) on this node",
        ),
        ("baseline --reason x -n nope", "No open finding is known in namespace \"nope\" on this node"),
    ] {
        let outcome = run(&format!("{line} --server {}", served.url())).await;
        assert!(outcome.words.starts_with(then) && outcome.words.lines().count() == 1, "{line}: {outcome:?}");
        assert!(outcome.words.contains("`kubectl portolan` asks all"), "{line}: {outcome:?}");
        assert_eq!(outcome.exit, Exit::Fine, "{line}");
    }
    let json = run(&format!("top -n nope -o json --server {}", served.url())).await;
    assert!(json.words.is_empty() && json.out.contains("\"items\": []"), "{json:?}");
    assert!(Cli::try_parse_from(["portolan", "top", "--limit", "0"]).is_err(), "a table of nothing");
}

#[tokio::test]
async fn a_policy_is_printed_with_its_remarks() {
    let served = Served::start(Node::default()).await;
    let line = format!("policy shop/multi-port-app --server {}", served.url());
    let yaml = run(&line).await;
    assert_eq!((yaml.exit, yaml.words.as_str()), (Exit::Fine, ""));
    golden::check("command-policy-yaml.txt", &yaml.out);
    let json = run(&format!("{line} -o json --observed")).await;
    assert_eq!(json.exit, Exit::Fine);
    golden::check("command-policy-json.txt", &format!("{}---\n{}", json.words, json.out));
}

#[tokio::test]
async fn a_policy_for_a_pod_of_another_node_or_for_no_target_is_told_apart() {
    let served = Served::start(Node::default()).await;
    for (target, exit, words) in [
        (
            "deployment/elsewhere -n shop",
            Exit::Partial,
            "knows no pod of deployment/elsewhere of namespace shop;",
        ),
        ("a/b/c/d", Exit::WrongUse, "\"a/b/c/d\" is no target: expected NAMESPACE/POD, KIND/NAME"),
    ] {
        let outcome = run(&format!("policy {target} --server {}", served.url())).await;
        assert_eq!((outcome.exit, outcome.out.as_str()), (exit, ""), "{outcome:?}");
        assert!(outcome.words.contains(words) && outcome.words.lines().count() == 1, "{outcome:?}");
    }
    served.health.ready.store(false, std::sync::atomic::Ordering::Relaxed);
    let outcome = run(&format!("policy shop/multi-port-app --server {}", served.url())).await;
    assert_eq!(outcome.exit, Exit::Partial);
}

#[tokio::test]
async fn a_unix_socket_is_asked_alike() {
    let served = Served::start(Node::default()).await;
    let scratch = Scratch::new("unix");
    let path = scratch.0.join("api.sock");
    served.also_on(&path).await;
    let by_unix = run(&format!("findings --server unix:{}", path.display())).await;
    let by_tcp = run(&format!("findings --server {}", served.url())).await;
    assert_eq!((by_unix.exit, by_unix.out), (Exit::Fine, by_tcp.out));
}

#[tokio::test]
async fn fail_on_makes_scripts_fail_and_filters_decide_what_counts() {
    let served = Served::start(Node::default()).await;
    for (options, exit) in [
        ("--fail-on high", Exit::FailOn),
        ("--fail-on critical", Exit::Fine),
        ("--fail-on info", Exit::FailOn),
        ("--fail-on high -n kube-system", Exit::Fine),
        ("--fail-on high --severity medium", Exit::Fine),
        ("--fail-on info --state resolved", Exit::Fine),
    ] {
        let outcome = run(&format!("findings --server {} {options}", served.url())).await;
        assert_eq!(outcome.exit, exit, "{options}");
    }
}

#[tokio::test]
async fn long_lists_are_fetched_whole() {
    let owner = || Some(pod("shop", "storm"));
    let many = |port| listener(owner(), Protocol::Tcp, port, DeclarationStatus::Undeclared).into();
    let served = Served::start(Node { listeners: (1..=1234).map(many).collect(), ..Node::default() }).await;
    let outcome = run(&format!("listeners --server {} -o name", served.url())).await;
    assert_eq!(outcome.out.lines().count(), 1234);
    assert_eq!(outcome.out.lines().last(), Some("listener/storm-tcp-01234"));
}

#[tokio::test]
async fn an_empty_answer_says_so_beside_an_empty_table() {
    let served = Served::start(Node { findings: Vec::new(), ..Node::default() }).await;
    let outcome = run(&format!("findings --server {}", served.url())).await;
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Fine, ""));
    assert!(outcome.words.starts_with("No findings: ") && outcome.words.contains("`portolan listeners`"));
    let outcome = run(&format!("listeners --server {} -n nowhere", served.url())).await;
    assert!(outcome.words.starts_with("Nothing matches"), "{}", outcome.words);
}

#[tokio::test]
async fn where_no_finding_is_open_the_suppressed_ones_are_mentioned() {
    let of_model = Node::default().findings;
    let suppressed =
        |finding: &Arc<Finding>| Arc::new(Finding { state: FindingState::Suppressed, ..(**finding).clone() });
    let findings: Vec<_> = of_model[..2].iter().map(suppressed).collect();
    let served = Served::start(Node { findings, ..Node::default() }).await;
    for (options, words) in [
        ("", "No open findings. 2 findings are suppressed by exceptions: --state suppressed shows them.\n"),
        (
            "--code undeclared-active",
            "No open finding matches what was asked. 1 finding is suppressed by an exception: --state suppressed shows it.\n",
        ),
        ("--code port-storm", "Nothing matches what was asked; without these filters there may be more.\n"),
    ] {
        let outcome = run(&format!("findings --server {} {options}", served.url())).await;
        assert_eq!((outcome.exit, outcome.out.as_str(), outcome.words.as_str()), (Exit::Fine, "", words));
    }
}

#[tokio::test]
async fn connections_are_in_the_order_of_time_page_by_page() {
    let listeners = Node::default().listeners;
    // Later numbers open later, and go to listeners with smaller ids.
    let open = |number: u16| Arc::new(connection(&listeners[usize::from(number) % 3], 9 - number));
    let served = Served::start(Node { connections: (0..9).map(open).collect(), ..Node::default() }).await;
    let (mut opened, mut next) = (Vec::new(), String::new());
    loop {
        let page = get(served.address, &format!("/v1/connections?limit=2{next}"), "").await.json();
        let items = page["items"].as_array().expect("items");
        opened.extend(items.iter().map(|item| item["openedAt"].as_str().expect("a time").to_owned()));
        let Some(token) = page["continue"].as_str() else { break };
        next = format!("&continue={token}");
    }
    assert_eq!(opened.len(), 9);
    assert!(opened.is_sorted(), "{opened:?}");
}

#[tokio::test]
async fn an_agent_that_cannot_be_asked_is_one_clear_line() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("address");
    for (options, exit, words) in [
        (
            format!("findings --server http://{gone}"),
            Exit::Partial,
            format!(
                "cannot reach the agent at http://{gone}: connection refused; is `portolan agent` running?"
            ),
        ),
        (
            "status --server unix:/nowhere/portolan.sock".to_owned(),
            Exit::Partial,
            "cannot reach the agent at unix:/nowhere/portolan.sock: no such file or directory; is".to_owned(),
        ),
        (
            format!("listeners --watch --server http://{gone}"),
            Exit::Partial,
            "cannot reach the agent".to_owned(),
        ),
        (
            "findings --server https://x".to_owned(),
            Exit::WrongUse,
            "--server: \"https://x\" is not valid".to_owned(),
        ),
    ] {
        let outcome = run(&options).await;
        assert_eq!(outcome.exit, exit, "{outcome:?}");
        assert!(outcome.words.starts_with(&words) && outcome.words.lines().count() == 1, "{outcome:?}");
        assert_eq!(outcome.out, "");
    }
}

#[tokio::test]
async fn a_wrong_filter_is_wrong_use_and_says_what_would_be_right() {
    // An older agent may know fewer codes than the command.
    let problem = r#"{"title":"Bad Request","status":400,"detail":"\"port-storm\": expected one of unattributed","pointer":"query/code"}"#;
    let length = problem.len();
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\n";
    let url = scripted(vec![format!("{head}Content-Length: {length}\r\n\r\n{problem}")]).await;
    let outcome = run(&format!("findings --server {url} --code port-storm")).await;
    assert_eq!(outcome.exit, Exit::WrongUse);
    assert!(
        outcome.words.contains("query/code: \"port-storm\": expected one of unattributed"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn an_agent_that_is_not_ready_gives_a_partial_answer() {
    let served = Served::start(Node::default()).await;
    served.health.ready.store(false, std::sync::atomic::Ordering::Relaxed);
    let outcome = run(&format!("findings --server {}", served.url())).await;
    assert_eq!(outcome.exit, Exit::Partial);
    assert!(outcome.out.starts_with("SEVERITY") && outcome.words.contains("partial"), "{outcome:?}");
    let outcome = run(&format!("findings --server {} --fail-on high", served.url())).await;
    assert_eq!(outcome.exit, Exit::FailOn);
}

/// Starts a server that gives these answers in order, one per connection, to any request. Returns its URL.
pub async fn scripted(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_partial_and_keeps_what_came() {
    let page = r#"{"schema":"portolan/v1","items":[{"id":"one"}],"continue":"one","generation":1}"#;
    let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{\"items\":[".to_owned();
    let server = scripted(vec![whole, cut]).await;
    let outcome = run(&format!("findings --server {server} -o name")).await;
    assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Partial, "finding/one\n"));
    assert!(outcome.words.starts_with("the answer is partial: the answer of http://"), "{outcome:?}");
}

#[tokio::test]
async fn something_else_on_the_port_is_told_apart() {
    for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "SSH-2.0-OpenSSH_9.2\r\n"] {
        let server = scripted(vec![answer.to_owned()]).await;
        let outcome = run(&format!("findings --server {server}")).await;
        assert_eq!(outcome.exit, Exit::Partial);
        assert_eq!(outcome.words.lines().count(), 1, "{outcome:?}");
    }
}

#[tokio::test]
async fn hostile_text_moves_no_terminal_in_any_format() {
    let evil = "\u{1b}[2J\u{9b}31m\n\u{202e}";
    let mut odd = listener(Some(pod("shop", "odd")), Protocol::Tcp, 80, DeclarationStatus::Undeclared);
    if let Some(process) = &mut odd.process {
        process.name = evil.to_owned();
    }
    let served = Served::start(Node { listeners: vec![odd.into()], ..Node::default() }).await;
    for format in ["table", "wide", "json", "yaml"] {
        let out = run(&format!("listeners --server {} -o {format}", served.url())).await.out;
        let unsafe_char = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!out.contains(unsafe_char), "{format}: {out:?}");
        if format == "json" {
            let json: serde_json::Value = serde_json::from_str(&out).expect("json");
            assert_eq!(json.pointer("/items/0/process/name").and_then(|name| name.as_str()), Some(evil));
        }
    }
}

/// A broken pipe: every write fails.
pub struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_verdict_stands_where_the_reader_is_gone() {
    let served = Served::start(Node::default()).await;
    for (options, exit) in [
        ("--fail-on high", Exit::FailOn),
        ("--fail-on critical", Exit::Fine),
        ("--fail-on high --watch", Exit::FailOn),
        ("--fail-on high --watch -o json", Exit::FailOn),
        ("--fail-on critical --watch -o json", Exit::Fine),
        ("--watch", Exit::Fine),
    ] {
        let line = format!("findings {options} --server {}", served.url());
        assert_eq!(run_into(&line, Gone, io::sink()).await, exit, "{options}");
    }
}

#[tokio::test]
async fn a_change_that_nobody_reads_still_makes_a_watch_fail() {
    let served = Served::start(Node { findings: Vec::new(), ..Node::default() }).await;
    let line = format!("findings --fail-on medium --watch -o name --server {}", served.url());
    let watching = run_into(&line, Gone, io::sink());
    let publishing = async {
        eventually("a client subscribed", || served.log.subscribers() == 1).await;
        served.publish(&finding_report("shop", 7));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        exit = watching => assert_eq!(exit, Exit::FailOn),
        () = publishing => {}
    }
}

#[tokio::test]
async fn a_watch_shows_the_list_then_changes_and_ends_at_fail_on() {
    let served = Served::start(Node { findings: Vec::new(), ..Node::default() }).await;
    let (out, words) = (Written::default(), Written::default());
    let line = format!("findings --watch --fail-on medium -n shop -o name --server {}", served.url());
    let followed = run_into(&line, out.clone(), words);
    let published = async {
        eventually("it subscribed", || served.log.subscribers() == 1).await;
        served.publish(&finding_report("other", 1));
        served.publish(&finding_report("shop", 81));
    };
    let (exit, ()) = tokio::join!(followed, published);
    assert_eq!((exit, out.text().as_str()), (Exit::FailOn, "finding/app-tcp-00081\n"));
}

#[tokio::test]
async fn a_watch_outlives_the_agent_and_lists_anew() {
    let scratch = Scratch::new("watch");
    let path = scratch.0.join("api.sock");
    let first = Served::start(Node::default()).await;
    first.also_on(&path).await;
    let (out, words) = (Written::default(), Written::default());
    let line = format!("findings --watch --fail-on critical -o name --server unix:{}", path.display());
    let (seen, said) = (out.clone(), words.clone());
    let restarts = async {
        eventually("the list is shown", || seen.text().contains("finding/multi-port-app-tcp-09090")).await;
        first.publish(&finding_report("shop", 81));
        eventually("a change is shown", || seen.text().contains("app-tcp-00081")).await;
        first.shut_down();
        eventually("the end is said", || said.text().contains("trying again")).await;
        let second = Served::start_within(Node::default(), Bounds::API, 16, EPOCH + 1).await;
        second.also_on(&path).await;
        eventually("the list is shown again", || seen.text().matches("tcp-09090").count() == 2).await;
        assert!(said.text().contains("listing anew"), "{}", said.text());
        second.publish(&finding_report("shop", 82));
        eventually("a change is shown again", || seen.text().contains("app-tcp-00082")).await;
    };
    tokio::select! {
        exit = run_into(&line, out, words) => panic!("ended: {exit:?}"),
        () = restarts => {}
    }
}

#[tokio::test]
async fn a_list_that_breaks_off_each_time_is_shown_once_and_its_verdict_stands() {
    let served = Served::start(Node::default()).await;
    let half = HalfList::of(&served, true).await;
    let (out, words) = (Written::default(), Written::default());
    let line = format!("findings --watch -o name --server http://{}", half.address);
    tokio::select! {
        exit = run_into(&line, out.clone(), words.clone()) => panic!("ended: {exit:?}"),
        () = half.is_asked(3) => {}
    }
    assert_eq!(out.text().lines().count(), 1, "{}", out.text());
    assert_eq!(words.text().matches("; trying again\n").count(), 1, "{}", words.text());
    assert_eq!(run_into(&format!("{line} --fail-on low"), Gone, io::sink()).await, Exit::FailOn);
}

#[tokio::test]
async fn an_error_is_said_though_nobody_reads_the_report_of_it() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("address");
    let words = Written::default();
    let exit = run_into(&format!("findings -o junit --server http://{gone}"), Gone, words.clone()).await;
    assert_eq!(exit, Exit::Partial);
    assert!(words.text().starts_with("cannot reach the agent"), "{}", words.text());
}

#[tokio::test]
async fn a_reader_that_closes_is_no_error() {
    let served = Served::start(Node::default()).await;
    let (reader, writer) = io::pipe().expect("pipe");
    drop(reader);
    let exit = run_into(&format!("findings --server {}", served.url()), writer, io::sink()).await;
    assert_eq!(exit, Exit::Fine);
}
