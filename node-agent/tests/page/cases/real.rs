//! The agent itself with real sockets of real processes in network namespaces, seen on its page. Needs root.

use std::collections::BTreeSet;
use std::process::Command;

use libtest_mimic::Trial;
use portolan_testing::tools;
use serde_json::{Value, json};

use super::case;
use crate::harness::browser::Browser;
use crate::harness::gate::{Beyond, Gate};
use crate::kernel::actor::Actor;
use crate::kernel::agent::{Agent, Stdout, binary};
use crate::kernel::world::World;

pub fn cases(driver: &str) -> Vec<Trial> {
    let is_root = rustix::process::geteuid().is_root();
    let all = vec![
        case("real/ports_of_processes_and_their_callers_are_on_the_page", driver, ports),
        case("real/a_port_that_opens_or_closes_changes_the_page", driver, opens_and_closes),
        case("real/an_agent_that_is_killed_and_started_again_needs_no_reload", driver, restarted),
        case("real/the_table_has_the_findings_of_the_command_line", driver, same_findings),
        case("real/copied_drafts_parse_and_are_accepted", driver, drafts),
    ];
    all.into_iter().map(|one| one.with_ignored_flag(!is_root)).collect()
}

/// Runs what waits for real processes, while the tasks of the runtime go on.
fn blocking<T>(act: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(act)
}

/// A node with pods `web` (declares 8080) and `curler`, and the page of its agent.
struct Node {
    world: World,
    web: Actor,
    curler: Actor,
    gate: Gate,
}

impl Node {
    async fn new() -> Self {
        let (world, web, curler) = blocking(|| {
            let world = World::new(&["web:8080", "curler"]);
            let (web, curler) = (world.actor("web"), world.actor("curler"));
            web.serve("0.0.0.0:8080");
            (world, web, curler)
        });
        let gate = Gate::before(Beyond::Unix(world.scratch.path("api.sock"))).await;
        Self { world, web, curler, gate }
    }

    fn agent(&self, options: &[&str]) -> Agent {
        blocking(|| self.world.agent_with(options, Stdout::Read))
    }

    fn page(&self, query: &str) -> String {
        format!("{}/{}{query}", self.gate.url(), if query.is_empty() { "" } else { "?" })
    }

    /// Opens a port of `web`, and waits until the agent has its finding.
    fn undeclared(&self, agent: &Agent, port: u16) {
        blocking(|| {
            self.web.serve(&format!("0.0.0.0:{port}"));
            self.world.finding(agent, "web", port, |finding| finding.state == "open");
        });
    }
}

/// Returns a script that is true if a row of the list has all these texts.
fn row_has(texts: &[&str]) -> String {
    let texts = json!(texts);
    format!(
        "return page.all('[data-open]').some((at) => {texts}.every((text) => at.textContent.includes(text)))"
    )
}

async fn opened(driver: &str, node: &Node, query: &str) -> Browser {
    let browser = Browser::start(driver).await;
    browser.size(1440, 1400).await;
    browser.open(&node.page(query)).await;
    browser
}

async fn ports(driver: String) {
    let node = Node::new().await;
    let agent = node.agent(&[]);
    node.undeclared(&agent, 9229);
    blocking(|| {
        node.curler.connect_many(node.world.v4("web", 9229), 37);
        node.world.finding(&agent, "web", 9229, |finding| finding.traffic.connections >= 37);
    });
    let browser = opened(&driver, &node, "q=web").await;
    browser.until("the port with its count", &row_has(&["9229", "high", "37"])).await;
    browser.run("page.all('[data-open]').find((at) => at.textContent.includes('9229')).click()", &[]).await;
    browser
        .until(
            "the detail names the caller",
            "return /curler/.test(document.querySelector('.side').innerText)",
        )
        .await;
    let drawn = "return page.all('.chart .port').some((at) => /^Port 9229 TCP of tier\\/web/.test(at.getAttribute('aria-label')))";
    browser.until("the chart has it", drawn).await;
    assert_eq!(browser.noted().await, Vec::<String>::new());
    browser.picture("real-agent").await;
}

async fn opens_and_closes(driver: String) {
    let node = Node::new().await;
    let agent = node.agent(&[]);
    node.undeclared(&agent, 9229);
    let browser = opened(&driver, &node, "namespace=tier").await;
    browser.until("the first port", &row_has(&["9229"])).await;
    node.undeclared(&agent, 5005);
    browser
        .until("the second port waits", "return /1 new/.test(document.getElementById('news').innerText)")
        .await;
    browser.run("document.querySelector('[data-show]').click()", &[]).await;
    browser.until("it is shown", &row_has(&["5005"])).await;
    blocking(|| node.web.kill());
    browser
        .until("both are resolved", "return /2 resolved/.test(document.getElementById('news').innerText)")
        .await;
}

async fn restarted(driver: String) {
    let node = Node::new().await;
    let agent = node.agent(&[]);
    node.undeclared(&agent, 9229);
    let browser = opened(&driver, &node, "namespace=tier").await;
    browser.until("the port", &row_has(&["9229"])).await;
    browser.run("window.__stays = true", &[]).await;
    blocking(|| agent.kill());
    browser
        .until("the page says so", "return /Not live/.test(document.getElementById('live').innerText)")
        .await;
    browser.until("old rows stay", &row_has(&["9229"])).await;
    let agent = node.agent(&[]);
    node.undeclared(&agent, 5005);
    browser.until("it is live again", "return /^Live/.test(document.getElementById('live').innerText)").await;
    browser
        .until(
            "both ports",
            "document.querySelector('[data-show]')?.click(); return page.all('[data-open]').length === 2",
        )
        .await;
    assert_eq!(browser.run("return window.__stays", &[]).await, true);
}

async fn same_findings(driver: String) {
    let node = Node::new().await;
    let agent = node.agent(&[]);
    for port in [9229, 5005, 6060] {
        node.undeclared(&agent, port);
    }
    blocking(|| {
        node.web.serve("127.0.0.1:7070");
        node.world.finding(&agent, "web", 7070, |finding| finding.state == "open");
    });
    let browser = opened(&driver, &node, "view=table&namespace=tier").await;
    browser.until("four rows", "return page.all('#table [data-open]').length === 4").await;
    let table: Vec<String> = browser
        .read(
            "return page.all('#table tbody tr').filter((row) => row.querySelector('[data-open]')).map((row) =>
                `${row.querySelector('[data-open]').textContent} ${row.querySelector('td .mute').textContent}`)",
            &[],
        )
        .await;
    let table: BTreeSet<String> = table.into_iter().collect();
    let server = format!("unix:{}", agent.socket().display());
    let output = Command::new(binary())
        .args(["findings", "--server", &server, "--namespace", "tier", "-o", "json"])
        .output()
        .expect("runs");
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let items = told["items"].as_array().expect("items");
    let open = items.iter().filter(|finding| finding["state"] != "resolved");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let told: BTreeSet<String> = open
        .map(|finding| {
            format!("{}/{} {}", finding["port"], text(&finding["protocol"]), text(&finding["code"]))
        })
        .collect();
    assert_eq!(table, told);
}

async fn drafts(driver: String) {
    let node = Node::new().await;
    let config = node.world.scratch.write("config.yaml", "exceptions: []\n");
    let agent = node.agent(&["--config", config.to_str().expect("text")]);
    node.undeclared(&agent, 9229);
    let browser = opened(&driver, &node, "namespace=tier").await;
    browser.until("the port", &row_has(&["9229"])).await;
    browser.run("page.all('[data-open]').find((at) => at.textContent.includes('9229')).click()", &[]).await;
    browser.until("there are drafts", "return page.all('[role=tab]').length >= 2").await;
    let mut copied = Vec::new();
    let tabs: usize = browser.read("return page.all('[role=tab]').length", &[]).await;
    for tab in 0..tabs {
        let name: String = browser
            .read(
                "const tab = page.all('[role=tab]')[arguments[0]]; tab.click(); return tab.textContent",
                &[json!(tab)],
            )
            .await;
        browser.frames().await;
        let has_draft: bool = browser.read("return page.all('.copy').length > 0", &[]).await;
        if !has_draft {
            continue;
        }
        browser.run("page.all('.copy')[0].click()", &[]).await;
        browser.frames().await;
        let read = "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))";
        let text = browser.client().execute_async(read, Vec::new()).await.expect("the clipboard");
        copied.push((name, text.as_str().expect("text").to_owned()));
    }
    assert!(copied.len() >= 2, "{copied:#?}");
    let mut accepted = false;
    for (name, text) in &copied {
        let parsed: Value =
            serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
        if parsed["kind"] == "NetworkPolicy" {
            valid(&parsed);
        }
        if text.contains("reason") && text.contains("match") {
            // The rule as it is, below the key that holds rules unless it brings that key.
            let rule = if parsed.get("exceptions").is_some() {
                text.clone()
            } else {
                format!("exceptions:\n{text}")
            };
            std::fs::write(&config, &rule).expect("writes");
            browser
                .until(
                    "the agent accepts the rule",
                    "return page.all('h2, .story, .side').some((at) => /accepted/i.test(at.innerText))",
                )
                .await;
            accepted = true;
        }
        if name.contains("Declare") {
            assert!(text.contains("containerPort: 9229"), "{text}");
        }
    }
    assert!(accepted, "no draft is a rule: {copied:#?}");
}

/// Validates an object by Kubernetes' own schemas.
fn valid(object: &Value) {
    let Some(package) = tools::python_package("kubernetes-validate") else {
        println!("skipped: no kubernetes-validate; run `cargo xtask setup --tests`");
        return;
    };
    let check = "import json, sys, kubernetes_validate
kubernetes_validate.validate(json.loads(sys.argv[1]), '1.37', strict=True)";
    let output = Command::new("python3")
        .args(["-c", check, &object.to_string()])
        .env("PYTHONPATH", package)
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{object}: {}", String::from_utf8_lossy(&output.stderr));
}
