//! `kubectl portolan ui` with agents of several nodes: one that dies and comes back, a hundred of them, and the same findings as
//! the command line.

use std::collections::BTreeSet;

use libtest_mimic::Trial;
use serde_json::Value;

use super::budgets::heap;
use super::case;
use crate::harness::agents::Agents;
use crate::harness::browser::Browser;
use crate::harness::report::Report;

/// Heap of the page with 2,000 findings in MB.
const HEAP: f64 = 80.0;

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![
        case("cluster/an_agent_that_is_killed_is_said_and_comes_back_without_reload", driver, killed),
        case("cluster/the_table_has_the_findings_of_the_command_line", driver, same_findings),
    ]
}

/// Returns the case that measures times.
pub fn measured(driver: &str) -> Vec<Trial> {
    let name = "cluster/a_hundred_agents_with_2000_findings_are_one_page_and_one_stream";
    vec![case(name, driver, hundred)]
}

/// Fingerprint and number of rows of the page, of all that it holds.
const HELD: &str = "const done = arguments[0]; fetch('/v1/chart?declared=0').then((answer) => answer.json()).then(done, (error) => done(String(error)))";

/// Waits until the page says that all three agents answer.
async fn all_answer(browser: &Browser) {
    let says = "return /All 3 agents answer/.test(document.getElementById('strip').innerText)";
    browser.until("all agents answer", says).await;
}

async fn killed(driver: String) {
    let mut agents = Agents::start(3, 4).await;
    let page = agents.page().await;
    let browser = Browser::start(&driver).await;
    browser.size(1440, 1600).await;
    browser.open(&page.entry()).await;
    all_answer(&browser).await;
    browser.until("12 ports", "return page.all('[data-open]').length === 12").await;
    browser.run("window.__stays = true", &[]).await;
    agents.end(2);
    browser
        .until(
            "the strip names the node",
            "return /2 of 3 agents answer.*node-2/s.test(document.getElementById('strip').innerText)",
        )
        .await;
    browser
        .until(
            "the numbers say where",
            "return /on 2 of 3 nodes/i.test(document.querySelector('h1').innerText)",
        )
        .await;
    let shown: usize = browser.read("return page.all('[data-open]').length", &[]).await;
    assert!(shown >= 8, "the others stay: {shown}");
    browser.picture("one-of-three-killed").await;
    agents.start_again(2, 5).await;
    browser
        .until(
            "all answer again",
            "return /All 3 agents answer/.test(document.getElementById('strip').innerText)",
        )
        .await;
    browser
        .until(
            "its new port is there",
            "document.querySelector('[data-show]')?.click(); return page.all('[data-open]').length === 13",
        )
        .await;
    assert_eq!(browser.run("return window.__stays", &[]).await, true, "the page was not loaded anew");
    assert_eq!(browser.noted().await, Vec::<String>::new());
}

async fn hundred(driver: String) {
    let agents = Agents::start(100, 20).await;
    let page = agents.page().await;
    let browser = Browser::start(&driver).await;
    browser.goto(&page.entry()).await;
    let began = "return page.usableAfter()";
    browser
        .until(
            "all agents answer",
            "return /All 100 agents answer/.test(document.getElementById('strip').innerText)",
        )
        .await;
    browser
        .until(
            "all ports are counted",
            "return /2,000 ports/.test(document.getElementById('head').innerText)",
        )
        .await;
    let complete: f64 = browser.read("return performance.now()", &[]).await;
    let usable: f64 = browser.read(began, &[]).await;
    let heap = heap(&browser).await;
    Report::note(format!(
        "100 agents, 2,000 findings: usable {usable:.0} ms (goal 1,000), complete within {complete:.0} ms (goal 10,000), heap {heap:.1} MB (goal 80)"
    ));
    assert!(heap <= HEAP, "{heap} MB");
    assert_eq!(page.gate.passed("/v1/watch").len(), 1, "the first tab has one stream");
    browser.second_tab().await;
    browser.open(&format!("{}/", page.gate.url())).await;
    browser
        .until(
            "the second tab has them too",
            "return /2,000 ports/.test(document.getElementById('head').innerText)",
        )
        .await;
    assert_eq!(page.gate.passed("/v1/watch").len(), 1, "the second tab adds no stream");
    browser.picture("a-hundred-agents").await;
}

async fn same_findings(driver: String) {
    let agents = Agents::start(3, 8).await;
    let page = agents.page().await;
    let browser = Browser::start(&driver).await;
    browser.open(&page.entry()).await;
    all_answer(&browser).await;
    for (filter, options) in [
        ("", ""),
        ("severity=high", "--severity high"),
        ("severity=high,low", "--severity high --severity low"),
        ("namespace=team-2", "--namespace team-2"),
    ] {
        browser.open(&format!("{}/?view=table&{filter}", page.gate.url())).await;
        let table: Vec<String> = browser
            .read(
                "return page.all('#table tbody').flatMap((body) => { const owner = body.querySelector('th bdi').textContent.replace(/\\s/g, '');
                    return page.all('tr', body).filter((row) => row.querySelector('td')).map((row) =>
                        `${owner}:${row.querySelector('[data-open]').textContent} ${row.querySelector('td .mute').textContent}`); })",
                &[],
            )
            .await;
        let table_set: BTreeSet<String> = table.iter().cloned().collect();
        assert_eq!(table_set.len(), table.len(), "no row stands twice: {table:#?}");
        let told = agents.run(&format!("findings -o json {options}")).await;
        let told: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
        let items = told["items"].as_array().expect("items");
        let of = |finding: &Value| {
            let pod = &finding["pod"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let name = text(&pod["workload"]["name"]);
            format!(
                "{}/{name}:{}/{} {}",
                text(&pod["namespace"]),
                finding["port"],
                text(&finding["protocol"]),
                text(&finding["code"])
            )
        };
        let open = items.iter().filter(|finding| finding["state"] != "resolved");
        let told: BTreeSet<String> = open.map(of).collect();
        assert_eq!(table_set, told, "{filter}");
        assert!(!told.is_empty(), "{filter}");
    }
    let held = browser.client().execute_async(HELD, Vec::new()).await.expect("a chart");
    assert_eq!(held["rows"].as_array().map(Vec::len), Some(24), "{held}");
}
