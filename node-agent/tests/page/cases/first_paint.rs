//! What stands on the page before its modules have arrived, or if they never do.

use libtest_mimic::Trial;
use serde_json::json;

use super::case;
use crate::harness::browser::{Browser, Theme};
use crate::harness::site::Site;

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![
        case("first_paint/says_that_agents_are_asked_in_the_theme_that_was_chosen", driver, waits),
        case("first_paint/says_that_a_file_did_not_arrive", driver, missing),
        case("first_paint/without_javascript_there_are_links_to_the_lists", driver, without_javascript),
    ]
}

async fn heading(browser: &Browser) -> String {
    browser.read("return document.querySelector('h1').innerText.trim()", &[]).await
}

async fn waits(driver: String) {
    let site = Site::of("few").await;
    let browser = Browser::start(&driver).await;
    browser.media(Theme::Light, &[]).await;
    browser.open(&site.page("")).await;
    browser.run("localStorage.setItem('portolan-theme', 'dark')", &[]).await;
    let script = "new MutationObserver(() => { const text = document.querySelector('h1')?.innerText; \
                      if (text) globalThis.firstText ??= [text, document.documentElement.dataset.theme]; }) \
                      .observe(document, { childList: true, subtree: true, characterData: true });";
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    browser.open(&site.page("")).await;
    let first: [String; 2] = browser.read("return globalThis.firstText", &[]).await;
    assert_eq!(first, ["Asking the agents…", "dark"]);
    assert_ne!(heading(&browser).await, "Asking the agents…");
}

async fn missing(driver: String) {
    let site = Site::of("few").await;
    let browser = Browser::start(&driver).await;
    browser.devtools("Network.enable", json!({})).await;
    for file in ["main.js", "model.js"] {
        browser.devtools("Network.setBlockedURLs", json!({"urls": [format!("*/ui/{file}")]})).await;
        browser.goto(&site.page("")).await;
        browser
            .until(
                "the page says that a file is missing",
                "return document.querySelector('h1').innerText.includes('did not arrive')",
            )
            .await;
    }
    browser.devtools("Network.setBlockedURLs", json!({"urls": []})).await;
    browser.open(&site.page("")).await;
    assert!(!heading(&browser).await.contains("did not arrive"));
}

async fn without_javascript(driver: String) {
    let site = Site::of("few").await;
    let browser = Browser::start(&driver).await;
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    browser.goto(&site.page("")).await;
    let words: String = browser.words().await;
    assert!(words.contains("needs JavaScript") && words.contains("Findings"), "{words}");
    assert!(!words.contains("Asking"), "{words}");
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({"value": false})).await;
}
