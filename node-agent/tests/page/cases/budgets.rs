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
    ["none", "few", "thousands"].into_iter().map(of).collect()
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
}

async fn measured(driver: &str, scene: &str) {
    let site = Site::of(scene).await;
    let rows = site.chart("").await.rows.len();
    let browser = Browser::start(driver).await;
    browser.open(&site.page("")).await;
    let times: Times = browser
        .read(
            "const paint = performance.getEntriesByType('paint').find((one) => one.name === 'first-contentful-paint');
            const loaded = performance.getEntriesByType('resource').filter((one) => one.name.includes('/ui/'));
            return { firstPaint: paint?.startTime ?? -1, usable: page.usableAfter(), names: document.querySelectorAll('.chart [data-name]').length,
                lines: document.querySelectorAll('.chart .flow').length, elements: document.querySelectorAll('*').length,
                bytes: loaded.reduce((sum, one) => sum + one.decodedBodySize, 0) }",
            &[],
        )
        .await;
    let heap = heap(&browser).await;
    Report::note(format!(
        "{scene}, {rows} rows: first paint {:.0} ms, usable {:.0} ms, heap {heap:.1} MB, {} elements, {} names and {} lines in the chart, \
         {:.0} kB of files",
        times.first_paint,
        times.usable,
        times.elements,
        times.names,
        times.lines,
        times.bytes / 1000.0
    ));
    assert!(times.names <= NAMES && times.lines <= LINES, "{times:?}");
    assert!(heap <= HEAP, "{heap} MB");
    assert!(times.first_paint > 0.0 && times.usable > 0.0, "{times:?}");
}

/// Returns the page's heap in MB after a garbage collection.
pub async fn heap(browser: &Browser) -> f64 {
    browser.devtools("HeapProfiler.collectGarbage", json!({})).await;
    let answer = browser.devtools("Runtime.getHeapUsage", json!({})).await;
    answer["usedSize"].as_f64().expect("a size") / 1e6
}
