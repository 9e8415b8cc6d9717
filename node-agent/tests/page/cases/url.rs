//! The URL holds the state: what is opened from it leads to the same URL, and Back undoes one step.

use libtest_mimic::Trial;

use super::case;
use super::live::opened;
use crate::harness::browser::Browser;

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![
        case("url/what_is_done_is_in_the_url_and_the_url_does_the_same_again", driver, round_trip),
        case("url/back_undoes_one_step_and_forward_does_it_again", driver, back),
        case("url/typing_is_one_step_for_each_pause", driver, typing),
        case("url/an_unknown_parameter_is_said_and_does_nothing_else", driver, unknown),
        case("url/a_port_that_is_not_there_is_said", driver, no_such_port),
    ]
}

/// What the page shows, as far as the URL decides it.
const SHOWN: &str = "return JSON.stringify({
    pressed: page.all('[aria-pressed=true], [aria-selected=true], [aria-current=true]').map(page.nameOf),
    rows: page.all('.side [data-open], #table tbody tr').map((at) => at.innerText.replace(/\\s+/g, ' ')),
    heading: document.querySelector('h1').innerText, detail: page.all('.side h2').map((at) => at.innerText),
    q: document.querySelector('input[type=search]').value })";

async fn query(browser: &Browser) -> String {
    browser.frames().await;
    browser.read("return location.search", &[]).await
}

async fn shown(browser: &Browser) -> String {
    browser.settled().await;
    browser.read(SHOWN, &[]).await
}

/// Clicks what has this accessible name or text.
async fn click(browser: &Browser, pattern: &str) {
    let script = format!(
        "const hit = page.all('button, [role=menuitemcheckbox], [role=option], label').find((at) => /{pattern}/i.test(at.getAttribute('aria-label') ?? at.innerText));
        if (!hit) return page.all('button').map(page.nameOf).join('; '); hit.click(); return ''"
    );
    let missing: String = browser.read(&script, &[]).await;
    assert!(missing.is_empty(), "nothing is called {pattern}: {missing}");
    browser.frames().await;
}

async fn round_trip(driver: String) {
    let (host, browser) = opened(&driver, "").await;
    let mut places = vec![(query(&browser).await, shown(&browser).await)];
    for step in ["^critical: 1", "^high: 1", "^table$", "^chart$", "^Port 9229", "^critical: 1"] {
        click(&browser, step).await;
        places.push((query(&browser).await, shown(&browser).await));
    }
    for (query, _) in &places[1..] {
        assert!(places[0].0.is_empty() && query.len() > 1, "each step is in the URL: {query}");
    }
    for (query, before) in places {
        browser.open(&host.page(query.trim_start_matches('?'))).await;
        assert_eq!(shown(&browser).await, before, "{query}");
        assert_eq!(self::query(&browser).await, query, "the URL leads to itself");
    }
    for written in [
        "q=checkout",
        "q=-checkout%20node",
        "severity=critical,high",
        "namespace=shop",
        "namespace=-shop",
        "caller=outside",
        "caller=-outside",
        "since=24h",
        "state=open,resolved",
        "view=table&severity=high",
        "port=web-9229",
        "tab=chart",
    ] {
        browser.open(&host.page(written)).await;
        let decoded = |query: &str| {
            let mut parts: Vec<String> = query
                .trim_start_matches('?')
                .split('&')
                .map(|part| part.replace("%2C", ",").replace('+', "%20"))
                .collect();
            parts.sort();
            parts
        };
        assert_eq!(decoded(&query(&browser).await), decoded(written), "opened as {written}");
        // The table closes the detail.
        if written.starts_with("port=") {
            continue;
        }
        // Switching the view twice writes the state anew.
        browser.press("vv").await;
        assert_eq!(decoded(&query(&browser).await), decoded(written), "written again");
    }
}

async fn back(driver: String) {
    let (_host, browser) = opened(&driver, "").await;
    let mut places = vec![(query(&browser).await, shown(&browser).await)];
    for step in ["^critical: 1", "^table$", "^high: 1", "^chart$"] {
        click(&browser, step).await;
        places.push((query(&browser).await, shown(&browser).await));
    }
    let last = places.pop().expect("places");
    for place in places.iter().rev() {
        browser.client().back().await.expect("back");
        assert_eq!((query(&browser).await, shown(&browser).await), *place);
    }
    for place in places.iter().skip(1).chain([&last]) {
        browser.client().forward().await.expect("forward");
        assert_eq!((query(&browser).await, shown(&browser).await), *place);
    }
}

async fn typing(driver: String) {
    let (_host, browser) = opened(&driver, "").await;
    let before: usize = browser.read("return history.length", &[]).await;
    browser.press("/").await;
    browser.press("checkout").await;
    browser.until("it is in the URL", "return location.search === '?q=checkout'").await;
    let after: usize = browser.read("return history.length", &[]).await;
    assert!(after - before <= 2, "{} entries for eight letters", after - before);
    for _ in 0..after - before {
        browser.client().back().await.expect("back");
    }
    assert_eq!(query(&browser).await, "");
    let text: String = browser.read("return document.querySelector('input[type=search]').value", &[]).await;
    assert_eq!(text, "", "the field follows");
}

async fn unknown(driver: String) {
    let (_host, browser) = opened(&driver, "colour=red&severity=purple").await;
    let said: String = browser.read("return document.body.innerText", &[]).await;
    assert!(said.contains("colour"), "{said}");
    let rows: usize = browser.read("return page.all('[data-open]').length", &[]).await;
    assert_eq!(rows, 5);
}

async fn no_such_port(driver: String) {
    let (_host, browser) = opened(&driver, "port=nobody-1").await;
    let said: String = browser.read("return document.querySelector('main').innerText", &[]).await;
    assert!(!said.trim().is_empty());
    let rows: usize = browser.read("return page.all('[data-open], .chart .port').length", &[]).await;
    assert!(rows >= 5, "the page is not empty because of it: {said}");
}
