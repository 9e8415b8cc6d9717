//! How fast and how large: measured and printed. The cases fail by what is countable: nodes, names, lines, bytes.

use libtest_mimic::Trial;
use serde::Deserialize;
use serde_json::json;

use super::case;
use crate::harness::browser::Browser;
use crate::harness::report::Report;
use crate::harness::site::Site;

/// Maximum number of names and of lines of the chart.
const NAMES: usize = 200;
const LINES: usize = 400;
/// Heap of the page in MB.
const HEAP: f64 = 80.0;

pub fn cases(driver: &str) -> Vec<Trial> {
    let of = |scene: &'static str| {
        case(format!("budgets/{scene}_ports_are_drawn_within_bounds"), driver, async move |driver| {
            measured(&driver, scene).await;
        })
    };
    let mut cases: Vec<Trial> = ["none", "few", "thousands"].into_iter().map(of).collect();
    cases.push(case("budgets/counts_follow_their_events", driver, events));
    cases
}

/// Counts one more connection of the first row, 20 times. Milliseconds from the request to the changed list.
const EVENTS: &str = "const done = arguments[0], side = document.getElementById('side'), pause = (ms) => new Promise((over) => setTimeout(over, ms));
    const { rows } = await (await fetch('/v1/chart?limit=1')).json(), fingerprint = encodeURIComponent(rows[0].fingerprint), times = [];
    for (let round = 0; round < 20; round += 1) {
        await pause(300);
        const was = side.innerText, began = performance.now();
        const changed = new Promise((over) => { const look = new MutationObserver(() => { if (side.innerText !== was) { look.disconnect(); over(performance.now() - began); } });
            look.observe(side, { childList: true, subtree: true, characterData: true }); });
        await fetch(`/test/traffic?fingerprint=${fingerprint}&by=1000000`, { method: 'POST' });
        times.push(await changed);
    }
    done(times.sort((a, b) => a - b));";

async fn events(driver: String) {
    for scene in ["few", "thousands"] {
        let site = Site::of(scene).await;
        let browser = Browser::start(&driver).await;
        browser.open(&site.page("")).await;
        browser.until("the stream is open", "return /Live/.test(document.body.innerText)").await;
        let script = format!("(async (...arguments) => {{ {EVENTS} }})(arguments[0])");
        let times = browser.client().execute_async(&script, Vec::new()).await.expect("changes");
        let times: Vec<f64> = serde_json::from_value(times).expect("times");
        let (first, last) = (times.first().expect("times"), times.last().expect("times"));
        let median = times[times.len() / 2];
        Report::note(format!(
            "{scene}: from a call to its count in the list {median:.0} ms (goal 50; {first:.0} to {last:.0})"
        ));
        assert_eq!(times.len(), 20, "each change was drawn");
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    first_paint: f64,
    usable: f64,
    names: usize,
    lines: usize,
    elements: usize,
    bytes: f64,
    fetched: f64,
}

/// When the first text was painted: milliseconds after the start of the navigation; -1 if it was not.
const FIRST_PAINT: &str = "(performance.getEntriesByType('paint').find((one) => one.name === 'first-contentful-paint')?.startTime ?? -1)";

async fn measured(driver: &str, scene: &str) {
    let site = Site::of(scene).await;
    let rows = site.chart("").await.rows.len();
    let browser = Browser::start(driver).await;
    browser.goto("data:text/html,<p>text").await;
    browser.frames().await;
    let text: f64 = browser.read(&format!("return {FIRST_PAINT}"), &[]).await;
    let first = opened(&browser, &site).await;
    let times = opened(&browser, &site).await;
    let heap = heap(&browser).await;
    Report::note(format!(
        "{scene}, {rows} rows: first paint {:.0} ms (goal 200; of a line of text in the same browser {text:.0}), usable {:.0} ms; opened again {:.0} \
         and {:.0}; heap {heap:.1} MB (goal 80), {} elements, {} names and {} lines in the chart, {:.0} kB of files, {:.0} compressed",
        first.first_paint,
        first.usable,
        times.first_paint,
        times.usable,
        times.elements,
        times.names,
        times.lines,
        times.bytes / 1000.0,
        times.fetched / 1000.0
    ));
    assert!(times.names <= NAMES && times.lines <= LINES, "{times:?}");
    assert!(heap <= HEAP, "{heap} MB");
    for one in [&first, &times] {
        assert!(one.first_paint > 0.0 && one.usable > one.first_paint, "{one:?}");
    }
}

/// Opens the page and returns what it took.
async fn opened(browser: &Browser, site: &Site) -> Times {
    browser.open(&site.page("")).await;
    let script = format!(
        "const loaded = performance.getEntriesByType('resource').filter((one) => one.name.includes('/ui/')), of = (name) => loaded.reduce((sum, one) => sum + one[name], 0);
        return {{ firstPaint: {FIRST_PAINT}, usable: page.usableAfter(), names: document.querySelectorAll('.chart [data-name]').length,
            lines: document.querySelectorAll('.chart .flow').length, elements: document.querySelectorAll('*').length,
            bytes: of('decodedBodySize'), fetched: of('encodedBodySize') }}",
    );
    browser.read(&script, &[]).await
}

/// Returns the page's heap in MB after a garbage collection.
pub async fn heap(browser: &Browser) -> f64 {
    browser.devtools("HeapProfiler.collectGarbage", json!({})).await;
    let answer = browser.devtools("Runtime.getHeapUsage", json!({})).await;
    answer["usedSize"].as_f64().expect("a size") / 1e6
}
