//! What a screen reader is told: the browser's own accessibility tree, and axe-core's judgement of each state.

use std::collections::BTreeMap;

use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::{Value, json};

use super::case;
use super::states::{STATES, State};
use crate::harness::browser::{Browser, Theme};
use crate::harness::site::Site;

/// Roles that a person can act on.
const CONTROLS: [&str; 14] = [
    "button",
    "link",
    "textbox",
    "searchbox",
    "checkbox",
    "radio",
    "combobox",
    "tab",
    "menuitem",
    "menuitemcheckbox",
    "menuitemradio",
    "option",
    "switch",
    "spinbutton",
];
const SEVERITIES: [&str; 5] = ["critical", "high", "medium", "low", "info"];

/// Attribute of the chart's names. They are told as sentences ("Port 9229 TCP of shop/web, node, critical"), which hold what is
/// visible in another order: the columns show it.
const IN_CHART: &str = " data-name=";

pub fn cases(driver: &str) -> Vec<Trial> {
    let judged = |state: &'static State| {
        let name = format!("accessibility/axe_finds_nothing_serious_in_{}", state.name);
        case(name, driver, async move |driver| axe(&driver, state).await)
    };
    let mut cases: Vec<Trial> = STATES.iter().map(judged).collect();
    cases.push(case("accessibility/each_control_of_each_state_has_a_name", driver, named));
    cases.push(case(
        "accessibility/each_port_stands_once_in_list_and_chart_with_its_severity",
        driver,
        ports,
    ));
    cases.push(case("accessibility/toggles_say_what_they_are_and_how_many", driver, toggles));
    cases
}

#[derive(Debug, Deserialize)]
struct Violation {
    id: String,
    impact: Option<String>,
    help: String,
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    html: String,
}

async fn axe(driver: &str, state: &State) {
    let script = portolan_testing::tools::directory().join("axe.min.js");
    let script = std::fs::read_to_string(&script)
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask setup --tests`", script.display()));
    let site = Site::of(state.scene).await;
    let browser = Browser::start(driver).await;
    let mut wrong = Vec::new();
    for (width, theme) in [(1440, Theme::Light), (390, Theme::Dark)] {
        browser.size(width, 1000).await;
        browser.media(theme, &[]).await;
        state.open(&browser, &site).await;
        browser.client().execute(&script, Vec::new()).await.expect("axe-core loads");
        let run = "const done = arguments[0];
            axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => done(violations), (error) => done(String(error)))";
        let found = browser.client().execute_async(run, Vec::new()).await.expect("axe-core judges");
        let found: Vec<Violation> =
            serde_json::from_value(found.clone()).unwrap_or_else(|_| panic!("{found}"));
        for Violation { id, impact, help, mut nodes } in found {
            if id == "label-content-name-mismatch" {
                nodes.retain(|node| !node.html.contains(IN_CHART));
                if nodes.is_empty() {
                    continue;
                }
            }
            let impact = impact.unwrap_or_default();
            if impact == "serious" || impact == "critical" {
                let examples: Vec<&str> = nodes.iter().take(2).map(|node| node.html.as_str()).collect();
                wrong.push(format!("{width} px: {impact} {id}: {help}: {examples:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A node of the browser's tree. The role is empty if it is left out.
#[derive(Debug)]
struct Told {
    role: String,
    name: String,
    parent: Option<String>,
    id: String,
}

async fn tree(browser: &Browser) -> Vec<Told> {
    let answer = browser.devtools("Accessibility.getFullAXTree", json!({})).await;
    let nodes = answer["nodes"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let told = nodes.iter().map(|node| Told {
        // What the browser leaves out is still the parent of what it tells.
        role: if node["ignored"] == true { String::new() } else { text(&node["role"]["value"]) },
        name: text(&node["name"]["value"]),
        parent: node["parentId"].as_str().map(str::to_owned),
        id: text(&node["nodeId"]),
    });
    told.collect()
}

async fn named(driver: String) {
    let browser = Browser::start(&driver).await;
    for state in &STATES {
        let site = Site::of(state.scene).await;
        state.open(&browser, &site).await;
        let told = tree(&browser).await;
        let controls: Vec<&Told> =
            told.iter().filter(|node| CONTROLS.contains(&node.role.as_str())).collect();
        assert!(controls.len() > 5, "{}: {told:#?}", state.name);
        let nameless: Vec<_> = controls.iter().filter(|node| node.name.trim().is_empty()).collect();
        assert!(nameless.is_empty(), "{}: {nameless:#?}", state.name);
    }
}

/// Returns the names of the buttons below the list with this name.
fn names_below(told: &[Told], list: &str) -> Vec<String> {
    let by_id: BTreeMap<&str, &Told> = told.iter().map(|node| (node.id.as_str(), node)).collect();
    let is_below = |node: &&Told| {
        let mut parent = node.parent.as_deref();
        while let Some(up) = parent.and_then(|id| by_id.get(id)) {
            if up.role == "list" && up.name == list {
                return true;
            }
            parent = up.parent.as_deref();
        }
        false
    };
    let buttons = told.iter().filter(|node| node.role == "button").filter(is_below);
    buttons.map(|node| node.name.clone()).collect()
}

async fn ports(driver: String) {
    let site = Site::of("few").await;
    let chart = site.chart("").await;
    let browser = Browser::start(&driver).await;
    browser.size(1440, 1600).await;
    browser.open(&site.page("")).await;
    let told = tree(&browser).await;
    let names = names_below(&told, "Ports");
    for row in chart.rows.iter().filter(|row| row.severity.is_some()) {
        let (port, protocol) = (row.port.expect("a port"), row.protocol.as_deref().expect("a protocol"));
        let workload = row.workload.as_ref().map_or("", |workload| workload.name.as_str());
        let whose = format!("{}/{workload}", row.namespace.as_deref().unwrap_or_default());
        let severity = row.severity.as_deref().expect("a finding");
        let state = if row.state == "suppressed" { "accepted" } else { severity };
        let beginning = format!("Port {port} {protocol} of {whose},");
        let mine: Vec<_> = names.iter().filter(|name| name.starts_with(&beginning)).collect();
        assert_eq!(mine.len(), 1, "{beginning}: {mine:?} of {names:#?}");
        assert!(mine[0].to_lowercase().contains(state), "{} names no {state}", mine[0]);
        let of_row = "return [...document.querySelectorAll(`.side [data-open=\"${arguments[0]}\"]`)].map((at) => at.getAttribute('aria-label') ?? at.textContent)";
        let listed: Vec<String> = browser.read(of_row, &[json!(row.fingerprint)]).await;
        assert_eq!(listed.len(), 1, "{beginning} in the list: {listed:?}");
        let said = listed[0].to_lowercase();
        assert!(said.contains(&port.to_string()) && said.contains(state), "{said} names no {state}");
    }
    let callers = told.iter().filter(|node| node.role == "list").map(|node| node.name.as_str());
    let lists: Vec<_> = callers.filter(|name| ["Callers", "Ports", "Workloads"].contains(name)).collect();
    assert_eq!(lists, ["Callers", "Ports", "Workloads"]);
}

async fn toggles(driver: String) {
    let site = Site::of("few").await;
    let chart = site.chart("").await;
    let browser = Browser::start(&driver).await;
    browser.open(&site.page("severity=critical")).await;
    let pressed = "return page.all('button[aria-pressed]').map((at) => [at.getAttribute('aria-label') ?? at.innerText, at.getAttribute('aria-pressed')])";
    let pressed: Vec<(String, String)> = browser.read(pressed, &[]).await;
    for severity in SEVERITIES {
        let count = chart.totals.open.get(severity).copied().unwrap_or_default();
        let wanted = (format!("{severity}: {count}"), (severity == "critical").to_string());
        assert!(pressed.contains(&wanted), "{wanted:?} is not among {pressed:#?}");
    }
    let heading: String = browser.read("return document.querySelector('h1').innerText", &[]).await;
    assert!(!heading.trim().is_empty());
    let statuses: usize = browser.read("return document.querySelectorAll('[role=status]').length", &[]).await;
    assert!(statuses >= 1, "changes are announced somewhere");
}
