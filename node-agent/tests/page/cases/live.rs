//! Changes while the page is open: counts change at once, no row moves, one announcement.

use std::collections::BTreeMap;

use libtest_mimic::Trial;
use portolan_report::chart::{ChartCaller, ChartRow};
use serde_json::{Value, json};

use super::case;
use crate::harness::browser::Browser;
use crate::harness::host::Host;
use crate::harness::rows::{CODES, chart, row};
use crate::harness::waiting::eventually;

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![
        case("live/a_new_port_is_counted_at_once_waits_and_moves_no_row", driver, new_port),
        case("live/a_port_that_gets_worse_changes_in_its_place", driver, worse),
        case("live/a_resolved_port_stays_in_its_place_and_is_no_longer_counted", driver, resolved),
        case("live/traffic_changes_numbers_and_nothing_else", driver, traffic),
        case("live/ten_changes_are_one_announcement", driver, announced_once),
        case("live/an_open_detail_stays_when_its_port_is_resolved", driver, detail_stays),
        case("live/an_open_detail_asks_again_for_new_callers_and_not_for_counts", driver, new_callers),
        case("live/a_port_that_is_served_after_its_finding_ended_is_drawn_as_a_declared_one", driver, served),
        case("live/while_paused_nothing_changes_and_resume_shows_it", driver, paused),
    ]
}

/// Places of all rows of the list and the chart: name → left and top.
const PLACES: &str =
    "return Object.fromEntries(page.all('[data-open], .chart .port[data-name]').map((at) => {
    const { left, top } = at.getBoundingClientRect();
    return [`${at.dataset.open ? 'list' : 'chart'} ${at.dataset.open ?? at.dataset.name}`, [left, top]]; }))";

type Places = BTreeMap<String, (f64, f64)>;

/// Returns five rows of three workloads.
pub fn five() -> Vec<ChartRow> {
    vec![
        row("web", 9229, "critical"),
        row("checkout", 5005, "high"),
        row("checkout", 9010, "medium"),
        row("ledger", 6060, "medium"),
        row("ledger", 2112, "low"),
    ]
}

/// Opens the page of a host with [`five`] rows.
pub async fn opened(driver: &str, query: &str) -> (Host, Browser) {
    opened_with(driver, five(), query).await
}

async fn opened_with(driver: &str, rows: Vec<ChartRow>, query: &str) -> (Host, Browser) {
    let host = Host::start(chart(rows)).await;
    let browser = Browser::start(driver).await;
    browser.size(1440, 1200).await;
    browser.open(&host.page(query)).await;
    (host, browser)
}

async fn followed(driver: &str, rows: Vec<ChartRow>, query: &str) -> (Host, Browser) {
    let (host, browser) = opened_with(driver, rows, query).await;
    browser.until("the stream is open", "return /Live/.test(document.body.innerText)").await;
    (host, browser)
}

async fn places(browser: &Browser) -> Places {
    let places: Places = browser.read(PLACES, &[]).await;
    assert!(places.len() >= 5, "{places:?}");
    places
}

/// Waits until the count of a severity in the filter bar is this.
async fn counts(browser: &Browser, severity: &str, count: usize) {
    let script = format!(
        "return page.all('button[aria-pressed]').some((at) => (at.getAttribute('aria-label') ?? at.innerText) === '{severity}: {count}')"
    );
    browser.until(&format!("{severity}: {count}"), &script).await;
}

async fn new_port(driver: String) {
    let (host, browser) = followed(&driver, five(), "").await;
    let before = places(&browser).await;
    host.change(|rows| rows.insert(0, row("admin", 4444, "critical")));
    host.tell("admin-4444");
    browser.until("the new port waits", "return /1 new/.test(document.body.innerText)").await;
    counts(&browser, "critical", 2).await;
    assert_eq!(places(&browser).await, before, "no row moves, none is added");
    let show = "page.all('button').find((at) => /\\bshow\\b/i.test(at.innerText)).click()";
    browser.run(show, &[]).await;
    browser.until("it is shown", "return page.all('[data-open=\"admin-4444\"]').length === 1").await;
    let first: String = browser.read("return page.all('[data-open]')[0].dataset.open", &[]).await;
    assert!(["admin-4444", "web-9229"].contains(&first.as_str()), "the worst come first: {first}");
}

async fn worse(driver: String) {
    let (host, browser) = followed(&driver, five(), "").await;
    let before = places(&browser).await;
    host.change(|rows| {
        let row = rows.iter_mut().find(|row| row.fingerprint == "ledger-6060").expect("a row");
        row.previous_code = row.code.replace(CODES[0].1.to_owned());
        row.severity = Some("critical".to_owned());
        row.changed_at = Some("2026-03-04T12:00:00Z".to_owned());
    });
    host.tell("ledger-6060");
    counts(&browser, "critical", 2).await;
    let badge = "return page.all('[data-open=\"ledger-6060\"]').some((at) => /worse/.test(at.innerText))";
    browser.until("it says that it got worse", badge).await;
    assert_eq!(places(&browser).await, before, "the row keeps its place");
}

async fn resolved(driver: String) {
    let (host, browser) = followed(&driver, five(), "").await;
    let before = places(&browser).await;
    host.change(|rows| rows.retain(|row| row.fingerprint != "checkout-5005"));
    host.tell("checkout-5005");
    counts(&browser, "high", 0).await;
    let list = |places: &Places| -> Places {
        places
            .iter()
            .filter(|(name, _)| name.starts_with("list"))
            .map(|(name, at)| (name.clone(), *at))
            .collect()
    };
    assert_eq!(list(&places(&browser).await), list(&before), "the row stays");
    let told: String = browser
        .read("return page.all('[data-open=\"checkout-5005\"]').map((at) => at.getAttribute('aria-label') + at.innerText).join()", &[])
        .await;
    assert!(told.to_lowercase().contains("resolved"), "the row says that it is resolved: {told}");
}

async fn traffic(driver: String) {
    let (host, browser) = followed(&driver, five(), "").await;
    let before = places(&browser).await;
    let asked = host.asked("/v1/chart");
    let counted = json!({"fingerprint": "web-9229", "attempts": 4321, "connections": 4321, "packets": 9000, "bytes": 80000,
        "lastSeen": "2026-03-04T12:00:10Z"});
    host.event(
        "Traffic",
        &json!({"schema": "portolan/v1", "time": "2026-03-04T12:00:10Z", "items": [counted]}),
    );
    browser
        .until("the number is shown", "return page.all('[data-open=\"web-9229\"]').some((at) => /4\\.3k|4,321|4321/.test(at.innerText))")
        .await;
    assert_eq!(places(&browser).await, before);
    assert_eq!(host.asked("/v1/chart"), asked, "numbers come with the event");
}

async fn announced_once(driver: String) {
    let (host, browser) = followed(&driver, five(), "").await;
    browser
        .run(
            "window.__said = []; for (const region of document.querySelectorAll('[role=status], [aria-live]'))
                new MutationObserver(() => { const text = region.textContent.trim(); if (text) window.__said.push(text); })
                    .observe(region, { childList: true, characterData: true, subtree: true })",
            &[],
        )
        .await;
    host.change(|rows| rows.extend((0..10).map(|n| row("burst", 7000 + n, "high"))));
    for port in 7000..7010 {
        host.tell(&format!("burst-{port}"));
    }
    browser.until("it is announced", "return window.__said.some((text) => /\\bnew\\b/.test(text))").await;
    let said: Vec<String> = browser.read("return window.__said", &[]).await;
    let news: Vec<&String> = said.iter().filter(|text| text.contains("new")).collect();
    assert_eq!(news.len(), 1, "{said:#?}");
    assert!(news[0].contains("10") && news[0].contains("high"), "how many, and the worst: {news:?}");
}

async fn detail_stays(driver: String) {
    let (host, browser) = followed(&driver, five(), "port=web-9229").await;
    host.change(|rows| rows.retain(|row| row.fingerprint != "web-9229"));
    host.tell("web-9229");
    browser
        .until("the detail says so", "return /resolved/i.test(document.querySelector('.side').innerText)")
        .await;
    let heading: String = browser.read("return document.querySelector('.side h2').innerText", &[]).await;
    assert!(heading.contains("9229"), "{heading}");
}

async fn new_callers(driver: String) {
    let (host, browser) = followed(&driver, five(), "port=web-9229").await;
    let asked = || host.asked("/v1/findings/web-x7k2p-tcp-9229");
    let asked_times = async |times: usize| {
        eventually("the details are asked for", async || match asked() {
            count if count >= times => Ok(()),
            count => Err(format!("{count} requests")),
        })
        .await;
    };
    asked_times(2).await;
    browser.run("window.__heading = document.querySelector('.side h2')", &[]).await;
    for number in 1..4 {
        let counts = json!({"fingerprint": "web-9229", "attempts": 90 + number, "connections": 90 + number, "packets": 0, "bytes": 0,
            "lastSeen": format!("2026-03-04T12:00:1{number}Z")});
        let time = format!("2026-03-04T12:00:1{number}Z");
        host.event("Traffic", &json!({"schema": "portolan/v1", "time": time, "items": [counts]}));
        let count = 90 + number;
        browser
            .until(
                "counts are shown",
                &format!("return /\\b{count}\\b/.test(document.querySelector('.side').innerText)"),
            )
            .await;
    }
    assert_eq!(asked(), 2, "counts ask for nothing");
    for number in 10..13 {
        host.change(|rows| {
            let row = rows.iter_mut().find(|row| row.fingerprint == "web-9229").expect("a row");
            let caller = ChartCaller { address: format!("198.51.100.{number}"), ..row.callers[0].clone() };
            row.callers.push(caller);
        });
        host.tell("web-9229");
        browser
            .until(
                "the caller is shown",
                &format!(
                    "return /198\\.51\\.100\\.{number}\\b/.test(document.querySelector('.side').innerText)"
                ),
            )
            .await;
    }
    asked_times(4).await;
    let is_same = browser.run("return window.__heading === document.querySelector('.side h2')", &[]).await;
    assert_eq!((asked(), is_same), (4, json!(true)), "once for all that came together, and the rest stays");
}

async fn served(driver: String) {
    let mut rows = five();
    let mut ended = row("web", 8080, "high");
    let served = ChartRow { code: None, severity: None, declaration: "declared".to_owned(), ..ended.clone() };
    "resolved".clone_into(&mut ended.state);
    ended.served = Some(Box::new(served));
    rows.push(ended);
    let (_host, browser) = opened_with(&driver, rows, "state=open,resolved").await;
    let marks =
        "page.all('.chart button.port').filter((at) => /Port 8080/.test(at.getAttribute('aria-label')))";
    browser.until("both are drawn", &format!("return {marks}.length === 2")).await;
    let declared: Vec<bool> =
        browser.read(&format!("return {marks}.map((at) => at.classList.contains('declared'))"), &[]).await;
    assert!(declared.contains(&true) && declared.contains(&false), "{declared:?}");
    browser.run(&format!("{marks}.find((at) => at.classList.contains('declared')).click()"), &[]).await;
    browser.until("its detail opens", "return /port=web-8080$/.test(location.href)").await;
}

async fn paused(driver: String) {
    let (host, browser) = followed(&driver, five(), "").await;
    let press = |name: &str| {
        format!(
            "page.all('button').find((at) => /{name}/i.test(at.getAttribute('aria-label') ?? at.innerText)).click()"
        )
    };
    browser.run(&press("^pause"), &[]).await;
    let before: String = browser.read("return document.querySelector('.side').innerText", &[]).await;
    host.change(|rows| rows.push(row("admin", 4444, "critical")));
    host.tell("admin-4444");
    browser
        .until("what came is counted", "return /1 (change|new|port|finding)/i.test(document.body.innerText)")
        .await;
    let after: String = browser.read("return document.querySelector('.side').innerText", &[]).await;
    assert_eq!(after, before);
    browser.run(&press("^(resume|go on|live)"), &[]).await;
    counts(&browser, "critical", 2).await;
    let _: Value = browser.run("return 1", &[]).await;
}
