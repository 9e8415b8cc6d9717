//! The harness itself: what the cases rely on when they say that nothing happened.

use libtest_mimic::Trial;

use super::case;
use crate::harness::browser::Browser;

pub fn cases(driver: &str) -> Vec<Trial> {
    vec![case("browser/it_notes_errors_dialogs_and_requests", driver, notes)]
}

async fn notes(driver: String) {
    let browser = Browser::start(&driver).await;
    browser.goto("data:text/html,<h1>a</h1><script>alert(1); nothing();</script>").await;
    let noted = browser.noted().await;
    assert!(noted.iter().any(|note| note.starts_with("dialog: alert 1")), "{noted:?}");
    assert!(noted.iter().any(|note| note.contains("nothing is not defined")), "{noted:?}");
    let requests = browser.requests().await;
    assert!(requests.iter().any(|url| url.starts_with("data:text/html")), "{requests:?}");
}
