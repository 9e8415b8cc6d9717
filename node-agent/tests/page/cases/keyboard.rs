//! The keyboard alone: everything is reached, and the focus is never lost.

use libtest_mimic::Trial;

use super::case;
use super::live::opened;
use crate::harness::browser::Browser;

/// Keys as WebDriver writes them.
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const LEFT: &str = "\u{e012}";
const RIGHT: &str = "\u{e014}";
const DOWN: &str = "\u{e015}";

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![
        case("keyboard/filter_chart_detail_copy_and_back_without_a_mouse", driver, whole_way),
        case("keyboard/tab_reaches_every_control_and_comes_around", driver, tab_order),
        case("keyboard/letters_do_what_the_help_says", driver, letters),
        case("keyboard/letters_in_the_search_field_are_text", driver, typed),
        case("keyboard/letters_can_be_switched_off_for_good", driver, switched_off),
        case("keyboard/closing_a_detail_returns_to_where_it_was_opened", driver, returns),
    ]
}

/// Returns what has the focus. Fails if nothing has.
async fn focus(browser: &Browser) -> String {
    browser.frames().await;
    let focused: String = browser.read("return page.nameOf(document.activeElement)", &[]).await;
    assert!(!focused.starts_with("<body") && !focused.starts_with("<html"), "the focus is lost");
    focused
}

async fn whole_way(driver: String) {
    let (_host, browser) = opened(&driver, "").await;
    browser.press("/").await;
    assert!(focus(&browser).await.contains("<input"), "/ goes to the search field");
    browser.press("checkout").await;
    browser.until("the list is filtered", "return page.all('[data-open]').length === 2").await;
    browser.press(ESCAPE).await;
    browser.press(TAB).await;
    focus(&browser).await;
    browser.press("c").await;
    assert!(focus(&browser).await.contains("<button"), "c goes into the chart");
    let inside = "return Boolean(document.activeElement.closest('.chart'))";
    assert_eq!(browser.run(inside, &[]).await, true);
    for key in [DOWN, LEFT, RIGHT] {
        browser.press(key).await;
        focus(&browser).await;
        assert_eq!(browser.run(inside, &[]).await, true, "arrows stay within the chart");
    }
    browser.press(ENTER).await;
    browser.until("the detail is open", "return new URLSearchParams(location.search).has('port')").await;
    let heading = focus(&browser).await;
    assert!(heading.starts_with("<h2"), "the detail's heading has the focus: {heading}");
    browser.press("y").await;
    browser.until("the dialog is open", "return Boolean(document.querySelector('dialog[open]'))").await;
    while !focus(&browser).await.ends_with("\"Copy\"") {
        browser.press(TAB).await;
    }
    browser.press(ENTER).await;
    browser
        .until("the link is copied", "return /copied/i.test(document.getElementById('status').textContent)")
        .await;
    let read = "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))";
    let copied = browser.client().execute_async(read, Vec::new()).await.expect("the clipboard");
    let url = browser.client().current_url().await.expect("an address");
    assert!(copied.as_str().is_some_and(|text| text.contains(url.as_str())), "{copied} has no {url}");
    browser.press(ESCAPE).await;
    browser.until("the dialog is closed", "return !document.querySelector('dialog[open]')").await;
    focus(&browser).await;
    browser.press(ESCAPE).await;
    browser.until("the detail is closed", "return !new URLSearchParams(location.search).has('port')").await;
    focus(&browser).await;
}

async fn tab_order(driver: String) {
    let (_host, browser) = opened(&driver, "").await;
    let reachable = "return page.all('a[href], button, input, select, summary, [tabindex]')
        .filter((at) => at.tabIndex >= 0 && !at.disabled && !at.closest('[inert]')).map(page.nameOf)";
    let wanted: Vec<String> = browser.read(reachable, &[]).await;
    let mut seen = Vec::new();
    let mut in_chart = 0;
    for _ in 0..wanted.len() + 3 {
        browser.press(TAB).await;
        let now: String = browser.read("return page.nameOf(document.activeElement)", &[]).await;
        in_chart += usize::from(
            browser.run("return Boolean(document.activeElement.closest('.chart'))", &[]).await == true,
        );
        seen.push(now);
    }
    assert!(seen[0].contains("Skip"), "first comes the skip link: {}", seen[0]);
    let missed: Vec<_> = wanted.iter().filter(|name| !seen.contains(name)).collect();
    assert!(missed.is_empty(), "Tab does not reach {missed:#?}; it reached {seen:#?}");
    assert_eq!(in_chart, 1, "the chart is one stop");
}

async fn letters(driver: String) {
    let (_host, browser) = opened(&driver, "").await;
    let query = async || -> String { browser.read("return location.search", &[]).await };
    browser.press("v").await;
    assert_eq!(query().await, "?view=table");
    browser.press("v").await;
    assert_eq!(query().await, "");
    browser.press("1").await;
    assert_eq!(query().await, "?severity=critical");
    browser.press("1").await;
    assert_eq!(query().await, "");
    browser.press("j").await;
    let first = query().await;
    browser.press("j").await;
    let second = query().await;
    assert!(first != second && second.contains("port="), "{first}, {second}");
    browser.press("k").await;
    assert_eq!(query().await, first);
    focus(&browser).await;
    browser.press("?").await;
    browser.until("the help is open", "return Boolean(document.querySelector('dialog[open]'))").await;
    focus(&browser).await;
    browser.press(ESCAPE).await;
    browser.until("the help is closed", "return !document.querySelector('dialog[open]')").await;
    focus(&browser).await;
    browser.press("n").await;
    focus(&browser).await;
}

async fn typed(driver: String) {
    let (_host, browser) = opened(&driver, "").await;
    browser.press("/").await;
    browser.press("vjp1?").await;
    let text: String = browser.read("return document.activeElement.value", &[]).await;
    assert_eq!(text, "vjp1?");
    browser.until("it is a filter", "return new URLSearchParams(location.search).get('q') === 'vjp1?'").await;
    assert_eq!(browser.run("return new URLSearchParams(location.search).has('view')", &[]).await, false);
}

async fn switched_off(driver: String) {
    let (host, browser) = opened(&driver, "").await;
    browser.press("?").await;
    browser.until("the help is open", "return Boolean(document.querySelector('dialog[open]'))").await;
    browser.run("document.querySelector('dialog[open] input[type=checkbox]').click()", &[]).await;
    browser.press(ESCAPE).await;
    for _ in 0..2 {
        browser.press("v").await;
        let query: String = browser.read("return location.search", &[]).await;
        assert_eq!(query, "", "the letter does nothing");
        browser.open(&host.page("")).await;
    }
}

async fn returns(driver: String) {
    let (_host, browser) = opened(&driver, "").await;
    browser.run("page.all('[data-open]')[2].focus()", &[]).await;
    let before = focus(&browser).await;
    browser.press(ENTER).await;
    assert!(focus(&browser).await.starts_with("<h2"));
    browser.press(ESCAPE).await;
    assert_eq!(focus(&browser).await, before);
}
