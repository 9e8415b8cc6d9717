//! The event stream breaks: the page says so, comes back, and neither doubles nor misses a row.

use libtest_mimic::Trial;
use serde_json::json;

use super::case;
use super::live::opened;
use crate::harness::browser::Browser;
use crate::harness::host::Host;
use crate::harness::rows::row;
use crate::harness::waiting::eventually;

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![
        case("stream/after_a_cut_it_resumes_after_the_last_event_and_reads_anew", driver, cut),
        case("stream/after_a_reset_everything_is_read_anew", driver, reset),
        case("stream/after_lost_events_everything_is_read_anew", driver, lost),
        case("stream/while_it_is_cut_the_page_says_so_and_keeps_its_rows", driver, said),
        case("stream/a_second_tab_adds_no_stream_and_takes_over", driver, tabs),
    ]
}

/// Fingerprints of the list, with those that the page holds back.
const SHOWN: &str = "return page.all('[data-open]').map((at) => at.dataset.open).sort()";

async fn followed(driver: &str) -> (Host, Browser) {
    let (host, browser) = opened(driver, "").await;
    eventually("the stream is open", async || {
        if host.streams() == 1 { Ok(()) } else { Err(host.streams().to_string()) }
    })
    .await;
    (host, browser)
}

/// Waits until the list has exactly the rows of the host. New rows are shown on demand.
async fn shows_all(host: &Host, browser: &Browser) {
    let mut wanted: Vec<String> = host.rows().into_iter().map(|row| row.fingerprint).collect();
    wanted.sort();
    eventually("the list has what the host has", async || {
        let show = "page.all('button').find((at) => /\\bshow\\b/i.test(at.innerText) && /\\bnew\\b/i.test(at.innerText))?.click()";
        browser.run(show, &[]).await;
        let shown: Vec<String> = browser.read(SHOWN, &[]).await;
        if shown == wanted { Ok(()) } else { Err(format!("{shown:?}, not {wanted:?}")) }
    })
    .await;
}

async fn cut(driver: String) {
    let (host, browser) = followed(&driver).await;
    host.change(|rows| rows.push(row("first", 4001, "high")));
    host.tell("first-4001");
    browser.until("the first event came", "return /1 new/.test(document.body.innerText)").await;
    let lists = host.asked("/v1/chart");
    host.cut();
    host.change(|rows| {
        rows.push(row("second", 4002, "high"));
        rows.retain(|row| row.fingerprint != "ledger-2112");
    });
    host.tell("second-4002");
    host.tell("ledger-2112");
    host.join();
    eventually("the stream resumes after the last event", async || {
        let resumed = host.resumed();
        if resumed == ["abc-1"] { Ok(()) } else { Err(format!("{resumed:?}")) }
    })
    .await;
    shows_all(&host, &browser).await;
    assert!(host.asked("/v1/chart") > lists, "each connection reads anew");
}

async fn reset(driver: String) {
    let (host, browser) = followed(&driver).await;
    host.cut();
    host.change(|rows| {
        rows.push(row("second", 4002, "high"));
        rows.retain(|row| row.fingerprint != "web-9229");
    });
    host.tell("second-4002");
    host.tell("web-9229");
    host.forget();
    host.join();
    shows_all(&host, &browser).await;
}

async fn lost(driver: String) {
    let (host, browser) = followed(&driver).await;
    // The events of these changes never come.
    host.change(|rows| {
        rows.push(row("second", 4002, "high"));
        rows.retain(|row| row.fingerprint != "web-9229");
    });
    host.event("lost", &json!({"missed": 2}));
    shows_all(&host, &browser).await;
}

async fn said(driver: String) {
    let (host, browser) = followed(&driver).await;
    host.cut();
    browser
        .until("the page says that it is not live", "return /not live/i.test(document.body.innerText)")
        .await;
    let shown: Vec<String> = browser.read(SHOWN, &[]).await;
    assert_eq!(shown.len(), 5, "old rows stay: {shown:?}");
    host.join();
    browser.until("it is live again", "return !/not live/i.test(document.body.innerText)").await;
    assert_eq!(host.streams(), 1);
}

async fn tabs(driver: String) {
    let (host, browser) = followed(&driver).await;
    let (first, second) = browser.second_tab().await;
    browser.open(&host.page("")).await;
    browser.until("the second tab has rows", "return page.all('[data-open]').length === 5").await;
    assert_eq!(host.streams(), 1, "both tabs share a stream");
    host.change(|rows| rows.push(row("second", 4002, "high")));
    host.tell("second-4002");
    browser.until("the second tab is told", "return /1 new/.test(document.body.innerText)").await;
    browser.client().switch_to_window(first).await.expect("switches");
    browser.client().close_window().await.expect("closes");
    browser.client().switch_to_window(second).await.expect("switches");
    eventually("the second tab follows", async || match host.asked("/v1/watch") {
        2 => Ok(()),
        times => Err(times.to_string()),
    })
    .await;
    host.change(|rows| rows.push(row("third", 4003, "high")));
    host.tell("third-4003");
    browser.until("the second tab is told by itself", "return /2 new/.test(document.body.innerText)").await;
    assert_eq!(host.asked("/v1/watch"), 2, "one stream after the other");
}
